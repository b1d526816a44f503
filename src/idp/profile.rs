//! What is known of the IdP: where it is, how we log in there, which claims tell who came back.

use crate::idp::AccessTokenProfile;
use crate::secret::Secret;

/// The IdP as configured: the preset's values, each overridden by the operator's.
#[derive(Clone, Debug)]
pub struct IdpSettings {
    /// Compared byte for byte with what the IdP's metadata and ID tokens say (OIDC Discovery §4.3).
    pub issuer: String,
    pub client_id: String,
    /// `None` for a public client.
    pub client_secret: Option<Secret>,
    pub client_authentication: ClientAuthentication,
    /// What to ask for at login; `openid` among them.
    pub scopes: Vec<String>,
    /// Sent with every authorization request, besides what OAuth prescribes.
    pub authorization_parameters: Vec<(String, String)>,
    /// Sent as well, or instead, when somebody who is signed in wants to be somebody else.
    pub another_account_parameters: Vec<(String, String)>,
    /// Whether revoking a refresh token at the IdP ends that token and nothing else (RFC 7009 §2.1 lets it
    /// end more).
    pub revocable_refresh_tokens: bool,
    /// Whether logging out of one session at the IdP ends the grants that began in it.
    pub logout_ends_connections: bool,
    /// Claims whose values together are the stable key of a person, most often `sub` alone.
    pub user_key: Vec<String>,
    /// The claim of the ID token that lists the person's groups.
    pub groups_claim: String,
    /// Of access tokens that clients bring from there.
    pub access_tokens: AccessTokenProfile,
}

impl IdpSettings {
    /// Whether a login asks for what the IdP can be asked with again. Some IdPs give it unasked.
    pub fn asks_for_refresh_token(&self) -> bool {
        let offline = ("access_type", "offline");
        let mut parameters = self.authorization_parameters.iter();
        self.scopes.iter().any(|scope| scope == "offline_access")
            || parameters.any(|(name, value)| (name.as_str(), value.as_str()) == offline)
    }
}

/// How we authenticate at the IdP's token endpoint (OIDC Core §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_secret_basic`
    Basic,
    /// `client_secret_post`
    Post,
}
