//! A duration that has to lie within bounds.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::field::Field;
use crate::config::problem::Reported;
use crate::config::stanza::Reading;

/// `default` if it was left out.
pub(super) fn within(
    field: Field<Duration>,
    default: Duration,
    range: RangeInclusive<Duration>,
    fix: &str,
    reading: &mut Reading,
) -> Result<Duration, Reported> {
    let Some(typed) = field.optional()? else { return Ok(default) };
    if range.contains(&typed.value) {
        return Ok(typed.value);
    }
    let reason = if typed.value < *range.start() { "is too short" } else { "is too long" };
    Err(reading.tell(typed.problem(reason, fix)))
}
