//! Connections to one upstream, and how many streams each has. None gets more than its other side takes: what waits in
//! a connection for others to end would wait unseen, for as long as those last.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tracing::instrument::WithSubscriber as _;

use crate::policy::UpstreamServer;
use crate::proxy::upstream::http2::connection::{self, Lost};
use crate::proxy::upstream::{self, UpstreamFault};

/// Of one worker; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    connections: Mutex<Connections>,
    /// There may be a place, or a turn to connect.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Connections {
    all: Vec<Connection>,
    is_one_begun: bool,
}

#[derive(Debug)]
struct Connection {
    /// While it is here the connection is kept. Streams go on without it.
    sender: SendRequest<Bytes>,
    streams: Arc<AtomicUsize>,
    /// How often it was seen without a stream since one was opened.
    idle: u32,
}

/// Of one stream on one connection. Dropped, another may have it.
#[derive(Debug)]
pub struct Place {
    streams: Arc<AtomicUsize>,
    pool: Pool,
}

/// Who has it connects; the others wait and see. Dropped, another may.
struct Turn<'a>(&'a Pool);

enum Found<'a> {
    Place(SendRequest<Bytes>, Place),
    Turn(Turn<'a>),
    /// Somebody is connecting.
    Nothing,
}

impl Pool {
    /// A place on a connection that has one, or on a new one. The caller sets the deadline.
    pub async fn place(
        &self,
        server: &UpstreamServer,
    ) -> Result<(SendRequest<Bytes>, Place), UpstreamFault> {
        loop {
            // Before it is looked: what changes after that is not missed.
            let changed = self.0.changed.notified();
            match self.find()? {
                Found::Place(sender, place) => {
                    if place.is_the_only_one() {
                        // It was idle, and may have been closed: that is seen first.
                        yield_now().await;
                        if !takes_streams(&sender) {
                            continue;
                        }
                    }
                    return Ok((sender, place));
                }
                Found::Turn(turn) => return self.connect(server, turn).await,
                Found::Nothing => changed.await,
            }
        }
    }

    /// Another second has gone.
    pub fn tick(&self) {
        self.lock().all.retain_mut(|connection| {
            let has_streams = connection.streams.load(Ordering::Relaxed) > 0;
            connection.idle = if has_streams { 0 } else { connection.idle + 1 };
            connection.idle < LONGEST_IDLE
        });
    }

    /// The oldest that has room: the others get idle and go.
    fn find(&self) -> Result<Found<'_>, UpstreamFault> {
        let mut connections = self.lock();
        connections.all.retain(|connection| takes_streams(&connection.sender));
        if let Some(connection) = connections.all.iter_mut().find(|own| own.has_room()) {
            connection.idle = 0;
            let place = Place::on(&connection.streams, self);
            return Ok(Found::Place(connection.sender.clone(), place));
        }
        if connections.is_one_begun {
            return Ok(Found::Nothing);
        }
        if connections.all.len() >= MOST_CONNECTIONS {
            return Err(UpstreamFault::Full);
        }
        connections.is_one_begun = true;
        Ok(Found::Turn(Turn(self)))
    }

    async fn connect(
        &self,
        server: &UpstreamServer,
        turn: Turn<'_>,
    ) -> Result<(SendRequest<Bytes>, Place), UpstreamFault> {
        let stream = upstream::connect(server).await.map_err(UpstreamFault::of_connect)?;
        let (sender, begun) = connection::begin(stream).await.map_err(UpstreamFault::Connect)?;
        let streams = Arc::default();
        let place = Place::on(&streams, self);
        let (counted, url) = (Arc::clone(&streams), server.url.clone());
        let run = async move {
            if let Err(fault @ Lost::Silent) = begun.run(counted).await {
                tracing::warn!(upstream = %url, %fault, whose_fault = "upstream", "connection given up");
            }
        };
        tokio::spawn(run.with_current_subscriber());
        self.lock().all.push(Connection { sender: sender.clone(), streams, idle: 0 });
        drop(turn);
        Ok((sender, place))
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the other side has neither closed the connection nor said that it will (RFC 9113 §6.8).
fn takes_streams(sender: &SendRequest<Bytes>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    !matches!(sender.clone().poll_ready(&mut context), Poll::Ready(Err(_)))
}

impl Connection {
    fn has_room(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < self.sender.current_max_send_streams()
    }
}

impl Place {
    fn on(streams: &Arc<AtomicUsize>, pool: &Pool) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self { streams: Arc::clone(streams), pool: pool.clone() }
    }

    fn is_the_only_one(&self) -> bool {
        self.streams.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
        self.pool.0.changed.notify_waiters();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().is_one_begun = false;
        self.0.0.changed.notify_waiters();
    }
}

/// Of one worker to one upstream.
const MOST_CONNECTIONS: usize = 64;
/// Seconds. Servers that say nothing of it close what is idle after 5, some of them.
const LONGEST_IDLE: u32 = 4;
