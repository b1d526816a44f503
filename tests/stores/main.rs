//! The stores against what they meet in the world: real Redis servers that stop, hang, fail over and forget,
//! and a process that is killed while it writes. Started by `run`, which says where Redis is.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on should stop and say where"
)]

// What every backend must do is one file for all of them; these are its `crate::…`.
use mcp_doorman::{chance, clock, secret, store};

mod away;
#[path = "../../src/store/contract.rs"]
mod contract;
mod crash;
mod operators;
mod outages;
mod redis_contract;
mod refusals;
mod rotation;
mod servers;
#[path = "../suite/support/mod.rs"]
#[expect(
    dead_code,
    clippy::indexing_slicing,
    reason = "the words of the suite, of which few are needed here"
)]
mod support;
mod two_servers;
