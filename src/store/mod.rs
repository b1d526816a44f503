//! State that outlives a request: expiring records behind a few verbs.
//!
//! The one trait of the project. Every backend passes `contract`.

use std::fmt;
use std::pin::Pin;

use crate::clock::Timestamp;
use crate::secret;

#[cfg(test)]
mod contract;
pub mod lease;
mod memory;

pub use memory::MemoryStore;

/// Records by key. A record whose time has passed is absent to every verb.
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
    /// same version exactly one gets `Swap::Done`.
    fn swap<'a>(
        &'a self,
        key: &'a Key,
        read: Version,
        value: String,
        until: Timestamp,
    ) -> Answer<'a, Swap>;

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, ()>;

    /// Every record of this kind.
    fn list<'a>(&'a self, kind: &'static str) -> Answer<'a, Vec<Record>>;
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
