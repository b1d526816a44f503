//! `registration:` which clients may become known here: those that register themselves, and those that
//! publish a client ID metadata document.

use serde_json::json;

use crate::config::field::{Field, Required, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values;

pub(in crate::config) struct RawRegistration {
    pub dynamic: Field<bool>,
    pub redirect_schemes: Field<Vec<Typed<String>>>,
    /// One of `SUPPORT`.
    pub metadata_documents: Field<String>,
    pub allowed_metadata_domains: Field<Vec<Typed<String>>>,
    pub allow_private_metadata_hosts: Field<bool>,
    pub pinned_documents: Field<Vec<RawPinnedDocument>>,
    pub probed_documents: Field<Vec<Typed<String>>>,
}

pub(in crate::config) struct RawPinnedDocument {
    pub url: Required<String>,
    pub file: Required<String>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawRegistration {
    RawRegistration {
        dynamic: stanza.ask(
            "dynamic",
            "Let MCP clients register themselves (RFC 7591). Most need it.",
            values::FLAG.by_default(|| json!(true)),
            reading,
        ),
        redirect_schemes: stanza.ask(
            "redirect_schemes",
            "URI schemes of redirect targets, besides https and http on loopback. Any program on a person's machine may claim one.",
            values::TEXTS.by_default(|| json!(EDITORS)),
            reading,
        ),
        metadata_documents: stanza.ask(
            "metadata_documents",
            "Let clients be known by a client ID metadata document, whose URL is their client id. auto: advertised only while the documents in probed_documents can be fetched from here.",
            SUPPORT_FORM.by_default(|| json!(AUTO)),
            reading,
        ),
        allowed_metadata_domains: stanza.ask(
            "allowed_metadata_domains",
            "Hosts whose documents are accepted, *.example.com for every host below example.com. Left out: any.",
            values::TEXT_OR_TEXTS.with_example("*.example.com"),
            reading,
        ),
        allow_private_metadata_hosts: stanza.ask(
            "allow_private_metadata_hosts",
            "Fetch documents from private addresses too. Anybody can make this process send a GET to any https host that it can reach.",
            values::FLAG.by_default(|| json!(false)),
            reading,
        ),
        pinned_documents: stanza.ask(
            "pinned_documents",
            "Documents that are read from a file and never fetched.",
            PINNED,
            reading,
        ),
        probed_documents: stanza.ask(
            "probed_documents",
            "What auto fetches, at the start and every few minutes.",
            values::TEXTS.by_default(|| json!(KNOWN_CLIENTS)),
            reading,
        ),
    }
}

fn read_pinned(stanza: &mut Stanza, reading: &mut Reading) -> RawPinnedDocument {
    RawPinnedDocument {
        url: stanza.require(
            "url",
            "The URL of the document: the client id.",
            values::TEXT,
            reading,
        ),
        file: stanza.require("file", "The file that holds its text.", values::TEXT, reading),
    }
}

fn read_all_pinned(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<RawPinnedDocument>>, Reported> {
    values::stanzas(spot, node, read_pinned, reading)
}

const PINNED: Form<Vec<RawPinnedDocument>> =
    Form::new(read_all_pinned, || schema::list(&schema::stanza(read_pinned)));

/// `true` and `false` without quotes, or a word.
fn read_support(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<String>, Reported> {
    match node.value {
        Value::Flag(flag) => {
            Ok(Typed { value: flag.to_string(), shown: Some(flag.to_string()), spot })
        }
        Value::Empty
        | Value::Whole(_)
        | Value::OtherNumber
        | Value::Text(_)
        | Value::List(_)
        | Value::Map(_) => values::text(spot, node, reading),
    }
}

const SUPPORT_FORM: Form<String> =
    Form::new(read_support, || schema::choice([json!(AUTO), json!(true), json!(false)]));

pub(in crate::config) const AUTO: &str = "auto";

/// What known clients publish: Claude Code, Codex, VS Code.
pub(in crate::config) const KNOWN_CLIENTS: [&str; 3] = [
    "https://claude.ai/oauth/claude-code-client-metadata",
    "https://chatgpt.com/oauth/codex/client.json",
    "https://vscode.dev/oauth/client-metadata.json",
];

/// Editors that register a redirect URI with a scheme of their own.
pub(in crate::config) const EDITORS: [&str; 8] =
    ["cursor", "vscode", "vscode-insiders", "vscodium", "windsurf", "zed", "kiro", "trae"];
