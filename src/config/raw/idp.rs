//! `idp:` the identity provider. A preset's values stand in for keys that were left out.

use serde_json::json;

use crate::config::field::{Field, Required, Typed};
use crate::config::form::Form;
use crate::config::presets;
use crate::config::raw::secret::{SECRET, SecretSource};
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values::{self, Pair};
use crate::idp::{AudienceClaim, ClientAuthentication};

pub(in crate::config) struct RawIdp {
    pub issuer: Required<String>,
    pub client_id: Required<String>,
    pub client_secret: Field<SecretSource>,
    pub client_authentication: Field<String>,
    pub scopes: Required<Vec<Typed<String>>>,
    pub authorization_parameters: Field<Vec<Pair>>,
    pub another_account_parameters: Field<Vec<Pair>>,
    pub user_key: Required<Vec<Typed<String>>>,
    /// Neither the operator nor the preset may know one.
    pub groups_claim: Field<String>,
    pub revocable_refresh_tokens: Field<bool>,
    pub logout_ends_connections: Field<bool>,
    pub allow_insecure_http: Field<bool>,
    pub access_tokens: RawAccessTokens,
}

/// How the provider's own access tokens look: flat, so that each key replaces the preset's by itself.
pub(in crate::config) struct RawAccessTokens {
    pub types: Required<Vec<Typed<String>>>,
    pub audience: Field<String>,
    pub scopes: Required<Vec<Typed<String>>>,
    /// Left out, it is that of ID tokens.
    pub user_key: Field<Vec<Typed<String>>>,
    pub person: Field<Vec<Pair>>,
    pub machine: Required<Vec<Pair>>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawIdp {
    let preset = stanza.ask(
        presets::KEY,
        "What is known of your provider: fills in the keys marked (preset), unless they are set here.",
        PRESET.by_default(|| json!(presets::DEFAULT)),
        reading,
    );
    stanza.fall_back_on(presets::entries_of(preset, reading));
    RawIdp {
        issuer: stanza.require(
            "issuer",
            "Exactly as in the provider's metadata, a slash at the end included. Some presets have it.",
            values::TEXT.with_example("https://login.example.com"),
            reading,
        ),
        client_id: stanza.require(
            "client_id",
            "As the provider shows it where this web application is registered.",
            values::TEXT.with_example("mcp-doorman"),
            reading,
        ),
        client_secret: stanza.ask(
            "client_secret",
            "Where the client secret comes from. Left out: a public client.",
            SECRET,
            reading,
        ),
        client_authentication: stanza.ask(
            "client_authentication",
            "How we prove who we are at the token endpoint. (preset)",
            CLIENT_AUTHENTICATION,
            reading,
        ),
        scopes: stanza.require(
            "scopes",
            "What is asked for at login; openid must be among them. (preset)",
            values::TEXTS,
            reading,
        ),
        authorization_parameters: stanza.ask(
            "authorization_parameters",
            "Sent with every login request, besides what OAuth prescribes.",
            values::PAIRS.by_default(|| json!({})),
            reading,
        ),
        another_account_parameters: stanza.ask(
            "another_account_parameters",
            "Sent besides, or instead, when somebody who may not use this wants to sign in with another account. (preset)",
            values::PAIRS,
            reading,
        ),
        user_key: stanza.require(
            "user_key",
            "Claims of the ID token whose values together are the stable key of a person. (preset)",
            USER_KEY,
            reading,
        ),
        groups_claim: stanza.ask(
            "groups_claim",
            "The claim of the ID token that lists the person's groups. (preset; some have none)",
            values::TEXT,
            reading,
        ),
        revocable_refresh_tokens: stanza.ask(
            "revocable_refresh_tokens",
            "Whether revoking one refresh token at the provider ends that one alone. Then a login that ends here ends there too, and a lost store signs nobody out. (preset)",
            values::FLAG.by_default(|| json!(false)),
            reading,
        ),
        logout_ends_connections: stanza.ask(
            "logout_ends_connections",
            "Whether a back-channel logout of a single session at the provider (a token with sid) ends the connections of MCP clients that were made in it. One of the person everywhere (sub alone) always ends all of theirs.",
            values::FLAG.by_default(|| json!(false)),
            reading,
        ),
        allow_insecure_http: stanza.ask(
            "allow_insecure_http",
            "Accept a plain http issuer that is not on loopback. Local testing only: the client secret travels unencrypted.",
            values::FLAG.by_default(|| json!(false)),
            reading,
        ),
        access_tokens: read_access_tokens(stanza, reading),
    }
}

fn read_access_tokens(stanza: &mut Stanza, reading: &mut Reading) -> RawAccessTokens {
    RawAccessTokens {
        types: stanza.require(
            "access_token_types",
            "What typ of the provider's access tokens may be; jwt stands for none too. For tokens that clients bring from there. (preset)",
            AT_LEAST_ONE,
            reading,
        ),
        audience: stanza.ask(
            "access_token_audience",
            "What tells whom an access token is for: aud, or client where tokens have no aud and resources[].allowed_clients says whose are taken. (preset)",
            AUDIENCE,
            reading,
        ),
        scopes: stanza.require(
            "access_token_scopes",
            "The claims that may list the scopes of an access token: the first that it has counts. (preset)",
            AT_LEAST_ONE,
            reading,
        ),
        user_key: stanza.ask(
            "access_token_user_key",
            "user_key, if access tokens have other claims for it. (preset)",
            AT_LEAST_ONE,
            reading,
        ),
        person: stanza.ask(
            "person_token_claims",
            "Claims that every access token of a person has, with their values; \"*\" is any. (preset)",
            values::PAIRS.by_default(|| json!({})),
            reading,
        ),
        machine: stanza.require(
            "machine_token_claims",
            "Claims that tell an access token of a machine from a person's, with their values; {client_id} in one stands for the client's id. (preset)",
            values::PAIRS,
            reading,
        ),
    }
}

const PRESET: Form<String> = Form::new(values::text, || schema::choice(presets::names()));

const CLIENT_AUTHENTICATION: Form<String> =
    Form::new(values::text, || schema::choice(CLIENT_AUTHENTICATIONS.map(|(word, _)| word)));

const AT_LEAST_ONE: Form<Vec<Typed<String>>> =
    Form::new(values::texts, || schema::at_least_one(&schema::text()));

const AUDIENCE: Form<String> =
    Form::new(values::text, || schema::choice(AUDIENCES.map(|(word, _)| word)));

pub(in crate::config) const AUDIENCES: [(&str, AudienceClaim); 2] =
    [("aud", AudienceClaim::Audience), ("client", AudienceClaim::Client)];

const USER_KEY: Form<Vec<Typed<String>>> =
    Form::new(values::texts, || schema::at_least_one(&schema::text()));

pub(in crate::config) const CLIENT_AUTHENTICATIONS: [(&str, ClientAuthentication); 2] =
    [("basic", ClientAuthentication::Basic), ("post", ClientAuthentication::Post)];
