//! `identity_headers:` the names under which the upstream is told who is calling.

use crate::config::field::Field;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawIdentityHeaders {
    pub user: Field<String>,
    pub email: Field<String>,
    pub groups: Field<String>,
}

pub(super) fn read(mut stanza: Stanza, reading: &mut Reading) -> RawIdentityHeaders {
    let raw = RawIdentityHeaders {
        user: stanza.ask("user", values::text, reading),
        email: stanza.ask("email", values::text, reading),
        groups: stanza.ask("groups", values::text, reading),
    };
    stanza.close(reading);
    raw
}
