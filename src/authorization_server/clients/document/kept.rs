//! What was fetched from strangers, by its URL, for as long as it may be used.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::authorization_server::clients::document::DocumentFault;
use crate::clock::Timestamp;
use crate::outbound::Unfetched;

#[derive(Debug)]
pub struct Kept<T>(Cache<String, Known<T>>);

/// What came of fetching. A failure is kept for seconds, so that the same question is not carried to a
/// stranger again and again; it is no verdict on what is there.
#[derive(Debug)]
pub struct Known<T> {
    pub outcome: Result<Arc<T>, DocumentFault>,
    /// When it was asked for last.
    asked: Timestamp,
    until: Timestamp,
}

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// As old as its publisher allows.
    Usual,
    /// Something is missing in it, which may have been added since.
    Seconds,
}

impl<T> Known<T> {
    pub fn good(thing: T, now: Timestamp, lifetime: Duration) -> Self {
        Self { outcome: Ok(Arc::new(thing)), asked: now, until: now.after(lifetime) }
    }

    pub fn failed(fault: DocumentFault, now: Timestamp) -> Self {
        Self { outcome: Err(fault), asked: now, until: now.after(FAILURE_KEPT) }
    }

    fn is_fresh(&self, age: Age, now: Timestamp) -> bool {
        let is_young = self.asked.after(FAILURE_KEPT) > now;
        self.until > now && (age == Age::Usual || is_young)
    }
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self { outcome: self.outcome.clone(), ..*self }
    }
}

impl<T> Kept<T> {
    pub fn new() -> Self {
        Self(Cache::new(MOST_KNOWN))
    }

    pub fn insert(&self, url: &str, known: Known<T>) {
        self.0.insert(url.to_owned(), known);
    }

    /// What is at `url`, by `fetch` if nothing is known that is young enough. Who asks while it is being
    /// fetched waits for the same answer.
    pub async fn get(
        &self,
        url: &str,
        age: Age,
        now: Timestamp,
        fetch: impl Future<Output = Known<T>>,
    ) -> Result<Arc<T>, DocumentFault> {
        let entry = self.0.entry_async(url, |_, known| {
            if known.is_fresh(age, now) {
                EntryAction::Retain(known.outcome.clone())
            } else {
                EntryAction::ReplaceWithGuard
            }
        });
        let (place, before) = match entry.await {
            EntryResult::Retained(outcome) => return outcome,
            EntryResult::Vacant(place) => (place, None),
            EntryResult::Replaced(place, before) => (place, Some(before)),
            EntryResult::Removed(..) | EntryResult::Timeout => return Err(Unfetched::Busy.into()),
        };
        let known = fetch.await;
        let is_ours = matches!(&known.outcome, Err(DocumentFault::Unfetched(why)) if why.is_ours());
        // The place is gone only if somebody forgot the entry meanwhile: then nothing is kept.
        match before {
            // A failure takes nothing away that may still be used.
            Some(before)
                if known.outcome.is_err() && before.outcome.is_ok() && before.until > now =>
            {
                let _ = place.insert(Known { asked: now, ..before });
            }
            Some(_) | None if !is_ours => {
                let _ = place.insert(known.clone());
            }
            Some(_) | None => {}
        }
        known.outcome
    }
}

const MOST_KNOWN: usize = 1000;
/// The draft forbids to cache failures (§4.3): this limits how often one can be caused.
const FAILURE_KEPT: Duration = Duration::from_secs(30);
