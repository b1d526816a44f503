//! `registration:` which clients may register.

use serde_json::json;

use crate::config::field::{Field, Typed};
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawRegistration {
    pub dynamic: Field<bool>,
    pub redirect_schemes: Field<Vec<Typed<String>>>,
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
    }
}

/// Editors that register a redirect URI with a scheme of their own.
pub(in crate::config) const EDITORS: [&str; 8] =
    ["cursor", "vscode", "vscode-insiders", "vscodium", "windsurf", "zed", "kiro", "trae"];
