//! `streams:` how long answers outlive their access tokens.

use std::time::Duration;

use crate::config::check::duration::within;
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
    Ok(StreamSettings { listening_grace: listening?, running_grace: running? })
}
