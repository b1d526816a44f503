//! How short of memory the process is. `app::memory` looks once a second; `forward` asks at each request, `streams` each
//! second what to end.

use std::sync::atomic::{AtomicU8, Ordering};

/// What there is no memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pressure {
    /// Nothing.
    None,
    /// Further streams that only listen: those last, and hold what they hold.
    Streams,
    /// Any further request. Streams that only listen are ended, the oldest first.
    Requests,
}

impl Pressure {
    /// What comes after `self` when so many percent of the memory are in use. What was refused stays so for a while
    /// below: it would come back at once.
    pub fn then(self, percent: u64) -> Self {
        match self {
            _ if percent >= 95 => Self::Requests,
            Self::Requests if percent >= 90 => Self::Requests,
            _ if percent >= 85 => Self::Streams,
            Self::Requests | Self::Streams if percent >= 80 => Self::Streams,
            Self::None | Self::Streams | Self::Requests => Self::None,
        }
    }
}

/// The pressure there is, for all workers.
#[derive(Debug)]
pub struct Gauge(AtomicU8);

impl Default for Gauge {
    fn default() -> Self {
        Self(AtomicU8::new(Pressure::None as u8))
    }
}

impl Gauge {
    pub fn read(&self) -> Pressure {
        match self.0.load(Ordering::Relaxed) {
            STREAMS => Pressure::Streams,
            REQUESTS => Pressure::Requests,
            _ => Pressure::None,
        }
    }

    pub fn set(&self, pressure: Pressure) {
        self.0.store(pressure as u8, Ordering::Relaxed);
    }
}

const STREAMS: u8 = Pressure::Streams as u8;
const REQUESTS: u8 = Pressure::Requests as u8;

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 44 of the design.
    #[test]
    fn pressure_rises_at_once_and_falls_late() {
        let mut now = Pressure::None;
        for (percent, expected) in [
            (84, Pressure::None),
            (85, Pressure::Streams),
            (80, Pressure::Streams),
            (94, Pressure::Streams),
            (95, Pressure::Requests),
            (90, Pressure::Requests),
            (120, Pressure::Requests),
            (89, Pressure::Streams),
            (79, Pressure::None),
            (84, Pressure::None),
            (96, Pressure::Requests),
            (10, Pressure::None),
        ] {
            now = now.then(percent);
            assert_eq!(now, expected, "{percent}");
        }
    }

    #[test]
    fn every_worker_reads_what_was_set() {
        let gauge = Gauge::default();
        assert_eq!(gauge.read(), Pressure::None);
        for pressure in [Pressure::Streams, Pressure::Requests, Pressure::None] {
            gauge.set(pressure);
            assert_eq!(gauge.read(), pressure);
        }
    }
}
