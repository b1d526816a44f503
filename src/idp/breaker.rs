//! Leaves an endpoint alone that failed several times in a row: who waits for it would wait in vain, and it
//! would be asked the more the worse it does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// Lets questions through until `MOST_FAULTS` in a row failed; after a pause one, on whose outcome the rest
/// depends.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        faults: u32,
    },
    Open {
        until: Timestamp,
    },
    /// One is on its way. If nobody hears what became of it, another may go at `until`.
    Probing {
        until: Timestamp,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { faults: 0 }
    }
}

impl Breaker {
    /// Would `begin` say no? Takes nothing away from whoever may ask.
    pub fn is_open(&self, now: Timestamp) -> bool {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Closed { .. } => false,
            State::Open { until } | State::Probing { until } => !is_over(until, now),
        }
    }

    /// May the caller ask now? If so, it tells what came of it.
    pub fn begin(&self, now: Timestamp) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => true,
            State::Open { until } | State::Probing { until } if is_over(until, now) => {
                *state = State::Probing { until: now.after(PAUSE) };
                true
            }
            State::Open { .. } | State::Probing { .. } => false,
        }
    }

    pub fn went_well(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// Says whether it opened by this.
    pub fn failed(&self, now: Timestamp) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = State::Open { until: now.after(PAUSE) };
        let (next, opens) = match *state {
            State::Closed { faults } if faults + 1 < MOST_FAULTS => {
                (State::Closed { faults: faults + 1 }, false)
            }
            State::Closed { .. } => (open, true),
            State::Probing { .. } => (open, false),
            // It was asked before.
            State::Open { until } => (State::Open { until }, false),
        };
        *state = next;
        opens
    }
}

/// What lies further ahead than a pause was written by a clock that has been set back.
fn is_over(until: Timestamp, now: Timestamp) -> bool {
    until <= now || until > now.after(PAUSE)
}

const MOST_FAULTS: u32 = 5;
/// What `Retry-After` says meanwhile.
const PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        for n in 1..=MOST_FAULTS {
            assert!(breaker.begin(NOW), "{n}");
            assert_eq!(breaker.failed(NOW), n == MOST_FAULTS);
        }
        breaker
    }

    #[test]
    fn faults_in_a_row_open_it() {
        let breaker = opened();

        assert!(breaker.is_open(NOW) && !breaker.begin(NOW));
    }

    #[test]
    fn faults_that_are_not_in_a_row_do_not() {
        let breaker = Breaker::default();
        for n in 0..100 {
            assert!(breaker.begin(NOW));
            if n % 5 == 4 {
                breaker.went_well();
            } else {
                assert!(!breaker.failed(NOW));
            }
        }
    }

    #[test]
    fn after_a_pause_one_may_ask_and_decides_for_all() {
        let breaker = opened();
        let (almost, later) = (NOW.after(Duration::from_secs(4)), NOW.after(PAUSE));

        assert!(!breaker.begin(almost));
        assert!(!breaker.is_open(later));
        assert!(breaker.begin(later));
        assert!(breaker.is_open(later) && !breaker.begin(later), "two were let through");

        breaker.failed(later);
        assert!(!breaker.begin(later));
        assert!(breaker.begin(later.after(PAUSE)));
        breaker.went_well();
        assert!(breaker.begin(later.after(PAUSE)) && breaker.begin(later.after(PAUSE)));
    }

    #[test]
    fn one_that_was_never_heard_of_again_locks_nobody_out() {
        let breaker = opened();

        assert!(breaker.begin(NOW.after(PAUSE)));
        assert!(breaker.begin(NOW.after(PAUSE * 2)));
    }

    /// An answer to what was asked before it opened prolongs nothing.
    #[test]
    fn a_late_fault_does_not_prolong_the_pause() {
        let breaker = opened();

        breaker.failed(NOW.after(Duration::from_secs(4)));

        assert!(breaker.begin(NOW.after(PAUSE)));
    }

    #[test]
    fn a_pause_from_the_future_is_over() {
        let breaker = opened();
        let yesterday = Timestamp::from_seconds(NOW.seconds() - 86_400);

        assert!(!breaker.is_open(yesterday) && breaker.begin(yesterday));
    }
}
