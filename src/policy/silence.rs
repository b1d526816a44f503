//! A server that does not answer who connects. To wait for it takes a socket and seconds, so not everybody does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether a server let somebody wait in vain and has not answered since; then, when the next may try.
#[derive(Debug, Default)]
pub struct Silence(Mutex<Option<Instant>>);

impl Silence {
    /// Whether the caller may connect now. While it is silent one may each second, on whose luck the rest depends.
    pub fn may_try(&self, now: Instant) -> bool {
        let mut next_try = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *next_try {
            None => true,
            Some(at) if at <= now => {
                *next_try = Some(now + PAUSE);
                true
            }
            Some(_) => false,
        }
    }

    /// Somebody has waited for as long as one may.
    pub fn fell(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + PAUSE);
    }

    /// Whatever it said.
    pub fn is_over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 13
    #[test]
    fn one_each_second_tries_a_silent_server_until_it_answers() {
        let (silence, start) = (Silence::default(), Instant::now());
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(silence.may_try(start) && silence.may_try(start));

        silence.fell(start);

        let tries = [0, 999, 1000, 1001, 1999, 2000, 2001].map(|at| silence.may_try(after(at)));
        assert_eq!(tries, [false, false, true, false, false, true, false]);

        silence.is_over();

        assert!(silence.may_try(after(2002)) && silence.may_try(after(2002)));
    }
}
