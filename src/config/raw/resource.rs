//! `resources:` a public MCP URL each, and the server behind it.

use serde_json::json;

use crate::config::field::{Field, Required, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::raw::access::{ACCESS, RawAccess};
use crate::config::raw::client::AT_LEAST_ONE;
use crate::config::raw::upstream::{
    RawUpstreamDeadlines, RawUpstreamHeader, RawUpstreamTls, UPSTREAM_DEADLINES, UPSTREAM_HEADERS,
    UPSTREAM_PROTOCOL, UPSTREAM_TLS,
};
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::Node;
use crate::config::values;

pub(in crate::config) struct RawResource {
    pub url: Required<String>,
    pub upstream: Required<String>,
    pub upstream_protocol: Field<String>,
    pub upstream_tls: Field<Box<RawUpstreamTls>>,
    pub upstream_headers: Field<Vec<RawUpstreamHeader>>,
    pub upstream_deadlines: Field<RawUpstreamDeadlines>,
    pub name: Field<String>,
    pub access: Required<RawAccess>,
    pub scopes: Field<Vec<Typed<String>>>,
    pub audience: Field<String>,
    pub allowed_clients: Field<Vec<Typed<String>>>,
}

pub(super) const RESOURCES: Form<Vec<RawResource>> =
    Form::new(read_all, || schema::at_least_one(&schema::stanza(read)));

fn read_all(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<RawResource>>, Reported> {
    values::stanzas(spot, node, read, reading)
}

fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawResource {
    RawResource {
        url: stanza.require(
            "url",
            "What people paste into their MCP client: https (http on loopback), exactly as the world reaches it.",
            values::TEXT.with_example("https://tools.example.com/mcp"),
            reading,
        ),
        upstream: stanza.require(
            "upstream",
            "Where the MCP server listens: http:// in the same pod or on the same host, https:// anywhere, or unix:, the path of a Unix socket, and after a colon the path there.",
            values::TEXT.with_example("http://127.0.0.1:3000/mcp"),
            reading,
        ),
        upstream_protocol: stanza.ask(
            "upstream_protocol",
            "What is spoken with the server. It has to know that it is http2; over TLS it has to agree to it.",
            UPSTREAM_PROTOCOL.by_default(|| json!("http1")),
            reading,
        ),
        upstream_tls: stanza.ask(
            "upstream_tls",
            "For an https:// upstream, whom to trust and what to show. Default: the system's authorities, and nothing.",
            UPSTREAM_TLS,
            reading,
        ),
        upstream_headers: stanza.ask(
            "upstream_headers",
            "Headers that the server wants with each request, as an API key of its own. Callers can't set them.",
            UPSTREAM_HEADERS.by_default(|| json!([])),
            reading,
        ),
        upstream_deadlines: stanza.ask(
            "upstream_deadlines",
            "How long the server may take, before we give up.",
            UPSTREAM_DEADLINES,
            reading,
        ),
        name: stanza.ask(
            "name",
            "Shown to people when they are asked for consent. Left out: the URL is shown.",
            values::TEXT,
            reading,
        ),
        access: stanza.require(
            "access",
            "Who may use it: any for everyone who can log in, or a list of entries. Any entry may match; within an entry every key must; of a key's values any may.",
            ACCESS,
            reading,
        ),
        scopes: stanza.ask(
            "scopes",
            "The scopes that a token needs here.",
            values::TEXTS.by_default(|| json!([])),
            reading,
        ),
        audience: stanza.ask(
            "audience",
            "With tokens.issued_by: idp, what the provider calls this resource in aud of its tokens. Default: the url.",
            values::TEXT,
            reading,
        ),
        allowed_clients: stanza.ask(
            "allowed_clients",
            "With tokens.issued_by: idp, the ids at the provider of the clients whose tokens are taken. Needed where audience is not the url. Default: any client.",
            AT_LEAST_ONE,
            reading,
        ),
    }
}
