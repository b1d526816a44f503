//! What may come of one request's body. Whichever way it goes to the upstream, its bytes are counted here.

/// Counts what has come.
#[derive(Debug)]
pub struct Intake {
    most: u64,
    received: u64,
}

/// More than is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is longer than the {0} bytes that limits.request_body allows")]
pub struct TooLarge(u64);

impl Intake {
    /// Of a body that is `length` bytes long, if it says so; up to `most`.
    pub fn begin(length: Option<u64>, most: u64) -> Result<Self, TooLarge> {
        match length {
            Some(length) if length > most => Err(TooLarge(most)),
            Some(_) | None => Ok(Self { most, received: 0 }),
        }
    }

    /// So many more bytes are here, and not passed on yet.
    pub fn add(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.received += bytes as u64;
        if self.received > self.most { Err(TooLarge(self.most)) } else { Ok(()) }
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
}
