//! A login that is under way at the IdP: what must be known again when the person comes back.
//!
//! It travels sealed in the IdP's `state`, so that nothing is stored for logins that are never finished. One
//! that is finished, but by somebody who has yet to be asked, waits in the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authorization_server::AuthorizationServer;
use crate::browser::AuthorizationRequest;
use crate::browser::consent::GivenConsent;
use crate::clock::Timestamp;
use crate::grants::GrantId;
use crate::grants::vouch::IdpToken;
use crate::idp::login::LoginSecret;
use crate::idp::{Identity, LoggedIn};
use crate::seal::Kind;
use crate::store::epoch::Epoch;
use crate::store::{Key, StoreFault};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingLogin {
    consent: GivenConsent,
    secret: LoginSecret,
    grant: GrantId,
    expires: Timestamp,
    /// Of the store that the login was begun on.
    epoch: Epoch,
}

impl PendingLogin {
    /// The login that `consent` allows, for what was consented to and nothing else.
    pub fn of(
        consent: &GivenConsent,
        secret: LoginSecret,
        grant: GrantId,
        epoch: Epoch,
        now: Timestamp,
    ) -> Self {
        let expires = now.after(LOGIN_LIFETIME);
        Self { consent: consent.clone(), secret, grant, expires, epoch }
    }

    pub fn consent(&self) -> &GivenConsent {
        &self.consent
    }

    pub fn request(&self) -> &AuthorizationRequest {
        self.consent.request()
    }

    pub fn secret(&self) -> &LoginSecret {
        &self.secret
    }

    /// The grant that this login becomes, chosen before so that it can become only one.
    pub fn grant(&self) -> GrantId {
        self.grant
    }
}

/// A login after which the person has to be asked, because it was not who was asked before.
#[derive(Debug, Serialize, Deserialize)]
pub struct FinishedLogin {
    pub login: PendingLogin,
    person: Identity,
    refresh_token: Option<IdpToken>,
    subject: Option<[u8; 16]>,
    session: Option<[u8; 16]>,
}

impl FinishedLogin {
    pub fn new(login: PendingLogin, logged_in: LoggedIn) -> Self {
        let refresh_token = logged_in.refresh_token.as_ref().map(IdpToken::new);
        let LoggedIn { person, subject, session, .. } = logged_in;
        Self { login, person, refresh_token, subject, session }
    }

    pub fn logged_in(&self) -> LoggedIn {
        let refresh_token = self.refresh_token.as_ref().map(IdpToken::secret);
        let (subject, session) = (self.subject, self.session);
        LoggedIn { person: self.person.clone(), refresh_token, subject, session }
    }
}

/// What `state` holds. IdPs limit it (to about 1,000 characters); what is longer is kept in the store.
#[derive(Debug, Serialize, Deserialize)]
enum State {
    Whole(Box<PendingLogin>),
    /// Under this key, by the store of this epoch.
    Kept([u8; 16], Epoch),
}

/// Why a `state` does not name a login that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateFault {
    #[error("the state is not one of ours")]
    NotOurs,
    #[error("the login took too long, or was finished before")]
    Stale,
    #[error(
        "the login was begun at another instance that has a store of its own: set state.redis to share one"
    )]
    Elsewhere,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// The `state` to send to the IdP.
pub async fn state_for(
    server: &AuthorizationServer,
    pending: PendingLogin,
) -> Result<String, StoreFault> {
    let (expires, epoch) = (pending.expires, pending.epoch);
    let whole =
        server.ring.seal(&STATE, &State::Whole(Box::new(pending))).map_err(|_| StoreFault)?;
    if whole.len() <= LONGEST_STATE {
        return Ok(whole);
    }
    let id = server.chance.bytes().map_err(|_| StoreFault)?;
    server.store.put(&Key::new("login", &id), whole, expires).await?;
    server.ring.seal(&STATE, &State::Kept(id, epoch)).map_err(|_| StoreFault)
}

/// The login that `state` names.
pub async fn login_of(
    server: &AuthorizationServer,
    state: &str,
    now: Timestamp,
) -> Result<PendingLogin, StateFault> {
    let mut opened = server.ring.open(&STATE, state).map_err(|_| StateFault::NotOurs)?;
    if let State::Kept(id, epoch) = opened {
        let kept = server.store.read(&Key::new("login", &id)).await?;
        let Some(kept) = kept else {
            let is_elsewhere = server.grants.epochs().is_elsewhere(epoch).await?;
            return Err(if is_elsewhere { StateFault::Elsewhere } else { StateFault::Stale });
        };
        opened = server.ring.open(&STATE, &kept.value).map_err(|_| StateFault::NotOurs)?;
    }
    match opened {
        State::Whole(pending) if pending.expires > now => {
            if server.grants.epochs().is_elsewhere(pending.epoch).await? {
                return Err(StateFault::Elsewhere);
            }
            Ok(*pending)
        }
        State::Whole(_) => Err(StateFault::Stale),
        State::Kept(..) => Err(StateFault::NotOurs),
    }
}

pub const LOGIN_LIFETIME: Duration = Duration::from_mins(10);
const LONGEST_STATE: usize = 1000;
const STATE: Kind<State> = Kind::new("doorman_st_", 4);
pub const FINISHED: Kind<FinishedLogin> = Kind::new("doorman_fl_", 2);
