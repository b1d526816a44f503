//! The body of a request, as far as nobody has read it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// What a client sends. Dropped before its end it is no longer wanted.
#[derive(Debug, Default)]
pub struct RequestBody {
    /// `None` once it has ended.
    body: Option<Incoming>,
    unwanted: Unwanted,
}

/// What becomes of the rest, if there is one.
#[derive(Debug, Default)]
enum Unwanted {
    /// hyper's business.
    #[default]
    Forgotten,
    Told(LeftUnread),
    /// On a connection that other requests share, to stop the client would count what is on its way by then as an
    /// error of its, and a hundred of those end the connection with everybody's requests.
    Read,
}

/// Whether there was a rest that nobody wanted. Clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct LeftUnread(Arc<AtomicBool>);

impl LeftUnread {
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    /// Of the only request that is under way on its connection. `left` is told, if it is there.
    pub fn alone(body: Incoming, left: Option<LeftUnread>) -> Self {
        Self { body: Some(body), unwanted: left.map_or(Unwanted::Forgotten, Unwanted::Told) }
    }

    pub fn on_shared_connection(body: Incoming) -> Self {
        Self { body: Some(body), unwanted: Unwanted::Read }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if frame.is_none() {
            this.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        match &self.unwanted {
            Unwanted::Forgotten => {}
            Unwanted::Told(left) => left.0.store(true, Ordering::Relaxed),
            Unwanted::Read => {
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(timeout(LONGEST_REST, read_rest(body)));
                }
            }
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
