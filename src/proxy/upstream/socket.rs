//! A connection to an upstream: what is read from it takes room only once it is there.

use std::fmt;
use std::io::{self, IoSlice, Write as _};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

/// One connection over which one exchange at a time is carried. Dropped, it is closed.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    scratch: Scratch,
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
}

impl Socket {
    pub fn new(stream: TcpStream, scratch: Scratch) -> Self {
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

    /// Write all of `outbox`.
    pub fn poll_write(
        &mut self,
        outbox: &mut Outbox,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(&mut self.stream);
        while !outbox.is_empty() {
            let before = outbox.before.get(outbox.written..).unwrap_or_default();
            let parts = [before, &outbox.data, outbox.after].map(IoSlice::new);
            let count = ready!(stream.as_mut().poll_write_vectored(context, &parts))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.advance(count);
        }
        stream.poll_flush(context)
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

    /// Whether some of it has left.
    pub fn has_begun(&self) -> bool {
        self.written > 0
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
const SMALLEST_READ: usize = 16 * 1024;
const LARGEST_READ: usize = 64 * 1024;
/// More is passed on as it lies.
const LARGEST_COPY: usize = 4 * 1024;
