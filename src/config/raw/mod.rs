//! What was typed: one file per stanza, every key with its place. What it means is for `check`.

pub(super) mod access;
pub(super) mod identity_headers;
pub(super) mod idp;
pub(super) mod log;
pub(super) mod registration;
pub(super) mod resource;
pub(super) mod secret;
pub(super) mod tokens;

use crate::config::field::{Field, Typed};
use crate::config::problem::Spot;
use crate::config::raw::identity_headers::RawIdentityHeaders;
use crate::config::raw::idp::RawIdp;
use crate::config::raw::log::RawLog;
use crate::config::raw::registration::RawRegistration;
use crate::config::raw::resource::RawResource;
use crate::config::raw::secret::SecretSource;
use crate::config::raw::tokens::RawTokens;
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::Node;
use crate::config::values;

pub(super) struct RawConfig {
    pub listen: Field<String>,
    pub health_listen: Field<String>,
    pub workers: Field<u64>,
    pub log: RawLog,
    pub issuer: Field<String>,
    pub resources: Field<Vec<RawResource>>,
    pub idp: RawIdp,
    pub sealing_keys: Field<Vec<Typed<SecretSource>>>,
    pub tokens: RawTokens,
    pub registration: RawRegistration,
    pub identity_headers: RawIdentityHeaders,
    pub allowed_origins: Field<Vec<Typed<String>>>,
}

pub(super) fn read(document: Node, reading: &mut Reading) -> RawConfig {
    let mut root = Stanza::open(Spot::document(), document, reading);
    let raw = RawConfig {
        listen: root.ask("listen", values::text, reading),
        health_listen: health(root.stanza("health", reading), reading),
        workers: root.ask("workers", values::whole, reading),
        log: log::read(root.stanza("log", reading), reading),
        issuer: root.ask("issuer", values::text, reading),
        resources: root.ask("resources", resource::read_all, reading),
        idp: idp::read(root.stanza("idp", reading), reading),
        sealing_keys: root.ask("sealing_keys", secret::read_all, reading),
        tokens: tokens::read(root.stanza("tokens", reading), reading),
        registration: registration::read(root.stanza("registration", reading), reading),
        identity_headers: identity_headers::read(root.stanza("identity_headers", reading), reading),
        allowed_origins: root.ask("allowed_origins", values::texts, reading),
    };
    root.close(reading);
    raw
}

fn health(mut stanza: Stanza, reading: &mut Reading) -> Field<String> {
    let listen = stanza.ask("listen", values::text, reading);
    stanza.close(reading);
    listen
}
