//! `limits:` how much one client may ask for.

use serde_json::json;

use crate::config::field::Field;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawLimits {
    /// In bytes.
    pub request_body: Field<u64>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawLimits {
    RawLimits {
        request_body: stanza.ask(
            "request_body",
            "The largest body of a request that is passed on, 1KiB to 1GiB: your server may hold all of it in memory. What is larger is answered 413.",
            values::SIZE.by_default(|| json!("4MiB")),
            reading,
        ),
    }
}
