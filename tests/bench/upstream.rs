//! An MCP server that costs as little as possible.
//!
//! `bench_upstream [MILLISECONDS]` writes the address it listens on to standard output, and ends at SIGTERM.
//! `POST /mcp` gets a small JSON answer (`answers`), with `?answer=BYTES` a long one, with `?count` one that
//! says how long the request's body was. `GET /mcp` gets a stream that has one event at once, and then one
//! each MILLISECONDS; the streams take turns.

mod answers;

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Uri};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, Sleep, sleep_until};

type Answer = Response<Either<Full<Bytes>, Events>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let period = match std::env::args().nth(1) {
        Some(milliseconds) => Duration::from_millis(milliseconds.parse()?),
        None => Duration::from_secs(5),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                let service = service_fn(move |request| answer(request, period));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
            _ = terminate.recv() => return Ok(()),
        }
    }
}

async fn answer(request: Request<Incoming>, period: Duration) -> Result<Answer, Infallible> {
    if request.method() == Method::GET {
        return Ok(typed("text/event-stream", Either::Right(Events::each(period))));
    }
    let (head, body) = request.into_parts();
    // Read to its end, or the connection could not be used again.
    let received = length(body).await;
    Ok(typed("application/json", Either::Left(Full::new(json(&head.uri, received)))))
}

fn json(uri: &Uri, received: u64) -> Bytes {
    match uri.query() {
        None => Bytes::from_static(answers::RESULT),
        Some("count") => answers::counted(received).into(),
        Some(query) => {
            let bytes = query.strip_prefix("answer=").and_then(|bytes| bytes.parse::<usize>().ok());
            LONG.slice(..bytes.unwrap_or_default())
        }
    }
}

/// Of `body`, in bytes, holding none of it.
async fn length(mut body: Incoming) -> u64 {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    bytes
}

fn typed(content_type: &'static str, body: Either<Full<Bytes>, Events>) -> Answer {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // In every answer, as servers of the SDKs do it.
    headers.insert("mcp-session-id", HeaderValue::from_static(SESSION));
    response
}

/// Events that say which of their stream they are, and when they were sent.
struct Events {
    number: u64,
    period: Duration,
    next: Pin<Box<Sleep>>,
}

impl Events {
    fn each(period: Duration) -> Self {
        Self { number: 0, period, next: Box::pin(sleep_until(Instant::now())) }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.next.as_mut().poll(context));
        let event = format!("id: {}\ndata: {}\n\n", self.number, nanoseconds());
        let pause = if self.number == 0 { turn(self.period) } else { self.period };
        let next = self.next.deadline() + pause;
        self.next.as_mut().reset(next);
        self.number += 1;
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}

/// How long a new stream waits, so that those opened together don't speak together: the golden ratio spreads
/// any number of them evenly over `period`.
fn turn(period: Duration) -> Duration {
    static STREAMS: AtomicU64 = AtomicU64::new(0);
    let stream = STREAMS.fetch_add(1, Ordering::Relaxed);
    let share = u32::try_from(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).unwrap_or_default();
    period.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

/// Another process compares it with its own: the clock of the machine is the one that both have.
#[expect(clippy::disallowed_methods, reason = "no part of the product")]
fn nanoseconds() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

static LONG: LazyLock<Bytes> = LazyLock::new(|| answers::of_size(LONGEST).into());
const SESSION: &str = "b0342d29-c3fb-4378-89b2-eb05000b6e79";
const LONGEST: usize = 16 << 20;
