//! HTTP/2 from a client that writes its frames by hand, over in-memory pipes: there the clock only moves
//! when all is idle.

mod battery;
mod by_hand;
mod ends;
mod floods;
mod held;
mod slow;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::server::connection;
use crate::server::drain::Drain;
use crate::wire::{Body, Response, answer};
use by_hand::{ByHand, Got};

/// What the requests get, by path.
#[derive(Clone, Debug, Default)]
struct App {
    begun: Arc<AtomicUsize>,
    /// Those that are being answered, and how many they were at most.
    running: Arc<AtomicUsize>,
    most_running: Arc<AtomicUsize>,
    /// Bytes of endless answers that were taken.
    given: Arc<AtomicUsize>,
    /// Told of each request or answer that was dropped before its end.
    cancelled: Arc<Notify>,
}

impl App {
    /// A client's end of a connection that is served as a socket is.
    fn connect(&self, stop: &Stop) -> DuplexStream {
        self.connect_within(stop, 256 * 1024)
    }

    /// The same with so much room for what was sent and not read.
    fn connect_within(&self, stop: &Stop, room: usize) -> DuplexStream {
        let (client, server) = duplex(room);
        let app = self.clone();
        let handler = move |request, _: IpAddr| {
            let app = app.clone();
            async { app.answer(request).await.map(Into::into) }
        };
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
        tokio::spawn(connection::serve(server, peer, handler, stop.clone()));
        client
    }

    async fn answer(self, request: Request) -> Response {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_running.fetch_max(running, Ordering::Relaxed);
        let _ends = NotRunning(self.running.clone());
        match request.uri().path() {
            "/large" => full(LARGE),
            "/quiet" => self.quiet(),
            "/endless" => self.endless(),
            "/never" => {
                let _cancelled = WhenDropped(self.cancelled);
                std::future::pending().await
            }
            "/slow" => {
                sleep(Duration::from_secs(20)).await;
                answer::plain(StatusCode::OK, "done")
            }
            "/upload" => {
                let body = request.into_body().collect().await;
                let length = body.map_or(0, |body| body.to_bytes().len());
                answer::json(StatusCode::OK, &length)
            }
            "/panic" => panic!("asked to"),
            "/empty" => answer::empty(StatusCode::NO_CONTENT),
            "/unchanged" => {
                let mut response = full(9);
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
            _ => answer::plain(StatusCode::OK, "done"),
        }
    }

    /// An event stream that begins and then says nothing.
    fn quiet(self) -> Response {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let _ = sender.send(Bytes::from_static(b"data: begun\n\n")).await;
            sender.closed().await;
            self.cancelled.notify_one();
        });
        let mut response = answer::empty(StatusCode::OK);
        *response.body_mut() = Body::Pieces(receiver);
        response
    }

    /// Made as fast as it is taken.
    fn endless(self) -> Response {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let piece = Bytes::from(vec![b'x'; 4096]);
            while sender.send(piece.clone()).await.is_ok() {
                self.given.fetch_add(piece.len(), Ordering::Relaxed);
            }
        });
        let mut response = answer::empty(StatusCode::OK);
        *response.body_mut() = Body::Pieces(receiver);
        response
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

struct NotRunning(Arc<AtomicUsize>);

impl Drop for NotRunning {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct WhenDropped(Arc<Notify>);

impl Drop for WhenDropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn full(length: usize) -> Response {
    let mut response = answer::empty(StatusCode::OK);
    *response.body_mut() = Body::full(vec![b'x'; length]);
    response
}

/// The codes of all frames of that kind.
fn codes(frames: &[Got], kind: u8) -> Vec<u32> {
    frames.iter().filter(|got| got.frame.kind == kind).map(Got::code).collect()
}

/// How many bytes of a body came.
fn body(frames: &[Got]) -> usize {
    let data = frames.iter().filter(|got| got.frame.kind == frames::DATA);
    data.map(|got| got.payload.len()).sum()
}

/// What comes until the server closes, and after how many seconds it does.
async fn rest<S: AsyncRead + AsyncWrite + Unpin>(client: &mut ByHand<S>) -> (Vec<Got>, u64) {
    let begin = Instant::now();
    (client.rest().await, begin.elapsed().as_secs())
}

const LARGE: usize = 200_000;
