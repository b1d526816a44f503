//! `tokens:` how long they last.

use std::time::Duration;

use serde_json::json;

use crate::config::field::Field;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawTokens {
    pub access_ttl: Field<Duration>,
    pub refresh_ttl: Field<Duration>,
    pub recheck_grace: Field<Duration>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawTokens {
    RawTokens {
        access_ttl: stanza.ask(
            "access_ttl",
            "How long an access token lasts, 1s to 24h.",
            values::DURATION.by_default(|| json!("1h")),
            reading,
        ),
        refresh_ttl: stanza.ask(
            "refresh_ttl",
            "How long a refresh token that is not used lasts, up to 90d; not beyond recheck_grace.",
            values::DURATION.by_default(|| json!("14d")),
            reading,
        ),
        recheck_grace: stanza.ask(
            "recheck_grace",
            "How long a login holds while the IdP has not vouched for the person again, up to 90d.",
            values::DURATION.by_default(|| json!("12h")),
            reading,
        ),
    }
}
