//! `stop:` how the process ends when it is told to.

use std::time::Duration;

use crate::config::check::duration::within;
use crate::config::problem::Reported;
use crate::config::raw::stop::RawStop;
use crate::config::stanza::Reading;
use crate::server::DrainSettings;

pub(super) fn check(raw: RawStop, reading: &mut Reading) -> Result<DrainSettings, Reported> {
    let usual = DrainSettings::default();
    let accepting = Duration::ZERO..=Duration::from_mins(5);
    let finishing = Duration::ZERO..=Duration::from_hours(24);
    let keep_accepting =
        within(raw.keep_accepting, usual.keep_accepting, accepting, "use 0s to 5m", reading);
    let finish_within =
        within(raw.finish_within, usual.finish_within, finishing, "use 0s to 24h", reading);
    Ok(DrainSettings { keep_accepting: keep_accepting?, finish_within: finish_within? })
}
