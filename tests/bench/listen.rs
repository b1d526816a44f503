//! Holds many event streams open, and measures how late their events are.
//!
//! `bench_listen ADDRESS STREAMS TOKENS SECONDS` opens STREAMS with `GET http://ADDRESS/mcp`, with the first
//! token in the file TOKENS; waits for the first event of each; then notes for SECONDS when which event came.
//! Writes a line of JSON, and holds the streams until SIGTERM. A stream that ends, or misses an event, is a
//! fault.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

type Fault = Box<dyn Error + Send + Sync>;

/// Of which number in its stream an event was, and how late it came.
type Arrival = (u64, Duration);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let address: Arc<str> = arguments.next().ok_or(USAGE)?.into();
    let streams: usize = arguments.next().ok_or(USAGE)?.parse()?;
    let tokens = fs::read_to_string(arguments.next().ok_or(USAGE)?)?;
    let token: Arc<str> = tokens.lines().next().ok_or(USAGE)?.into();
    let seconds = Duration::from_secs_f64(arguments.next().ok_or(USAGE)?.parse()?);

    let (arrived, mut arrivals) = unbounded_channel();
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut listeners = JoinSet::new();
    for _ in 0..streams {
        let (address, token) = (Arc::clone(&address), Arc::clone(&token));
        listeners.spawn(listen(address, token, Arc::clone(&at_once), arrived.clone()));
    }
    let mut first = Vec::with_capacity(streams);
    let mut later = Vec::new();
    let mut end = None;
    while end.is_none_or(|end| Instant::now() < end) {
        let deadline = end.unwrap_or_else(|| Instant::now() + PATIENCE);
        tokio::select! {
            arrival = timeout_at(deadline, arrivals.recv()) => match arrival {
                Ok(Some((0, late))) => first.push(late),
                Ok(Some((_, late))) if end.is_some() => later.push(late),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) if end.is_some() => break,
                Ok(None) | Err(_) => return Err("no event came for too long".into()),
            },
            Some(ended) = listeners.join_next() => ended??,
        }
        if end.is_none() && first.len() == streams {
            end = Some(Instant::now() + seconds);
        }
    }
    let events = later.len();
    let (first, p50, p99) = (at(&mut first, 50)?, at(&mut later, 50)?, at(&mut later, 99)?);
    writeln!(io::stdout(), r#"{{"events":{events},"first":{first},"p50":{p50},"p99":{p99}}}"#)?;

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        Some(ended) = listeners.join_next() => ended?,
        _ = terminate.recv() => Ok(()),
    }
}

/// Only ends with a fault.
async fn listen(
    address: Arc<str>,
    token: Arc<str>,
    at_once: Arc<Semaphore>,
    arrived: UnboundedSender<Arrival>,
) -> Result<(), Fault> {
    let opening = at_once.acquire().await?;
    let stream = TcpStream::connect(&*address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/mcp")
        .header(HOST, &*address)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(ACCEPT, "text/event-stream")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("{} to GET", response.status()).into());
    }
    let mut events = Events { body: response.into_body(), read: Vec::new() };
    let mut opening = Some(opening);
    for expected in 0.. {
        let (number, late) = events.next().await?;
        if number != expected {
            return Err(format!("event {number} came in place of {expected}").into());
        }
        opening.take();
        // Nobody is interested any more: the end.
        let _ = arrived.send((number, late));
    }
    Ok(())
}

struct Events {
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    async fn next(&mut self) -> Result<Arrival, Fault> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.read.drain(..end + 2).collect();
                return arrival(std::str::from_utf8(&event)?.trim_end());
            }
            let frame = self.body.frame().await.ok_or("a stream ended")??;
            self.read.extend(frame.data_ref().into_iter().flatten());
        }
    }
}

fn arrival(event: &str) -> Result<Arrival, Fault> {
    let (number, sent) = event
        .strip_prefix("id: ")
        .and_then(|rest| rest.split_once("\ndata: "))
        .ok_or_else(|| format!("no event of ours: {event}"))?;
    let late = now().saturating_sub(Duration::from_nanos(sent.parse()?));
    Ok((number.parse()?, late))
}

/// In nanoseconds.
fn at(times: &mut [Duration], hundredth: usize) -> Result<u128, Fault> {
    times.sort_unstable();
    let place = (times.len() * hundredth / 100).min(times.len().saturating_sub(1));
    Ok(times.get(place).ok_or("no event came")?.as_nanos())
}

/// What the upstream compares with: another process.
#[expect(clippy::disallowed_methods, reason = "no part of the product")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Streams that are being opened at the same time.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);
const USAGE: &str = "bench_listen ADDRESS STREAMS TOKENS SECONDS";
