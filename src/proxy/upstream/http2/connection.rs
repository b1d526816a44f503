//! A connection over which HTTP/2 is spoken: how it begins, and the task that it has for as long as it lasts.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

/// A connection on which streams can be opened. It has to be run.
#[derive(Debug)]
pub struct Begun<S: AsyncRead + AsyncWrite + Unpin> {
    connection: Connection<Heard<S>, Bytes>,
    last_heard: LastHeard,
}

/// Why a connection has ended with streams on it.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error(transparent)]
    Connection(#[from] h2::Error),
    #[error("nothing came for {} s, and no answer to a PING", (QUIET + QUIET).as_secs())]
    Silent,
}

/// Speak HTTP/2 over `stream`, with who knows that we do. Ready when the other side has said what it allows:
/// before, the streams that it has room for are not known, nor whether it is an HTTP/2 server.
pub async fn begin<S>(stream: S) -> io::Result<(SendRequest<Bytes>, Begun<S>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let last_heard = LastHeard(Arc::new(Mutex::new(Instant::now())));
    let heard = Heard { stream, last_heard: last_heard.clone() };
    let (sender, mut connection) = builder().handshake(heard).await.map_err(no_http2)?;
    poll_fn(|context| match Pin::new(&mut connection).poll(context) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(io::Error::other("no HTTP/2: it hung up"))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(no_http2(error))),
        Poll::Pending if sender.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((sender, Begun { connection, last_heard }))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Begun<S> {
    /// Carry what goes over it, until nobody has a use for it or it breaks. `streams`: how many are open.
    ///
    /// Whoever is silent while they are is asked for a sign of life: packets may have ceased to arrive, and
    /// nothing else tells.
    pub async fn run(mut self, streams: Arc<AtomicUsize>) -> Result<(), Lost> {
        let mut pings = self.connection.ping_pong();
        let mut timer = pin!(sleep(QUIET));
        let mut asked: Option<Instant> = None;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(end) = Pin::new(&mut self.connection).poll(context) {
                    return Poll::Ready(end.map_err(Lost::Connection));
                }
                ready!(timer.as_mut().poll(context));
                let (now, heard) = (Instant::now(), self.last_heard.get());
                if heard + QUIET > now {
                    timer.as_mut().reset(heard + QUIET);
                    continue;
                }
                if asked.is_some_and(|asked| heard < asked) {
                    return Poll::Ready(Err(Lost::Silent));
                }
                timer.as_mut().reset(now + QUIET);
                if streams.load(Ordering::Relaxed) > 0
                    && let Some(pings) = &mut pings
                {
                    asked = Some(now);
                    ask(pings, context);
                }
            }
        })
        .await
    }
}

fn ask(pings: &mut PingPong, context: &mut Context<'_>) {
    // The answer to the one before is taken, if it has come. If not, that one still asks.
    let _ = pings.poll_pong(context);
    let _ = pings.send_ping(Ping::opaque());
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        // What a client that reads nothing makes us hold.
        .initial_window_size(STREAM_WINDOW)
        // Were it smaller than what all streams may hold, a few that nobody reads would stop the others.
        .initial_connection_window_size(LARGEST_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(LONGEST_HEAD)
        // None until the other side has said how many it takes.
        .initial_max_send_streams(0);
    builder
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn no_http2(error: h2::Error) -> io::Error {
    io::Error::other(format!("no HTTP/2: {error}"))
}

/// When something came last.
#[derive(Clone, Debug)]
struct LastHeard(Arc<Mutex<Instant>>);

impl LastHeard {
    fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A stream of bytes of which it is known when some came last.
#[derive(Debug)]
struct Heard<S> {
    stream: S,
    last_heard: LastHeard,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.last_heard.set_now();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// How long nothing may come before we ask, and for how long we wait then.
const QUIET: Duration = Duration::from_secs(20);
const STREAM_WINDOW: u32 = 128 * 1024;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// Of one stream.
const SEND_BUFFER: usize = 64 * 1024;
const LONGEST_HEAD: u32 = 64 * 1024;

#[cfg(test)]
mod tests;
