//! A login that is under way at the IdP: what must be known again when the person comes back.
//!
//! It travels sealed in the IdP's `state`, so that nothing is stored for logins that are never finished.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authorization_server::AuthorizationServer;
use crate::browser::AuthorizationRequest;
use crate::clock::Timestamp;
use crate::grants::GrantId;
use crate::idp::login::LoginSecret;
use crate::seal::Kind;
use crate::store::StoreFault;

#[derive(Debug, Serialize, Deserialize)]
pub struct PendingLogin {
    pub request: AuthorizationRequest,
    pub secret: LoginSecret,
    /// The grant that this login becomes, chosen before so that it can become only one.
    pub grant: GrantId,
    pub expires: Timestamp,
}

/// `state` of an IdP is limited (to about 1,000 characters); what is longer is kept in the store.
#[derive(Debug, Serialize, Deserialize)]
struct KeptLogin {
    id: [u8; 16],
}

/// Why a `state` does not name a login that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateFault {
    #[error("the state is not one of ours")]
    NotOurs,
    #[error("the login took too long, or was finished before")]
    Stale,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// The `state` to send to the IdP.
pub async fn state_for(
    server: &AuthorizationServer,
    pending: &PendingLogin,
) -> Result<String, StoreFault> {
    let sealed = server.ring.seal(&STATE, pending).map_err(|_| StoreFault)?;
    if sealed.len() <= LONGEST_STATE {
        return Ok(sealed);
    }
    let kept = KeptLogin { id: server.chance.bytes().map_err(|_| StoreFault)? };
    let state = server.ring.seal(&KEPT_STATE, &kept).map_err(|_| StoreFault)?;
    server.store.put(&key(&kept), sealed, pending.expires).await?;
    Ok(state)
}

/// The login that `state` names.
pub async fn login_of(
    server: &AuthorizationServer,
    state: &str,
    now: Timestamp,
) -> Result<PendingLogin, StateFault> {
    let kept;
    let sealed = if KEPT_STATE.is_claimed_by(state) {
        let id = server.ring.open(&KEPT_STATE, state).map_err(|_| StateFault::NotOurs)?;
        kept = server.store.read(&key(&id)).await?.ok_or(StateFault::Stale)?.value;
        kept.as_str()
    } else {
        state
    };
    let pending = server.ring.open(&STATE, sealed).map_err(|_| StateFault::NotOurs)?;
    if pending.expires <= now { Err(StateFault::Stale) } else { Ok(pending) }
}

fn key(kept: &KeptLogin) -> String {
    kept.id.iter().fold("login:".to_owned(), |key, byte| format!("{key}{byte:02x}"))
}

pub const LOGIN_LIFETIME: Duration = Duration::from_mins(10);
const LONGEST_STATE: usize = 1000;
const STATE: Kind<PendingLogin> = Kind::new("doorman_st_", 1);
const KEPT_STATE: Kind<KeptLogin> = Kind::new("doorman_sk_", 1);
