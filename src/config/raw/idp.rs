//! `idp:` the identity provider. A preset's values stand in for keys that were left out.

use crate::config::field::{Field, Typed};
use crate::config::presets;
use crate::config::raw::secret::{self, SecretSource};
use crate::config::stanza::{Reading, Stanza};
use crate::config::values::{self, Pair};

pub(in crate::config) struct RawIdp {
    pub issuer: Field<String>,
    pub client_id: Field<String>,
    pub client_secret: Field<SecretSource>,
    pub client_authentication: Field<String>,
    pub scopes: Field<Vec<Typed<String>>>,
    pub authorization_parameters: Field<Vec<Pair>>,
    pub user_key: Field<Vec<Typed<String>>>,
    /// Neither the operator nor the preset may know one.
    pub groups_claim: Field<String>,
    pub allow_insecure_http: Field<bool>,
}

pub(super) fn read(mut stanza: Stanza, reading: &mut Reading) -> RawIdp {
    let preset = stanza.ask("preset", values::text, reading);
    stanza.fall_back_on(presets::entries_of(preset, reading));
    let raw = RawIdp {
        issuer: stanza.ask("issuer", values::text, reading),
        client_id: stanza.ask("client_id", values::text, reading),
        client_secret: stanza.ask("client_secret", secret::read, reading),
        client_authentication: stanza.ask("client_authentication", values::text, reading),
        scopes: stanza.ask("scopes", values::texts, reading),
        authorization_parameters: stanza.ask("authorization_parameters", values::pairs, reading),
        user_key: stanza.ask("user_key", values::texts, reading),
        groups_claim: stanza.ask("groups_claim", values::text, reading),
        allow_insecure_http: stanza.ask("allow_insecure_http", values::flag, reading),
    };
    stanza.close(reading);
    raw
}
