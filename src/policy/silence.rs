//! A server that does not answer who connects. To wait for it takes a socket and seconds, so not everybody does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether a server let somebody wait in vain and has not answered since; then, when the next may try.
#[derive(Debug, Default)]
pub struct Silence(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// `None`: it is not silent.
    next_try: Option<Instant>,
    answered: Option<Instant>,
}

impl Silence {
    /// Whether the caller may connect now. While it is silent one may each second, on whose luck the rest depends.
    pub fn may_try(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match state.next_try {
            None => true,
            Some(at) if at <= now => {
                state.next_try = Some(now + PAUSE);
                true
            }
            Some(_) => false,
        }
    }

    /// Somebody has waited since `begun` for as long as one may. Whoever was answered meanwhile knows better.
    pub fn fell(&self, begun: Instant, now: Instant) {
        let mut state = self.lock();
        if state.answered.is_none_or(|answered| answered < begun) {
            state.next_try = Some(now + PAUSE);
        }
    }

    /// It said something, whatever it was.
    pub fn is_over(&self, now: Instant) {
        *self.lock() = State { next_try: None, answered: Some(now) };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

        silence.fell(start, start);

        let tries = [0, 999, 1000, 1001, 1999, 2000, 2001].map(|at| silence.may_try(after(at)));
        assert_eq!(tries, [false, false, true, false, false, true, false]);

        silence.is_over(after(2001));

        assert!(silence.may_try(after(2002)) && silence.may_try(after(2002)));
    }

    #[test]
    fn who_gave_up_while_others_were_answered_says_nothing_of_it() {
        let (silence, start) = (Silence::default(), Instant::now());
        let after = |milliseconds| start + Duration::from_millis(milliseconds);

        silence.is_over(after(2900));
        silence.fell(start, after(3000));

        assert!(silence.may_try(after(3001)) && silence.may_try(after(3001)));
    }
}
