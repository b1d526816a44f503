//! An answer's body on its way into an HTTP/2 stream: in pieces, so that what waits for a slow client is
//! bounded; known to wait while it does; and never complete if it broke off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::Id;
use tokio::time::Instant;

use crate::server::http2::streams::Streams;
use crate::wire::answer::may_have_body;

/// Polled by the task of its stream.
#[derive(Debug)]
pub struct Answer<B> {
    /// `None` where the answer has none.
    body: Option<B>,
    /// What is left of the piece that the body gave.
    rest: Bytes,
    streams: Streams,
    task: Option<Id>,
    /// hyper has a piece for which the client has given no room yet.
    is_handed_out: bool,
}

/// The body broke off. Without a cause: hyper would look in it for the code of `RST_STREAM`, and clients take
/// `NO_ERROR` for a proper end (RFC 9113 §8.1).
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct BrokeOff;

impl<B: HttpBody<Data = Bytes>> Answer<B> {
    /// Make `response` the answer to a request of that method. To be called by the task of the stream.
    pub fn to(asked: &Method, response: Response<B>, streams: Streams) -> Response<Self> {
        let (mut head, body) = response.into_parts();
        let has_body = *asked != Method::HEAD && may_have_body(head.status);
        if *asked == Method::HEAD
            && let Some(length) = body.size_hint().exact().filter(|length| *length > 0)
        {
            head.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        let answer = Self {
            body: has_body.then_some(body),
            rest: Bytes::new(),
            streams,
            task: tokio::task::try_id(),
            is_handed_out: false,
        };
        Response::from_parts(head, answer)
    }
}

impl<B> Answer<B> {
    /// hyper asks for the next piece as soon as h2 has taken the one before.
    fn note(&mut self, is_handed_out: bool) {
        if self.is_handed_out != is_handed_out
            && let Some(task) = self.task
        {
            self.streams.note_stuck(task, is_handed_out.then(Instant::now));
        }
        self.is_handed_out = is_handed_out;
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Answer<B> {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.get_mut();
        this.note(false);
        while this.rest.is_empty() {
            let Some(body) = &mut this.body else { return Poll::Ready(None) };
            match ready!(Pin::new(body).poll_frame(context)) {
                // Trailers end here, as over HTTP/1: nobody has judged them.
                Some(Ok(frame)) => this.rest = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Poll::Ready(Some(Err(BrokeOff))),
                None => return Poll::Ready(None),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(LARGEST_PIECE));
        this.note(true);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    /// hyper asks before the first piece only.
    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// hyper hands a piece to h2 whole as soon as there is room for one byte of it.
const LARGEST_PIECE: usize = 16 * 1024;
