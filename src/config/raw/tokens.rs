//! `tokens:` how long they last.

use std::time::Duration;

use crate::config::field::Field;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawTokens {
    pub access_ttl: Field<Duration>,
    pub refresh_ttl: Field<Duration>,
    pub recheck_grace: Field<Duration>,
}

pub(super) fn read(mut stanza: Stanza, reading: &mut Reading) -> RawTokens {
    let raw = RawTokens {
        access_ttl: stanza.ask("access_ttl", values::duration, reading),
        refresh_ttl: stanza.ask("refresh_ttl", values::duration, reading),
        recheck_grace: stanza.ask("recheck_grace", values::duration, reading),
    };
    stanza.close(reading);
    raw
}
