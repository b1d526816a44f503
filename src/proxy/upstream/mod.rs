//! The one door to the MCP server: each worker has its own, with its own pool of connections.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::policy::Admitted;
use crate::wire::UpstreamUrl;

/// Connections to upstreams, kept alive between requests.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<HttpConnector, Incoming>,
}

/// Why there is no answer from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    #[error("can't connect: {0}")]
    Connect(String),
    #[error("no answer within {} s", FIRST_BYTE.as_secs())]
    Slow,
    /// The client's own body broke off or was malformed while it was being passed on.
    #[error("the request's body broke off: {0}")]
    RequestBody(String),
    #[error("no whole answer: {0}")]
    Garbled(String),
}

impl Upstream {
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .timer(TokioTimer::new())
            .build(connector);
        Self { client }
    }

    /// Send `request` to the upstream that `permit` names. The permit is used up: one request each.
    ///
    /// Never sent twice: once a byte has left, a tool may have run. Dropping the returned future or the
    /// answer's body closes the connection, which tells the upstream to stop.
    pub async fn send(
        &self,
        permit: Admitted,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, UpstreamFault> {
        let answer = timeout(FIRST_BYTE, self.client.request(request)).await;
        drop(permit);
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_connect() => Err(UpstreamFault::Connect(causes(&error))),
            Ok(Err(error)) if is_request_body(&error) => {
                Err(UpstreamFault::RequestBody(causes(&error)))
            }
            Ok(Err(error)) => Err(UpstreamFault::Garbled(causes(&error))),
            Err(_) => Err(UpstreamFault::Slow),
        }
    }
}

/// Does `url` accept a connection now? For readiness.
pub async fn accepts(url: &UpstreamUrl) -> bool {
    let connecting = TcpStream::connect(url.authority.as_str());
    timeout(CONNECT, connecting).await.is_ok_and(|connected| connected.is_ok())
}

impl Default for Upstream {
    fn default() -> Self {
        Self::new()
    }
}

fn is_request_body(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user) {
            return true;
        }
        cause = inner.source();
    }
    false
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

const CONNECT: Duration = Duration::from_secs(3);
/// From the end of our request to the head of the answer. A stream has no deadline after that.
const FIRST_BYTE: Duration = Duration::from_mins(1);
