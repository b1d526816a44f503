//! Storms: many clients at once, through several replicas on one store, while answers get lost and replicas
//! are killed. Short by default; `tests/stores/run --full` is the long form.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that can't go on should stop and say where; a storm tells what it counted"
)]

// `servers` is written for the other test of this folder: these are its `crate::…`.
use mcp_doorman::{chance, clock, store};

mod dice;
mod fleet;
mod kills;
mod life;
mod load_balancer;
mod refreshes;
mod registrations;
mod rotating_idp;
#[path = "../servers.rs"]
#[expect(dead_code, reason = "the outages use the rest of it")]
mod servers;
#[path = "../../suite/support/mod.rs"]
#[expect(dead_code, reason = "the suite uses the rest of this vocabulary")]
mod support;

/// How much of it: in every run, and when all of it is asked for.
fn sized(short: usize, full: usize) -> usize {
    if is_short() { short } else { full }
}

fn is_short() -> bool {
    std::env::var("MCP_DOORMAN_STORMS").is_err()
}
