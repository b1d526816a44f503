//! `registration:` which clients may register.

use crate::config::field::{Field, Typed};
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawRegistration {
    pub dynamic: Field<bool>,
    pub redirect_schemes: Field<Vec<Typed<String>>>,
}

pub(super) fn read(mut stanza: Stanza, reading: &mut Reading) -> RawRegistration {
    let raw = RawRegistration {
        dynamic: stanza.ask("dynamic", values::flag, reading),
        redirect_schemes: stanza.ask("redirect_schemes", values::texts, reading),
    };
    stanza.close(reading);
    raw
}
