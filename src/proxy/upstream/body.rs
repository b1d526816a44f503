//! The body of an upstream's answer, whichever HTTP it came by.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::proxy::upstream::http1::chunked::BadChunk;
use crate::proxy::upstream::intake::BadUpload;
use crate::proxy::upstream::{http1, http2};

/// What is yet to come of an answer. Dropped before its end, it tells the upstream to stop.
#[derive(Debug)]
pub enum UpstreamBody {
    Http1(http1::body::Body),
    /// Boxed, so that it takes no more room than the other.
    Http2(Box<http2::body::Body>),
    /// It broke off, which has yet to be told.
    Broken(BrokenBody),
    Told,
}

/// Why there is no more of an answer, though it has not ended.
#[derive(Debug, thiserror::Error)]
pub enum BrokenBody {
    #[error("the connection broke: {0}")]
    Connection(#[from] io::Error),
    #[error("the upstream closed the connection before the end")]
    Closed,
    #[error(transparent)]
    Chunk(#[from] BadChunk),
    #[error("the stream broke: {0}")]
    Stream(#[from] h2::Error),
    #[error(transparent)]
    Request(#[from] BadUpload),
}

impl UpstreamBody {
    /// What `stream` says until it is closed.
    #[cfg(test)]
    pub fn until_close(stream: tokio::net::TcpStream) -> Self {
        Self::Http1(http1::body::Body::until_close(stream))
    }
}

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let this = self.get_mut();
        let data = match this {
            Self::Http1(body) => ready!(body.poll_data(context)),
            Self::Http2(body) => ready!(body.poll_data(context)),
            Self::Broken(_) | Self::Told => match mem::replace(this, Self::Told) {
                Self::Broken(fault) => return Poll::Ready(Some(Err(fault))),
                Self::Http1(_) | Self::Http2(_) | Self::Told => return Poll::Ready(None),
            },
        };
        match data {
            Ok(data) => Poll::Ready(data.map(|data| Ok(Frame::data(data)))),
            // Told a moment later: what the client was given before it, the header too, is written first.
            Err(fault) => {
                *this = Self::Broken(fault);
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_over(),
            Self::Http2(body) => body.is_over(),
            Self::Broken(_) | Self::Told => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::Broken(_) | Self::Told => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each stream that is open holds one.
    #[test]
    fn a_choice_of_two_takes_no_more_room() {
        assert_eq!(size_of::<UpstreamBody>(), size_of::<http1::body::Body>());
    }
}
