//! What operators and the platform ask: on listeners of its own, never on the public one.
//!
//! `health` is HTTP on a port of the pod's address, for the kubelet. All else goes through the admin socket:
//! a Unix socket, because any MCP server that can fetch a URL can reach loopback.

pub mod ask;
pub mod control;
pub mod draining;
pub mod health;
mod lines;
mod listing;
mod revoking;
pub mod socket;
pub mod words;
