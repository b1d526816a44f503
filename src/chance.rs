//! Chance as a parameter: every random id, nonce and code is drawn from a `Chance` that `app` hands out.

/// A source of unpredictable bytes.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    fill: fn(&mut [u8]) -> Result<(), NoEntropy>,
}

/// The operating system gave no random bytes. Nothing secret can be made: answer 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes from the operating system")]
pub struct NoEntropy;

impl Chance {
    /// The operating system's generator.
    pub const fn system() -> Self {
        Self { fill: system_fill }
    }

    pub fn bytes<const N: usize>(self) -> Result<[u8; N], NoEntropy> {
        let mut bytes = [0; N];
        (self.fill)(&mut bytes)?;
        Ok(bytes)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that draws random bytes")]
fn system_fill(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| NoEntropy)
}
