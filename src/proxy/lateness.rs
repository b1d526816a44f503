//! How late a worker is. What it is about to do has then waited for as long, and its client may have given up: to begin
//! it would only make the rest later.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Of one worker, which looks at it in equal pauses, if it can.
#[derive(Debug)]
pub struct Lateness {
    pause: Duration,
    last: Mutex<Look>,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    /// Since then.
    refused: u64,
}

/// What was refused, and how late the worker was by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub count: u64,
    pub late_by: Duration,
}

impl Lateness {
    pub fn of_looks_each(pause: Duration) -> Self {
        Self { pause, last: Mutex::new(Look { at: Instant::now(), refused: 0 }) }
    }

    /// To be called after each pause. What was refused meanwhile.
    pub fn look(&self) -> Option<Refused> {
        let now = Look { at: Instant::now(), refused: 0 };
        let last = mem::replace(&mut *self.lock(), now);
        let late_by = last.at.elapsed().saturating_sub(self.pause);
        (last.refused > 0).then_some(Refused { count: last.refused, late_by })
    }

    /// Whether to refuse what has just come to its turn. Counted, if so.
    pub fn is_too_late(&self) -> bool {
        let mut last = self.lock();
        let is_late = last.at.elapsed() > self.pause + LATEST;
        last.refused += u64::from(is_late);
        is_late
    }

    fn lock(&self) -> MutexGuard<'_, Look> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LATEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Fault 45 of the design.
    #[tokio::test(start_paused = true)]
    async fn who_is_more_than_a_second_late_refuses_until_there_was_time_to_look() {
        let lateness = Lateness::of_looks_each(Duration::from_secs(1));

        advance(Duration::from_secs(2)).await;
        assert!(!lateness.is_too_late());
        advance(Duration::from_millis(1)).await;
        assert!(lateness.is_too_late());
        assert!(lateness.is_too_late());
        let refused = lateness.look();

        assert_eq!(refused, Some(Refused { count: 2, late_by: Duration::from_millis(1001) }));
        assert!(!lateness.is_too_late());
        assert_eq!(lateness.look(), None);
    }
}
