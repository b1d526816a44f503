//! Room to read into that all connections of a thread share: one of them is polled at a time, and one that is silent
//! holds none.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

thread_local! {
    static SCRATCH: Cell<BytesMut> = Cell::default();
}

/// What has come over `stream`, as one piece. Empty: the other side has ended.
pub fn poll_piece<S>(stream: &mut S, context: &mut Context<'_>) -> Poll<io::Result<Bytes>>
where
    S: AsyncRead + Unpin,
{
    let mut scratch = SCRATCH.take();
    let piece = poll_into(&mut scratch, stream, context);
    SCRATCH.set(scratch);
    piece
}

fn poll_into<S>(
    scratch: &mut BytesMut,
    stream: &mut S,
    context: &mut Context<'_>,
) -> Poll<io::Result<Bytes>>
where
    S: AsyncRead + Unpin,
{
    if scratch.capacity() < SMALLEST_READ {
        scratch.reserve(LARGEST_READ);
    }
    let read = ready!(pin!(stream.read_buf(scratch)).poll(context))?;
    if read > LARGEST_COPY {
        return Poll::Ready(Ok(scratch.split().freeze()));
    }
    // Not a part of the scratch: whoever keeps a few bytes would keep all of it.
    let piece = Bytes::copy_from_slice(scratch);
    scratch.clear();
    Poll::Ready(Ok(piece))
}

/// Below this the scratch is made anew.
const SMALLEST_READ: usize = 64 * 1024;
/// What a client that has stopped reading may make us hold: a long answer goes in pieces of this length.
const LARGEST_READ: usize = 256 * 1024;
/// More is passed on as it lies. The least that can keep a whole scratch from being freed.
const LARGEST_COPY: usize = 16 * 1024;
