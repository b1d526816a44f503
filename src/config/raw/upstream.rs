//! What stands beside `upstream:` of a resource: what it takes to get into its MCP server, and how long that may take.

use std::time::Duration;

use serde_json::json;

use crate::config::field::{Field, Required, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::raw::secret::{SECRET, SecretSource};
use crate::config::schema::{self, Schema};
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::Node;
use crate::config::values;
use crate::wire::UpstreamProtocol;

pub(in crate::config) struct RawUpstreamTls {
    /// The path of a file.
    pub ca: Field<String>,
    /// The path of a file.
    pub client_certificate: Field<String>,
    pub client_key: Field<SecretSource>,
    pub server_name: Field<String>,
}

pub(in crate::config) struct RawUpstreamHeader {
    pub name: Required<String>,
    pub value: Required<SecretSource>,
}

pub(in crate::config) struct RawUpstreamDeadlines {
    pub connect: Field<Duration>,
    pub first_byte: Field<Duration>,
}

pub(super) const UPSTREAM_PROTOCOL: Form<String> =
    Form::new(values::text, || schema::choice(PROTOCOLS.map(|(word, _)| word)));

pub(in crate::config) const PROTOCOLS: [(&str, UpstreamProtocol); 2] =
    [("http1", UpstreamProtocol::Http1), ("http2", UpstreamProtocol::Http2)];

pub(super) const UPSTREAM_TLS: Form<Box<RawUpstreamTls>> = Form::new(read_tls, tls_schema);

pub(super) const UPSTREAM_HEADERS: Form<Vec<RawUpstreamHeader>> =
    Form::new(read_headers, || schema::list(&schema::stanza(ask_header)));

pub(super) const UPSTREAM_DEADLINES: Form<RawUpstreamDeadlines> =
    Form::new(read_deadlines, || schema::stanza(ask_deadlines));

#[expect(clippy::unnecessary_wraps, reason = "the shape of every `Read`")]
fn read_tls(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Box<RawUpstreamTls>>, Reported> {
    let value = Box::new(Stanza::read(spot.clone(), node, ask_tls, reading));
    Ok(Typed { value, shown: None, spot })
}

fn ask_tls(stanza: &mut Stanza, reading: &mut Reading) -> RawUpstreamTls {
    RawUpstreamTls {
        ca: stanza.ask(
            "ca",
            "A file of certificates (PEM) to trust, in place of the system's.",
            values::TEXT,
            reading,
        ),
        client_certificate: stanza.ask(
            "client_certificate",
            "A file with the certificate (PEM) that we show, and those between it and its authority.",
            values::TEXT,
            reading,
        ),
        client_key: stanza.ask(
            "client_key",
            "Where the private key (PEM) of client_certificate comes from.",
            SECRET,
            reading,
        ),
        server_name: stanza.ask(
            "server_name",
            "The name that the server's certificate must be for. Default: the host of upstream.",
            values::TEXT,
            reading,
        ),
    }
}

fn tls_schema() -> Schema {
    let together = json!({
        "dependencies": {
            "client_certificate": ["client_key"],
            "client_key": ["client_certificate"],
        },
    });
    schema::with(schema::stanza(ask_tls), together)
}

fn read_headers(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<RawUpstreamHeader>>, Reported> {
    values::stanzas(spot, node, ask_header, reading)
}

fn ask_header(stanza: &mut Stanza, reading: &mut Reading) -> RawUpstreamHeader {
    RawUpstreamHeader {
        name: stanza.require("name", "The name of the header.", values::TEXT, reading),
        value: stanza.require("value", "Where its value comes from.", SECRET, reading),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of every `Read`")]
fn read_deadlines(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<RawUpstreamDeadlines>, Reported> {
    let value = Stanza::read(spot.clone(), node, ask_deadlines, reading);
    Ok(Typed { value, shown: None, spot })
}

fn ask_deadlines(stanza: &mut Stanza, reading: &mut Reading) -> RawUpstreamDeadlines {
    RawUpstreamDeadlines {
        connect: stanza.ask(
            "connect",
            "For a connection to the server, TLS included, 100ms to 1m.",
            values::DURATION.by_default(|| json!("3s")),
            reading,
        ),
        first_byte: stanza.ask(
            "first_byte",
            "For an answer to begin, once the request is sent, 1s to 1h. Tools that answer plain JSON may need longer.",
            values::DURATION.by_default(|| json!("60s")),
            reading,
        ),
    }
}
