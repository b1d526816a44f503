//! Sending a person to the IdP (OIDC Core §3.1.2.1), with `state`, `nonce` and PKCE.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::browser::Consent;
use crate::browser::consent::GivenConsent;
use crate::idp::{Discovered, Idp};
use crate::secret;

/// Why a person may be sent to the IdP. There is no other way there.
#[derive(Clone, Copy, Debug)]
pub enum LoginFor<'a> {
    /// They consented to a client.
    Client(&'a Consent),
    /// They did, and came back as somebody who may not use what it is for.
    AnotherAccount(&'a GivenConsent),
}

impl LoginFor<'_> {
    pub fn consent(&self) -> &GivenConsent {
        match self {
            Self::Client(consent) => consent.given(),
            Self::AnotherAccount(given) => given,
        }
    }
}

/// The secret of one login, from which everything is derived that must come back unguessed.
/// Travels sealed inside `state`.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoginSecret([u8; 32]);

impl std::fmt::Debug for LoginSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[login secret]")
    }
}

impl LoginSecret {
    pub const fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Comes back in the ID token (OIDC Core §3.1.2.1).
    pub fn nonce(&self) -> String {
        self.derive("nonce")
    }

    /// Proves at the IdP's token endpoint that the code is ours (RFC 7636 §4.1: 43 characters).
    pub fn verifier(&self) -> String {
        self.derive("code verifier")
    }

    /// Marks the browser in which the login began.
    pub fn browser_mark(&self) -> [u8; 16] {
        secret::short_hash(self.derive("browser mark").as_bytes())
    }

    fn derive(&self, purpose: &str) -> String {
        URL_SAFE_NO_PAD.encode(secret::sha256(&[purpose.as_bytes(), &[0], &self.0].concat()))
    }
}

impl Idp {
    /// The address to send the browser to.
    pub fn begin(
        &self,
        login_for: LoginFor<'_>,
        discovered: &Discovered,
        login: &LoginSecret,
        state: &str,
    ) -> Url {
        let mut url = discovered.authorization_endpoint.clone();
        let challenge = URL_SAFE_NO_PAD.encode(secret::sha256(login.verifier().as_bytes()));
        let settings = &self.settings;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("state", state)
            .append_pair("nonce", &login.nonce())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let resource = &login_for.consent().request().resource;
        let indicator = &settings.resource_indicator;
        let mut scopes = settings.scopes.clone();
        scopes.extend(indicator.scope(resource));
        if !scopes.is_empty() {
            query.append_pair("scope", &scopes.join(" "));
        }
        if let Some(name) = indicator.parameter() {
            query.append_pair(name, resource);
        }
        let usual = &settings.authorization_parameters;
        let instead = match login_for {
            LoginFor::Client(_) => &[][..],
            LoginFor::AnotherAccount(_) => &settings.another_account_parameters,
        };
        let is_kept = |name: &str| !instead.iter().any(|(other, _)| other == name);
        for (name, value) in usual.iter().filter(|(name, _)| is_kept(name)).chain(instead) {
            query.append_pair(name, value);
        }
        drop(query);
        url
    }
}
