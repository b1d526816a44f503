//! `machines:` clients of the IdP's that come with tokens it issued to them for themselves.

use crate::config::field::{Field, Typed};
use crate::config::raw::client::AT_LEAST_ONE;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawMachines {
    pub audience: Field<String>,
    pub clients: Field<Vec<Typed<String>>>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawMachines {
    RawMachines {
        audience: stanza.ask(
            "audience",
            "What the provider puts in aud of their tokens: not the client_id of idp.",
            values::TEXT,
            reading,
        ),
        clients: stanza.ask(
            "clients",
            "Their client ids at the provider. What each may use, an entry of access says that names it.",
            AT_LEAST_ONE,
            reading,
        ),
    }
}
