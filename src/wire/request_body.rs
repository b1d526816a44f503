//! The body of a request, as far as nobody has read it.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::wire::feed::{BrokeOff, Fed};

/// What a client sends. Dropped before its end it is no longer wanted.
#[derive(Debug, Default)]
pub struct RequestBody(Source);

#[derive(Debug, Default)]
enum Source {
    /// Nothing more is to come.
    #[default]
    Over,
    /// All of it is here.
    Whole(Bytes),
    Fed(Fed),
    Incoming(Incoming),
    /// On a connection that other requests share, to stop the client would count what is on its way by then as an
    /// error of its, and a hundred of those end the connection with everybody's requests: so the rest is read.
    Shared(Incoming),
}

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BrokenBody {
    #[error(transparent)]
    BrokeOff(#[from] BrokeOff),
    #[error(transparent)]
    Incoming(#[from] hyper::Error),
}

impl RequestBody {
    pub fn whole(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Source::Over } else { Source::Whole(bytes) })
    }

    /// Of the only request that is under way on its connection.
    pub fn alone(body: Incoming) -> Self {
        Self(Source::Incoming(body))
    }

    pub fn on_shared_connection(body: Incoming) -> Self {
        Self(Source::Shared(body))
    }
}

impl From<Fed> for RequestBody {
    fn from(body: Fed) -> Self {
        Self(Source::Fed(body))
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let source = &mut self.get_mut().0;
        let frame = match source {
            Source::Over => None,
            Source::Whole(bytes) => {
                let bytes = mem::take(bytes);
                *source = Source::Over;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Source::Fed(body) => ready!(body.poll_piece(context))
                .map(|piece| piece.map(Frame::data).map_err(BrokenBody::BrokeOff)),
            Source::Incoming(body) | Source::Shared(body) => {
                ready!(Pin::new(body).poll_frame(context))
                    .map(|frame| frame.map_err(BrokenBody::Incoming))
            }
        };
        if frame.is_none() {
            *source = Source::Over;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Over => true,
            Source::Whole(_) => false,
            Source::Fed(body) => body.is_over(),
            Source::Incoming(body) | Source::Shared(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Over => SizeHint::with_exact(0),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Fed(body) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Incoming(body) | Source::Shared(body) => body.size_hint(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Source::Shared(body) = mem::take(&mut self.0)
            && !body.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(LONGEST_REST, read_rest(body)));
        }
    }
}

/// Let what is on its way come to an end. Who sends much more than that is told to stop.
async fn read_rest(mut body: Incoming) {
    let mut left = MOST_OF_REST;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(still_left) = left.checked_sub(length) else { return };
        left = still_left;
    }
}

const LONGEST_REST: Duration = Duration::from_secs(2);
const MOST_OF_REST: usize = 256 * 1024;
