//! Which grants ended while access tokens of theirs may still be alive. Asked at every request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::grants::row::GrantId;
use crate::seal::Kind;

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

    /// Every one that may still matter.
    pub(super) fn known(&self) -> Vec<(GrantId, Timestamp)> {
        let now = self.clock.now();
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        ended.iter().filter(|(_, until)| **until > now).map(|(id, until)| (*id, *until)).collect()
    }

    pub(super) fn add(&self, grant: GrantId, until: Timestamp) {
        let now = self.clock.now();
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, until| *until > now);
        ended.insert(grant, until);
        self.count.store(ended.len(), Ordering::Release);
    }
}

/// An entry of the log that replicas follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ending {
    pub grant: GrantId,
    /// When the last access token of the grant has expired.
    pub until: Timestamp,
}

pub(super) const ENDING: Kind<Ending> = Kind::new("doorman_en_", 1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    /// Forgotten when the next one is added, so that memory follows what is alive.
    #[test]
    fn an_ended_grant_is_forgotten_after_its_time() {
        let clock = ManualClock::starting_at(Timestamp::from_seconds(1_790_000_000));
        let revocations = Revocations::new(Clock::Manual(clock.clone()));
        let now = || Clock::Manual(clock.clone()).now();
        let [short, long, late] = [1, 2, 3].map(|n| GrantId::new([n; 16]));
        revocations.add(short, now().after(Duration::from_secs(60)));
        revocations.add(long, now().after(Duration::from_secs(120)));

        clock.advance(Duration::from_secs(59));
        revocations.add(late, now().after(Duration::from_secs(60)));
        assert!([short, long, late].iter().all(|grant| revocations.contains(*grant)));
        clock.advance(Duration::from_secs(1));
        revocations.add(late, now().after(Duration::from_secs(60)));

        assert!(!revocations.contains(short));
        assert!(revocations.contains(long) && revocations.contains(late));
    }

    #[test]
    fn a_grant_that_was_not_ended_is_not_revoked() {
        let clock = ManualClock::starting_at(Timestamp::from_seconds(1_790_000_000));
        let revocations = Revocations::new(Clock::Manual(clock));
        let grant = GrantId::new([1; 16]);
        assert!(!revocations.contains(grant));

        revocations.add(GrantId::new([2; 16]), Timestamp::from_seconds(1_790_000_060));

        assert!(!revocations.contains(grant));
    }
}
