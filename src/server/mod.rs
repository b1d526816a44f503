//! The server: listens, deals connections to workers, refuses what is malformed on the wire.

use std::net::SocketAddr;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    pub address: SocketAddr,
    /// Tried if `address` can't be bound because the machine has no IPv6.
    pub fallback: Option<SocketAddr>,
}
