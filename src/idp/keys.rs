//! The keys that the IdP signs access tokens with. Asked for in the background; a token waits for them only
//! if it names a key that is not among them, and then not long and not often.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use quick_cache::sync::Cache;
use tokio::time::timeout;
use tracing::instrument::WithSubscriber as _;

use crate::clock::Timestamp;
use crate::idp::{Discovered, Idp};
use crate::jose::KeySet;

/// What is known of the IdP's keys.
#[derive(Debug)]
pub(super) struct Keys {
    /// The last set that had a key in it: one without is no answer, however it came.
    known: ArcSwapOption<KnownKeys>,
    /// Names of keys that the IdP did not publish when it was asked for them, until it may be asked again.
    unknown: Cache<String, Timestamp>,
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

    /// The IdP was asked, and answered this.
    pub fn learn(&self, discovered: &Discovered) {
        if let Some(set) = &discovered.signing_keys {
            let gone = self.known.load_full().into_iter().flat_map(|before| {
                let ids = before.set.ids().map(str::to_owned).collect::<Vec<_>>();
                ids.into_iter().filter(|id| set.named(Some(id)).next().is_none())
            });
            // What was just taken back need not be asked for.
            for id in gone {
                self.unknown.insert(id, discovered.at.after(UNKNOWN_FOR));
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
        let has_it = |known: &Arc<KnownKeys>| known.set.named(kid).next().is_some();
        if let Some(known) = self.known_keys() {
            if has_it(&known) {
                return Ok(known);
            }
            if kid.is_some_and(|kid| self.is_not_published(kid)) {
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
        match kid {
            _ if has_it(&known) => Ok(known),
            Some(kid) if answered => {
                let until = self.clock.now().after(UNKNOWN_FOR);
                self.keys.unknown.insert(kid.to_owned(), until);
                Err(NoKey::NotPublished)
            }
            Some(kid) if self.is_not_published(kid) => Err(NoKey::NotPublished),
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

    fn is_not_published(&self, kid: &str) -> bool {
        self.keys.unknown.get(kid).is_some_and(|until| self.clock.now() < until)
    }
}

/// A key that is no longer published verifies nothing after this and a little more.
const REFRESH_AFTER: Duration = Duration::from_secs(590);
const LONGEST_OUTAGE: Duration = Duration::from_hours(24);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Short, because somebody may guess the name of a key that is to come.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
const MOST_UNKNOWN: usize = 128;
