//! `streams:` how long answers outlive their access tokens, and what keeps quiet ones open.

use std::time::Duration;

use crate::config::check::duration::within;
use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::raw::streams::RawStreams;
use crate::config::stanza::Reading;
use crate::proxy::StreamSettings;

pub(super) fn check(raw: RawStreams, reading: &mut Reading) -> Result<StreamSettings, Reported> {
    let range = Duration::ZERO..=Duration::from_hours(24);
    let fix = "use 0s to 24h";
    let listening =
        within(raw.listening_grace, Duration::from_mins(1), range.clone(), fix, reading);
    let running = within(raw.running_grace, Duration::from_mins(10), range, fix, reading);
    let comments = comment_every(raw.comment_every, reading);
    Ok(StreamSettings {
        listening_grace: listening?,
        running_grace: running?,
        comment_every: comments?,
    })
}

fn comment_every(
    field: Field<Option<Duration>>,
    reading: &mut Reading,
) -> Result<Option<Duration>, Reported> {
    let Some(Typed { value, shown, spot }) = field.optional()? else {
        return Ok(Some(Duration::from_secs(25)));
    };
    let Some(value) = value else { return Ok(None) };
    let field = Field::Given(Typed { value, shown, spot });
    let range = Duration::from_secs(1)..=Duration::from_hours(1);
    within(field, value, range, "use none, or 1s to 1h", reading).map(Some)
}
