//! The one door to the MCP server: each worker has its own, with its own pool of connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::policy::{Admitted, Resource};
use crate::proxy::odd_answers::OddAnswers;
use crate::proxy::streams::WorkerStreams;
use crate::telemetry::causes;
use crate::wire::UpstreamUrl;

/// Connections to upstreams, kept alive between requests.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<HttpConnector, Incoming>,
    pub(super) odd_answers: Arc<OddAnswers>,
    pub(super) streams: WorkerStreams,
}

/// Why there is no answer from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    #[error("the path can't be passed on")]
    Target,
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
    /// `odd_answers` is what all workers have told, `streams` what this one has under way.
    pub fn new(odd_answers: Arc<OddAnswers>, streams: WorkerStreams) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .timer(TokioTimer::new())
            .build(connector);
        Self { client, odd_answers, streams }
    }

    /// Send `request` to the upstream of the resource that `permit` is for, whatever its URI named. The
    /// permit is used up: one request each.
    ///
    /// Never sent twice: once a byte has left, a tool may have run. Dropping the returned future or the
    /// answer's body closes the connection, which tells the upstream to stop.
    pub async fn send(
        &self,
        permit: Admitted,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, UpstreamFault> {
        let target = target(request.uri(), permit.resource()).ok_or(UpstreamFault::Target)?;
        drop(permit);
        *request.uri_mut() = target;
        *request.version_mut() = Version::HTTP_11;
        let answer = timeout(FIRST_BYTE, self.client.request(request)).await;
        match answer {
            Ok(Ok(mut answer)) => {
                // What an HTTP/1.0 upstream ends by closing is framed anew, so that a cut shows.
                *answer.version_mut() = Version::HTTP_11;
                Ok(answer)
            }
            Ok(Err(error)) if error.is_connect() => Err(UpstreamFault::Connect(causes(&error))),
            Ok(Err(error)) if is_request_body(&error) => {
                Err(UpstreamFault::RequestBody(causes(&error)))
            }
            Ok(Err(error)) => Err(UpstreamFault::Garbled(causes(&error))),
            Err(_) => Err(UpstreamFault::Slow),
        }
    }
}

/// The path within the resource, under the upstream's own path, with the same query. The bytes that
/// were judged are the bytes that are sent.
fn target(judged: &Uri, resource: &Resource) -> Option<Uri> {
    let within = judged.path().strip_prefix(resource.url.path())?;
    let upstream = &resource.upstream;
    let path_and_query: PathAndQuery = if upstream.path == resource.url.path() {
        judged.path_and_query()?.clone()
    } else {
        let path = if upstream.path.is_empty() && within.is_empty() { "/" } else { &upstream.path };
        let (mark, query) = judged.query().map_or(("", ""), |query| ("?", query));
        PathAndQuery::from_maybe_shared(Bytes::from([path, within, mark, query].concat())).ok()?
    };
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(upstream.authority.clone())
        .path_and_query(path_and_query)
        .build()
        .ok()
}

/// Does `url` accept a connection now? For readiness.
pub async fn accepts(url: &UpstreamUrl) -> std::io::Result<()> {
    timeout(CONNECT, TcpStream::connect(url.authority.as_str())).await??;
    Ok(())
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

const CONNECT: Duration = Duration::from_secs(3);
/// From our first byte to the head of the answer, the request's own upload included. A stream has no
/// deadline after that.
const FIRST_BYTE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::{PublicUrl, Scopes};
    use crate::policy::Access;

    fn sent(public: &str, upstream: &str, judged: &str) -> Option<String> {
        let resource = Resource::new(
            PublicUrl::parse(public).unwrap(),
            None,
            UpstreamUrl::parse(upstream).unwrap(),
            Access::Anyone,
            Vec::new(),
            Scopes::default(),
        );
        target(&judged.parse().unwrap(), &resource).map(|uri| uri.to_string())
    }

    #[test]
    fn the_path_within_the_resource_stands_under_the_upstreams() {
        for (public, upstream, judged, expected) in [
            (
                "https://a.example/mcp",
                "http://u:3000/mcp",
                "/mcp?x=1",
                Some("http://u:3000/mcp?x=1"),
            ),
            ("https://a.example/mcp", "http://u:3000/mcp", "/mcp/s", Some("http://u:3000/mcp/s")),
            (
                "https://a.example/team/mcp",
                "http://u:3000/mcp",
                "/team/mcp?x",
                Some("http://u:3000/mcp?x"),
            ),
            ("https://a.example/mcp", "http://u:3000", "/mcp", Some("http://u:3000/")),
            ("https://a.example/mcp", "http://u:3000", "/mcp/s?x=1", Some("http://u:3000/s?x=1")),
            ("https://a.example", "http://u:3000/mcp", "/", Some("http://u:3000/mcp/")),
            ("https://a.example", "http://u:3000", "/s", Some("http://u:3000/s")),
            ("https://a.example/mcp", "http://u:3000/mcp", "/other", None),
        ] {
            assert_eq!(sent(public, upstream, judged).as_deref(), expected, "{judged}");
        }
    }

    /// A permit for one resource never leads to another's upstream, whatever the request names.
    #[test]
    fn the_uri_of_the_request_does_not_choose_the_upstream() {
        let sent = sent("https://a.example/mcp", "http://u:3000/mcp", "http://evil:80/mcp");

        assert_eq!(sent.as_deref(), Some("http://u:3000/mcp"));
    }
}
