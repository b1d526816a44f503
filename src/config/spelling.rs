//! "Did you mean": the known word that is nearest to the one that was typed.

/// The nearest of `known`, if it is near enough to be meant: a third of the letters may differ.
pub(super) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let tolerance = (typed.chars().count() / 3).max(1);
    known
        .map(|word| (distance(typed, word), word))
        .filter(|(distance, _)| *distance <= tolerance)
        .min()
        .map(|(_, word)| word)
}

/// Levenshtein: how many letters to add, drop or change. Case and `-` for `_` make no difference.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().map(plain).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().map(plain).enumerate() {
        let mut next = vec![line + 1];
        let mut left = line + 1;
        for (pair, candidate) in row.windows(2).zip(&other) {
            let [diagonal, above] = pair else { continue };
            left = (left + 1).min(above + 1).min(diagonal + usize::from(letter != *candidate));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

fn plain(letter: char) -> char {
    if letter == '-' { '_' } else { letter.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (one, other, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("a-b", "A_b", 0)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let known = ["issuer", "client_id", "client_secret"];

        assert_eq!(nearest("isuer", known.into_iter()), Some("issuer"));
        assert_eq!(nearest("clientId", known.into_iter()), Some("client_id"));
        assert_eq!(nearest("audience", known.into_iter()), None);
    }
}
