//! `idp:` the identity provider. A preset's values stand in for keys that were left out.

use std::time::Duration;

use serde_json::json;

use crate::config::field::{Field, Required, Typed};
use crate::config::form::Form;
use crate::config::presets;
use crate::config::raw::identity::{self, RawIdentity};
use crate::config::raw::secret::{SECRET, SecretSource};
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values::{self, Pair};
use crate::idp::profile::{Metadata, RecheckWith};
use crate::idp::{AudienceClaim, ClientAuthentication, Validation};

pub(in crate::config) struct RawIdp {
    pub issuer: Required<String>,
    pub issuer_spellings: Field<Vec<Typed<String>>>,
    pub issuer_template: Field<String>,
    pub tenant_claim: Field<String>,
    pub tenants: Field<Vec<Typed<String>>>,
    pub metadata: Field<String>,
    pub endpoints: RawEndpoints,
    pub client_id: Required<String>,
    pub client_secret: Field<SecretSource>,
    pub client_authentication: Field<String>,
    pub scopes: Required<Vec<Typed<String>>>,
    pub dropped_scopes: Field<Vec<Typed<String>>>,
    pub authorization_parameters: Field<Vec<Pair>>,
    pub another_account_parameters: Field<Vec<Pair>>,
    pub token_parameters: Field<Vec<Pair>>,
    pub resource_indicator: Field<String>,
    pub resource_scope: Field<String>,
    pub user_key: Required<Vec<Typed<String>>>,
    pub identity: RawIdentity,
    pub recheck_with: Field<String>,
    pub gives_refresh_tokens: Field<bool>,
    pub refusals: Field<Vec<Typed<String>>>,
    pub revocable_refresh_tokens: Field<bool>,
    pub logout_ends_connections: Field<bool>,
    pub allow_insecure_http: Field<bool>,
    pub access_tokens: RawAccessTokens,
}

/// How the provider's own access tokens look: flat, so that each key replaces the preset's by itself.
pub(in crate::config) struct RawAccessTokens {
    pub validation: Field<String>,
    pub introspection_ttl: Field<Duration>,
    pub types: Required<Vec<Typed<String>>>,
    pub audience: Field<String>,
    pub scopes: Required<Vec<Typed<String>>>,
    /// Left out, it is that of ID tokens.
    pub user_key: Field<Vec<Typed<String>>>,
    pub person: Field<Vec<Pair>>,
    pub machine: Required<Vec<Pair>>,
}

pub(in crate::config) struct RawEndpoints {
    pub authorization: Field<String>,
    pub token: Field<String>,
    pub userinfo: Field<String>,
    pub revocation: Field<String>,
    pub introspection: Field<String>,
    pub tokeninfo: Field<String>,
    pub keys: Field<String>,
}

#[expect(clippy::too_many_lines, reason = "one key after the other, in the order of the example")]
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
        issuer_spellings: stanza.ask(
            "issuer_spellings",
            "Other texts that its ID tokens may have as iss. (preset)",
            values::TEXTS.by_default(|| json!([])),
            reading,
        ),
        issuer_template: stanza.ask(
            "issuer_template",
            "How the issuer of each tenant is made, with {tenantid} in the place of the tenant; counts only with tenants. (preset)",
            values::TEXT,
            reading,
        ),
        tenant_claim: stanza.ask(
            "tenant_claim",
            "The claim that names a person's tenant; counts only with tenants. (preset)",
            values::TEXT.by_default(|| json!(TENANT_CLAIM)),
            reading,
        ),
        tenants: stanza.ask(
            "tenants",
            "The tenants whose people may log in, where issuer is one for many tenants. Left out: every token must have issuer itself.",
            TENANTS,
            reading,
        ),
        metadata: stanza.ask(
            "metadata",
            "Where the provider says what it can: oidc for OpenID Connect Discovery, oauth for RFC 8414, none if endpoints says it all. (preset)",
            METADATA.by_default(|| json!("oidc")),
            reading,
        ),
        endpoints: stanza.stanza(
            "endpoints",
            "URLs of the provider's, each in place of what its metadata says. (preset)",
            read_endpoints,
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
            "What is asked for at login; openid must be among them, except with identity: user_resource. (preset)",
            values::TEXTS,
            reading,
        ),
        dropped_scopes: stanza.ask(
            "dropped_scopes",
            "Scopes that the provider refuses: never sent, even if scopes has them. (preset)",
            values::TEXTS.by_default(|| json!([])),
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
        token_parameters: stanza.ask(
            "token_parameters",
            "Sent with every token request, besides what OAuth prescribes.",
            values::PAIRS.by_default(|| json!({})),
            reading,
        ),
        resource_indicator: stanza.ask(
            "resource_indicator",
            "How the provider is told which resource a login is for: none, not at all; resource, by the parameter of that name (RFC 8707); audience, by one of that name; scope, by one scope more, resource_scope. (preset)",
            RESOURCE_INDICATOR.by_default(|| json!("none")),
            reading,
        ),
        resource_scope: stanza.ask(
            "resource_scope",
            "The scope of resource_indicator: scope, with {resource} in the place of the resource's URL. (preset)",
            values::TEXT.by_default(|| json!(RESOURCE_SCOPE)),
            reading,
        ),
        user_key: stanza.require(
            "user_key",
            "Claims whose values together are the stable key of a person. (preset)",
            USER_KEY,
            reading,
        ),
        identity: identity::read(stanza, reading),
        recheck_with: stanza.ask(
            "recheck_with",
            "What the provider is asked with whether a person may go on: refresh_token; access_token for that at the user resource if there is no refresh token; nothing. (preset)",
            RECHECK_WITH.by_default(|| json!("refresh_token")),
            reading,
        ),
        gives_refresh_tokens: stanza.ask(
            "gives_refresh_tokens",
            "Whether a login brings a refresh token without being asked for one by offline_access. (preset)",
            values::FLAG.by_default(|| json!(false)),
            reading,
        ),
        refusals: stanza.ask(
            "refusals",
            "Error codes of its token endpoint that mean that the person may not go on, besides invalid_grant, interaction_required, login_required and consent_required. (preset)",
            values::TEXTS.by_default(|| json!([])),
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
        validation: stanza.ask(
            "access_token_validation",
            "How it is found out what an access token is worth that a client brings from the provider: jwt, by its keys, and what is no JWT is refused; jwt_or_introspection, anything else by asking its introspection endpoint; introspection, everything so; tokeninfo or tokeninfo_query, at an endpoint of the provider's own kind, which gets the token as its bearer or in the query. (preset)",
            VALIDATION.by_default(|| json!("jwt")),
            reading,
        ),
        introspection_ttl: stanza.ask(
            "introspection_ttl",
            "How long the provider's word about a token holds before it is asked again, 1s to 5m; counts only where it is asked.",
            values::DURATION.by_default(|| json!("30s")),
            reading,
        ),
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
            "Claims that tell an access token of a machine from a person's, with their values; {client_id} in one stands for the client's id, {client_id|lower} for the same in lower case. (preset)",
            values::PAIRS,
            reading,
        ),
    }
}

fn read_endpoints(stanza: &mut Stanza, reading: &mut Reading) -> RawEndpoints {
    RawEndpoints {
        authorization: stanza.ask(
            "authorization",
            "The authorization endpoint.",
            values::TEXT,
            reading,
        ),
        token: stanza.ask("token", "The token endpoint.", values::TEXT, reading),
        userinfo: stanza.ask("userinfo", "The userinfo endpoint.", values::TEXT, reading),
        revocation: stanza.ask(
            "revocation",
            "Where tokens are revoked (RFC 7009).",
            values::TEXT,
            reading,
        ),
        introspection: stanza.ask(
            "introspection",
            "Where access tokens are introspected (RFC 7662).",
            values::TEXT,
            reading,
        ),
        tokeninfo: stanza.ask(
            "tokeninfo",
            "Where the provider tells which application an access token is of, for access_token_validation: tokeninfo or tokeninfo_query.",
            values::TEXT,
            reading,
        ),
        keys: stanza.ask(
            "keys",
            "The JWK Set that ID tokens are signed with (jwks_uri).",
            values::TEXT,
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

const VALIDATION: Form<String> =
    Form::new(values::text, || schema::choice(VALIDATIONS.map(|(word, _)| word)));

pub(in crate::config) const VALIDATIONS: [(&str, Validation); 5] = [
    ("jwt", Validation::Jwt),
    ("jwt_or_introspection", Validation::JwtOrIntrospection),
    ("introspection", Validation::Introspection),
    ("tokeninfo", Validation::Tokeninfo),
    ("tokeninfo_query", Validation::TokeninfoQuery),
];

const RESOURCE_INDICATOR: Form<String> =
    Form::new(values::text, || schema::choice(INDICATIONS.map(|(word, _)| word)));

/// By what a resource is named.
#[derive(Clone, Copy)]
pub(in crate::config) enum Indication {
    None,
    Resource,
    Audience,
    Scope,
}

pub(in crate::config) const INDICATIONS: [(&str, Indication); 4] = [
    ("none", Indication::None),
    ("resource", Indication::Resource),
    ("audience", Indication::Audience),
    ("scope", Indication::Scope),
];

pub(in crate::config) const RESOURCE_SCOPE: &str = "{resource}/.default";

const USER_KEY: Form<Vec<Typed<String>>> =
    Form::new(values::texts, || schema::at_least_one(&schema::text()));

const METADATA: Form<String> =
    Form::new(values::text, || schema::choice(METADATA_KINDS.map(|(word, _)| word)));

const RECHECK_WITH: Form<String> =
    Form::new(values::text, || schema::choice(RECHECKS.map(|(word, _)| word)));

const TENANTS: Form<Vec<Typed<String>>> =
    Form::new(values::texts, || schema::at_least_one(&schema::text()));

pub(in crate::config) const TENANT_CLAIM: &str = "tid";

pub(in crate::config) const METADATA_KINDS: [(&str, Metadata); 3] =
    [("oidc", Metadata::Oidc), ("oauth", Metadata::Oauth), ("none", Metadata::Nowhere)];

pub(in crate::config) const RECHECKS: [(&str, RecheckWith); 3] = [
    ("refresh_token", RecheckWith::RefreshToken),
    ("access_token", RecheckWith::AccessToken),
    ("nothing", RecheckWith::Nothing),
];

pub(in crate::config) const CLIENT_AUTHENTICATIONS: [(&str, ClientAuthentication); 2] =
    [("basic", ClientAuthentication::Basic), ("post", ClientAuthentication::Post)];
