//! State that outlives a request: expiring records behind a few verbs.
//!
//! The one trait of the project. Every backend passes `contract`.

use std::fmt;
use std::pin::Pin;

use crate::clock::Timestamp;

#[cfg(test)]
mod contract;
pub mod lease;
mod memory;

pub use memory::MemoryStore;

/// Records by key. A record whose time has passed is absent to every verb.
///
/// Keys are `<kind>:<hash>`, values are sealed text: a backend sees neither people nor secrets.
pub trait Store: fmt::Debug + Send + Sync {
    fn read<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Record>>;

    /// Write whatever was there before.
    fn put<'a>(&'a self, key: &'a str, value: String, until: Timestamp) -> Answer<'a, ()>;

    /// Remove and return. Of any number of callers exactly one gets the record.
    fn take<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Record>>;

    /// Write if absent. Of any number of callers exactly one gets `Created::New`.
    fn create<'a>(&'a self, key: &'a str, value: String, until: Timestamp) -> Answer<'a, Created>;

    /// Replace if the record is still the one that was read. Of any number of callers that read the
    /// same version exactly one gets `Swap::Done`.
    fn swap<'a>(
        &'a self,
        key: &'a str,
        read: Version,
        value: String,
        until: Timestamp,
    ) -> Answer<'a, Swap>;

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()>;

    /// Every record whose key starts with `prefix`, in the order of their keys.
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<(String, Record)>>;
}

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send + 'a>>;

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
