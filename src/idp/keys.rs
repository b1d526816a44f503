//! The keys that the IdP signs access tokens with. Asked for in the background; a token waits for them only
//! if it is signed with a key that may not be among them, and then not long and not often.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use quick_cache::sync::Cache;
use tokio::time::timeout;
use tracing::instrument::WithSubscriber as _;

use crate::clock::Timestamp;
use crate::idp::{Discovered, Idp};
use crate::jose::KeySet;
use crate::secret;

/// What is known of the IdP's keys.
#[derive(Debug)]
pub(super) struct Keys {
    /// The last set that had a key in it: one without is no answer, however it came.
    known: ArcSwapOption<KnownKeys>,
    /// What the IdP did not publish a key for when it was asked, until it may be asked again.
    unknown: Cache<Unknown, Timestamp>,
}

/// What a key may be asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Unknown {
    /// The key's name.
    Named(String),
    /// A hash of a token that names no key.
    Token([u8; 16]),
}

/// A set of keys as the IdP published it.
#[derive(Debug)]
pub struct KnownKeys {
    pub set: KeySet,
    at: Timestamp,
}

/// Why there is no key to verify a token with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// The token is bad.
    #[error("it is signed with a key that the IdP does not publish")]
    NotPublished,
    /// It may be good.
    #[error("the IdP's keys are not known now")]
    NotKnown,
}

impl Keys {
    pub fn new() -> Self {
        Self { known: ArcSwapOption::empty(), unknown: Cache::new(MOST_UNKNOWN) }
    }

    pub fn learn_from(&self, before: &Self) {
        self.known.store(before.known.load_full());
    }

    /// The IdP was asked, and answered this.
    pub fn learn(&self, discovered: &Discovered) {
        if let Some(set) = &discovered.signing_keys {
            let gone = self.known.load_full().into_iter().flat_map(|before| {
                let ids = before.set.ids().map(str::to_owned).collect::<Vec<_>>();
                ids.into_iter().filter(|id| set.named(Some(id)).next().is_none())
            });
            // What was just taken back need not be asked for.
            for id in gone {
                self.unknown.insert(Unknown::Named(id), discovered.at.after(UNKNOWN_FOR));
            }
            self.known.store(Some(Arc::new(KnownKeys { set: set.clone(), at: discovered.at })));
        }
    }
}

impl Idp {
    /// The keys as they were last published; through an outage for a day.
    pub fn known_keys(&self) -> Option<Arc<KnownKeys>> {
        let known = self.keys.known.load_full();
        known.filter(|known| self.clock.now() < known.at.after(LONGEST_OUTAGE))
    }

    /// Keys among which is the one that `kid` names, if any is named.
    pub async fn keys_with(self: &Arc<Self>, kid: Option<&str>) -> Result<Arc<KnownKeys>, NoKey> {
        let has_it = |known: &KnownKeys| known.set.named(kid).next().is_some();
        let unknown = kid.map(|kid| Unknown::Named(kid.to_owned()));
        self.keys_that(has_it, unknown).await
    }

    /// Keys as they were published after those of `tried`, none of which verifies `token`, which names none.
    pub async fn keys_after(
        self: &Arc<Self>,
        tried: &KnownKeys,
        token: &str,
    ) -> Result<Arc<KnownKeys>, NoKey> {
        let are_others = |known: &KnownKeys| known.set.digest() != tried.set.digest();
        let unknown = Unknown::Token(secret::short_hash(token.as_bytes()));
        self.keys_that(are_others, Some(unknown)).await
    }

    /// Keys that are good, as soon as they can be had. `unknown` is what they are wanted for.
    async fn keys_that(
        self: &Arc<Self>,
        are_good: impl Fn(&KnownKeys) -> bool,
        unknown: Option<Unknown>,
    ) -> Result<Arc<KnownKeys>, NoKey> {
        if let Some(known) = self.known_keys() {
            if are_good(&known) {
                return Ok(known);
            }
            if self.has_none_for(unknown.as_ref()) {
                return Err(NoKey::NotPublished);
            }
        }
        // However many tokens name however many keys, the IdP is asked once each 30 s.
        let answered = if self.may_refresh() {
            let idp = Arc::clone(self);
            let asking = async move { idp.ask().await.is_ok() }.with_current_subscriber();
            // Goes on when the wait is over: the next token has the answer.
            matches!(timeout(LONGEST_WAIT, tokio::spawn(asking)).await, Ok(Ok(true)))
        } else {
            // Somebody may be asking right now.
            drop(timeout(LONGEST_WAIT, self.asking.lock()).await);
            false
        };
        let known = self.known_keys().ok_or(NoKey::NotKnown)?;
        match unknown {
            _ if are_good(&known) => Ok(known),
            Some(unknown) if answered => {
                let until = self.clock.now().after(UNKNOWN_FOR);
                self.keys.unknown.insert(unknown, until);
                Err(NoKey::NotPublished)
            }
            unknown if self.has_none_for(unknown.as_ref()) => Err(NoKey::NotPublished),
            // It may be a new key that nobody could ask for yet.
            Some(_) | None => Err(NoKey::NotKnown),
        }
    }

    /// To be called often: asks the IdP if what is known is old, and not more often than each 30 s.
    pub async fn refresh_keys(&self) {
        let known = self.keys.known.load_full();
        let is_old = known.is_none_or(|known| known.at.after(REFRESH_AFTER) <= self.clock.now());
        if is_old && self.may_refresh() {
            // What went wrong was told; the last good keys stay.
            let _ = self.ask().await;
        }
    }

    /// Whether the IdP was asked for it a moment ago.
    fn has_none_for(&self, unknown: Option<&Unknown>) -> bool {
        let until = unknown.and_then(|unknown| self.keys.unknown.get(unknown));
        until.is_some_and(|until| self.clock.now() < until)
    }
}

/// A key that is no longer published verifies nothing after this and a little more.
const REFRESH_AFTER: Duration = Duration::from_secs(590);
const LONGEST_OUTAGE: Duration = Duration::from_hours(24);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Short, because somebody may guess the name of a key that is to come.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
const MOST_UNKNOWN: usize = 128;
