//! One key of a stanza: left out, mistyped, or given with the place where it was typed.

use crate::config::problem::{Problem, Problems, Reported, Spot};

/// What became of a key that a stanza was asked for.
pub(super) enum Field<T> {
    /// Where it would stand.
    LeftOut(Spot),
    Mistyped(Reported),
    Given(Typed<T>),
}

/// A key that must be given. Only `raw` decides that, so that the schema says the same.
pub(super) struct Required<T>(pub Field<T>);

/// A value with the place where it was typed.
#[derive(Clone)]
pub(super) struct Typed<T> {
    pub value: T,
    /// The value as typed, quoted and safe to print: before `${…}` was filled in, without passwords.
    /// `None` if it may not be shown, or is no single value.
    pub shown: Option<String>,
    pub spot: Spot,
}

impl<T> Required<T> {
    pub fn required(
        self,
        problems: &mut Problems,
        why: &str,
        fix: &str,
    ) -> Result<Typed<T>, Reported> {
        match self.0 {
            Field::Given(typed) => Ok(typed),
            Field::Mistyped(reported) => Err(reported),
            Field::LeftOut(spot) => {
                Err(problems.tell(Problem::at(&spot, "is missing", fix).because(why)))
            }
        }
    }
}

impl<T> Field<T> {
    pub fn optional(self) -> Result<Option<Typed<T>>, Reported> {
        match self {
            Self::Given(typed) => Ok(Some(typed)),
            Self::Mistyped(reported) => Err(reported),
            Self::LeftOut(_) => Ok(None),
        }
    }
}

impl<T> Typed<T> {
    /// A problem with this value. `reason` completes "the value …".
    pub fn problem(&self, reason: impl AsRef<str>, fix: impl Into<String>) -> Problem {
        let reason = reason.as_ref();
        match &self.shown {
            Some(shown) => Problem::at(&self.spot, format!("{shown} {reason}"), fix),
            None => Problem::at(&self.spot, reason, fix),
        }
    }

    /// The same place with what the value means.
    pub fn with<U>(self, value: U) -> Typed<U> {
        Typed { value, shown: self.shown, spot: self.spot }
    }
}

/// `text` between quotes, for a message: one line, not too long, no password of a URL.
pub(super) fn quoted(text: &str) -> String {
    let text = without_credentials(text);
    if text.chars().count() <= LONGEST_SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST_SHOWN).collect();
    format!("{:?}", format!("{start}…"))
}

/// The URL parser finds a user and password also where `//` was forgotten, so any text with a colon
/// before its last `@` is taken for such a URL.
fn without_credentials(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…@{host}"),
        None if before.contains(':') => format!("…@{host}"),
        None => text.to_owned(),
    }
}

/// Characters.
const LONGEST_SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_value_has_no_password_and_no_line_break() {
        for (text, shown) in [
            ("https://a:b@c.example/@x", r#""https://…@x""#),
            ("https://a:b@c.example/", r#""https://…@c.example/""#),
            ("https:a:b@c.example/", r#""…@c.example/""#),
            ("me@c.example", r#""me@c.example""#),
            ("two\nlines", r#""two\nlines""#),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }
}
