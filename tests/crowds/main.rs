//! Crowds: the real program with thousands of connections, calls and malformed requests, and what must be seen
//! of each. Apart from the suite, because it needs many descriptors and the machine for itself: `run` gives both.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that can't go on should stop and say where; a crowd tells what was seen of it"
)]

mod battery;
mod closes;
mod crosstalk;
#[path = "../stores/storms/dice.rs"]
mod dice;
mod handshakes;
mod herd;
mod idle_upstream;
mod malformed;
mod program;
mod reloading;
mod slow;
mod starved;
mod stopped_upstream;
mod stopping;
#[path = "../suite/support/mod.rs"]
#[expect(dead_code, reason = "the suite uses the rest of this vocabulary")]
mod support;
mod under_way;
mod wire;

use std::time::Duration;

/// How much of it: in every run, and when all of it is asked for.
fn sized(short: usize, full: usize) -> usize {
    if std::env::var("MCP_DOORMAN_CROWDS").is_ok_and(|size| size == "full") { full } else { short }
}

/// What was measured, from the shortest to the longest. The machines are noisy: these are told, not judged.
fn distribution(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    format!("p50 {:.1?}, p99 {:.1?}, longest {:.1?}", at(50), at(99), at(100))
}
