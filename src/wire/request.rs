//! Who called, when, and the id under which the logs tell about it.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::chance::{Chance, NoEntropy};
use crate::clock::Timestamp;

/// What is known of a request besides its own text.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub id: RequestId,
    /// The other end of the connection: the client, or whatever stands in front of us.
    pub peer: IpAddr,
    pub at: Timestamp,
}

/// Names one request in logs and on error pages. Unique within a process, not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Makes request ids: random where the process starts counting, so that two processes differ.
#[derive(Debug)]
pub struct RequestIds {
    process: u32,
    next: AtomicU32,
}

impl RequestIds {
    pub fn new(chance: Chance) -> Result<Self, NoEntropy> {
        Ok(Self { process: u32::from_be_bytes(chance.bytes()?), next: AtomicU32::new(1) })
    }

    pub fn next(&self) -> RequestId {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId(u64::from(self.process) << 32 | u64::from(count))
    }
}
