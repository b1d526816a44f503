//! `stop:` how the process ends when it is told to.

use std::time::Duration;

use serde_json::json;

use crate::config::field::Field;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawStop {
    pub keep_accepting: Field<Duration>,
    pub finish_within: Field<Duration>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawStop {
    RawStop {
        keep_accepting: stanza.ask(
            "keep_accepting",
            "How long after SIGTERM new connections are still taken, while we are not ready, up to 5m: for what sends requests here and hears of it late, where no preStop hook calls mcp-doorman drain.",
            values::DURATION.by_default(|| json!("0s")),
            reading,
        ),
        finish_within: stanza.ask(
            "finish_within",
            "How long after that running calls may take, up to 24h. What is left is cut. Whoever kills has to wait for 5s more than both.",
            values::DURATION.by_default(|| json!("25s")),
            reading,
        ),
    }
}
