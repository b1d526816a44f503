//! The client of the IdP: sends the person to log in and learns who they are.

pub mod access_tokens;
mod breaker;
mod claims;
pub mod discovery;
pub mod exchange;
mod id_token;
pub mod identity;
pub mod introspection;
pub mod keys;
pub mod login;
pub mod logout_token;
mod lookup;
mod person;
pub mod profile;
pub mod recheck;
mod resource;
pub mod revocation;
pub mod self_check;
pub mod token_endpoint;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, Semaphore};

use crate::clock::Clock;
use crate::outbound::IdpConnection;

pub use access_tokens::{AccessTokenProfile, AudienceClaim, ExpectedClaim, Validation};
pub use discovery::{Discovered, DiscoveryFault};
pub use exchange::LoggedIn;
pub use identity::Identity;
pub use keys::NoKey;
pub use logout_token::{LoggedOut, LogoutFault, LogoutToken};
pub use profile::{ClientAuthentication, IdpSettings, ResourceIndicator};
pub use recheck::{Recheck, Verdict};
pub use resource::ResourceFault;
pub use token_endpoint::LoginFault;

// What `fuzzing` feeds.
#[cfg(any(test, fuzzing))]
pub mod fed {
    pub use super::introspection::{introspected, told_of};
    pub use super::token_endpoint::read as read_tokens;
}

/// The IdP: its settings, and what it published about itself when we last asked.
#[derive(Debug)]
pub struct Idp {
    settings: IdpSettings,
    redirect_uri: String,
    connection: IdpConnection,
    clock: Clock,
    discovered: ArcSwapOption<Discovered>,
    keys: keys::Keys,
    /// Held while asking, so that a hundred logins ask once; holds what came of it if nothing good did.
    asking: Mutex<Option<Arc<DiscoveryFault>>>,
    /// How often the IdP was asked to an end.
    asked: AtomicU64,
    /// Seconds since 1970: no refresh before.
    refresh_from: AtomicU64,
    /// Seconds since 1970: nobody is asked about before, because the IdP did not answer.
    silent_until: AtomicU64,
    /// Held by each that asks about a person again.
    rechecks: Semaphore,
    introspection: introspection::Introspection,
}

impl Idp {
    /// `redirect_uri` is our callback, exactly as registered at the IdP.
    pub fn new(
        settings: IdpSettings,
        redirect_uri: String,
        connection: IdpConnection,
        clock: Clock,
    ) -> Self {
        Self {
            settings,
            redirect_uri,
            connection,
            clock,
            discovered: ArcSwapOption::empty(),
            keys: keys::Keys::new(),
            asking: Mutex::default(),
            asked: AtomicU64::new(0),
            refresh_from: AtomicU64::new(0),
            silent_until: AtomicU64::new(0),
            rechecks: Semaphore::new(recheck::MOST_RECHECKS),
            introspection: introspection::Introspection::new(),
        }
    }

    /// Know what `before` knows of the IdP, as far as it is the same: what is known need not be asked for, and an
    /// IdP that is away now stops nobody.
    pub fn learn_from(&self, before: &Self) {
        if self.settings.discovers_as(&before.settings) {
            self.discovered.store(before.discovered.load_full());
            self.keys.learn_from(&before.keys);
        }
    }

    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    pub fn settings(&self) -> &IdpSettings {
        &self.settings
    }

    /// Whether one refresh token can be revoked there without ending others.
    pub fn revokes_single_tokens(&self) -> bool {
        self.settings.revocable_refresh_tokens
    }

    /// Whether it has said what it can, and where.
    pub fn is_found(&self) -> bool {
        self.discovered.load().is_some()
    }

    /// Whether logging out of one session there ends the grants that began in it.
    pub fn logout_ends_connections(&self) -> bool {
        self.settings.logout_ends_connections
    }

    /// What the IdP published. What is known is good at once, and refreshed beside the request when it
    /// is old, so that an IdP that is slow or down costs no login anything that it had not before.
    pub async fn discovered(self: &Arc<Self>) -> Result<Arc<Discovered>, Arc<DiscoveryFault>> {
        let Some(known) = self.discovered.load_full() else { return self.ask().await };
        if known.at.after(REFRESH_AFTER) <= self.clock.now() && self.may_refresh() {
            let idp = Arc::clone(self);
            tokio::spawn(async move { idp.ask().await });
        }
        Ok(known)
    }

    /// The IdP signed with a key that we don't have: ask again, but not for every forged token.
    async fn discovered_anew(&self) -> Result<Arc<Discovered>, Arc<DiscoveryFault>> {
        if self.may_refresh() {
            return self.ask().await;
        }
        // Somebody may be asking right now.
        drop(self.asking.lock().await);
        match self.discovered.load_full() {
            Some(known) => Ok(known),
            None => self.ask().await,
        }
    }

    /// Whether this caller is the one to refresh: one each 30 s.
    fn may_refresh(&self) -> bool {
        let (now, from) = (self.clock.now(), self.refresh_from.load(Ordering::Relaxed));
        let next = now.after(REFRESH_PAUSE).seconds();
        now.seconds() >= from
            && self
                .refresh_from
                .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Ask the IdP. Who comes while somebody asks takes the same answer, good or bad.
    async fn ask(&self) -> Result<Arc<Discovered>, Arc<DiscoveryFault>> {
        let asked_before = self.asked.load(Ordering::Acquire);
        let mut last_fault = self.asking.lock().await;
        if self.asked.load(Ordering::Acquire) != asked_before {
            match (&*last_fault, self.discovered.load_full()) {
                (Some(fault), _) => return Err(Arc::clone(fault)),
                (None, Some(known)) => return Ok(known),
                (None, None) => {}
            }
        }
        let answer = discovery::ask(&self.connection, &self.settings, self.clock.now()).await;
        self.asked.fetch_add(1, Ordering::Release);
        match answer {
            Ok(discovered) => {
                let discovered = Arc::new(discovered);
                self.keys.learn(&discovered);
                self.discovered.store(Some(Arc::clone(&discovered)));
                *last_fault = None;
                Ok(discovered)
            }
            Err(fault) => {
                self.complain(&fault);
                let fault = Arc::new(fault);
                *last_fault = Some(Arc::clone(&fault));
                Err(fault)
            }
        }
    }

    fn complain(&self, fault: &DiscoveryFault) {
        let idp = self.issuer();
        if fault.is_passing() {
            tracing::warn!(idp, %fault, whose_fault = "idp", "the IdP does not answer");
        } else {
            let fix = "compare idp.issuer with what the provider publishes";
            tracing::error!(idp, %fault, fix, whose_fault = "idp", "the IdP can't be used");
        }
    }
}

/// Metadata and keys are asked for again after this long.
const REFRESH_AFTER: Duration = Duration::from_secs(600);
const REFRESH_PAUSE: Duration = Duration::from_secs(30);
