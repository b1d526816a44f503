//! The body of an upstream's answer, whichever HTTP it came by.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

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
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(context),
            Self::Http2(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
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
