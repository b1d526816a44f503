//! A token that only the IdP can read: it is asked (`Idp::introspect`), and what it says is judged by `rules`.
//!
//! What was heard is kept for a short while, by a hash in which the token is, never the token: what is good as
//! long as the operator says, what is bad in a cache of its own, so that no flood of invented tokens evicts one
//! that is good. That the IdP did not say is not kept. Who brings a token that somebody is asking about waits
//! for the same answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::watch;
use tracing::instrument::WithSubscriber as _;

use crate::clock::Timestamp;
use crate::idp::Idp;
use crate::idp::introspection::Introspected;
use crate::jose::Claims;
use crate::secret::{self, Secret};
use crate::token::Audience;
use crate::token::cache::{CacheKey, VerifiedCache};
use crate::token::rules::{BadClaims, Rules};
use crate::token::verified::{BadToken, TokenFacts, TokenFault, Unjudged, Voucher};

/// Judges what the IdP is asked about.
#[derive(Debug)]
pub(super) struct IntrospectionVerifier(Arc<Asker>);

#[derive(Debug)]
struct Asker {
    idp: Arc<Idp>,
    rules: Arc<Rules>,
    good: VerifiedCache,
    bad: Cache<CacheKey, Refusal>,
    /// Questions that are under way.
    flights: Mutex<HashMap<CacheKey, Flight>>,
}

/// What was heard of a token that is not good.
#[derive(Clone, Debug)]
struct Refusal {
    reason: BadToken,
    until: Timestamp,
}

type Outcome = Result<Arc<TokenFacts>, TokenFault>;
type Flight = watch::Receiver<Option<Outcome>>;

/// Takes a question from the list, however it ended.
struct Landing {
    asker: Arc<Asker>,
    key: CacheKey,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.asker.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Why a token that the IdP was asked about is not one for here. For the log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIntrospection {
    #[error("the IdP says that it is not active")]
    Inactive,
    #[error("it has characters that no token has, or more than {LONGEST} of them")]
    Form,
    #[error("as the IdP says: {0}")]
    Claims(#[from] BadClaims),
}

impl IntrospectionVerifier {
    pub fn new(idp: Arc<Idp>, rules: Arc<Rules>) -> Self {
        let (good, bad) = (VerifiedCache::new(), Cache::new(MOST_REFUSALS));
        Self(Arc::new(Asker { idp, rules, good, bad, flights: Mutex::default() }))
    }

    /// Is `text` good for `audience` now? Answers within the time that the IdP has.
    pub async fn verify(&self, text: &str, audience: &Audience, now: Timestamp) -> Outcome {
        // RFC 6750 §2.1. It is nothing to bother the IdP with.
        if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadToken::from(BadIntrospection::Form).into());
        }
        let key = self.0.key(text, audience);
        let mut flight = match self.0.known(&key, now) {
            Some(known) => return known,
            None => match self.0.join(key, text, audience, now) {
                Joined::Known(known) => return known,
                Joined::Flight(flight) => flight,
            },
        };
        match flight.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            // It broke off.
            Ok(None) | Err(_) => Err(Unjudged::Introspection.into()),
        }
    }
}

enum Joined {
    Known(Outcome),
    Flight(Flight),
}

impl Asker {
    fn key(&self, text: &str, audience: &Audience) -> CacheKey {
        let issuer = secret::sha256(self.idp.issuer().as_bytes());
        secret::sha256(&[&issuer[..], &audience.resource, text.as_bytes()].concat())
    }

    fn known(&self, key: &CacheKey, now: Timestamp) -> Option<Outcome> {
        if let Some(facts) = self.good.find(key)
            && let Voucher::Answer { until } = facts.voucher
            && is_before(now, until, self.rules.profile().introspection_ttl)
        {
            return Some(Ok(facts));
        }
        let refusal = self.bad.get(key)?;
        is_before(now, refusal.until, REFUSAL_TTL).then(|| Err(refusal.reason.into()))
    }

    /// Ask, unless somebody does.
    fn join(
        self: &Arc<Self>,
        key: CacheKey,
        text: &str,
        audience: &Audience,
        now: Timestamp,
    ) -> Joined {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // One that landed since the caller looked has left its answer.
        if let Some(known) = self.known(&key, now) {
            return Joined::Known(known);
        }
        if let Some(flight) = flights.get(&key) {
            return Joined::Flight(flight.clone());
        }
        let (outcome, flight) = watch::channel(None);
        flights.insert(key, flight.clone());
        let landing = Landing { asker: Arc::clone(self), key };
        let (text, audience) = (Secret::new(text.to_owned()), audience.clone());
        // In a task of its own: who began it may go away while others wait.
        let asking = async move {
            let heard = landing.asker.ask(key, &text, &audience, now).await;
            outcome.send_replace(Some(heard));
        };
        tokio::spawn(asking.with_current_subscriber());
        Joined::Flight(flight)
    }

    async fn ask(
        &self,
        key: CacheKey,
        text: &Secret,
        audience: &Audience,
        now: Timestamp,
    ) -> Outcome {
        // What went wrong was told where it is known.
        let answer = self.idp.introspect(text).await.map_err(|_| Unjudged::Introspection)?;
        match self.judge(answer, text.expose(), audience, now) {
            Ok(facts) => {
                let facts = Arc::new(facts);
                self.good.keep(key, &facts);
                Ok(facts)
            }
            Err(reason) => {
                let until = now.after(REFUSAL_TTL);
                self.bad.insert(key, Refusal { reason: reason.clone(), until });
                Err(reason.into())
            }
        }
    }

    fn judge(
        &self,
        answer: Introspected,
        text: &str,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<TokenFacts, BadToken> {
        let claims = match answer {
            Introspected::Active(claims) => claims,
            Introspected::Inactive => return Err(BadIntrospection::Inactive.into()),
        };
        self.is_access_token(&claims).map_err(BadIntrospection::from)?;
        let exp = claims.time("exp").map_err(BadClaims::from).map_err(BadIntrospection::from)?;
        let until = now.after(self.rules.profile().introspection_ttl);
        let until = exp.map_or(until, |exp| until.min(Timestamp::from_seconds(exp)));
        self.rules.facts(text, &claims, audience, now, Voucher::Answer { until })
    }

    /// Of this IdP, and neither a refresh token nor one that is worth nothing without a proof (RFC 9449).
    fn is_access_token(&self, claims: &Claims) -> Result<(), BadClaims> {
        let settings = self.rules.settings();
        match claims.text("iss")? {
            Some(issuer) if !settings.is_issuer(issuer) => return Err(BadClaims::AnotherIssuer),
            // Only by its issuer a tenant is told.
            None if settings.tenants.is_some() => return Err(BadClaims::AnotherIssuer),
            Some(_) | None => {}
        }
        for name in ["token_type", "token_use", "typ"] {
            let Some(kind) = claims.text(name)? else { continue };
            if !KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
                return Err(BadClaims::AnotherType(name));
            }
        }
        if claims.has("cnf") {
            return Err(BadClaims::AnotherKind("cnf"));
        }
        Ok(())
    }
}

/// What lies further ahead than `most` was written by a clock that has been set back.
fn is_before(now: Timestamp, until: Timestamp, most: Duration) -> bool {
    now < until && until <= now.after(most)
}

/// How access tokens are called by IdPs that say what kind a token is.
const KINDS: [&str; 6] = [
    "bearer",
    "access",
    "access_token",
    "at+jwt",
    "jwt",
    "urn:ietf:params:oauth:token-type:access_token",
];

/// Short: a token may be asked about before the IdP's own replicas all know it.
const REFUSAL_TTL: Duration = Duration::from_secs(5);
const MOST_REFUSALS: usize = 4_096;
/// Bytes.
const LONGEST: usize = 8 * 1024;
