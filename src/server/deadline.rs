//! How long a connection may wait for the client, by what it waits for. hyper's own header timeout can't
//! tell a silent connection from an idle one, and makes a timer for every request: this is one timer for
//! a connection's whole life, which is moved only if it would ring too late.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::server::observed::Waiting;

/// The limits on a slow client. None of them bounds an answer that is under way: a stream may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From accepting a connection to its first byte.
    pub first_byte: Duration,
    /// The same once no more connections are accepted, from then on.
    pub last_call: Duration,
    /// From a request's first byte to the end of its header.
    pub head: Duration,
    /// From the end of an answer to the next request's first byte.
    pub idle: Duration,
    /// For a client that reads nothing while we have something to write.
    pub stuck_write: Duration,
    /// For bytes that nobody will read, after our last word: closing at once would reset the connection
    /// before the client has read that word.
    pub linger: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            last_call: Duration::from_secs(1),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stuck_write: Duration::from_mins(1),
            linger: Duration::from_secs(2),
        }
    }
}

impl Deadlines {
    fn limit(&self, waiting: Waiting) -> Option<Duration> {
        match waiting {
            Waiting::FirstByte => Some(self.first_byte),
            Waiting::Head => Some(self.head),
            Waiting::NextRequest => Some(self.idle),
            Waiting::Reader => Some(self.stuck_write),
            Waiting::Answer => None,
        }
    }
}

/// Watches one connection.
#[derive(Debug)]
pub struct Watch {
    deadlines: Deadlines,
    waiting: (Waiting, u32),
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    pub fn new(deadlines: Deadlines) -> Self {
        Self {
            deadlines,
            waiting: (Waiting::FirstByte, 0),
            since: Instant::now(),
            timer: Box::pin(sleep(deadlines.first_byte)),
        }
    }

    /// Ready when the connection has waited for too long. To be asked whenever something has happened on
    /// it, with what it waits for now.
    pub fn poll(&mut self, context: &mut Context<'_>, waiting: (Waiting, u32)) -> Poll<Waiting> {
        if waiting != self.waiting {
            self.waiting = waiting;
            self.since = Instant::now();
        }
        let Some(limit) = self.deadlines.limit(waiting.0) else { return Poll::Pending };
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
