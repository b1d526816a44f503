//! Which grants ended while access tokens of theirs may still be alive. Asked at every request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::clock::{Clock, Timestamp};
use crate::grants::row::GrantId;

/// Ended grants, each kept until its last access token has expired.
#[derive(Debug)]
pub struct Revocations {
    clock: Clock,
    ended: RwLock<HashMap<GrantId, Timestamp>>,
    /// So that a request asks no lock while nothing is revoked, which is most of the time.
    count: AtomicUsize,
}

impl Revocations {
    pub fn new(clock: Clock) -> Self {
        Self { clock, ended: RwLock::default(), count: AtomicUsize::new(0) }
    }

    pub fn contains(&self, grant: GrantId) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.ended.read().unwrap_or_else(PoisonError::into_inner).contains_key(&grant)
    }

    pub(super) fn add(&self, grant: GrantId, until: Timestamp) {
        let now = self.clock.now();
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, until| *until > now);
        ended.insert(grant, until);
        self.count.store(ended.len(), Ordering::Release);
    }
}
