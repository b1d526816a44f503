//! Who called, when, and the id under which the logs tell about it.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Makes request ids: counted from a random start, so that two processes differ.
#[derive(Debug)]
pub struct RequestIds(AtomicU64);

impl RequestIds {
    pub fn new(chance: Chance) -> Result<Self, NoEntropy> {
        Ok(Self(AtomicU64::new(u64::from_be_bytes(chance.bytes()?))))
    }

    pub fn next(&self) -> RequestId {
        RequestId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}
