//! What the IdP says about itself: OIDC Discovery 1.0 and its keys.

use http::{Request, StatusCode};
use openidconnect::JsonWebKeySetUrl;
use openidconnect::core::{CoreJsonWebKeySet, CoreJwsSigningAlgorithm, CoreProviderMetadata};
use url::Url;

use crate::clock::Timestamp;
use crate::idp::profile::IdpSettings;
use crate::jose::KeySet;
use crate::outbound::{IdpConnection, Unreachable};

/// The parts of the IdP's metadata that a login needs, checked.
#[derive(Debug)]
pub struct Discovered {
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    /// RFC 8414 §2. `None` if there is none, or none that may be used.
    pub revocation_endpoint: Option<Url>,
    pub keys: CoreJsonWebKeySet,
    /// The same keys, for what it signs besides ID tokens. `None` if `jose` can use none of them.
    pub signing_keys: Option<KeySet>,
    /// The asymmetric algorithms that the IdP signs ID tokens with.
    pub algorithms: Vec<CoreJwsSigningAlgorithm>,
    /// Whether its authorization responses carry `iss` (RFC 9207 §3).
    pub sends_issuer: bool,
    pub at: Timestamp,
}

/// Why the IdP can't be used now. Completes "…: ".
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryFault {
    #[error("{url}: {fault}")]
    Unreachable { url: String, fault: Unreachable },
    #[error("{url}: answered {status} in place of 200")]
    Status { url: String, status: StatusCode },
    #[error("{url}: is not the JSON that was expected: {reason}")]
    Garbled { url: String, reason: String },
    #[error(
        "its metadata says issuer {found:?}, but idp.issuer is {configured:?}; they must be the same text"
    )]
    AnotherIssuer { configured: String, found: String },
    #[error("its metadata names no token endpoint")]
    NoTokenEndpoint,
    #[error("its metadata names {0}, which is not https")]
    NotHttps(Url),
    #[error("its key set has no key that we can use")]
    NoKeys,
}

impl DiscoveryFault {
    /// Could it be over in a minute, with nobody changing anything?
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || status.as_u16() == 429,
            Self::Garbled { .. }
            | Self::AnotherIssuer { .. }
            | Self::NoTokenEndpoint
            | Self::NotHttps(_)
            | Self::NoKeys => false,
        }
    }
}

/// Ask for metadata and keys.
pub async fn ask(
    connection: &IdpConnection,
    settings: &IdpSettings,
    now: Timestamp,
) -> Result<Discovered, DiscoveryFault> {
    // OIDC Discovery §4: appended to the issuer, whose final slash is left out first.
    let issuer = settings.issuer.trim_end_matches('/');
    let url = format!("{issuer}/.well-known/openid-configuration");
    let document = fetch(connection, &url).await?;
    let metadata: CoreProviderMetadata = parse(&url, &document)?;
    // OIDC Discovery §4.3: "MUST be identical", as text.
    if metadata.issuer().as_str() != settings.issuer {
        return Err(DiscoveryFault::AnotherIssuer {
            configured: settings.issuer.clone(),
            found: metadata.issuer().to_string(),
        });
    }
    let token_endpoint = metadata.token_endpoint().ok_or(DiscoveryFault::NoTokenEndpoint)?;
    let allow_http = settings.issuer.starts_with("http://");
    let (keys, signing_keys) = keys(connection, metadata.jwks_uri(), allow_http).await?;
    let discovered = Discovered {
        authorization_endpoint: secure(metadata.authorization_endpoint().url(), allow_http)?,
        token_endpoint: secure(token_endpoint.url(), allow_http)?,
        revocation_endpoint: revocation_endpoint(&document, allow_http),
        keys,
        signing_keys,
        algorithms: asymmetric(&metadata),
        sends_issuer: sends_issuer(&document),
        at: now,
    };
    Ok(discovered)
}

async fn keys(
    connection: &IdpConnection,
    at: &JsonWebKeySetUrl,
    allow_http: bool,
) -> Result<(CoreJsonWebKeySet, Option<KeySet>), DiscoveryFault> {
    let url = secure(at.url(), allow_http)?;
    let document = fetch(connection, url.as_str()).await?;
    let keys: CoreJsonWebKeySet = parse(url.as_str(), &document)?;
    if keys.keys().is_empty() {
        return Err(DiscoveryFault::NoKeys);
    }
    Ok((keys, KeySet::published(&document)))
}

async fn fetch(connection: &IdpConnection, url: &str) -> Result<Vec<u8>, DiscoveryFault> {
    let unreachable = |fault| DiscoveryFault::Unreachable { url: url.to_owned(), fault };
    let request = Request::get(url)
        .header(http::header::ACCEPT, "application/json")
        .body(Vec::new())
        .map_err(|error| unreachable(Unreachable::Failed(error.to_string())))?;
    let answer = connection.send(request).await.map_err(unreachable)?;
    if answer.status() != StatusCode::OK {
        return Err(DiscoveryFault::Status { url: url.to_owned(), status: answer.status() });
    }
    Ok(answer.into_body())
}

fn parse<T: serde::de::DeserializeOwned>(url: &str, document: &[u8]) -> Result<T, DiscoveryFault> {
    serde_json::from_slice(document)
        .map_err(|error| DiscoveryFault::Garbled { url: url.to_owned(), reason: error.to_string() })
}

/// A secret is sent there, or keys come from there: plain http only if the issuer itself is plain http,
/// which the config check allows for loopback or on the operator's explicit word.
fn secure(url: &Url, allow_http: bool) -> Result<Url, DiscoveryFault> {
    if url.scheme() == "https" || (allow_http && url.scheme() == "http") {
        Ok(url.clone())
    } else {
        Err(DiscoveryFault::NotHttps(url.clone()))
    }
}

/// Never `none`, and never a shared secret as signing key (RFC 8725 §3.1).
fn asymmetric(metadata: &CoreProviderMetadata) -> Vec<CoreJwsSigningAlgorithm> {
    let offered = metadata.id_token_signing_alg_values_supported();
    ASYMMETRIC.iter().filter(|algorithm| offered.contains(algorithm)).cloned().collect()
}

fn revocation_endpoint(document: &[u8], allow_http: bool) -> Option<Url> {
    let metadata: serde_json::Value = serde_json::from_slice(document).ok()?;
    let url = Url::parse(metadata.get("revocation_endpoint")?.as_str()?).ok()?;
    secure(&url, allow_http).ok()
}

fn sends_issuer(document: &[u8]) -> bool {
    let document: Result<serde_json::Value, _> = serde_json::from_slice(document);
    document.is_ok_and(|metadata| {
        metadata.get("authorization_response_iss_parameter_supported")
            == Some(&serde_json::Value::Bool(true))
    })
}

const ASYMMETRIC: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];
