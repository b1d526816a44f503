//! The code that the IdP sent back, spent for an ID token that is checked to the letter
//! (OIDC Core §3.1.3).

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::DateTime;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use openidconnect::core::{CoreIdToken, CoreIdTokenClaims, CoreIdTokenVerifier};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, IssuerUrl, Nonce,
    SignatureVerificationError,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::idp::identity::{ClaimFault, Identity};
use crate::idp::login::LoginSecret;
use crate::idp::profile::{ClientAuthentication, IdpSettings};
use crate::idp::{Discovered, DiscoveryFault, Idp};
use crate::outbound::Unreachable;

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
}

impl LoginFault {
    /// Could the same login succeed a little later?
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Discovery(fault) => fault.is_passing(),
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Garbled(_) | Self::IdToken(_) | Self::Claims(_) => false,
        }
    }
}

impl Idp {
    /// Who logged in? Spends `code`, which the IdP bound to `login`.
    pub async fn exchange(
        self: &Arc<Self>,
        code: &str,
        login: &LoginSecret,
    ) -> Result<Identity, LoginFault> {
        let discovered = self.discovered().await?;
        let request = token_request(&self.settings, &discovered, &self.redirect_uri, code, login)?;
        let tokens = read_answer(&self.connection.send(request).await?)?;
        let id_token = CoreIdToken::from_str(&tokens.id_token)
            .map_err(|_| LoginFault::IdToken("it is not a JWT that we can read".to_owned()))?;
        let checked = self.check(&id_token, &tokens, &discovered, login);
        if let Err(IdTokenFault::UnknownKey) = checked {
            // The IdP may have changed its keys since we last asked.
            let discovered = self.discovered_anew().await?;
            self.check(&id_token, &tokens, &discovered, login).map_err(IdTokenFault::into_fault)?;
        } else {
            checked.map_err(IdTokenFault::into_fault)?;
        }
        Ok(Identity::from_claims(&payload(&tokens.id_token)?, &self.settings)?)
    }

    /// OIDC Core §3.1.3.7: issuer, audience, authorized party, signature, algorithm, expiry, nonce; and
    /// §3.1.3.8: the access token's hash.
    fn check(
        &self,
        id_token: &CoreIdToken,
        tokens: &TokenAnswer,
        discovered: &Discovered,
        login: &LoginSecret,
    ) -> Result<(), IdTokenFault> {
        let verifier = self.verifier(discovered)?;
        let claims = id_token
            .claims(&verifier, &Nonce::new(login.nonce()))
            .map_err(|error| IdTokenFault::from(&error))?;
        self.check_authorized_party(claims)?;
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = id_token.signing_alg().map_err(IdTokenFault::other)?;
            let key = id_token.signing_key(&verifier).map_err(IdTokenFault::other)?;
            let access_token = AccessToken::new(tokens.access_token.clone());
            let actual = AccessTokenHash::from_token(&access_token, algorithm, key)
                .map_err(IdTokenFault::other)?;
            if actual != *expected {
                return Err(IdTokenFault::Bad("at_hash is of another access token".to_owned()));
            }
        }
        Ok(())
    }

    /// OIDC Core §3.1.3.7, 3 to 5: with several audiences we must be the party that the token was made
    /// for, and whoever is named as that party must be us. The library leaves this to its caller.
    fn check_authorized_party(&self, claims: &CoreIdTokenClaims) -> Result<(), IdTokenFault> {
        let party = claims.authorized_party().map(|party| party.as_str());
        match party {
            Some(party) if party != self.settings.client_id => {
                Err(IdTokenFault::Bad("azp is another client".to_owned()))
            }
            None if claims.audiences().len() > 1 => {
                Err(IdTokenFault::Bad("it has several audiences and no azp".to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn verifier(
        &self,
        discovered: &Discovered,
    ) -> Result<CoreIdTokenVerifier<'static>, IdTokenFault> {
        let settings = &self.settings;
        let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(IdTokenFault::other)?;
        let client = ClientId::new(settings.client_id.clone());
        let keys = discovered.keys.clone();
        // Our secret signs nothing: only asymmetric algorithms are allowed below.
        let verifier = CoreIdTokenVerifier::new_public_client(client, issuer, keys)
            // Judged by `azp`, in `check_authorized_party`.
            .set_other_audience_verifier_fn(|_| true);
        let clock = self.clock.clone();
        Ok(verifier.set_allowed_algs(discovered.algorithms.clone()).set_time_fn(move || {
            let seconds = i64::try_from(clock.now().seconds()).unwrap_or(i64::MAX);
            // Out of range is the far future: every token is then expired.
            DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<chrono::Utc>::MAX_UTC)
        }))
    }
}

#[derive(Debug, Deserialize)]
struct TokenAnswer {
    access_token: String,
    id_token: String,
}

#[derive(Debug, Deserialize)]
struct ErrorAnswer {
    error: String,
}

#[derive(Debug)]
enum IdTokenFault {
    /// Signed with a key that is not in the set.
    UnknownKey,
    Bad(String),
}

impl IdTokenFault {
    fn other(error: impl std::fmt::Display) -> Self {
        Self::Bad(error.to_string())
    }

    fn into_fault(self) -> LoginFault {
        match self {
            Self::UnknownKey => LoginFault::IdToken(
                "it is signed with a key that the IdP does not publish".to_owned(),
            ),
            Self::Bad(reason) => LoginFault::IdToken(reason),
        }
    }
}

impl From<&ClaimsVerificationError> for IdTokenFault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "foreign, non-exhaustive: the rest is bad")]
    fn from(error: &ClaimsVerificationError) -> Self {
        match error {
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            ) => Self::UnknownKey,
            other => Self::Bad(other.to_string()),
        }
    }
}

/// RFC 6749 §4.1.3, with the client authentication that the IdP wants (§2.3.1).
fn token_request(
    settings: &IdpSettings,
    discovered: &Discovered,
    redirect_uri: &str,
    code: &str,
    login: &LoginSecret,
) -> Result<Request<Vec<u8>>, LoginFault> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("code_verifier", &login.verifier());
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
fn read_answer(answer: &Response<Vec<u8>>) -> Result<TokenAnswer, LoginFault> {
    let status = answer.status();
    if let Ok(refusal) = serde_json::from_slice::<ErrorAnswer>(answer.body()) {
        return Err(LoginFault::Refused { status: status.as_u16(), error: code_of(&refusal) });
    }
    if !status.is_success() {
        return Err(LoginFault::Refused { status: status.as_u16(), error: String::new() });
    }
    serde_json::from_slice(answer.body())
        .map_err(|_| LoginFault::Garbled("no JSON with access_token and id_token"))
}

/// The error code if it looks like one (RFC 6749 §5.2): anything else could be made to lie in the log.
fn code_of(refusal: &ErrorAnswer) -> String {
    let code = &refusal.error;
    let plain = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain { code.clone() } else { "unreadable".to_owned() }
}

/// The claims of a token whose signature was checked before.
fn payload(jwt: &str) -> Result<Map<String, Value>, LoginFault> {
    let unreadable = || LoginFault::IdToken("its claims can't be read".to_owned());
    let encoded = jwt.split('.').nth(1).ok_or_else(unreadable)?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).map_err(|_| unreadable())?;
    serde_json::from_slice(&bytes).map_err(|_| unreadable())
}

/// RFC 6749 §2.3.1: both halves of the Basic pair are form-encoded first.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
