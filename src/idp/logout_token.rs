//! A logout token: the IdP's word that somebody logged out there (OpenID Connect Back-Channel Logout 1.0
//! §2.4), checked as its §2.6 says. Signed with the keys that sign ID tokens.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::idp::{Discovered, DiscoveryFault, Idp};
use crate::jose::json;
use crate::jose::jws::{Jws, NotSigned, brief, is_there};
use crate::secret;
use crate::store::{Key, Store, StoreFault};

/// Signed by the IdP for us, a short while ago.
#[derive(Debug)]
pub struct LogoutToken {
    /// Names it among all that the IdP signs.
    id: [u8; 16],
    until: Timestamp,
    pub logged_out: LoggedOut,
}

/// Who logged out, by hashes of the claims that ID tokens have too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedOut {
    /// A person, everywhere (`sub`).
    Person([u8; 16]),
    /// A person in one session (`sid`, with or without `sub`).
    Session { session: [u8; 16], subject: Option<[u8; 16]> },
}

/// Why a logout token does not count. Completes "…: ".
#[derive(Debug, thiserror::Error)]
pub enum LogoutFault {
    #[error("the IdP's keys are not known now: {0}")]
    Discovery(#[from] Arc<DiscoveryFault>),
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    #[error("its claims can't be read: {0}")]
    Claims(String),
    #[error("its iss is not idp.issuer, nor another that idp: names")]
    AnotherIssuer,
    #[error("its aud does not name idp.client_id")]
    Audience,
    #[error("its iat or exp is too long ago")]
    Expired,
    #[error("its iat is in the future")]
    NotYet,
    #[error("its events have no object that says back-channel logout")]
    AnotherEvent,
    #[error("it has a nonce, as ID tokens have")]
    Nonce,
    #[error("its jti is empty or longer than {LONGEST_ID} bytes")]
    Id,
    #[error("it has neither sub nor sid, or an empty one")]
    Nobody,
}

/// A claim of another type, or one that comes twice, is refused by the reader.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Value,
    iat: u64,
    /// Earlier drafts of the specification had none.
    exp: Option<u64>,
    jti: String,
    events: Map<String, Value>,
    sub: Option<String>,
    sid: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    nonce: bool,
}

impl Idp {
    /// Who logged out? The IdP may have changed its keys since we last asked.
    pub async fn read_logout_token(
        self: &Arc<Self>,
        text: &str,
    ) -> Result<LogoutToken, LogoutFault> {
        let known = self.discovered().await?;
        let payload = match payload(text, &known) {
            Err(NotSigned::KeyId) => payload(text, &*self.discovered_anew().await?),
            other => other,
        };
        self.judge(&payload?)
    }

    /// §2.6, in its order. Its step 7, that no other token has this `jti`, is left to the caller.
    fn judge(&self, payload: &[u8]) -> Result<LogoutToken, LogoutFault> {
        let claims: Claims =
            json::object(payload).map_err(|error| LogoutFault::Claims(brief(&error)))?;
        if !self.settings.is_issuer(&claims.iss) {
            return Err(LogoutFault::AnotherIssuer);
        }
        if !names(&claims.aud, &self.settings.client_id) {
            return Err(LogoutFault::Audience);
        }
        let now = self.clock.now();
        let issued = Timestamp::from_seconds(claims.iat);
        let is_over = |end: Timestamp| end.after(SKEW) <= now;
        if is_over(issued.after(LONGEST_LIFE))
            || claims.exp.is_some_and(|exp| is_over(Timestamp::from_seconds(exp)))
        {
            return Err(LogoutFault::Expired);
        }
        if issued > now.after(SKEW) {
            return Err(LogoutFault::NotYet);
        }
        let logged_out = logged_out(claims.sub.as_deref(), claims.sid.as_deref())?;
        if !claims.events.get(EVENT).is_some_and(Value::is_object) {
            return Err(LogoutFault::AnotherEvent);
        }
        if claims.nonce {
            return Err(LogoutFault::Nonce);
        }
        if claims.jti.is_empty() || claims.jti.len() > LONGEST_ID {
            return Err(LogoutFault::Id);
        }
        // One deployment may have had several IdPs. An issuer has no line break.
        let name = format!("{}\n{}", claims.iss, claims.jti);
        let until = issued.after(LONGEST_LIFE).after(SKEW);
        Ok(LogoutToken { id: secret::short_hash(name.as_bytes()), until, logged_out })
    }
}

impl LogoutToken {
    /// Was it heeded before?
    pub async fn is_spent(&self, store: &dyn Store) -> Result<bool, StoreFault> {
        Ok(store.read(&self.key()).await?.is_some())
    }

    /// It was heeded, and does not count again. Said last: one that could not be heeded must count when the
    /// IdP sends it again, and to heed it twice at the same moment does no harm.
    pub async fn spend(self, store: &dyn Store) -> Result<(), StoreFault> {
        store.create(&self.key(), String::new(), self.until).await.map(|_| ())
    }

    fn key(&self) -> Key {
        Key::new("logout", &self.id)
    }
}

fn payload(text: &str, discovered: &Discovered) -> Result<Vec<u8>, NotSigned> {
    let jws = Jws::parse(text, &TYPES)?;
    let keys = discovered.signing_keys.as_ref().ok_or(NotSigned::KeyId)?;
    jws.verified_with(keys)
}

/// A text or a list (RFC 7519 §4.1.3).
fn names(audience: &Value, client_id: &str) -> bool {
    match audience.as_array() {
        Some(many) => many.iter().any(|one| one == client_id),
        None => audience == client_id,
    }
}

/// §2.4: only without `sid` is it the intent that all sessions of the person be logged out. So a `sub` that
/// comes beside it takes nothing more with it, or each sign-out in a browser would be one everywhere.
fn logged_out(sub: Option<&str>, sid: Option<&str>) -> Result<LoggedOut, LogoutFault> {
    if sub == Some("") || sid == Some("") {
        return Err(LogoutFault::Nobody);
    }
    let hash = |claim: &str| secret::short_hash(claim.as_bytes());
    match (sub, sid) {
        (_, Some(sid)) => Ok(LoggedOut::Session { session: hash(sid), subject: sub.map(hash) }),
        (Some(sub), None) => Ok(LoggedOut::Person(hash(sub))),
        (None, None) => Err(LogoutFault::Nobody),
    }
}

/// The type is recommended, and some IdPs say what they say of all their tokens. An ID token has no events.
const TYPES: [&str; 2] = ["logout+jwt", "jwt"];
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(60);
/// The specification recommends two minutes; some IdPs try again later with the same token.
const LONGEST_LIFE: Duration = Duration::from_mins(10);
/// Bytes.
const LONGEST_ID: usize = 256;
