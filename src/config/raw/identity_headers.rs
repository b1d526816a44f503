//! `identity_headers:` the names under which the upstream is told who is calling.

use serde_json::json;

use crate::config::field::Field;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawIdentityHeaders {
    pub user: Field<String>,
    pub email: Field<String>,
    pub groups: Field<String>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawIdentityHeaders {
    RawIdentityHeaders {
        user: stanza.ask(
            "user",
            "The header with the stable key of the person.",
            values::TEXT.by_default(|| json!("X-Forwarded-User")),
            reading,
        ),
        email: stanza.ask(
            "email",
            "The header with the person's email address.",
            values::TEXT.by_default(|| json!("X-Forwarded-Email")),
            reading,
        ),
        groups: stanza.ask(
            "groups",
            "The header with the person's groups.",
            values::TEXT.by_default(|| json!("X-Forwarded-Groups")),
            reading,
        ),
    }
}
