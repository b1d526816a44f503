//! Leases: the right to do one thing at a time across replicas, until it is given back or runs out.

use crate::clock::Timestamp;
use crate::store::{Created, Key, Reach, Store, StoreFault, Swap, Version};

/// Held by one caller at a time. Dropped without `release` it runs out by itself.
#[derive(Debug)]
pub struct Lease {
    key: Key,
    version: Version,
}

/// Take the lease named `key` until `until`; `None` if somebody holds it.
pub async fn acquire(
    store: &dyn Store,
    key: &Key,
    until: Timestamp,
) -> Result<Option<Lease>, StoreFault> {
    match store.create(key, String::new(), until).await? {
        Created::New(version) => Ok(Some(Lease { key: key.clone(), version })),
        Created::Present => Ok(None),
    }
}

impl Lease {
    /// Hold on until `until`; false if it ran out meanwhile and may be somebody else's.
    pub async fn renew(&mut self, store: &dyn Store, until: Timestamp) -> Result<bool, StoreFault> {
        // A lease that is lost with its server is a call made twice, which leases only make rare.
        match store.swap(&self.key, self.version, String::new(), until, Reach::OneServer).await? {
            Swap::Done(version) => {
                self.version = version;
                Ok(true)
            }
            Swap::Lost => Ok(false),
        }
    }

    /// Give it back now; if it ran out meanwhile, whoever holds it keeps it.
    pub async fn release(self, store: &dyn Store) -> Result<(), StoreFault> {
        let long_past = Timestamp::from_seconds(0);
        store
            .swap(&self.key, self.version, String::new(), long_past, Reach::OneServer)
            .await
            .map(|_| ())
    }
}
