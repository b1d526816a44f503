//! The body of an answer. The upstream may send as much as a stream's window has room for; more only once the client
//! has taken that.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::SizeHint;

use crate::proxy::upstream::body::BrokenBody;
use crate::proxy::upstream::http2::Open;
use crate::wire::plain_number;

/// What is yet to come of an answer. Dropped before its end, it resets the stream, which tells the upstream to
/// stop.
#[derive(Debug)]
pub struct Body {
    /// As its header says, if it says it. That it is so, h2 sees to.
    left: Option<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    Coming(RecvStream, Open),
    Over,
}

impl Body {
    pub(super) fn new(headers: &HeaderMap, stream: RecvStream, open: Open) -> Self {
        let left = headers.get(CONTENT_LENGTH).and_then(|length| plain_number(length.as_bytes()));
        let mut body = Self { left, state: State::Coming(stream, open) };
        body.end_if_over();
        body
    }

    /// With its last byte, not when it is asked again. Its trailers are left behind.
    fn end_if_over(&mut self) {
        if let State::Coming(stream, _) = &self.state
            && stream.is_end_stream()
        {
            (self.left, self.state) = (Some(0), State::Over);
        }
    }

    /// What comes next; `None` at the end.
    pub fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BrokenBody>> {
        loop {
            let State::Coming(stream, open) = &mut self.state else { return Poll::Ready(Ok(None)) };
            open.poll_upload(context)?;
            let Some(data) = ready!(stream.poll_data(context)).transpose()? else {
                (self.left, self.state) = (Some(0), State::Over);
                return Poll::Ready(Ok(None));
            };
            // There is room for more: this is the client's now.
            let _ = stream.flow_control().release_capacity(data.len());
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            self.end_if_over();
            if !data.is_empty() {
                return Poll::Ready(Ok(Some(data)));
            }
        }
    }

    /// Whether all of it has been taken.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    pub fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
