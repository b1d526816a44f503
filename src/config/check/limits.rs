//! `limits:` how much one client may ask for.

use crate::config::LimitSettings;
use crate::config::field::Field;
use crate::config::problem::Reported;
use crate::config::raw::limits::RawLimits;
use crate::config::stanza::Reading;

pub(super) fn check(raw: RawLimits, reading: &mut Reading) -> Result<LimitSettings, Reported> {
    let request_body = request_body(raw.request_body, reading);
    Ok(LimitSettings { request_body: request_body? })
}

fn request_body(field: Field<u64>, reading: &mut Reading) -> Result<u64, Reported> {
    let Some(typed) = field.optional()? else { return Ok(4 * MIB) };
    if (KIB..=1024 * MIB).contains(&typed.value) {
        return Ok(typed.value);
    }
    let reason = if typed.value < KIB { "is too small" } else { "is too large" };
    Err(reading.tell(typed.problem(reason, "use 1KiB to 1GiB")))
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
