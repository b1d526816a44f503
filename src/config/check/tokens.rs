//! `tokens:` how long they last.

use std::time::Duration;

use chrono::DateTime;

use crate::clock::Timestamp;
use crate::config::IssuedBy;
use crate::config::check::choice;
use crate::config::check::duration::within;
use crate::config::field::Field;
use crate::config::problem::Reported;
use crate::config::raw::tokens::{ISSUERS, RawTokens};
use crate::config::stanza::Reading;
use crate::grants::{LONGEST_ACCESS, Lifetimes};

pub(super) fn check(
    raw: RawTokens,
    reading: &mut Reading,
) -> Result<(IssuedBy, Lifetimes), Reported> {
    let issued_by = choice::of(raw.issued_by, IssuedBy::Doorman, &ISSUERS, reading);
    let access = within(raw.access_ttl, HOUR, SECOND..=LONGEST_ACCESS, "use 1s to 24h", reading);
    let recheck_after = within(raw.recheck_after, HOUR, SECOND..=DAY, "use 1s to 24h", reading);
    let recheck_grace =
        within(raw.recheck_grace, HOUR * 12, SECOND..=DAY * 90, "use 1s to 90d", reading);
    let refresh_spot = match &raw.refresh_ttl {
        Field::Given(typed) => Some(typed.clone()),
        Field::LeftOut(_) | Field::Mistyped(_) => None,
    };
    let refresh = within(raw.refresh_ttl, DAY * 14, SECOND..=DAY * 90, "use 1s to 90d", reading);
    let not_before = not_before(raw.not_before, reading);
    let (access, refresh) = (access?, refresh?);
    let (recheck_after, recheck_grace) = (recheck_after?, recheck_grace?);
    // The default is longer than any access token may live, so only a typed one can be too short.
    if let Some(typed) = refresh_spot
        && refresh < access
    {
        return Err(reading.tell(typed.problem(
            "is shorter than tokens.access_ttl",
            "make it at least as long: it is what gets the next access token",
        )));
    }
    let lifetimes = Lifetimes {
        access,
        refresh,
        grant: LONGEST_GRANT,
        recheck_after,
        recheck_grace,
        not_before: not_before?,
    };
    Ok((issued_by?, lifetimes))
}

fn not_before(field: Field<String>, reading: &mut Reading) -> Result<Timestamp, Reported> {
    let Some(typed) = field.optional()? else { return Ok(Timestamp::from_seconds(0)) };
    let parsed = DateTime::parse_from_rfc3339(&typed.value).ok();
    match parsed.and_then(|time| u64::try_from(time.timestamp()).ok()) {
        Some(seconds) => Ok(Timestamp::from_seconds(seconds)),
        None => Err(reading.tell(typed.problem(
            "is not a time",
            "write it as in 2026-11-21T09:30:00Z, with Z or an offset like +01:00 at the end",
        ))),
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
/// However often it is refreshed, a person signs in again after this.
const LONGEST_GRANT: Duration = Duration::from_hours(24 * 90);
const DAY: Duration = Duration::from_hours(24);
