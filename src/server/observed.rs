//! The client's socket as hyper sees it: every byte passes `framing` on its way in, and what the
//! connection waits for is known from outside hyper.

use std::io::{self, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::framing::Framing;
use crate::server::refusal::Refusal;

/// How far a connection has come. Written by the socket's wrapper and by the exchange under way, read by
/// `connection`; all three live in one task, so that the atomics are only there to be `Send`.
#[derive(Debug, Default)]
pub struct Progress {
    answer: AtomicU8,
    /// Exchanges begun and ended, and writes that went on after a stop: a change of it is progress.
    steps: AtomicU32,
    /// How often the connection has been polled.
    turn: AtomicU32,
    in_head: AtomicBool,
    body_is_due: AtomicBool,
    has_begun: AtomicBool,
    is_finishing: AtomicBool,
    write_is_stuck: AtomicBool,
    speaks_http2: AtomicBool,
    refusal: OnceLock<Refusal>,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    FirstByte,
    Head,
    NextRequest,
    /// For the client to read what we wrote.
    Reader,
    /// For us, or for the upstream, or for the rest of a request's body.
    Answer,
}

impl Progress {
    /// A request was handed out; the exchange lasts until its body has gone and is flushed.
    pub fn begin(self: &Arc<Self>) -> Exchange {
        self.answer.store(ANSWERING, Ordering::Relaxed);
        self.step();
        Exchange { progress: Arc::clone(self), pending_in: None }
    }

    pub fn waiting(&self) -> (Waiting, u32) {
        let waiting = if self.write_is_stuck.load(Ordering::Relaxed) {
            Waiting::Reader
        } else if !self.nothing_is_owed() {
            Waiting::Answer
        } else if self.in_head.load(Ordering::Relaxed) {
            Waiting::Head
        } else if self.has_begun.load(Ordering::Relaxed) {
            Waiting::NextRequest
        } else {
            Waiting::FirstByte
        };
        (waiting, self.steps.load(Ordering::Relaxed))
    }

    /// From now on no further request is taken than the one under way, or the first.
    pub fn finish(&self) {
        self.is_finishing.store(true, Ordering::Relaxed);
    }

    /// Whether it is finishing, and the first request has come or is coming.
    pub fn may_finish(&self) -> bool {
        self.is_finishing.load(Ordering::Relaxed) && self.has_begun.load(Ordering::Relaxed)
    }

    /// To be called before hyper is polled.
    pub fn next_turn(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether an answer may be written here without hitting another one's middle.
    fn nothing_is_owed(&self) -> bool {
        self.answer.load(Ordering::Relaxed) == AT_REST
    }

    /// The client is still sending a body that nobody will read.
    pub fn body_is_due(&self) -> bool {
        self.body_is_due.load(Ordering::Relaxed)
    }

    /// The client began with HTTP/2's preface. hyper has all that has come, and has given up on it.
    pub fn speaks_http2(&self) -> bool {
        self.speaks_http2.load(Ordering::Relaxed)
    }

    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    /// What is wrong with a header that was never handed out, so that nobody has answered it yet.
    pub fn unanswered_refusal(&self) -> Option<Refusal> {
        let may_answer = self.in_head.load(Ordering::Relaxed) && self.nothing_is_owed();
        self.refusal().filter(|_| may_answer)
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

/// One request and its answer. Dropped with the answer's last byte, or with the connection.
#[derive(Debug)]
pub struct Exchange {
    progress: Arc<Progress>,
    /// The turn in which its answer was last asked for in vain.
    pending_in: Option<u32>,
}

impl Exchange {
    /// What `framing` found wrong in the body after the request had been handed out.
    pub fn refusal(&self) -> Option<Refusal> {
        self.progress.refusal()
    }

    /// `poll` what the answer comes from, unless it has nothing to say in this turn: hyper asks twice in each, and
    /// whatever happens in between asks for another turn.
    pub fn once_a_turn<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let turn = self.progress.turn.load(Ordering::Relaxed);
        if self.pending_in == Some(turn) {
            return Poll::Pending;
        }
        let polled = poll();
        self.pending_in = polled.is_pending().then_some(turn);
        polled
    }

    /// The connection ends with it: we are finishing, or it is answered before its body has come, after which
    /// hyper reads no further request (RFC 9112 §9.3 wants that told).
    pub fn is_last(&self) -> bool {
        self.progress.is_finishing.load(Ordering::Relaxed) || self.progress.body_is_due()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.progress.answer.store(FLUSHING, Ordering::Relaxed);
        self.progress.step();
    }
}

/// A socket whose incoming bytes are judged before anybody else sees them.
#[derive(Debug)]
pub struct Observed<S> {
    stream: S,
    version: Version,
    framing: Framing,
    progress: Arc<Progress>,
    /// What came while hyper was not reading. Not judged yet.
    ahead: Vec<u8>,
}

/// Which protocol the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// So many bytes of HTTP/2's preface have come, and nothing else. hyper has not seen them.
    Undecided(usize),
    Http1,
    Http2,
}

impl<S> Observed<S> {
    pub fn new(stream: S, progress: Arc<Progress>) -> Self {
        let (version, framing) = (Version::Undecided(0), Framing::default());
        Self { stream, version, framing, progress, ahead: Vec::new() }
    }

    pub fn into_inner(self) -> S {
        self.stream
    }

    fn judge(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let verdict = self.framing.observe(bytes);
        let in_head = self.framing.in_head();
        self.progress.has_begun.store(true, Ordering::Relaxed);
        self.progress.in_head.store(in_head, Ordering::Relaxed);
        self.progress.body_is_due.store(!in_head && !self.framing.at_rest(), Ordering::Relaxed);
        verdict.map_err(|refusal| {
            let _ = self.progress.refusal.set(refusal);
            io::Error::new(ErrorKind::InvalidData, refusal)
        })
    }

    /// The first read, and those after it while the bytes may still become HTTP/2's preface. `FIRST_BYTE` is
    /// the limit on all of them.
    fn poll_begin(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        mut held: usize,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let before = buffer.filled().len();
        loop {
            // They are known, so that holding them back means counting them.
            let begin = PREFACE.get(..held).unwrap_or_default();
            if buffer.remaining() <= begin.len() {
                return Poll::Ready(Err(io::Error::other("no room for HTTP/2's preface")));
            }
            buffer.put_slice(begin);
            let read = Pin::new(&mut self.stream).poll_read(context, buffer);
            if !matches!(read, Poll::Ready(Ok(()))) {
                buffer.set_filled(before);
                return read;
            }
            let bytes = buffer.filled().get(before..).unwrap_or_default();
            let has_ended = bytes.len() == held;
            if bytes.starts_with(PREFACE) {
                // hyper gives up on it without a word, and gives it back.
                self.version = Version::Http2;
                self.progress.speaks_http2.store(true, Ordering::Relaxed);
                return Poll::Ready(Ok(()));
            }
            if has_ended || !PREFACE.starts_with(bytes) {
                self.version = Version::Http1;
                return Poll::Ready(self.pass(buffer, before));
            }
            held = bytes.len();
            self.version = Version::Undecided(held);
            buffer.set_filled(before);
        }
    }

    /// hyper must not see one byte of a read that was refused.
    fn pass(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let verdict = self.judge(buffer.filled().get(before..).unwrap_or_default());
        if verdict.is_err() {
            buffer.set_filled(before);
        }
        verdict
    }

    /// See, while an answer is due, whether the client is still there. hyper can do that too, but takes a second
    /// buffer for it, as long as anybody holds the request that lies in the first.
    fn look_for_end(&mut self, context: &mut Context<'_>) -> io::Result<()>
    where
        S: AsyncRead + Unpin,
    {
        let hyper_reads = self.progress.nothing_is_owed() || self.progress.body_is_due();
        if hyper_reads || !self.ahead.is_empty() {
            return Ok(());
        }
        let mut bytes = [0; AHEAD];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer)? {
            Poll::Ready(()) if buffer.filled().is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            Poll::Ready(()) => {
                self.ahead.extend_from_slice(buffer.filled());
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }

    fn note_write<T>(&self, written: &Poll<T>) {
        let was_stuck = self.progress.write_is_stuck.swap(written.is_pending(), Ordering::Relaxed);
        if was_stuck && written.is_ready() {
            self.progress.step();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.version {
            Version::Http1 => {
                let before = buffer.filled().len();
                if !this.ahead.is_empty() {
                    let count = buffer.remaining().min(this.ahead.len());
                    let rest = this.ahead.split_off(count);
                    buffer.put_slice(&mem::replace(&mut this.ahead, rest));
                    return Poll::Ready(this.pass(buffer, before));
                }
                ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
                Poll::Ready(this.pass(buffer, before))
            }
            Version::Undecided(held) => this.poll_begin(context, buffer, held),
            // What comes now is not for HTTP/1.
            Version::Http2 => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(&written);
        if written.is_pending() {
            self.look_for_end(context)?;
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_write(&written);
        if written.is_pending() {
            self.look_for_end(context)?;
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes the socket whenever it is polled and its own buffer is empty: so an answer whose body had
    /// ended is out now.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        let _ = self.progress.answer.compare_exchange(
            FLUSHING,
            AT_REST,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        Poll::Ready(self.look_for_end(context))
    }

    /// Not while there is something left to say: to hyper a refused read is the client's going.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.progress.speaks_http2() || self.progress.unanswered_refusal().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// RFC 9113 §3.4
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Enough to see that something came. The rest hyper reads.
const AHEAD: usize = 64;
const AT_REST: u8 = 0;
const ANSWERING: u8 = 1;
const FLUSHING: u8 = 2;
