//! A connection to an upstream: what is read from it takes room only once it is there.

use std::fmt;
use std::io::{self, IoSlice, Write as _};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::tls::TlsStream;

/// One connection over which one exchange at a time is carried. Dropped, it is closed.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    scratch: Scratch,
}

/// What the bytes go over.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// Room to read into that all connections of a worker share: one of them is polled at a time, and a
/// connection that is silent holds none.
#[derive(Clone, Debug, Default)]
pub struct Scratch(Arc<Mutex<BytesMut>>);

/// Something to write, in up to three parts.
#[derive(Default)]
pub struct Outbox {
    before: Vec<u8>,
    /// How much of `before` is written.
    written: usize,
    data: Bytes,
    after: &'static [u8],
    /// Some of it may still wait in the socket.
    is_held: bool,
    /// Some of it may have left, though the socket says that none did.
    is_tried: bool,
}

impl Socket {
    pub fn new(stream: Stream, scratch: Scratch) -> Self {
        Self { stream, scratch }
    }

    /// What has come, as one piece. Empty: the other side has ended.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut scratch = self.scratch.0.lock().unwrap_or_else(PoisonError::into_inner);
        if scratch.capacity() < SMALLEST_READ {
            scratch.reserve(LARGEST_READ);
        }
        let read = ready!(pin!(self.stream.read_buf(&mut *scratch)).poll(context))?;
        if read > LARGEST_COPY {
            return Poll::Ready(Ok(scratch.split().freeze()));
        }
        // Not a part of the scratch: whoever keeps a few bytes would keep all of it.
        let piece = Bytes::copy_from_slice(&scratch);
        scratch.clear();
        Poll::Ready(Ok(piece))
    }

    /// Whether the other side neither closed nor said something unasked.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        read.is_pending()
    }

    /// Write all of `outbox`, and see that it leaves.
    pub fn poll_write(
        &mut self,
        outbox: &mut Outbox,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // A record of what is written at once may leave before another one fails.
        outbox.is_tried |= matches!(self.stream, Stream::Tls(_));
        let mut stream = Pin::new(&mut self.stream);
        while !outbox.is_empty() {
            let before = outbox.before.get(outbox.written..).unwrap_or_default();
            let parts = [before, &outbox.data, outbox.after].map(IoSlice::new);
            let count = ready!(stream.as_mut().poll_write_vectored(context, &parts))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.advance(count);
            outbox.is_held = true;
        }
        ready!(stream.poll_flush(context))?;
        outbox.is_held = false;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}

/// Not what it holds.
impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    /// Begins with `head`.
    pub fn new(head: Vec<u8>) -> Self {
        Self { before: head, ..Self::default() }
    }

    /// Put `data` after what is there. Only what stands before data can be there still.
    pub fn add(&mut self, before: fmt::Arguments<'_>, data: Bytes, after: &'static [u8]) {
        if self.is_empty() {
            self.before.clear();
            self.written = 0;
        }
        // Writing to memory can't fail.
        let _ = self.before.write_fmt(before);
        self.data = data;
        self.after = after;
    }

    /// Put the last chunk (RFC 9112 §7.1) after what is there.
    pub fn end(&mut self) {
        if self.is_empty() {
            self.add(format_args!("0\r\n\r\n"), Bytes::new(), b"");
        } else if self.data.is_empty() {
            self.before.extend_from_slice(b"0\r\n\r\n");
        } else {
            self.after = b"\r\n0\r\n\r\n";
        }
    }

    /// Whether some of it may have left.
    pub fn has_begun(&self) -> bool {
        self.written > 0 || self.is_tried
    }

    /// Whether all of it has left.
    pub fn is_sent(&self) -> bool {
        self.is_empty() && !self.is_held
    }

    pub fn is_empty(&self) -> bool {
        self.written == self.before.len() && self.data.is_empty() && self.after.is_empty()
    }

    fn advance(&mut self, count: usize) {
        let of_before = count.min(self.before.len() - self.written);
        self.written += of_before;
        let count = count - of_before;
        let of_data = count.min(self.data.len());
        self.data = self.data.slice(of_data..);
        self.after = self.after.get(count - of_data..).unwrap_or_default();
    }
}

/// Below this the scratch is made anew.
const SMALLEST_READ: usize = 64 * 1024;
/// What a client that has stopped reading may make us hold: a long answer goes in pieces of this length.
const LARGEST_READ: usize = 256 * 1024;
/// More is passed on as it lies. The least that can keep a whole scratch from being freed.
const LARGEST_COPY: usize = 16 * 1024;
