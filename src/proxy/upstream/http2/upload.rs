//! The body of a request on its way to the upstream, as fast as that takes it (RFC 9113 §5.2).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http_body::Body as _;

use crate::proxy::upstream::intake::{BadUpload, Intake};
use crate::telemetry::causes;
use crate::wire::RequestBody;

/// What is yet to be sent: one piece, and what the client has not been asked for. Trailers are left behind.
#[derive(Debug)]
pub struct Upload {
    piece: Bytes,
    /// `None` once all of it is in `piece`.
    body: Option<RequestBody>,
    intake: Intake,
    has_moved: bool,
}

impl Upload {
    pub fn new(body: RequestBody, intake: Intake) -> Self {
        let body = Some(body).filter(|body| !body.is_end_stream());
        Self { piece: Bytes::new(), body, intake, has_moved: false }
    }

    /// Ready when there is something of the body to send, or it has none. Errors: why it broke off.
    pub fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BadUpload>> {
        while let Some(body) = &mut self.body
            && self.piece.is_empty()
        {
            match ready!(Pin::new(&mut *body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    self.piece = frame.into_data().unwrap_or_default();
                    self.intake.add(self.piece.len())?;
                }
                Some(Err(error)) => {
                    return Poll::Ready(Err(BadUpload::BrokeOff(causes(&error))));
                }
                None => self.body = None,
            }
        }
        if self.body.as_ref().is_some_and(RequestBody::is_end_stream) {
            self.body = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether there is nothing to send.
    pub fn is_over(&self) -> bool {
        self.body.is_none() && self.piece.is_empty()
    }

    /// Send what there is. Ready when all of it is sent, or the upstream takes no more: what it has to say about
    /// that is its answer. Errors: why the client's body broke off.
    pub fn poll(
        &mut self,
        stream: &mut SendStream<Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), BadUpload>> {
        loop {
            ready!(self.poll_begun(context))?;
            if !self.piece.is_empty() && stream.capacity() == 0 {
                stream.reserve_capacity(self.piece.len());
                // Ready with nothing: the stream is over. Only what changes is told.
                if stream.capacity() == 0
                    && !matches!(ready!(stream.poll_capacity(context)), Some(Ok(_)))
                {
                    return Poll::Ready(Ok(()));
                }
            }
            let fits = stream.capacity().min(self.piece.len());
            let data = self.piece.split_to(fits);
            let is_last = self.is_over();
            if stream.send_data(data, is_last).is_err() || is_last {
                return Poll::Ready(Ok(()));
            }
            self.has_moved = true;
        }
    }

    pub fn intake(&mut self) -> &mut Intake {
        &mut self.intake
    }

    /// Whether it waits for the client, and not for the upstream to take more.
    pub fn awaits_client(&self) -> bool {
        self.piece.is_empty() && self.body.is_some()
    }

    /// Whether it has come further since it was asked last.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }
}
