//! The body of a request, as far as nobody has read it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// What a client sends. Dropped before its end it is no longer wanted, which on a connection that other requests
/// share is not said at once: what is on its way by then would count as the client's error, and a hundred of those
/// end the connection with everybody's requests.
#[derive(Debug)]
pub struct RequestBody {
    /// `None` while it is being dropped.
    body: Option<Incoming>,
    is_on_shared_connection: bool,
}

impl RequestBody {
    /// Of the only request that is under way on its connection.
    pub fn alone(body: Incoming) -> Self {
        Self { body: Some(body), is_on_shared_connection: false }
    }

    pub fn on_shared_connection(body: Incoming) -> Self {
        Self { body: Some(body), is_on_shared_connection: true }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.is_on_shared_connection
            && let Some(body) = self.body.take().filter(|body| !body.is_end_stream())
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
