//! `service_accounts:` machines that get tokens for themselves.

use serde_json::json;

use crate::config::field::{Field, Required, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::raw::client::{AT_LEAST_ONE, KEYS};
use crate::config::raw::secret::{SECRET, SecretSource};
use crate::config::schema::{self, Schema};
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::Node;
use crate::config::values;

pub(in crate::config) struct RawServiceAccount {
    pub id: Required<String>,
    pub secret: Field<SecretSource>,
    /// The path of a file.
    pub keys: Field<String>,
    pub resources: Field<Vec<Typed<String>>>,
    pub scopes: Field<Vec<Typed<String>>>,
}

pub(super) const SERVICE_ACCOUNTS: Form<Vec<RawServiceAccount>> =
    Form::new(read_all, || schema::list(&schema()));

fn read_all(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<RawServiceAccount>>, Reported> {
    values::stanzas(spot, node, read, reading)
}

fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawServiceAccount {
    RawServiceAccount {
        id: stanza.require(
            "id",
            "What the machine sends as its client id; your server is told service-account,<id>. Letters, digits, dots, dashes and underscores.",
            values::TEXT.with_example("nightly-report"),
            reading,
        ),
        secret: stanza.ask(
            "secret",
            "Where the client secret comes from. It needs this, or keys.",
            SECRET,
            reading,
        ),
        keys: stanza.ask(
            "keys",
            "The machine's public keys, a JWK Set: it signs to prove who it is (private_key_jwt).",
            KEYS,
            reading,
        ),
        resources: stanza.ask(
            "resources",
            "URLs of the resources that it may use. Default: all.",
            AT_LEAST_ONE,
            reading,
        ),
        scopes: stanza.ask(
            "scopes",
            "The most that it may be granted. Default: all that a resource offers.",
            AT_LEAST_ONE,
            reading,
        ),
    }
}

fn schema() -> Schema {
    let one_proof = json!({ "oneOf": [{ "required": ["secret"] }, { "required": ["keys"] }] });
    schema::with(schema::stanza(read), one_proof)
}
