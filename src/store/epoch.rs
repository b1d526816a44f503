//! The epoch of a store: which store this is, and since when. Other than the one that a token was issued
//! under, it says that what the token counts on was lost, or is in another store.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::clock::{Clock, Timestamp};
use crate::store::{Created, Key, Store, StoreFault};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    pub id: [u8; 8],
    pub began: Timestamp,
}

/// Why a store has no record of what was issued under some epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is the store's own epoch: there was a record, and it is over.
    Over,
    /// An earlier one: the store lost its records, or was replaced.
    Lost,
    /// One that began after this process did and that its store never had: another live instance has a
    /// store of its own.
    Elsewhere,
}

/// What a process knows of the epochs of its store.
#[derive(Debug)]
pub struct Epochs {
    store: Arc<dyn Store>,
    clock: Clock,
    chance: Chance,
    started: Timestamp,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    current: Option<Epoch>,
    all: HashSet<[u8; 8]>,
}

impl Epochs {
    pub fn of(store: Arc<dyn Store>, clock: Clock, chance: Chance) -> Self {
        let started = clock.now();
        Self { store, clock, chance, started, known: Mutex::default() }
    }

    /// Of what is written now. As it was last read.
    pub async fn current(&self) -> Result<Epoch, StoreFault> {
        let known = self.known().current;
        match known {
            Some(epoch) => Ok(epoch),
            None => self.read().await,
        }
    }

    /// What there is of a record that was written under `epoch` and is not found.
    pub async fn why_missing(&self, epoch: Epoch) -> Result<Missing, StoreFault> {
        // It may have been lost a moment ago.
        if self.read().await?.id == epoch.id {
            return Ok(Missing::Over);
        }
        let was_here = self.known().all.contains(&epoch.id);
        Ok(if epoch.began >= self.started && !was_here {
            Missing::Elsewhere
        } else {
            Missing::Lost
        })
    }

    /// Was `epoch` begun by another live instance, on a store of its own?
    pub async fn is_elsewhere(&self, epoch: Epoch) -> Result<bool, StoreFault> {
        if self.current().await?.id == epoch.id {
            return Ok(false);
        }
        Ok(self.why_missing(epoch).await? == Missing::Elsewhere)
    }

    /// Ask the store. To be called after a fault: what answers then may be an empty store.
    pub async fn read(&self) -> Result<Epoch, StoreFault> {
        let epoch = of(&*self.store, &self.clock, self.chance).await?;
        let mut known = self.known();
        known.current = Some(epoch);
        known.all.insert(epoch.id);
        Ok(epoch)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The epoch of `store`; a store that has none begins one. All replicas on one store agree on it.
pub async fn of(store: &dyn Store, clock: &Clock, chance: Chance) -> Result<Epoch, StoreFault> {
    let key = Key::new("epoch", &[0; 16]);
    if let Some(record) = store.read(&key).await? {
        return parse(&record.value);
    }
    let begun = Epoch { id: chance.bytes().map_err(|_| StoreFault)?, began: clock.now() };
    match store.create(&key, write(begun), Timestamp::from_seconds(u64::MAX)).await? {
        Created::New(_) => Ok(begun),
        // Another replica was quicker.
        Created::Present => parse(&store.read(&key).await?.ok_or(StoreFault)?.value),
    }
}

fn write(epoch: Epoch) -> String {
    format!("2 {:016x} {}", u64::from_be_bytes(epoch.id), epoch.began.seconds())
}

fn parse(text: &str) -> Result<Epoch, StoreFault> {
    let read = || {
        let (id, began) = text.strip_prefix("2 ")?.split_once(' ')?;
        let id = u64::from_str_radix(id, 16).ok()?.to_be_bytes();
        Some(Epoch { id, began: Timestamp::from_seconds(began.parse().ok()?) })
    };
    read().ok_or(StoreFault)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::MemoryStore;

    fn epochs(clock: &ManualClock) -> (Arc<MemoryStore>, Epochs) {
        let clock = Clock::Manual(clock.clone());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let epochs = Epochs::of(Arc::clone(&store) as Arc<dyn Store>, clock, Chance::system());
        (store, epochs)
    }

    fn clock() -> ManualClock {
        ManualClock::starting_at(Timestamp::from_seconds(1_790_000_000))
    }

    async fn wipe(store: &MemoryStore) {
        store.delete(&Key::new("epoch", &[0; 16])).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_missing_under_the_epoch_of_the_store_is_over() {
        let (_, epochs) = epochs(&clock());
        let now = epochs.current().await.unwrap();

        assert_eq!(epochs.why_missing(now).await, Ok(Missing::Over));
    }

    /// A restart on memory.
    #[tokio::test]
    async fn what_began_before_this_process_was_lost() {
        let clock = clock();
        let before = epochs(&clock).1.current().await.unwrap();
        clock.advance(Duration::from_secs(1));
        let (_, now) = epochs(&clock);

        assert_eq!(now.why_missing(before).await, Ok(Missing::Lost));
        assert_eq!(now.is_elsewhere(before).await, Ok(false));
    }

    /// Two replicas on memory by mistake: the one that was there first can tell.
    #[tokio::test]
    async fn what_began_after_this_process_is_another_instances() {
        let clock = clock();
        let (_, first) = epochs(&clock);
        clock.advance(Duration::from_secs(1));
        let second = epochs(&clock).1.current().await.unwrap();

        assert_eq!(first.why_missing(second).await, Ok(Missing::Elsewhere));
        assert_eq!(first.is_elsewhere(second).await, Ok(true));
    }

    /// Redis is flushed under a running process.
    #[tokio::test]
    async fn a_store_that_is_wiped_has_lost_its_own_epoch() {
        let clock = clock();
        let (store, epochs) = epochs(&clock);
        let before = epochs.current().await.unwrap();
        clock.advance(Duration::from_secs(1));
        wipe(&store).await;

        assert_eq!(epochs.why_missing(before).await, Ok(Missing::Lost));
        let after = epochs.current().await.unwrap();
        assert_ne!(after, before);
        assert_eq!(epochs.why_missing(after).await, Ok(Missing::Over));
    }
}
