//! Sending a person to the IdP for a client that they consented to. Next: they come back to `callback`.

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::pending::{PendingLogin, state_for};
use crate::browser::cookies::{self, CookieValue};
use crate::clock::Timestamp;
use crate::grants::GrantId;
use crate::idp::Discovered;
use crate::idp::login::{LoginFor, LoginSecret};

/// A login that can be begun by going to `url` with `mark` among the browser's logins.
#[derive(Debug)]
pub struct LoginBegun {
    /// At the IdP.
    pub url: String,
    pub mark: CookieValue,
    pub grant: GrantId,
}

/// No random bytes, nothing to seal with, or no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a login can't be begun")]
pub struct NotPossible;

pub async fn begin(
    server: &AuthorizationServer,
    discovered: &Discovered,
    login: LoginFor<'_>,
    now: Timestamp,
) -> Result<LoginBegun, NotPossible> {
    let secret = LoginSecret::new(server.chance.bytes().map_err(|_| NotPossible)?);
    let grant = GrantId::new(server.chance.bytes().map_err(|_| NotPossible)?);
    let epoch = server.grants.epoch().await.map_err(|_| NotPossible)?;
    let pending = PendingLogin::of(login.consent(), secret.clone(), grant, epoch, now);
    let state = state_for(server, pending).await.map_err(|_| NotPossible)?;
    let url = server.idp.begin(login, discovered, &secret, &state);
    Ok(LoginBegun { url: url.into(), mark: cookies::value_from(secret.browser_mark()), grant })
}
