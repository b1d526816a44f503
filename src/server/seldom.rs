//! What may happen often, and is told each ten seconds at most.

use std::time::Duration;

use tokio::time::Instant;

/// One kind of it.
#[derive(Debug, Default)]
pub struct Seldom {
    told: Option<Instant>,
    /// Since then.
    count: usize,
}

impl Seldom {
    /// It happened. How often since it was told, if it is to be told now.
    pub fn note(&mut self) -> Option<usize> {
        self.count += 1;
        if self.told.is_some_and(|told| told.elapsed() < EACH) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.count))
    }
}

const EACH: Duration = Duration::from_secs(10);
