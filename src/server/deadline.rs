//! How long a connection may wait for the client, by what it waits for: one timer for a connection's whole life,
//! which is moved only if it would ring too late.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    FirstByte,
    /// The same once no more connections are accepted.
    LastCall,
    Head,
    NextRequest,
    /// For the client to read what we wrote.
    Reader,
    /// For us, or for the upstream, or for the rest of a request's body.
    Answer,
}

/// How long it may wait; `None` while an answer is under way: a stream may last.
const fn limit(waiting: Waiting) -> Option<Duration> {
    match waiting {
        Waiting::FirstByte => Some(FIRST_BYTE),
        Waiting::LastCall => Some(LAST_CALL),
        Waiting::Head => Some(HEAD),
        Waiting::NextRequest => Some(IDLE),
        Waiting::Reader => Some(STUCK_WRITE),
        Waiting::Answer => None,
    }
}

/// Watches one connection.
#[derive(Debug)]
pub struct Watch {
    waiting: (Waiting, u32),
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    pub fn new() -> Self {
        Self {
            waiting: (Waiting::FirstByte, 0),
            since: Instant::now(),
            timer: Box::pin(sleep(FIRST_BYTE)),
        }
    }

    /// Ready when the connection has waited for too long. To be asked whenever something has happened on
    /// it, with what it waits for now and a number that changes when that has made progress.
    pub fn poll(&mut self, context: &mut Context<'_>, waiting: (Waiting, u32)) -> Poll<Waiting> {
        if waiting != self.waiting {
            self.waiting = waiting;
            self.since = Instant::now();
        }
        let Some(limit) = limit(waiting.0) else { return Poll::Pending };
        let due = self.since + limit;
        if self.timer.deadline() > due {
            self.timer.as_mut().reset(due);
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            if self.timer.deadline() >= due {
                return Poll::Ready(waiting.0);
            }
            // It was set for an earlier wait, which ended in time.
            self.timer.as_mut().reset(due);
        }
    }
}

/// From accepting a connection to the end of its handshake, where TLS is spoken.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// From accepting a connection, or from its handshake, to its first byte.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// From then on: who has just connected, as everybody may until then, is sending a request.
pub const LAST_CALL: Duration = Duration::from_secs(1);
/// From a request's first byte to the end of its header.
const HEAD: Duration = Duration::from_secs(10);
/// From the end of an answer to the next request's first byte.
const IDLE: Duration = Duration::from_secs(75);
/// For a client that reads nothing while we have something to write.
pub const STUCK_WRITE: Duration = Duration::from_mins(1);
/// For bytes that nobody will read, after our last word: closing at once would reset the connection before the
/// client has read that word.
pub const LINGER: Duration = Duration::from_secs(2);
