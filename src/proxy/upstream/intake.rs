//! What may come of one request's body, and how slowly. Whichever way it goes to the upstream, its bytes are counted
//! here.

use std::time::Duration;

use crate::proxy::upstream::Deadlines;

/// Counts what has come, and how long we waited for it.
#[derive(Debug)]
pub struct Intake {
    most: u64,
    received: u64,
    waited: Duration,
}

/// More than is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is longer than the {0} bytes that limits.request_body allows")]
pub struct TooLarge(u64);

/// Why no more of a request's body is passed on: its client's doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUpload {
    /// Or it was malformed.
    #[error("the request's body broke off: {0}")]
    BrokeOff(String),
    #[error("the request's body is too large: {0}")]
    TooLarge(#[from] TooLarge),
}

impl Intake {
    /// Of a body that is `length` bytes long, if it says so; up to `most`.
    pub fn begin(length: Option<u64>, most: u64) -> Result<Self, TooLarge> {
        match length {
            Some(length) if length > most => Err(TooLarge(most)),
            Some(_) | None => Ok(Self { most, received: 0, waited: Duration::ZERO }),
        }
    }

    /// So many more bytes are here, and not passed on yet.
    pub fn add(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.received += bytes as u64;
        if self.received > self.most { Err(TooLarge(self.most)) } else { Ok(()) }
    }

    /// We waited so long for more, with nothing else to do for it.
    pub fn wait(&mut self, long: Duration) {
        self.waited += long;
    }

    /// How much longer we wait for more: the next piece has a deadline, and so, by what has come, have all of them.
    pub fn patience(&self, deadlines: &Deadlines) -> Duration {
        let milliseconds = self.received.saturating_mul(1000) / deadlines.slowest_upload.max(1);
        let in_all = deadlines.upload.saturating_add(Duration::from_millis(milliseconds));
        in_all.saturating_sub(self.waited).min(deadlines.upload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_taken_up_to_its_limit() {
        let mut unknown = Intake::begin(None, 10).unwrap();

        assert_eq!(unknown.add(4), Ok(()));
        assert_eq!(unknown.add(6), Ok(()));
        assert_eq!(unknown.add(1), Err(TooLarge(10)));
        assert!(Intake::begin(Some(10), 10).is_ok());
        assert_eq!(Intake::begin(Some(11), 10).unwrap_err(), TooLarge(10));
    }

    /// Threat F6 of the design: one byte each 10 s would last for ever.
    #[test]
    fn who_sends_little_is_waited_for_less_and_less() {
        let deadlines = Deadlines {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_mins(1),
            upload: Duration::from_secs(30),
            slowest_upload: 1024,
        };
        let second = Duration::from_secs(1);
        let mut intake = Intake::begin(None, 1 << 20).unwrap();

        assert_eq!(intake.patience(&deadlines), 30 * second);
        intake.wait(20 * second);
        assert_eq!(intake.patience(&deadlines), 10 * second);
        intake.add(15 * 1024).unwrap();
        assert_eq!(intake.patience(&deadlines), 25 * second);
        intake.wait(25 * second);
        assert_eq!(intake.patience(&deadlines), Duration::ZERO);
        // At the least rate, for ever.
        for _ in 0..100 {
            intake.add(1024).unwrap();
            assert_eq!(intake.patience(&deadlines), second);
            intake.wait(second);
        }
        intake.add(100 * 1024).unwrap();
        assert_eq!(intake.patience(&deadlines), 30 * second);
    }
}
