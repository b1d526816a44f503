//! The code that the IdP sent back, spent for an identity (OIDC Core §3.1.3).

use std::sync::Arc;
use std::time::Duration;

use crate::idp::Idp;
use crate::idp::id_token::{self, Expected};
use crate::idp::identity::Identity;
use crate::idp::login::LoginSecret;
use crate::idp::token_endpoint::LoginFault;
use crate::secret::Secret;

/// Who logged in, and what the IdP can be asked with again.
#[derive(Debug)]
pub struct LoggedIn {
    pub person: Identity,
    /// `None` if the IdP gave none.
    pub refresh_token: Option<Secret>,
    /// Hash of the IdP's name for the person (`sub`), which the stable key need not be made of.
    pub subject: Option<[u8; 16]>,
    /// Hash of the IdP's name for the session that the person has there (`sid`), if it told one.
    pub session: Option<[u8; 16]>,
}

impl Idp {
    /// Who logged in? Spends `code`, which the IdP bound to `login`.
    pub async fn exchange(
        self: &Arc<Self>,
        code: &str,
        login: &LoginSecret,
    ) -> Result<LoggedIn, LoginFault> {
        let discovered = self.discovered().await?;
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &login.verifier()),
        ];
        let answer = self.ask_for_tokens(&discovered, &grant, LONGEST_WAIT).await;
        let tokens = answer.tokens?;
        let id_token =
            tokens.id.ok_or(LoginFault::Garbled("no id_token beside the access_token"))?;
        let nonce = login.nonce();
        let expected = Expected::Nonce(&nonce);
        let person = self.read_id_token(&id_token, &tokens.access, expected, &discovered).await?;
        let subject = id_token::hash_of("sub", &id_token);
        let session = id_token::hash_of("sid", &id_token);
        Ok(LoggedIn { person, refresh_token: answer.refresh_token, subject, session })
    }
}

/// A person is waiting in front of a browser.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
