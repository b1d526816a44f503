//! The IdP's token endpoint: a grant is presented with our client authentication (RFC 6749 §2.3.1), the
//! answer is read.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use serde::Deserialize;
use url::form_urlencoded;

use crate::idp::identity::ClaimFault;
use crate::idp::profile::{ClientAuthentication, IdpSettings};
use crate::idp::{Discovered, DiscoveryFault, Idp};
use crate::outbound::Unreachable;
use crate::secret::Secret;

/// Why a login at the IdP did not end with an identity.
#[derive(Debug, thiserror::Error)]
pub enum LoginFault {
    #[error("the IdP can't be used now: {0}")]
    Discovery(#[from] Arc<DiscoveryFault>),
    #[error("the IdP's token endpoint is unreachable: {0}")]
    Unreachable(#[from] Unreachable),
    #[error("the IdP did not answer a moment ago")]
    Silent,
    /// The status and the registered error code; the rest of what it said stays unsaid.
    #[error("the IdP's token endpoint answered {status} {error:?}")]
    Refused { status: u16, error: String },
    #[error("the IdP's token endpoint answered what we can't read: {0}")]
    Garbled(&'static str),
    #[error("the ID token is not good: {0}")]
    IdToken(String),
    #[error(transparent)]
    Claims(#[from] ClaimFault),
}

impl LoginFault {
    /// Could the same login succeed a little later?
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Discovery(fault) => fault.is_passing(),
            Self::Unreachable(_) | Self::Silent => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Garbled(_) | Self::IdToken(_) | Self::Claims(_) => false,
        }
    }
}

/// What the IdP gave. A refresh may bring no new ID token (OIDC Core §12.2).
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the names of RFC 6749 §5.1")]
pub(super) struct Tokens {
    pub access_token: String,
    pub id_token: Option<String>,
    pub refresh_token: Option<Secret>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of RFC 6749 §5.1")]
struct TokenAnswer {
    access_token: String,
    id_token: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ErrorAnswer {
    error: String,
}

impl Idp {
    /// Present `grant`, the parameters of its kind.
    pub(super) async fn ask_for_tokens(
        &self,
        discovered: &Discovered,
        grant: &[(&str, &str)],
    ) -> Result<Tokens, LoginFault> {
        let request = token_request(&self.settings, discovered, grant)?;
        read_answer(&self.connection.send(request).await?)
    }
}

fn token_request(
    settings: &IdpSettings,
    discovered: &Discovered,
    grant: &[(&str, &str)],
) -> Result<Request<Vec<u8>>, LoginFault> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(grant);
    let mut request = Request::post(discovered.token_endpoint.as_str())
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
        .map_err(|_| LoginFault::Garbled("its metadata names an impossible token endpoint"))
}

/// Some IdPs answer errors with status 200, so the body is asked first.
fn read_answer(answer: &Response<Vec<u8>>) -> Result<Tokens, LoginFault> {
    let status = answer.status();
    if let Ok(refusal) = serde_json::from_slice::<ErrorAnswer>(answer.body()) {
        return Err(LoginFault::Refused { status: status.as_u16(), error: code_of(&refusal) });
    }
    if !status.is_success() {
        return Err(LoginFault::Refused { status: status.as_u16(), error: String::new() });
    }
    let answer: TokenAnswer = serde_json::from_slice(answer.body())
        .map_err(|_| LoginFault::Garbled("no JSON with an access_token"))?;
    Ok(Tokens {
        access_token: answer.access_token,
        id_token: answer.id_token,
        refresh_token: answer.refresh_token.filter(|token| !token.is_empty()).map(Secret::new),
    })
}

/// The error code if it looks like one (RFC 6749 §5.2): anything else could be made to lie in the log.
fn code_of(refusal: &ErrorAnswer) -> String {
    let code = &refusal.error;
    let plain = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain { code.clone() } else { "unreadable".to_owned() }
}

/// RFC 6749 §2.3.1: both halves of the Basic pair are form-encoded first.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
