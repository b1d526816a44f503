//! The IdP's token endpoint: a grant is presented with our client authentication (RFC 6749 §2.3.1), the
//! answer is read.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::idp::identity::ClaimFault;
use crate::idp::profile::{ClientAuthentication, IdpSettings};
use crate::idp::resource::ResourceFault;
use crate::idp::{Discovered, DiscoveryFault, Idp};
use crate::jose::json;
use crate::outbound::Unreachable;
use crate::secret::Secret;

/// Why a login at the IdP did not end with an identity.
#[derive(Debug, thiserror::Error)]
pub enum LoginFault {
    #[error("the IdP can't be used now: {0}")]
    Discovery(#[from] Arc<DiscoveryFault>),
    #[error("the IdP's token endpoint is unreachable: {0}")]
    Unreachable(#[from] Unreachable),
    /// The status and the registered error code; the rest of what it said stays unsaid.
    #[error("the IdP's token endpoint answered {status} {error:?}")]
    Refused { status: u16, error: String },
    #[error("the IdP's token endpoint answered what we can't read: {0}")]
    Garbled(&'static str),
    #[error("the ID token is not good: {0}")]
    IdToken(String),
    #[error(transparent)]
    Claims(#[from] ClaimFault),
    /// What was asked about the person with their access token.
    #[error("{what} {fault}")]
    Resource { what: &'static str, fault: ResourceFault },
}

impl LoginFault {
    /// Could the same login succeed a little later?
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Discovery(fault) => fault.is_passing(),
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Resource { fault, .. } => fault.is_passing(),
            Self::Garbled(_) | Self::IdToken(_) | Self::Claims(_) => false,
        }
    }
}

/// What the IdP answered.
#[derive(Debug)]
pub struct Answer {
    /// Whatever else is wrong with the answer: the one that was sent may be worthless now.
    pub refresh_token: Option<Secret>,
    pub tokens: Result<Tokens, LoginFault>,
}

#[derive(Debug)]
pub struct Tokens {
    pub access: String,
    /// A refresh may bring none (OIDC Core §12.2).
    pub id: Option<String>,
}

/// RFC 6749 §5.1 and §5.2, each member whatever it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    access_token: Value,
    id_token: Value,
    refresh_token: Value,
    error: Value,
}

impl Idp {
    /// Present `grant`, the parameters of its kind, for `resource`, and wait for the whole answer.
    pub(super) async fn ask_for_tokens(
        &self,
        discovered: &Discovered,
        grant: &[(&str, &str)],
        resource: &str,
        within: Duration,
    ) -> Answer {
        let asked = async {
            let more = self.settings.token_parameters.iter();
            let more = more.map(|(name, value)| (name.as_str(), value.as_str()));
            // RFC 8707 §2.2
            let indicated =
                self.settings.resource_indicator.parameter().map(|name| (name, resource));
            let parameters: Vec<_> = grant.iter().copied().chain(indicated).chain(more).collect();
            let request = authenticated(&self.settings, &discovered.token_endpoint, &parameters)?;
            Ok(self.connection.send_within(request, within).await?)
        };
        match asked.await {
            Ok(answer) => read(&answer),
            Err(fault) => Answer { refresh_token: None, tokens: Err(fault) },
        }
    }
}

/// A form for one of the IdP's endpoints that want to know who we are (RFC 6749 §2.3).
pub(super) fn authenticated(
    settings: &IdpSettings,
    endpoint: &Url,
    parameters: &[(&str, &str)],
) -> Result<Request<Vec<u8>>, LoginFault> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters);
    let mut request = Request::post(endpoint.as_str())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json");
    match (&settings.client_secret, settings.client_authentication) {
        (Some(secret), ClientAuthentication::Basic) => {
            let pair = [encoded(&settings.client_id), encoded(secret.expose())].join(":");
            request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
        }
        (Some(secret), ClientAuthentication::Post) => {
            form.append_pair("client_id", &settings.client_id)
                .append_pair("client_secret", secret.expose());
        }
        (None, _) => {
            form.append_pair("client_id", &settings.client_id);
        }
    }
    request
        .body(form.finish().into_bytes())
        .map_err(|_| LoginFault::Garbled("its metadata names an impossible endpoint"))
}

pub fn read(answer: &Response<Vec<u8>>) -> Answer {
    let body: Body = json::object(answer.body()).unwrap_or_default();
    let refresh_token = text(body.refresh_token).map(Secret::new);
    // Some IdPs answer errors with status 200, so the body is asked first.
    let error = text(body.error);
    if error.is_some() || !answer.status().is_success() {
        let error = error.map(plain).unwrap_or_default();
        let refused = LoginFault::Refused { status: answer.status().as_u16(), error };
        return Answer { refresh_token, tokens: Err(refused) };
    }
    let tokens = match text(body.access_token) {
        Some(access) => Ok(Tokens { access, id: text(body.id_token) }),
        None => Err(LoginFault::Garbled("no JSON object with an access_token")),
    };
    Answer { refresh_token, tokens }
}

fn text(value: Value) -> Option<String> {
    let Value::String(text) = value else { return None };
    (!text.is_empty()).then_some(text)
}

/// The error code if it looks like one (RFC 6749 §5.2): anything else could be made to lie in the log.
fn plain(code: String) -> String {
    let is_code = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_plain = code.len() <= 64 && code.bytes().all(is_code);
    if is_plain { code } else { "unreadable".to_owned() }
}

/// RFC 6749 §2.3.1: both halves of the Basic pair are form-encoded first.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
