//! How many files this process may have open. Each connection is one, and the call on it has another one to the
//! upstream.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raise what is allowed for now to what is allowed at all: shells and container runtimes hand out a 1,024 that was
/// meant for programs which ask `select` (3). What it is afterwards.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(u64::MAX).min(MOST);
    let current = current.unwrap_or(u64::MAX);
    if current >= most {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }) {
        Ok(()) => most,
        Err(_) => current,
    }
}

/// Linux allows no more unless it is told to (`fs.nr_open`).
const MOST: u64 = 1 << 20;
