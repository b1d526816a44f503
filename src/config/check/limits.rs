//! `limits:` how much one client may ask for.

use std::num::NonZeroUsize;

use crate::config::field::Field;
use crate::config::problem::Reported;
use crate::config::raw::limits::{MOST_CONNECTIONS, RawLimits};
use crate::config::stanza::Reading;
use crate::config::{ConnectionLimit, LimitSettings};

pub(super) fn check(raw: RawLimits, reading: &mut Reading) -> Result<LimitSettings, Reported> {
    let request_body = request_body(raw.request_body, reading);
    let connections = connections(raw.connections_per_address, reading);
    Ok(LimitSettings { request_body: request_body?, connections: connections? })
}

fn request_body(field: Field<u64>, reading: &mut Reading) -> Result<u64, Reported> {
    let Some(typed) = field.optional()? else { return Ok(4 * MIB) };
    if (KIB..=1024 * MIB).contains(&typed.value) {
        return Ok(typed.value);
    }
    let reason = if typed.value < KIB { "is too small" } else { "is too large" };
    Err(reading.tell(typed.problem(reason, "use 1KiB to 1GiB")))
}

fn connections(
    field: Field<Option<u64>>,
    reading: &mut Reading,
) -> Result<ConnectionLimit, Reported> {
    let Some(typed) = field.optional()? else { return Ok(ConnectionLimit::Half) };
    let Some(count) = typed.value else { return Ok(ConnectionLimit::Unlimited) };
    usize::try_from(count)
        .ok()
        .filter(|count| *count <= MOST_CONNECTIONS)
        .and_then(NonZeroUsize::new)
        .map(ConnectionLimit::AtMost)
        .ok_or_else(|| {
            let fix = format!("use 1 to {MOST_CONNECTIONS}, or none");
            reading.tell(typed.problem("is not a number of connections", fix))
        })
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
