//! Response bodies: one enum, so that a stream passes through without a box or a copy.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::wire::OpenAnswer;

/// What we answer with.
#[derive(Debug)]
pub enum Body {
    Empty,
    /// `None` once it has been sent.
    Full(Option<Bytes>),
    /// The upstream's bytes, passed on frame by frame as they arrive.
    Upstream(OpenAnswer),
    /// Pieces as they are made, until their sender is dropped.
    Pieces(mpsc::Receiver<Bytes>),
}

/// An answer that had begun has no proper end. The connection to the client is then aborted, so that it
/// can't look complete.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    #[error("the upstream's answer broke off")]
    BrokeOff(#[source] hyper::Error),
    /// By us: what allowed it has ended.
    #[error("the answer was cut")]
    Cut,
}

impl Body {
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upstream(answer) => Pin::new(answer).poll_frame(context),
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Upstream(answer) => answer.is_end_stream(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upstream(answer) => answer.size_hint(),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// Why a request body could not be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    TooLarge,
    /// It was not whole in time. A body of ours is one packet or two.
    TooSlow,
    BrokeOff,
}

/// Read a small body whole: forms and registrations, never what is proxied.
pub async fn read_whole<B>(body: B, at_most: usize) -> Result<Bytes, Unread>
where
    B: HttpBody<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    match timeout(SLOWEST_BODY, Limited::new(body, at_most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Ok(Err(_)) => Err(Unread::BrokeOff),
        Err(_) => Err(Unread::TooSlow),
    }
}

const SLOWEST_BODY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Full;

    use super::*;

    /// Sends nothing and does not end.
    struct Stalled;

    impl HttpBody for Stalled {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        assert_eq!(read_whole(Stalled, 10).await, Err(Unread::TooSlow));
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let body = || Full::new(Bytes::from_static(b"0123456789"));

        assert_eq!(read_whole(body(), 10).await, Ok(Bytes::from_static(b"0123456789")));
        assert_eq!(read_whole(body(), 9).await, Err(Unread::TooLarge));
    }
}
