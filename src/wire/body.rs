//! Bodies: of our own answers, and small ones of requests.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What we answer with ourselves.
#[derive(Debug)]
pub enum Body {
    Empty,
    /// `None` once it has been sent.
    Full(Option<Bytes>),
    /// Pieces as they are made, until their sender is dropped.
    Pieces(mpsc::Receiver<Bytes>),
}

impl Body {
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
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
