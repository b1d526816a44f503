//! Bodies of answers: one enum, so that a stream passes through without a box or a copy.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::proxy::legacy_sse::EndpointStream;
use crate::proxy::open_answers::OpenAnswer;
use crate::proxy::upstream::BrokenBody;
use crate::wire;

/// What a client gets.
#[derive(Debug)]
pub enum Body {
    Own(wire::Body),
    /// The upstream's bytes, passed on frame by frame as they arrive.
    Upstream(OpenAnswer),
    /// The same, but the first event may change. Boxed: few are, and the others would hold room for it.
    Listening(Box<EndpointStream>),
}

/// An answer that had begun has no proper end. The connection to the client is then aborted, so that it
/// can't look complete.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    #[error("the upstream's answer broke off")]
    BrokeOff(#[source] BrokenBody),
    /// By us: what allowed it has ended.
    #[error("the answer was cut")]
    Cut,
}

impl From<wire::Body> for Body {
    fn from(body: wire::Body) -> Self {
        Self::Own(body)
    }
}

impl Body {
    /// Once the first event is out, what still comes is an answer like any other.
    fn settle(&mut self) {
        if let Self::Listening(stream) = self
            && stream.is_settled()
            && let Self::Listening(stream) = mem::replace(self, Self::Own(wire::Body::Empty))
        {
            *self = Self::Upstream(stream.into_answer());
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        this.settle();
        match this {
            Self::Own(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Upstream(answer) => Pin::new(answer).poll_frame(context),
            Self::Listening(stream) => Pin::new(stream).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Upstream(answer) => answer.is_end_stream(),
            Self::Listening(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Upstream(answer) => answer.size_hint(),
            Self::Listening(stream) => stream.size_hint(),
        }
    }
}
