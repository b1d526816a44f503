//! `resources:` a public MCP URL each, and the server behind it.

use crate::config::field::{Field, Typed};
use crate::config::problem::{Reported, Spot};
use crate::config::raw::access::{self, RawAccess};
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::Node;
use crate::config::values;

pub(in crate::config) struct RawResource {
    pub url: Field<String>,
    pub upstream: Field<String>,
    pub name: Field<String>,
    pub access: Field<RawAccess>,
    pub scopes: Field<Vec<Typed<String>>>,
}

pub(super) fn read_all(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<RawResource>>, Reported> {
    let Typed { value, shown, spot } = values::stanzas(spot, node, reading)?;
    let resources = value.into_iter().map(|stanza| read(stanza, reading)).collect();
    Ok(Typed { value: resources, shown, spot })
}

fn read(mut stanza: Stanza, reading: &mut Reading) -> RawResource {
    let raw = RawResource {
        url: stanza.ask("url", values::text, reading),
        upstream: stanza.ask("upstream", values::text, reading),
        name: stanza.ask("name", values::text, reading),
        access: stanza.ask("access", access::read, reading),
        scopes: stanza.ask("scopes", values::texts, reading),
    };
    stanza.close(reading);
    raw
}
