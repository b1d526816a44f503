//! `log:` how the log is written.

use crate::config::field::Field;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawLog {
    pub format: Field<String>,
    pub level: Field<String>,
}

pub(super) fn read(mut stanza: Stanza, reading: &mut Reading) -> RawLog {
    let raw = RawLog {
        format: stanza.ask("format", values::text, reading),
        level: stanza.ask("level", values::text, reading),
    };
    stanza.close(reading);
    raw
}
