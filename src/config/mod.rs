//! The configuration: what was typed (`raw`), what it means (`check`), how mistakes are told (`problem`).

use std::num::NonZeroUsize;

use http::HeaderValue;

use crate::authorization_server::RegistrationSettings;
use crate::grants::Lifetimes;
use crate::idp::IdpSettings;
use crate::oauth::{PublicUrl, Scopes};
use crate::policy::Access;
use crate::proxy::IdentityHeaders;
use crate::seal::KeyMaterial;
use crate::server::ListenAddress;
use crate::telemetry::LogSettings;
use crate::wire::UpstreamUrl;

/// Everything that the operator decided, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: ListenAddress,
    pub health: ListenAddress,
    pub workers: NonZeroUsize,
    pub log: LogSettings,
    pub issuer: PublicUrl,
    /// Never empty; no two with the same URL.
    pub resources: Vec<ResourceSettings>,
    pub idp: IdpSettings,
    /// Never empty; the current key first.
    pub sealing_keys: Vec<KeyMaterial>,
    pub tokens: Lifetimes,
    pub registration: RegistrationSettings,
    pub identity_headers: IdentityHeaders,
    /// Origins of web pages that may call, besides loopback ones and our own.
    pub allowed_origins: Vec<HeaderValue>,
}

/// One protected resource: a public MCP URL and the server behind it.
#[derive(Clone, Debug)]
pub struct ResourceSettings {
    pub url: PublicUrl,
    /// Shown to people on the consent page.
    pub name: Option<String>,
    pub upstream: UpstreamUrl,
    pub access: Access,
    /// What a token for this resource can be asked to hold; may be empty.
    pub scopes: Scopes,
}
