//! A connection over TLS, from accepting it until both sides have shaken hands. Next: `connection`.

use std::future::poll_fn;
use std::mem;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use crate::proxy::Response;
use crate::server::connection::{self, last_word};
use crate::server::deadline::{HANDSHAKE, LAST_CALL};
use crate::server::drain::{Stage, Stop};
use crate::server::http1::{Asked, Stream};
use crate::server::refusal::Refusal;
use crate::server::seldom::Seldom;
use crate::tls::{Acceptor, HandshakeFault, ServerStream};
use crate::wire::Request;

/// Those of one worker.
#[derive(Debug)]
pub struct Handshakes {
    tls: Acceptor,
    /// Whose turn it is to have keys computed.
    turn: sync::Mutex<()>,
    faults: Arc<Faults>,
}

/// Those of all workers, as they are told.
#[derive(Debug, Default)]
pub struct Faults {
    plain: Mutex<Seldom>,
    disbelieved: Mutex<Seldom>,
    other: Mutex<Seldom>,
}

impl Handshakes {
    pub fn new(tls: Acceptor, faults: Arc<Faults>) -> Self {
        Self { tls, turn: sync::Mutex::default(), faults }
    }

    /// Serve `stream` over TLS, as `connection::serve` does.
    pub async fn serve<S, H, F>(&self, stream: S, peer: IpAddr, handler: H, stop: Stop)
    where
        S: Stream,
        H: Fn(Request, IpAddr) -> F,
        F: Future<Output = Response> + Send + 'static,
    {
        // Boxed, so that no connection holds room for its handshake.
        if let Some(stream) = Box::pin(self.shake_hands(stream, peer, stop.clone())).await {
            connection::serve(stream, peer, handler, stop).await;
        }
    }

    /// `None` if nothing came of it, or not in time.
    async fn shake_hands<S>(&self, stream: S, peer: IpAddr, stop: Stop) -> Option<ServerStream<S>>
    where
        S: Stream,
    {
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE, self.finish(stream)) => shaken.ok()?,
            () = last_call(stop) => return None,
        };
        let (fault, stream) = match shaken {
            Ok(stream) => return Some(stream),
            Err(failed) => failed,
        };
        self.faults.note(&fault, peer);
        match fault {
            HandshakeFault::Gone => {}
            HandshakeFault::PlainHttp => {
                last_word(stream, Some((Refusal::NoTls, Asked::UNKNOWN))).await;
            }
            HandshakeFault::Disbelieved(_) | HandshakeFault::Tls(_) => {
                last_word(stream, None).await;
            }
        }
        None
    }

    async fn finish<S>(&self, mut stream: S) -> Result<ServerStream<S>, (HandshakeFault, S)>
    where
        S: Stream,
    {
        match self.tls.hello(&mut stream).await {
            Ok(hello) => self.in_turn(Box::pin(hello.answer(stream))).await,
            Err(fault) => Err((fault, stream)),
        }
    }

    /// Go on with `work` whenever something has come for it: one of them in each turn of the worker, so that thousands
    /// that come at once are in nobody's way. It is nobody's turn while the network is waited for.
    async fn in_turn<W: Future + Unpin>(&self, mut work: W) -> W::Output {
        loop {
            let turn = self.turn.lock().await;
            // Whoever else can go on goes first, and what the network has brought meanwhile.
            yield_now().await;
            let step = poll_fn(|context| Poll::Ready(Pin::new(&mut work).poll(context))).await;
            drop(turn);
            match step {
                Poll::Ready(done) => return done,
                Poll::Pending => woken().await,
            }
        }
    }
}

/// Until something wakes this task.
async fn woken() {
    let mut is_again = false;
    poll_fn(|_| if mem::replace(&mut is_again, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

/// Until those have to go that have not begun a request.
async fn last_call(mut stop: Stop) {
    stop.reached(Stage::Finishing).await;
    sleep(LAST_CALL).await;
}

impl Faults {
    fn note(&self, fault: &HandshakeFault, peer: IpAddr) {
        let peer = peer.to_canonical();
        match fault {
            HandshakeFault::Gone => {}
            HandshakeFault::PlainHttp => {
                if let Some(count) = lock(&self.plain).note() {
                    tracing::warn!(
                        %fault, %peer, count,
                        fix = "have your ingress speak TLS to this port, or remove tls",
                        whose_fault = "client",
                        "connections refused"
                    );
                }
            }
            HandshakeFault::Disbelieved(_) => {
                if let Some(count) = lock(&self.disbelieved).note() {
                    tracing::warn!(
                        %fault, %peer, count,
                        fix = "put a certificate into tls.cert that those who connect here believe, and behind it those between it and its authority",
                        whose_fault = "us",
                        "connections refused"
                    );
                }
            }
            HandshakeFault::Tls(_) => {
                if let Some(count) = lock(&self.other).note() {
                    tracing::debug!(%fault, %peer, count, whose_fault = "client", "connections refused");
                }
            }
        }
    }
}

fn lock(seldom: &Mutex<Seldom>) -> MutexGuard<'_, Seldom> {
    seldom.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
