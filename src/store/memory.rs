//! Records in this process's memory: for one replica, for `try` and for tests. Lost at a restart.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::store::{Answer, Created, Cursor, Followed, Key, Reach, Record, Store, Swap, Version};

/// Expired records are removed while others are written, so memory follows what is alive.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Clock,
    records: Mutex<Records>,
}

#[derive(Debug)]
struct Records {
    by_key: HashMap<Key, Kept>,
    /// Of all logs, oldest first.
    entries: Vec<Entry>,
    /// Numbers versions and entries.
    writes: u64,
    sweep_at: usize,
    swept: Timestamp,
}

#[derive(Debug)]
struct Kept {
    record: Record,
    until: Timestamp,
}

#[derive(Debug)]
struct Entry {
    log: &'static str,
    number: u64,
    text: String,
    until: Timestamp,
}

impl MemoryStore {
    pub fn new(clock: Clock) -> Self {
        let records = Records {
            by_key: HashMap::new(),
            entries: Vec::new(),
            writes: 0,
            sweep_at: SMALLEST_SWEEP,
            swept: clock.now(),
        };
        Self { clock, records: Mutex::new(records) }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        // No code panics while it holds the lock; if one did, each record is still whole.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn live(&self, key: &Key, now: Timestamp) -> Option<&Record> {
        self.by_key.get(key).filter(|kept| kept.until > now).map(|kept| &kept.record)
    }

    fn write(&mut self, key: &Key, value: String, until: Timestamp, now: Timestamp) -> Version {
        let version = Version(self.begin_write(now));
        self.by_key.insert(key.clone(), Kept { record: Record { value, version }, until });
        version
    }

    fn begin_write(&mut self, now: Timestamp) -> u64 {
        self.sweep(now);
        self.writes += 1;
        self.writes
    }

    /// Remove what has expired: when the number of records has doubled since the last sweep, so that
    /// memory follows what is alive, and after a while anyway, so that it follows it down again.
    fn sweep(&mut self, now: Timestamp) {
        let size = self.by_key.len() + self.entries.len();
        if size >= self.sweep_at || self.swept.after(SWEEP_AFTER) <= now {
            self.by_key.retain(|_, kept| kept.until > now);
            self.by_key.shrink_to(2 * self.by_key.len());
            self.entries.retain(|entry| entry.until > now);
            self.entries.shrink_to(2 * self.entries.len());
            self.sweep_at = ((self.by_key.len() + self.entries.len()) * 2).max(SMALLEST_SWEEP);
            self.swept = now;
        }
    }
}

impl Store for MemoryStore {
    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        Box::pin(async move { Ok(self.lock().live(key, self.clock.now()).cloned()) })
    }

    fn put<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move {
            self.lock().write(key, value, until, self.clock.now());
            Ok(())
        })
    }

    fn take<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        Box::pin(async move {
            let now = self.clock.now();
            let taken = self.lock().by_key.remove(key);
            Ok(taken.filter(|kept| kept.until > now).map(|kept| kept.record))
        })
    }

    fn create<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, Created> {
        Box::pin(async move {
            let now = self.clock.now();
            let mut records = self.lock();
            if records.live(key, now).is_some() {
                return Ok(Created::Present);
            }
            Ok(Created::New(records.write(key, value, until, now)))
        })
    }

    fn swap<'a>(
        &'a self,
        key: &'a Key,
        read: Version,
        value: String,
        until: Timestamp,
        _: Reach,
    ) -> Answer<'a, Swap> {
        Box::pin(async move {
            let now = self.clock.now();
            let mut records = self.lock();
            if records.live(key, now).is_none_or(|record| record.version != read) {
                return Ok(Swap::Lost);
            }
            Ok(Swap::Done(records.write(key, value, until, now)))
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, ()> {
        Box::pin(async move {
            self.lock().by_key.remove(key);
            Ok(())
        })
    }

    fn list<'a>(&'a self, kind: &'static str) -> Answer<'a, Vec<Record>> {
        Box::pin(async move {
            let now = self.clock.now();
            let of_kind = |key: &Key| key.as_str().split(':').next() == Some(kind);
            Ok(self
                .lock()
                .by_key
                .iter()
                .filter(|(key, kept)| of_kind(key) && kept.until > now)
                .map(|(_, kept)| kept.record.clone())
                .collect())
        })
    }

    fn append<'a>(&'a self, log: &'static str, entry: String, until: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut records = self.lock();
            let number = records.begin_write(self.clock.now());
            records.entries.push(Entry { log, number, text: entry, until });
            Ok(())
        })
    }

    fn follow<'a>(&'a self, log: &'static str, after: Cursor) -> Answer<'a, Followed> {
        Box::pin(async move {
            let now = self.clock.now();
            let records = self.lock();
            if after.at.0 > records.writes {
                return Ok(Followed::Lost);
            }
            let is_new = |entry: &&Entry| entry.log == log && entry.number > after.at.0;
            let new = || records.entries.iter().filter(is_new);
            let next = new().next_back().map_or(after, |last| Cursor {
                at: (last.number, 0),
                until: last.until,
                of: after.of,
            });
            let alive = new().filter(|entry| entry.until > now);
            Ok(Followed::New(alive.map(|entry| entry.text.clone()).collect(), next))
        })
    }
}

const SMALLEST_SWEEP: usize = 1024;
const SWEEP_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::contract;

    const START: Timestamp = Timestamp::from_seconds(1_000);

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        let clock = ManualClock::starting_at(START);
        let store = Arc::new(MemoryStore::new(Clock::Manual(clock.clone())));

        contract::holds(store, &clock).await;
    }

    #[tokio::test]
    async fn memory_follows_what_is_alive() {
        let clock = ManualClock::starting_at(START);
        let store = MemoryStore::new(Clock::Manual(clock.clone()));

        for number in 0..10 * SMALLEST_SWEEP {
            let until = clock_now(&clock).after(Duration::from_secs(10));
            store.put(&Key::new("k", &id(number)), String::new(), until).await.unwrap();
            clock.advance(Duration::from_secs(1));
        }

        assert!(store.lock().by_key.len() <= 2 * SMALLEST_SWEEP);
    }

    #[tokio::test]
    async fn memory_shrinks_after_a_burst() {
        let clock = ManualClock::starting_at(START);
        let store = MemoryStore::new(Clock::Manual(clock.clone()));
        let until = START.after(Duration::from_secs(10));
        for number in 0..20 * SMALLEST_SWEEP {
            store.put(&Key::new("k", &id(number)), String::new(), until).await.unwrap();
        }

        clock.advance(Duration::from_secs(60));
        store.put(&Key::new("k", &id(0)), String::new(), clock_now(&clock)).await.unwrap();

        assert!(store.lock().by_key.capacity() <= SMALLEST_SWEEP);
    }

    fn id(number: usize) -> [u8; 16] {
        (number as u128).to_be_bytes()
    }

    fn clock_now(clock: &ManualClock) -> Timestamp {
        Clock::Manual(clock.clone()).now()
    }
}
