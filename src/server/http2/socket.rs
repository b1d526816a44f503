//! The client's socket as h2 sees it, followed from outside: what the connection waits for, whether what
//! we write is read, and whether its frames are a flood.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::http2::PREFACE;
use crate::server::http2::allowance::{Allowance, UsedUp};
use crate::server::http2::frames::{
    CONTINUATION, DATA, END_HEADERS, Frame, Frames, GOAWAY, HEADERS,
};

/// What was seen on a connection. Clones share it: the socket, which hyper has, writes it, and the
/// connection's task reads it.
#[derive(Clone, Debug)]
pub struct Seen(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    incoming: Frames,
    outgoing: Frames,
    allowance: Allowance,
    /// The last frame that began.
    last: Option<Frame>,
    /// A header whose last frame has not come yet (RFC 9113 §4.3).
    header_is_open: bool,
    /// Frames that may begin a header.
    headers: u32,
    last_stream: u32,
    /// Frames of answers that were written.
    answers: u32,
    /// Writes that went on after a stop.
    writes: u32,
    write_is_stuck: bool,
    is_flooded: bool,
}

impl Seen {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            incoming: Frames::after(PREFACE.len()),
            outgoing: Frames::default(),
            allowance: Allowance::new(),
            last: None,
            header_is_open: false,
            headers: 0,
            last_stream: 0,
            answers: 0,
            writes: 0,
            write_is_stuck: false,
            is_flooded: false,
        })))
    }

    /// Whether the client reads nothing, and how often it went on reading.
    pub fn stuck_write(&self) -> (bool, u32) {
        let state = self.lock();
        (state.write_is_stuck, state.writes)
    }

    /// Whether a header has begun and not ended, or the client's first frame has not come, and how many
    /// headers there were.
    pub fn open_header(&self) -> (bool, u32) {
        let state = self.lock();
        let in_header = match state.last {
            None => true,
            Some(Frame { kind: HEADERS | CONTINUATION, .. }) => {
                state.header_is_open || !state.incoming.at_rest()
            }
            Some(_) => state.incoming.in_header(),
        };
        (in_header, state.headers)
    }

    /// How many frames of answers were written.
    pub fn answers(&self) -> u32 {
        self.lock().answers
    }

    pub fn is_flooded(&self) -> bool {
        self.lock().is_flooded
    }

    /// The last word of a connection that we end (RFC 9113 §6.8); `None` in the middle of another frame.
    pub fn go_away(&self) -> Option<Vec<u8>> {
        let state = self.lock();
        let header = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
        let frame = [&header[..], &state.last_stream.to_be_bytes(), &ENHANCE_YOUR_CALM].concat();
        state.outgoing.at_rest().then_some(frame)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn came(&mut self, mut bytes: &[u8]) -> Result<(), UsedUp> {
        while let Some(frame) = self.incoming.next(&mut bytes) {
            self.last = Some(frame);
            match frame.kind {
                HEADERS => {
                    self.header_is_open = !frame.has(END_HEADERS);
                    self.last_stream = self.last_stream.max(frame.stream);
                }
                CONTINUATION => self.header_is_open = !frame.has(END_HEADERS),
                _ => {}
            }
            if frame.kind != CONTINUATION {
                self.headers = self.headers.wrapping_add(1);
            }
            self.allowance.spend(frame).inspect_err(|UsedUp| self.is_flooded = true)?;
        }
        Ok(())
    }

    fn went(&mut self, mut bytes: &[u8]) {
        self.allowance.earn(bytes.len());
        while let Some(frame) = self.outgoing.next(&mut bytes) {
            if frame.kind == HEADERS || (frame.kind == DATA && frame.length > 0) {
                self.answers = self.answers.wrapping_add(1);
            }
        }
    }

    fn note_write(&mut self, is_stuck: bool) {
        if self.write_is_stuck && !is_stuck {
            self.writes = self.writes.wrapping_add(1);
        }
        self.write_is_stuck = is_stuck;
    }
}

/// A socket whose bytes are followed both ways.
#[derive(Debug)]
pub struct Socket<S> {
    stream: S,
    /// What came before it was known that this is HTTP/2.
    begun: Bytes,
    seen: Seen,
}

impl<S> Socket<S> {
    pub fn new(stream: S, begun: Bytes, seen: Seen) -> Self {
        Self { stream, begun, seen }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.begun.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let piece = this.begun.split_to(this.begun.len().min(buffer.remaining()));
            buffer.put_slice(piece.chunk());
            if this.begun.is_empty() {
                // So that its memory is not held for as long as the connection lasts.
                this.begun = Bytes::new();
            }
        }
        let verdict = this.seen.lock().came(buffer.filled().get(before..).unwrap_or_default());
        if verdict.is_err() {
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::other("too many frames that ask for nothing")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        let mut seen = self.seen.lock();
        seen.note_write(written.is_pending());
        if let Poll::Ready(Ok(length)) = written {
            seen.went(bytes.get(..length).unwrap_or_default());
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        let mut seen = self.seen.lock();
        seen.note_write(written.is_pending());
        if let Poll::Ready(Ok(mut length)) = written {
            for slice in slices {
                let here = length.min(slice.len());
                seen.went(slice.get(..here).unwrap_or_default());
                length -= here;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// What is written over TLS may still be here. h2 flushes only when it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.seen.lock().note_write(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 0xb];
