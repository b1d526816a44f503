//! What the IdP says about itself: OIDC Discovery 1.0 or RFC 8414, and its keys. What is configured replaces
//! what it says.

use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use crate::clock::Timestamp;
use crate::idp::profile::{Endpoints, IdentitySource, IdpSettings, Metadata};
use crate::jose::jws::brief;
use crate::jose::{KeySet, json};
use crate::outbound::{IdpConnection, Unreachable};

/// The parts of the IdP's metadata that a login needs, checked.
#[derive(Debug)]
pub struct Discovered {
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    /// OIDC Core §5.3. There, if identity comes from it.
    pub userinfo_endpoint: Option<Url>,
    /// RFC 8414 §2. `None` if there is none, or none that may be used.
    pub revocation_endpoint: Option<Url>,
    /// RFC 8414 §2, likewise.
    pub introspection_endpoint: Option<Url>,
    /// What it signs ID tokens with. `None` if it signs none.
    pub signing_keys: Option<KeySet>,
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
    #[error(
        "its metadata has no {0} that is a URL; idp.endpoints can say where it is, if it has one"
    )]
    NoEndpoint(&'static str),
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
            | Self::NoEndpoint(_)
            | Self::NotHttps(_)
            | Self::NoKeys => false,
        }
    }
}

/// What counts of a document, each endpoint whatever it is. A member that comes twice is refused by the
/// reader.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    issuer: String,
    authorization_endpoint: Value,
    token_endpoint: Value,
    userinfo_endpoint: Value,
    revocation_endpoint: Value,
    introspection_endpoint: Value,
    jwks_uri: Value,
    authorization_response_iss_parameter_supported: Value,
}

/// Ask for metadata and keys. Nothing is asked where nothing is published.
pub async fn ask(
    connection: &IdpConnection,
    settings: &IdpSettings,
    now: Timestamp,
) -> Result<Discovered, DiscoveryFault> {
    let document = match metadata_url(settings)? {
        Some(url) => Document::parse(&url, &fetch(connection, &url).await?, settings)?,
        None => Document::default(),
    };
    let signing_keys = match document.keys_url(settings)? {
        Some(url) => Some(published_keys(connection, &url).await?),
        None => None,
    };
    document.with_keys(signing_keys, settings, now)
}

impl Document {
    /// Read what was found at `url`.
    pub fn parse(url: &str, json: &[u8], settings: &IdpSettings) -> Result<Self, DiscoveryFault> {
        let document: Self = json::object(json).map_err(|error| DiscoveryFault::Garbled {
            url: url.to_owned(),
            reason: brief(&error),
        })?;
        // OIDC Discovery §4.3: "MUST be identical", as text. An IdP of several tenants has a template there.
        let template = settings.tenants.as_ref().map(|tenants| &tenants.template);
        if document.issuer == settings.issuer || Some(&document.issuer) == template {
            return Ok(document);
        }
        Err(DiscoveryFault::AnotherIssuer {
            configured: settings.issuer.clone(),
            found: document.issuer.chars().take(LONGEST_SHOWN).collect(),
        })
    }

    /// Where its keys are. `None` if nothing is read that it signs.
    pub fn keys_url(&self, settings: &IdpSettings) -> Result<Option<Url>, DiscoveryFault> {
        match settings.identity {
            IdentitySource::UserResource(_) => Ok(None),
            IdentitySource::IdToken | IdentitySource::Userinfo => {
                let configured = settings.endpoints.keys.as_ref();
                endpoint(configured, &self.jwks_uri, "jwks_uri", settings).map(Some)
            }
        }
    }

    pub fn with_keys(
        self,
        signing_keys: Option<KeySet>,
        settings: &IdpSettings,
        now: Timestamp,
    ) -> Result<Discovered, DiscoveryFault> {
        let Endpoints { authorization, token, userinfo, revocation, introspection, .. } =
            &settings.endpoints;
        let endpoint = |configured: &Option<Url>, said: &Value, name| {
            endpoint(configured.as_ref(), said, name, settings)
        };
        let userinfo = endpoint(userinfo, &self.userinfo_endpoint, "userinfo_endpoint");
        let userinfo_endpoint = match settings.identity {
            IdentitySource::Userinfo => Some(userinfo?),
            IdentitySource::IdToken | IdentitySource::UserResource(_) => userinfo.ok(),
        };
        let authorization =
            endpoint(authorization, &self.authorization_endpoint, "authorization_endpoint")?;
        let revocation = endpoint(revocation, &self.revocation_endpoint, "revocation_endpoint");
        let introspection =
            endpoint(introspection, &self.introspection_endpoint, "introspection_endpoint");
        Ok(Discovered {
            authorization_endpoint: authorization,
            token_endpoint: endpoint(token, &self.token_endpoint, "token_endpoint")?,
            userinfo_endpoint,
            revocation_endpoint: revocation.ok(),
            introspection_endpoint: introspection.ok(),
            signing_keys,
            sends_issuer: self.authorization_response_iss_parameter_supported == true,
            at: now,
        })
    }
}

/// As configured, or else as said.
fn endpoint(
    configured: Option<&Url>,
    said: &Value,
    name: &'static str,
    settings: &IdpSettings,
) -> Result<Url, DiscoveryFault> {
    let allow_http = settings.issuer.starts_with("http://");
    configured.map_or_else(|| secure(said, name, allow_http), |url| Ok(url.clone()))
}

fn metadata_url(settings: &IdpSettings) -> Result<Option<String>, DiscoveryFault> {
    let issuer = settings.issuer.trim_end_matches('/');
    match settings.metadata {
        // OIDC Discovery §4: appended to the issuer, whose final slash is left out first.
        Metadata::Oidc => Ok(Some(format!("{issuer}/.well-known/openid-configuration"))),
        // RFC 8414 §3.1: between host and path.
        Metadata::Oauth => {
            let mut url = Url::parse(issuer).map_err(|_| DiscoveryFault::NoEndpoint("issuer"))?;
            let path = url.path().trim_end_matches('/');
            url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
            Ok(Some(url.into()))
        }
        Metadata::Nowhere => Ok(None),
    }
}

async fn published_keys(connection: &IdpConnection, url: &Url) -> Result<KeySet, DiscoveryFault> {
    let answer = fetch(connection, url.as_str()).await?;
    if let Err(error) = json::object::<Map<String, Value>>(&answer) {
        return Err(DiscoveryFault::Garbled { url: url.to_string(), reason: brief(&error) });
    }
    KeySet::published(&answer).ok_or(DiscoveryFault::NoKeys)
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

/// A secret is sent there, or keys come from there: plain http only if the issuer itself is plain http,
/// which the config check allows for loopback or on the operator's explicit word.
fn secure(said: &Value, name: &'static str, allow_http: bool) -> Result<Url, DiscoveryFault> {
    let url = said.as_str().and_then(|url| Url::parse(url).ok());
    let url = url.ok_or(DiscoveryFault::NoEndpoint(name))?;
    if url.scheme() == "https" || (allow_http && url.scheme() == "http") {
        Ok(url)
    } else {
        Err(DiscoveryFault::NotHttps(url))
    }
}

/// Characters.
const LONGEST_SHOWN: usize = 200;
