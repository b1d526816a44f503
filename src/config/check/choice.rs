//! A key whose value is one of a few words.

use crate::config::field::Field;
use crate::config::problem::Reported;
use crate::config::spelling;
use crate::config::stanza::Reading;

/// What the word in `field` stands for; `default` if it was left out.
pub(super) fn of<T: Copy>(
    field: Field<String>,
    default: T,
    choices: &[(&str, T)],
    reading: &mut Reading,
) -> Result<T, Reported> {
    let Some(typed) = field.optional()? else { return Ok(default) };
    if let Some((_, meaning)) = choices.iter().find(|(word, _)| *word == typed.value) {
        return Ok(*meaning);
    }
    let words = || choices.iter().map(|(word, _)| *word);
    let fix = match spelling::nearest(&typed.value, words()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("use one of {}", words().collect::<Vec<_>>().join(", ")),
    };
    Err(reading.tell(typed.problem("is not a choice here", fix)))
}
