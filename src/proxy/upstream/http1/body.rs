//! The body of an answer, read from the upstream's connection as the client takes it. No task, no queue: what
//! the client does not read stays in the upstream's hands.

use std::mem;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::SizeHint;

use crate::proxy::upstream::body::BrokenBody;
use crate::proxy::upstream::http1::answer_head::Reuse;
use crate::proxy::upstream::http1::chunked::{BadChunk, Chunked};
use crate::proxy::upstream::http1::upload::{Upload, UploadFault};
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::socket::Socket;

/// How the end of a body is told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunked),
    /// By closing the connection.
    UntilClose,
}

/// What is yet to come of an answer. Dropped before its end, it closes the connection, which tells the
/// upstream to stop.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    /// Read and not yet taken.
    input: Bytes,
    state: State,
}

#[derive(Debug)]
enum State {
    Coming(Connection),
    Over,
}

/// What the body comes over, and where that goes afterwards.
#[derive(Debug)]
pub struct Connection {
    pub socket: Socket,
    pub pool: Pool,
    pub reuse: Reuse,
    /// Of a request that is answered before all of it was sent.
    pub upload: Option<Box<Upload>>,
}

impl Connection {
    /// Go on with the request, as far as that is possible now.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Result<(), BrokenBody> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        match upload.poll(&mut self.socket, context) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(UploadFault::Client(fault))) => return Err(BrokenBody::Request(fault)),
            // It wants no more of the request. What it says may still be whole.
            Poll::Ready(Err(UploadFault::Upstream(_))) => self.reuse = Reuse::No,
        }
        self.upload = None;
        Ok(())
    }
}

impl Body {
    /// `input` is what came together with the head.
    pub fn new(framing: Framing, input: Bytes, connection: Connection) -> Self {
        let mut body = Self { framing, input, state: State::Coming(connection) };
        if body.framing == Framing::Length(0) {
            body.end();
        }
        body
    }

    /// What `stream` says until it is closed.
    #[cfg(test)]
    pub fn until_close(stream: tokio::net::TcpStream) -> Self {
        use crate::proxy::upstream::socket::Stream;
        let socket = Socket::new(Stream::Tcp(stream));
        let (pool, reuse) = (Pool::default(), Reuse::No);
        let connection = Connection { socket, pool, reuse, upload: None };
        Self::new(Framing::UntilClose, Bytes::new(), connection)
    }

    /// The data that is here, if there is some. Ends with its last byte, not when it is asked again.
    fn take(&mut self) -> Result<Option<Bytes>, BadChunk> {
        match &mut self.framing {
            Framing::Length(left) => {
                let here =
                    usize::try_from(*left).map_or(self.input.len(), |l| l.min(self.input.len()));
                let data = self.input.split_to(here);
                *left -= here as u64;
                if *left == 0 {
                    self.end();
                }
                Ok(Some(data).filter(|data| !data.is_empty()))
            }
            Framing::Chunked(chunked) => {
                let data = chunked.next(&mut self.input)?;
                if chunked.has_ended() {
                    self.end();
                }
                Ok(data)
            }
            Framing::UntilClose => {
                Ok(Some(std::mem::take(&mut self.input)).filter(|data| !data.is_empty()))
            }
        }
    }

    /// Give the connection back, if it can be used again.
    fn end(&mut self) {
        let State::Coming(connection) = mem::replace(&mut self.state, State::Over) else { return };
        // What follows the answer was not asked for.
        if connection.upload.is_none() && self.input.is_empty() {
            connection.pool.put(connection.socket, connection.reuse);
        }
        self.input = Bytes::new();
    }

    /// What comes next; `None` at the end.
    pub fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BrokenBody>> {
        loop {
            if let Some(data) = self.take()? {
                return Poll::Ready(Ok(Some(data)));
            }
            let State::Coming(connection) = &mut self.state else { return Poll::Ready(Ok(None)) };
            connection.poll_upload(context)?;
            // Even empty it would hold on to the piece that it was cut from.
            self.input = Bytes::new();
            self.input = ready!(connection.socket.poll_piece(context))?;
            if self.input.is_empty() {
                if self.framing != Framing::UntilClose {
                    return Poll::Ready(Err(BrokenBody::Closed));
                }
                self.state = State::Over;
            }
        }
    }

    /// Whether all of it has been taken.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    pub fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
        }
    }
}
