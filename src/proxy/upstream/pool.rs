//! Connections to one upstream that wait for the next request. Nobody watches them: whether one is still good
//! is seen when it is taken, and each second those that waited for long are closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::proxy::upstream::http1::answer_head::Reuse;
use crate::proxy::upstream::socket::Socket;

/// Of one worker; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// Seconds since it was made, as they are told.
    now: u64,
    /// With the second until which each may be used. The last one was used last.
    sockets: Vec<(Socket, u64)>,
}

impl Pool {
    /// The one that was used last: the others get old and go.
    pub fn take(&self) -> Option<Socket> {
        let mut waiting = self.lock();
        let now = waiting.now;
        while let Some((mut socket, until)) = waiting.sockets.pop() {
            if until > now && socket.is_quiet() {
                return Some(socket);
            }
        }
        None
    }

    /// Keep `socket` for the next request.
    pub fn put(&self, socket: Socket, reuse: Reuse) {
        let lasts = match reuse {
            Reuse::No => return,
            Reuse::Yes => USUAL,
            // A request that crosses its closing on the way would be lost.
            Reuse::Within(said) => said.saturating_sub(MARGIN).min(LONGEST),
        };
        let mut waiting = self.lock();
        let until = waiting.now + lasts.as_secs();
        waiting.sockets.push((socket, until));
    }

    /// Another second has gone.
    pub fn tick(&self) {
        let mut waiting = self.lock();
        waiting.now += 1;
        let now = waiting.now;
        waiting.sockets.retain(|(_, until)| *until > now);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Servers that don't say how long they wait close after 5 s, some of them.
const USUAL: Duration = Duration::from_secs(4);
const MARGIN: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);
