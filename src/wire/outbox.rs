//! What is on its way out of a connection, in as few writes as can be.

use std::fmt;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

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
    /// Something may have left, even if the socket said that nothing did.
    has_begun: bool,
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
        debug_assert!(self.is_in_one_place(), "data stands before it");
        // Writing to memory can't fail.
        let _ = self.begin().write_fmt(before);
        if data.len() <= LARGEST_COPY {
            self.before.extend_from_slice(&data);
            self.before.extend_from_slice(after);
        } else {
            self.data = data;
            self.after = after;
        }
    }

    /// Where what stands before data is to be put: after what is there of it.
    pub fn begin(&mut self) -> &mut Vec<u8> {
        if self.is_empty() {
            self.before.clear();
            self.written = 0;
        }
        &mut self.before
    }

    /// Whether data can be added.
    pub fn has_room(&self) -> bool {
        self.is_in_one_place() && self.before.len() < ENOUGH
    }

    fn is_in_one_place(&self) -> bool {
        self.data.is_empty() && self.after.is_empty()
    }

    /// Write all of it to `stream`, and see that it leaves.
    pub fn poll_write<S>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let mut stream = Pin::new(stream);
        while !self.is_empty() {
            let before = self.before.get(self.written..).unwrap_or_default();
            let written = if self.is_in_one_place() {
                stream.as_mut().poll_write(context, before)
            } else {
                let parts = [before, &self.data, self.after].map(IoSlice::new);
                stream.as_mut().poll_write_vectored(context, &parts)
            };
            let count = ready!(written)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(count);
            (self.is_held, self.has_begun) = (true, true);
        }
        ready!(stream.poll_flush(context))?;
        self.is_held = false;
        if self.before.capacity() > LARGEST_KEPT {
            self.before = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// It is about to be written, and some of it may leave though the socket says that none did.
    pub fn note_try(&mut self) {
        self.has_begun = true;
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

    /// Whether anything may have left.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether all of it has left.
    pub fn is_sent(&self) -> bool {
        self.is_empty() && !self.is_held
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are yet to be written.
    pub fn len(&self) -> usize {
        self.before.len() - self.written + self.data.len() + self.after.len()
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

/// Whatever is small goes together, up to this.
const ENOUGH: usize = 16 * 1024;
/// Of room, while there is nothing to write.
const LARGEST_KEPT: usize = 1024;
/// To copy so much costs less than to write from two places.
const LARGEST_COPY: usize = 1024;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn context() -> Context<'static> {
        Context::from_waker(std::task::Waker::noop())
    }

    /// Who has written part of a request must not send it again.
    #[test]
    fn what_left_in_part_has_begun() {
        let (mut near, _far) = duplex(4);
        let mut outbox = Outbox::new(b"0123456789".to_vec());
        assert!(!outbox.has_begun());

        assert!(outbox.poll_write(&mut near, &mut context()).is_pending());

        assert!(outbox.has_begun());
        assert_eq!((outbox.len(), outbox.is_sent()), (6, false));
    }

    /// A client that reads nothing must not have us pile up its answer.
    #[test]
    fn there_is_room_for_little() {
        let mut outbox = Outbox::default();
        while outbox.has_room() {
            outbox.add(format_args!("400\r\n"), Bytes::from_static(&[b'x'; 1024]), b"\r\n");
            assert!(outbox.len() < 2 * ENOUGH);
        }

        let mut outbox = Outbox::default();
        outbox.add(format_args!("401\r\n"), Bytes::from_static(&[b'x'; 1025]), b"\r\n");
        assert!(!outbox.has_room(), "what is large is not copied, so nothing can stand behind it");
    }

    /// Streams are silent most of the time.
    #[tokio::test]
    async fn what_is_sent_holds_no_room() {
        let (mut near, _far) = duplex(64 * 1024);
        let mut outbox = Outbox::default();
        outbox.begin().extend_from_slice(&[b'x'; 4096]);

        assert!(outbox.poll_write(&mut near, &mut context()).is_ready());

        assert!(outbox.is_sent());
        assert!(outbox.begin().capacity() <= LARGEST_KEPT);
    }
}
