//! The threads that serve. Each has a runtime of its own and keeps a connection from its first byte to its
//! last: nothing that a request touches often is shared between them. Next: `connection`, or first `handshake`.

use std::io;
use std::net::{IpAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet};
use tracing::Dispatch;

use crate::proxy::Response;
use crate::server::connection;
use crate::server::drain::{Stage, Stop};
use crate::server::handshake::{Faults, Handshakes};
use crate::server::peers::{Peers, Seat};
use crate::tls::Acceptor;
use crate::wire::Request;

/// The way to the worker threads. When it is dropped they finish what they have.
#[derive(Debug)]
pub struct Workers(Vec<UnboundedSender<Accepted>>);

/// What every worker shares.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The log of this thread for all of its life.
    pub log: Dispatch,
    /// Who may connect.
    pub peers: Peers,
    /// With it, all connections are over TLS.
    pub tls: Option<Acceptor>,
}

#[derive(Debug)]
struct Accepted {
    stream: TcpStream,
    peer: IpAddr,
    seat: Seat,
}

impl Workers {
    /// Start `count` threads. `make_handler` runs once on each, inside its runtime, so that what it makes
    /// (a pool of upstream connections) belongs to that thread.
    pub fn start<M, H, F>(
        count: NonZeroUsize,
        settings: &WorkerSettings,
        make_handler: M,
        stop: &Stop,
    ) -> io::Result<Self>
    where
        M: Fn() -> H + Clone + Send + 'static,
        H: Fn(Request, IpAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let mut senders = Vec::with_capacity(count.get());
        let faults = Arc::new(Faults::default());
        for number in 0..count.get() {
            let (sender, incoming) = unbounded_channel();
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (settings, make_handler, stop) =
                (settings.clone(), make_handler.clone(), stop.clone());
            let handshakes = settings.tls.clone().map(|tls| Handshakes::new(tls, faults.clone()));
            let handshakes = handshakes.map(Arc::new);
            let work = async move { serve(incoming, make_handler(), handshakes, stop).await };
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || run(&runtime, &settings.log, work))?;
            senders.push(sender);
        }
        Ok(Self(senders))
    }

    pub fn deal(self) -> Deal {
        Deal { workers: self, turn: 0 }
    }
}

/// Deals connections to the workers in turn: balanced, because none is held back to be chosen.
#[derive(Debug)]
pub struct Deal {
    workers: Workers,
    turn: usize,
}

impl Deal {
    /// The queue has no limit of its own: what waits in it holds a file descriptor, and those have one.
    pub fn hand_out(&mut self, stream: TcpStream, peer: IpAddr, seat: Seat) {
        let mut accepted = Accepted { stream, peer, seat };
        for _ in 0..self.workers.0.len() {
            self.turn = (self.turn + 1) % self.workers.0.len();
            let Some(worker) = self.workers.0.get(self.turn) else { return };
            match worker.send(accepted) {
                Ok(()) => return,
                // A worker whose handler could not be made. The others still serve.
                Err(returned) => accepted = returned.0,
            }
        }
    }
}

fn run(runtime: &Runtime, log: &Dispatch, work: impl Future<Output = ()>) {
    let _log = tracing::dispatcher::set_default(log);
    runtime.block_on(work);
}

/// Serve until no more connections come and the last one has ended, or until all of it is cut.
async fn serve<H, F>(
    mut incoming: UnboundedReceiver<Accepted>,
    handler: H,
    handshakes: Option<Arc<Handshakes>>,
    stop: Stop,
) where
    H: Fn(Request, IpAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut until = stop.clone();
    let mut cut = std::pin::pin!(until.reached(Stage::Ended));
    loop {
        tokio::select! {
            Some(ended) = connections.join_next() => note(&ended),
            accepted = incoming.recv() => match accepted {
                Some(Accepted { stream, peer, seat }) => {
                    // Fails for want of memory or descriptors only: then this connection is closed.
                    if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                        let (handler, stop) = (handler.clone(), stop.clone());
                        // Each a future of its own: who speaks no TLS holds no room for it.
                        match handshakes.clone() {
                            None => connections.spawn(async move {
                                let _seat = seat;
                                connection::serve(stream, peer, handler, stop).await;
                            }),
                            Some(handshakes) => connections.spawn(async move {
                                let _seat = seat;
                                handshakes.serve(stream, peer, handler, stop).await;
                            }),
                        };
                    }
                }
                None => break,
            },
            () = &mut cut => return,
        }
    }
    loop {
        tokio::select! {
            ended = connections.join_next() => match ended {
                Some(ended) => note(&ended),
                None => return,
            },
            () = &mut cut => return,
        }
    }
}

/// A panic ends its own connection and no other. It is a bug of ours, whatever the client sent.
fn note(ended: &Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(
            fault = "panic",
            whose_fault = "us",
            "a connection was lost to a bug of ours"
        );
    }
}
