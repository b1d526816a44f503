//! One HTTP/2 connection through a door, as an ingress has them: many people's requests share it.

use std::convert::Infallible;

use bytes::Bytes;
use http::Uri;
use http::header::HOST;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::AbortHandle;

use crate::support::exchange::{Answering, Door, Exchange, Request};
use crate::support::soon;

/// Dropping it hangs up on every stream.
#[derive(Debug)]
pub struct Shared {
    door: Door,
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
    connection: AbortHandle,
}

impl Shared {
    pub async fn through(door: Door) -> Self {
        let stream = door.connect(b"h2").await;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection).abort_handle();
        Self { door, sender, connection }
    }

    /// Send `request` and read the whole answer.
    pub async fn send(&self, request: Request) -> Exchange {
        self.open(request).await.whole().await
    }

    /// Send `request` and return as soon as the head of the answer is there. Dropping it resets its stream.
    pub async fn open(&self, request: Request) -> Answering {
        self.open_with(request, |body| Full::new(body).boxed()).await
    }

    /// `open` with the body that `make_body` makes of the request's own.
    pub async fn open_with(
        &self,
        request: Request,
        make_body: impl FnOnce(Bytes) -> BoxBody<Bytes, Infallible>,
    ) -> Answering {
        let shown = request.to_string();
        let mut sent = request.into_http(&self.door.authority, make_body);
        let host = sent.headers_mut().remove(HOST).unwrap();
        let target = format!("https://{}{}", host.to_str().unwrap(), sent.uri());
        *sent.uri_mut() = target.parse::<Uri>().unwrap();
        let answer = soon("the head of an answer", self.sender.clone().send_request(sent)).await;
        let answer = answer.unwrap_or_else(|error| panic!("no answer: {error:?}\n\n{shown}"));
        self.door.answering(shown, answer, None)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
