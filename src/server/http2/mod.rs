//! One HTTP/2 connection (RFC 9113) from its preface to closing it. Bytes pass `socket`, h2 and hyper parse
//! them, `request` makes of each request what HTTP/1.1 would have made of it, `entry` judges that, and the
//! application answers in a task of the stream's own.

mod allowance;
mod answer;
mod frames;
mod request;
mod socket;
mod streams;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::proxy::Response;
use crate::server::deadline::{LINGER, STUCK_WRITE, Waiting, Watch};
use crate::server::drain::{Stage, Stop};
use crate::server::http2::answer::Answer;
use crate::server::http2::socket::{Seen, Socket};
use crate::server::http2::streams::Streams;
use crate::wire::{Request, RequestBody};

// What `fuzzing` feeds.
#[cfg(any(test, fuzzing))]
pub mod fed {
    pub use super::frames::{Frame, Frames};
}

/// Serve `stream`, of which `begun` has come, until either side closes it. `handler` sees only requests that
/// passed `request` and `entry`; it is cancelled when its stream is reset, and all of them when this future
/// is dropped.
pub async fn serve<S, H, F>(mut stream: S, begun: Bytes, peer: IpAddr, handler: H, stop: Stop)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request, IpAddr) -> F,
    F: Future<Output = Response> + Send + 'static,
{
    let seen = Seen::new();
    let socket = Socket::new(&mut stream, begun, seen.clone());
    let too_slow = exchange(socket, &seen, peer, handler, stop).await;
    if seen.is_flooded() {
        tracing::info!(
            fault = "it floods us with frames that ask for nothing",
            whose_fault = "client",
            %peer,
            "connection ended"
        );
    }
    last_word(stream, &seen, too_slow).await;
}

/// Until the connection is over, or for too long waits for what is told.
async fn exchange<S, H, F>(
    socket: Socket<S>,
    seen: &Seen,
    peer: IpAddr,
    handler: H,
    mut stop: Stop,
) -> Option<Waiting>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request, IpAddr) -> F,
    F: Future<Output = Response> + Send + 'static,
{
    let streams = Streams::default();
    let _cut = streams.cut_when_dropped();
    let service = service_fn(|request: http::Request<Incoming>| {
        let request = request.map(RequestBody::on_shared_connection);
        let method = request.method().clone();
        let answer = request::admit(request).map(|request| handler(request, peer));
        let streams = streams.clone();
        async move {
            let response = match answer {
                // Boxed: hyper moves it about.
                Ok(answer) => Box::pin(answer).await,
                Err(refusal) => {
                    refusal.log(peer);
                    refusal.to_response().map(Into::into)
                }
            };
            Ok::<_, Infallible>(Answer::to(&method, response, streams))
        }
    });
    let http = builder(streams.clone()).serve_connection(TokioIo::new(socket), service);
    let mut http = pin!(http);
    let mut finishing = pin!(stop.reached(Stage::Finishing));
    let mut watch = Watch::new();
    let mut stuck = Stuck::new();
    let mut is_last = false;
    poll_fn(|context| {
        // GOAWAY leaves the client the time to hear of it (RFC 9113 §6.8), so that one who has just connected
        // needs no more.
        if !is_last && finishing.as_mut().poll(context).is_ready() {
            is_last = true;
            http.as_mut().graceful_shutdown();
        }
        loop {
            if http.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            streams.reap(context);
            stuck.poll(context, &streams);
            match ready!(watch.poll(context, waits_for(seen, &streams, is_last))) {
                Waiting::NextRequest => {
                    is_last = true;
                    http.as_mut().graceful_shutdown();
                }
                waiting @ (Waiting::FirstByte
                | Waiting::LastCall
                | Waiting::Head
                | Waiting::Reader
                | Waiting::Answer) => return Poll::Ready(Some(waiting)),
            }
        }
    })
    .await
}

/// What the connection waits for, with a number that changes when that has made progress.
fn waits_for(seen: &Seen, streams: &Streams, is_last: bool) -> (Waiting, u32) {
    let (is_stuck, writes) = seen.stuck_write();
    let (in_header, headers) = seen.open_header();
    let answers = seen.answers();
    if is_stuck {
        (Waiting::Reader, writes)
    } else if in_header {
        (Waiting::Head, headers)
    } else if streams.open() > 0 {
        (Waiting::Answer, 0)
    } else if is_last {
        // For the client to take what is left of the last answers, and to close.
        (Waiting::Reader, answers)
    } else {
        (Waiting::NextRequest, answers.wrapping_add(streams.begun()))
    }
}

/// Say why if nobody has, and leave the client time to read it: closing with something unread resets the
/// connection.
async fn last_word<S>(mut stream: S, seen: &Seen, too_slow: Option<Waiting>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if too_slow == Some(Waiting::Reader) {
        return;
    }
    let farewell = async {
        if (too_slow.is_some() || seen.is_flooded())
            && let Some(frame) = seen.go_away()
        {
            let _ = stream.write_all(&frame).await;
        }
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    };
    let _ = timeout(LINGER, farewell).await;
}

/// Looks after answers that their clients don't take, one timer for all.
struct Stuck {
    timer: Pin<Box<Sleep>>,
}

impl Stuck {
    fn new() -> Self {
        Self { timer: Box::pin(sleep(STUCK_WRITE)) }
    }

    fn poll(&mut self, context: &mut Context<'_>, streams: &Streams) {
        while self.timer.as_mut().poll(context).is_ready() {
            let next: Instant = streams.reset_stuck(STUCK_WRITE);
            self.timer.as_mut().reset(next);
        }
    }
}

fn builder(streams: Streams) -> Builder<Streams> {
    let mut builder = Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        // CVE-2023-44487, rapid reset: so many that were reset before we had looked at them.
        .max_pending_accept_reset_streams(20)
        // CVE-2025-8671, MadeYouReset: so many that were in error, in a connection's whole life.
        .max_local_error_reset_streams(100)
        // RFC 9113 §6.5.2 counts 32 bytes more for each field than HTTP/1's limit does.
        .max_header_list_size(16 * 1024)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(WINDOW as usize)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// RFC 9113 §3.4
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_STREAMS: u32 = 100;
/// Of one stream in either direction: what it may hold of our memory.
const WINDOW: u32 = 64 * 1024;

#[cfg(test)]
mod tests;
