//! The code that the IdP sent back, spent for an identity (OIDC Core §3.1.3).

use std::sync::Arc;
use std::time::Duration;

use crate::idp::Idp;
use crate::idp::id_token::Expected;
use crate::idp::identity::Identity;
use crate::idp::login::LoginSecret;
use crate::idp::person::Told;
use crate::idp::profile::{IdentitySource, RecheckWith};
use crate::idp::recheck;
use crate::idp::token_endpoint::LoginFault;
use crate::secret::Secret;

/// Who logged in, and what the IdP can be asked with again.
#[derive(Debug)]
pub struct LoggedIn {
    pub person: Identity,
    /// `None` if the IdP gave none, or can't be asked again. What it is, only `idp` knows: at an IdP whose
    /// access tokens last, it may be one.
    pub refresh_token: Option<Secret>,
    /// Hash of the IdP's name for the person (`sub`), which the stable key need not be made of.
    pub subject: Option<[u8; 16]>,
    /// Hash of the IdP's name for the session that the person has there (`sid`), if it told one.
    pub session: Option<[u8; 16]>,
}

impl Idp {
    /// Who logged in? Spends `code`, which the IdP bound to `login`, for the `resource` that it was begun for.
    pub async fn exchange(
        self: &Arc<Self>,
        code: &str,
        login: &LoginSecret,
        resource: &str,
    ) -> Result<LoggedIn, LoginFault> {
        let discovered = self.discovered().await?;
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &login.verifier()),
        ];
        let answer = self.ask_for_tokens(&discovered, &grant, resource, LONGEST_WAIT).await;
        let tokens = answer.tokens?;
        // Userinfo alone proves no login: only the ID token has the nonce.
        match &self.settings.identity {
            IdentitySource::IdToken | IdentitySource::Userinfo if tokens.id.is_none() => {
                return Err(NO_ID_TOKEN);
            }
            IdentitySource::IdToken
            | IdentitySource::Userinfo
            | IdentitySource::UserResource(_) => {}
        }
        let nonce = login.nonce();
        let told = self.person_of(&tokens, Expected::Nonce(&nonce), &discovered).await?;
        let Told { person, subject, session } = told.ok_or(NO_ID_TOKEN)?;
        let refresh_token = match self.settings.recheck_with {
            RecheckWith::RefreshToken => answer.refresh_token,
            RecheckWith::AccessToken => {
                let access_token = || recheck::marked(&tokens.access);
                Some(answer.refresh_token.unwrap_or_else(access_token))
            }
            RecheckWith::Nothing => None,
        };
        Ok(LoggedIn { person, refresh_token, subject, session })
    }
}

const NO_ID_TOKEN: LoginFault = LoginFault::Garbled("no id_token beside the access_token");

/// A person is waiting in front of a browser.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
