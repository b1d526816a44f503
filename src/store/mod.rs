//! State that outlives a request: expiring records behind a few verbs.
//!
//! The one trait of the project. Every backend passes `contract`.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use crate::chance::Chance;
use crate::clock::{Clock, Timestamp};
use crate::secret;

#[cfg(test)]
mod contract;
pub mod epoch;
pub mod file;
pub mod lease;
mod memory;
pub mod redis;
pub mod replicas;

pub use self::redis::{RedisSettings, RedisStore};
pub use file::FileStore;
pub use memory::MemoryStore;

/// Records by key, and logs by name. What its time has passed for is absent to every verb.
///
/// Keys are hashes, values are sealed text: a backend sees neither people nor secrets.
pub trait Store: fmt::Debug + Send + Sync {
    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>>;

    /// Write whatever was there before.
    fn put<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, ()>;

    /// Remove and return. Of any number of callers exactly one gets the record.
    fn take<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>>;

    /// Write if absent. Of any number of callers exactly one gets `Created::New`.
    fn create<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, Created>;

    /// Replace if the record is still the one that was read. Of any number of callers that read the
    /// same version exactly one gets `Swap::Done`, and only when the write has got as far as `reach`.
    fn swap<'a>(
        &'a self,
        key: &'a Key,
        read: Version,
        value: String,
        until: Timestamp,
        reach: Reach,
    ) -> Answer<'a, Swap>;

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, ()>;

    /// Every record of this kind. May take as long as there are records: not for a request's way.
    fn list<'a>(&'a self, kind: &'static str) -> Answer<'a, Vec<Record>>;

    /// Add `entry` at the end of `log`, for everybody who follows it until `until`. Always reaches
    /// `Reach::TwoServers`.
    fn append<'a>(&'a self, log: &'static str, entry: String, until: Timestamp) -> Answer<'a, ()>;

    /// What was appended to `log` after `after`, oldest first; from `Cursor::START` all that is alive.
    /// Every follower sees every entry, in the same order.
    fn follow<'a>(&'a self, log: &'static str, after: Cursor) -> Answer<'a, Followed>;
}

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateSettings {
    /// For one replica; lost at a restart.
    Memory,
    /// A file in this directory, for one replica.
    Dir(PathBuf),
    Redis(Box<RedisSettings>),
}

/// Why there is no store. Completes "state: ".
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    #[error(transparent)]
    File(#[from] file::OpenFault),
    #[error(transparent)]
    Redis(#[from] redis::ConnectFault),
}

/// Open the store. Redis need not answer yet.
pub async fn open(
    settings: &StateSettings,
    clock: Clock,
    chance: Chance,
) -> Result<Arc<dyn Store>, StateFault> {
    Ok(match settings {
        StateSettings::Memory => Arc::new(MemoryStore::new(clock)),
        StateSettings::Dir(dir) => Arc::new(FileStore::open(dir, clock)?),
        StateSettings::Redis(settings) => {
            Arc::new(RedisStore::connect((**settings).clone(), clock, chance).await?)
        }
    })
}

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send + 'a>>;

/// Where a record is kept: `<kind>:<hash>`, so that who reads the keys can name nothing by them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// `kind` is a word of ours, `id` the random bytes that name the thing.
    pub fn new(kind: &'static str, id: &[u8; 16]) -> Self {
        let start = format!("{kind}:");
        let hash = secret::short_hash(id);
        Self(hash.iter().fold(start, |key, byte| format!("{key}{byte:02x}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub value: String,
    pub version: Version,
}

/// How far a write has to get before it is answered. One that did not get there is a `StoreFault`,
/// although it may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The server that takes our writes has it.
    OneServer,
    /// It would survive the loss of that server. The same as `OneServer` where there is no second one.
    TwoServers,
}

/// A place in a log, to go on from. Later entries have greater cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    at: (u64, u64),
    /// Until when the entry at this place lives: as long, it must be found there.
    until: Timestamp,
    /// Which log this is a place of, should the backend lose one and begin another.
    of: u64,
}

impl Cursor {
    /// Before every entry.
    pub const START: Self = Self { at: (0, 0), until: Timestamp::from_seconds(0), of: 0 };
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The entries, and the cursor to follow from next time.
    New(Vec<String>, Cursor),
    /// The log that the cursor is from is gone, or its end is: append again what is known of it, and
    /// follow from the start. Also said once of a log in which nothing was alive for long.
    Lost,
}

/// Which writing of a record this is. Never the same for two writings of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    New(Version),
    /// There was one already; it is unchanged.
    Present,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    Done(Version),
    /// Somebody else wrote or removed it since it was read; nothing was changed.
    Lost,
}

/// The store could not answer, or its answer is unknown. Nothing may be taken as done: answer 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable")]
pub struct StoreFault;
