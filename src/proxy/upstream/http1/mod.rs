//! One request and its answer over a connection of our own (RFC 9112). No task and no queue stand between the
//! two sides, and what is silent holds no buffer.

pub mod answer_head;
pub mod body;
pub mod chunked;
pub mod request_head;
pub mod upload;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{Method, Response};
use tokio::time::timeout;

use crate::proxy::upstream::http1::answer_head::{AnswerHead, BadHead, Parsed};
use crate::proxy::upstream::http1::body::{Body, Connection};
use crate::proxy::upstream::http1::upload::{Upload, UploadFault};
use crate::proxy::upstream::patience::{Awaited, Patience};
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::socket::Socket;
use crate::proxy::upstream::{Deadlines, UpstreamFault};

/// Why what an upstream sent is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Garbled {
    #[error("it closed the connection before it answered")]
    Closed,
    #[error("the connection broke before it answered: {0}")]
    Connection(io::Error),
    #[error(transparent)]
    Head(#[from] BadHead),
    #[error("its header is longer than {} KiB", LONGEST_HEAD / 1024)]
    HeadTooLong,
    #[error("it sent more than {MOST_INTERIM} interim answers")]
    TooManyInterim,
}

/// Send `upload`, made with `method`, over a connection that waits in `pool`, or one that `connect` makes.
///
/// Never sent twice: once a byte has left, a tool may have run. Dropping the returned future or the answer's
/// body closes the connection, which tells the upstream to stop.
pub async fn exchange(
    pool: &Pool,
    connect: impl AsyncFnOnce() -> Result<Socket, UpstreamFault>,
    mut upload: Upload,
    method: &Method,
    deadlines: Deadlines,
) -> Result<Response<Body>, UpstreamFault> {
    // Before, it would hold a connection for as long as the client likes.
    match timeout(deadlines.upload, poll_fn(|context| upload.poll_begun(context))).await {
        Ok(begun) => begun?,
        Err(_) => return Err(UpstreamFault::Stalled(deadlines.upload)),
    }
    take_turns().await;
    let mut exchange = Exchange::new(upload, method);
    if let Some(mut socket) = pool.take() {
        match exchange.answer(&mut socket, deadlines).await {
            // It had been closed, which shows only now: nothing has been sent.
            Err(UpstreamFault::Garbled(_)) if !exchange.has_begun() => {}
            answer => return Ok(exchange.into_response(answer?, socket, pool)),
        }
    }
    // Boxed: it is large, and nearly always there is one that waits.
    let mut socket = Box::pin(connect()).await?;
    let head = exchange.answer(&mut socket, deadlines).await?;
    Ok(exchange.into_response(head, socket, pool))
}

/// Let the worker first read what else has come. Requests then leave in a row, and wake the upstream once
/// instead of once each: waking another processor is the dearest part of a small write.
async fn take_turns() {
    let mut has_waited = false;
    poll_fn(|context| {
        if has_waited {
            return Poll::Ready(());
        }
        has_waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A request that is being sent, and the head of its answer as far as it has come.
struct Exchange<'a> {
    method: &'a Method,
    /// `None` once it is sent, or the upstream takes no more of it.
    upload: Option<Upload>,
    has_begun: bool,
    input: Bytes,
    interim: usize,
}

impl<'a> Exchange<'a> {
    fn new(upload: Upload, method: &'a Method) -> Self {
        let upload = Some(upload);
        Self { method, upload, has_begun: false, input: Bytes::new(), interim: 0 }
    }

    fn has_begun(&self) -> bool {
        self.has_begun || self.upload.as_ref().is_none_or(Upload::has_begun)
    }

    async fn answer(
        &mut self,
        socket: &mut Socket,
        deadlines: Deadlines,
    ) -> Result<AnswerHead, UpstreamFault> {
        let timer = pin!(None);
        let mut patience = Patience::new(timer, deadlines);
        poll_fn(|context| {
            let has_moved = self.poll_upload(socket, context)?;
            // What comes before anything is sent is no answer to it.
            if self.has_begun()
                && let Poll::Ready(head) = self.poll_head(socket, context)
            {
                return Poll::Ready(head.map_err(UpstreamFault::Garbled));
            }
            let awaited = self.awaited();
            let intake = self.upload.as_mut().map(Upload::intake);
            patience.poll(context, awaited, intake, has_moved).map(Err)
        })
        .await
    }

    fn awaited(&self) -> Awaited {
        match &self.upload {
            Some(upload) if upload.awaits_client() => Awaited::Client,
            Some(_) | None => Awaited::Upstream,
        }
    }

    /// Whether it has come further.
    fn poll_upload(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
    ) -> Result<bool, UpstreamFault> {
        let Some(upload) = &mut self.upload else { return Ok(false) };
        match upload.poll(socket, context) {
            Poll::Pending => {
                let has_moved = upload.take_progress();
                self.has_begun |= has_moved;
                return Ok(has_moved);
            }
            Poll::Ready(Err(fault @ UploadFault::Client(_))) => return Err(fault.into()),
            Poll::Ready(Err(fault)) if !self.has_begun && !upload.has_begun() => {
                return Err(fault.into());
            }
            // Even if it took no more: it may have answered what it did not want to read.
            Poll::Ready(Ok(()) | Err(UploadFault::Upstream(_))) => {}
        }
        self.has_begun = true;
        self.upload = None;
        Ok(true)
    }

    fn poll_head(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, Garbled>> {
        loop {
            let piece = ready!(socket.poll_piece(context)).map_err(Garbled::Connection)?;
            if piece.is_empty() {
                return Poll::Ready(Err(Garbled::Closed));
            }
            self.input = if self.input.is_empty() {
                piece
            } else {
                [&self.input[..], &piece].concat().into()
            };
            while !self.input.is_empty() {
                match answer_head::parse(&self.input, self.method)? {
                    Parsed::Partial if self.input.len() > LONGEST_HEAD => {
                        return Poll::Ready(Err(Garbled::HeadTooLong));
                    }
                    Parsed::Partial => break,
                    Parsed::Interim(length) => {
                        self.interim += 1;
                        self.input.advance(length);
                        if self.interim > MOST_INTERIM {
                            return Poll::Ready(Err(Garbled::TooManyInterim));
                        }
                    }
                    Parsed::Whole(head, length) => {
                        self.input.advance(length);
                        return Poll::Ready(Ok(head));
                    }
                }
            }
        }
    }

    fn into_response(self, head: AnswerHead, socket: Socket, pool: &Pool) -> Response<Body> {
        let upload = self.upload.map(Box::new);
        let connection = Connection { socket, pool: pool.clone(), reuse: head.reuse, upload };
        let mut response = Response::new(Body::new(head.framing, self.input, connection));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }
}

impl From<UploadFault> for UpstreamFault {
    fn from(fault: UploadFault) -> Self {
        match fault {
            UploadFault::Client(fault) => fault.into(),
            UploadFault::Upstream(error) => Self::Garbled(Garbled::Connection(error)),
        }
    }
}

const LONGEST_HEAD: usize = 64 * 1024;
const MOST_INTERIM: usize = 16;

#[cfg(test)]
mod tests;
