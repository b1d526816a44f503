//! What an operator should know of the certificate that clients are shown.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::tls::ServerIdentity;

/// Say so if clients will stop to believe `identity` before long.
pub fn warn_if_it_ends(identity: &ServerIdentity, now: Timestamp) {
    let left = now.until(identity.ends());
    if left < SOON {
        tracing::warn!(
            ends = %identity.ends(),
            days_left = left.as_secs() / DAY.as_secs(),
            fix = "put a new one into the file that tls.cert names, and its key where tls.key says",
            whose_fault = "us",
            "the certificate ends soon"
        );
    }
}

const SOON: Duration = Duration::from_hours(14 * 24);
const DAY: Duration = Duration::from_hours(24);
