//! Time as a parameter: nothing else reads the wall clock, so a test can be an hour later at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use serde::{Deserialize, Serialize};

/// Whole seconds since 1970-01-01 UTC, the resolution of every lifetime in OAuth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// `self + lifetime`, or the end of time: a lifetime too long to add never becomes a short one.
    pub const fn after(self, lifetime: Duration) -> Self {
        Self(self.0.saturating_add(lifetime.as_secs()))
    }

    /// How long from `self` until `later`; zero if that has passed.
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0))
    }
}

/// As RFC 3339 writes it; nothing, if it is later than any date.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|time| DateTime::from_timestamp(time, 0));
        time.map_or(Ok(()), |time| write!(f, "{}T{}Z", time.date_naive(), time.time()))
    }
}

/// Where the time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    /// Stands still until it is moved.
    Manual(ManualClock),
}

impl Clock {
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Manual(clock) => Timestamp(clock.0.load(Ordering::Relaxed)),
        }
    }
}

/// A clock that a test moves; clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub fn starting_at(time: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(time.0)))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn system_now() -> Timestamp {
    // A clock before 1970 reads as 1970: everything we issued then looks not yet valid or expired, never fresh.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since_epoch.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_too_long_to_add_ends_at_the_end_of_time() {
        let end = Timestamp(u64::MAX);

        assert_eq!(Timestamp(10).after(Duration::from_secs(u64::MAX)), end);
    }

    #[test]
    fn a_manual_clock_moves_for_all_its_clones() {
        let clock = ManualClock::starting_at(Timestamp(100));
        let seen = Clock::Manual(clock.clone());

        clock.advance(Duration::from_secs(5));

        assert_eq!(seen.now(), Timestamp(105));
    }
}
