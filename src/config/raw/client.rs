//! `clients:` MCP clients that the operator sets up, each with an id of its own.

use serde_json::json;

use crate::config::field::{Field, Required, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::raw::secret::{SECRET, SecretSource};
use crate::config::schema::{self, Schema};
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::Node;
use crate::config::values;

pub(in crate::config) struct RawClient {
    pub id: Required<String>,
    pub name: Required<String>,
    pub redirect_uris: Required<Vec<Typed<String>>>,
    pub secret: Field<SecretSource>,
    /// The path of a file.
    pub keys: Field<String>,
    pub scopes: Field<Vec<Typed<String>>>,
    pub refresh: Field<bool>,
}

pub(super) const CLIENTS: Form<Vec<RawClient>> = Form::new(read_all, || schema::list(&schema()));

fn read_all(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<RawClient>>, Reported> {
    values::stanzas(spot, node, read, reading)
}

fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawClient {
    RawClient {
        id: stanza.require(
            "id",
            "What people enter as the client id. Letters, digits, dots, dashes and underscores.",
            values::TEXT.with_example("claude"),
            reading,
        ),
        name: stanza.require(
            "name",
            "Shown to people when they are asked for consent, as set up by you.",
            values::TEXT.with_example("Claude"),
            reading,
        ),
        redirect_uris: stanza.require(
            "redirect_uris",
            "Where the client may be answered: https, http on loopback with any port, or a scheme of its own. The last segment of an https path may be *.",
            AT_LEAST_ONE,
            reading,
        ),
        secret: stanza.ask(
            "secret",
            "Where the client secret comes from. With neither secret nor keys: a public client.",
            SECRET,
            reading,
        ),
        keys: stanza.ask(
            "keys",
            "The client's public keys, a JWK Set: it signs to prove who it is (private_key_jwt).",
            KEYS,
            reading,
        ),
        scopes: stanza.ask(
            "scopes",
            "The most that it may be granted. Default: all that a resource offers.",
            AT_LEAST_ONE,
            reading,
        ),
        refresh: stanza.ask(
            "refresh",
            "Give it refresh tokens. Without, people log in again after access_ttl.",
            values::FLAG.by_default(|| json!(true)),
            reading,
        ),
    }
}

fn schema() -> Schema {
    let one_proof = json!({ "not": { "required": ["secret", "keys"] } });
    schema::with(schema::stanza(read), one_proof)
}

pub(super) const AT_LEAST_ONE: Form<Vec<Typed<String>>> =
    Form::new(values::texts, || schema::at_least_one(&schema::text()));

pub(super) const KEYS: Form<String> = Form::new(read_keys, || schema::stanza(read_source));

fn read_keys(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<String>, Reported> {
    let source = Stanza::read(spot.clone(), node, read_source, reading);
    let file = source.required(
        &mut reading.problems,
        "the keys are public, but long: they stand in a file of their own",
        "write keys: { file: /path/to/jwks.json }",
    )?;
    Ok(Typed { spot, ..file })
}

fn read_source(stanza: &mut Stanza, reading: &mut Reading) -> Required<String> {
    stanza.require("file", "The file that holds the JWK Set.", values::TEXT, reading)
}
