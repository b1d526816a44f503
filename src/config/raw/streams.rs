//! `streams:` how long answers outlive their access tokens.

use std::time::Duration;

use serde_json::json;

use crate::config::field::Field;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawStreams {
    pub listening_grace: Field<Duration>,
    pub running_grace: Field<Duration>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawStreams {
    RawStreams {
        listening_grace: stanza.ask(
            "listening_grace",
            "How long a stream that only listens goes on after its access token has expired, up to 24h. Then it ends, and clients open it anew.",
            values::DURATION.by_default(|| json!("60s")),
            reading,
        ),
        running_grace: stanza.ask(
            "running_grace",
            "How much longer than that the answer to a call that is running goes on, up to 24h. Then it is cut.",
            values::DURATION.by_default(|| json!("10m")),
            reading,
        ),
    }
}
