//! What befalls those whom the product asks before it lets anybody in.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mcp_doorman::clock::{Clock, Timestamp};
use mcp_doorman::store::{
    Answer, Created, Cursor, Followed, Key, MemoryStore, Reach, Record, Store, StoreFault, Swap,
    Version,
};

/// What becomes of a request to the IdP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdpTrouble {
    /// It is answered 500.
    Error,
    /// It is answered 200, with a page.
    Nonsense,
    /// Its connection breaks.
    Reset,
    /// It is never answered.
    Silence,
}

/// What becomes of a question to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreTrouble {
    Error,
    Panic,
    /// It is never answered.
    Silence,
}

/// What the store is asked for on the way of a request, and all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Read,
    Create,
    Swap,
    Follow,
}

/// A store in memory; clones are one. One of its verbs may be in trouble.
#[derive(Clone, Debug)]
pub struct TroubledStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    memory: Mutex<Arc<MemoryStore>>,
    trouble: Mutex<Option<(Verb, StoreTrouble)>>,
    was_met: AtomicBool,
    looks: AtomicUsize,
}

impl TroubledStore {
    pub fn at(clock: Clock) -> Self {
        let memory = Mutex::new(Arc::new(MemoryStore::new(clock.clone())));
        let (trouble, was_met) = (Mutex::default(), AtomicBool::default());
        let looks = AtomicUsize::new(0);
        Self(Arc::new(Inner { clock, memory, trouble, was_met, looks }))
    }

    /// From now on this becomes of every question of that kind.
    pub fn in_trouble(&self, verb: Verb, trouble: StoreTrouble) {
        *self.0.trouble.lock().unwrap() = Some((verb, trouble));
    }

    pub fn recover(&self) {
        *self.0.trouble.lock().unwrap() = None;
    }

    /// From now on it has nothing of what it had.
    pub fn forget(&self) {
        *self.0.memory.lock().unwrap() = Arc::new(MemoryStore::new(self.0.clock.clone()));
    }

    /// Whether somebody asked what is in trouble.
    pub fn was_met(&self) -> bool {
        self.0.was_met.load(Ordering::Relaxed)
    }

    /// How often a log was looked at.
    pub fn looks(&self) -> usize {
        self.0.looks.load(Ordering::Relaxed)
    }

    fn memory(&self) -> Arc<MemoryStore> {
        self.0.memory.lock().unwrap().clone()
    }

    async fn pass(&self, verb: Verb) -> Result<(), StoreFault> {
        let trouble = *self.0.trouble.lock().unwrap();
        let Some((_, trouble)) = trouble.filter(|(at, _)| *at == verb) else { return Ok(()) };
        self.0.was_met.store(true, Ordering::Relaxed);
        match trouble {
            StoreTrouble::Error => Err(StoreFault),
            StoreTrouble::Panic => panic!("the store was told to"),
            StoreTrouble::Silence => pending().await,
        }
    }
}

impl Store for TroubledStore {
    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        Box::pin(async move {
            self.pass(Verb::Read).await?;
            self.memory().read(key).await
        })
    }

    fn put<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move { self.memory().put(key, value, until).await })
    }

    fn take<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        Box::pin(async move { self.memory().take(key).await })
    }

    fn create<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, Created> {
        Box::pin(async move {
            self.pass(Verb::Create).await?;
            self.memory().create(key, value, until).await
        })
    }

    fn swap<'a>(
        &'a self,
        key: &'a Key,
        read: Version,
        value: String,
        until: Timestamp,
        reach: Reach,
    ) -> Answer<'a, Swap> {
        Box::pin(async move {
            self.pass(Verb::Swap).await?;
            self.memory().swap(key, read, value, until, reach).await
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, ()> {
        Box::pin(async move { self.memory().delete(key).await })
    }

    fn list<'a>(&'a self, kind: &'static str) -> Answer<'a, Vec<Record>> {
        Box::pin(async move { self.memory().list(kind).await })
    }

    fn append<'a>(&'a self, log: &'static str, entry: String, until: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move { self.memory().append(log, entry, until).await })
    }

    fn follow<'a>(&'a self, log: &'static str, after: Cursor) -> Answer<'a, Followed> {
        Box::pin(async move {
            self.pass(Verb::Follow).await?;
            let followed = self.memory().follow(log, after).await;
            self.0.looks.fetch_add(1, Ordering::Relaxed);
            followed
        })
    }
}
