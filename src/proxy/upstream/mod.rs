//! The one door to the MCP server: each worker has its own, with its own connections.

mod http1;
mod pool;
mod socket;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::uri::{PathAndQuery, Uri};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use crate::policy::{Admitted, Resource, UpstreamServer};
use crate::proxy::headers::{self, IdentityHeaders};
use crate::proxy::odd_answers::OddAnswers;
use crate::proxy::sessions::NotGivenOut;
use crate::proxy::streams::WorkerStreams;
use crate::wire::UpstreamKind;

use http1::request_head::RequestHead;
use http1::upload::{Coding, Upload};
use pool::Pool;
use socket::{Scratch, Socket, Stream};

pub use http1::Garbled;
pub use http1::body::{Body as UpstreamBody, BrokenBody};

// What `fuzzing` feeds.
#[cfg(any(test, fuzzing))]
pub mod fed {
    pub use super::http1::body::Framing;
    pub use super::http1::{answer_head, chunked};
}

/// What a worker needs to reach upstreams.
#[derive(Debug)]
pub struct Upstream {
    pools: Mutex<Vec<(Arc<UpstreamServer>, Pool)>>,
    scratch: Scratch,
    deadlines: Deadlines,
    pub(super) odd_answers: Arc<OddAnswers>,
    pub(super) streams: WorkerStreams,
}

/// How long each phase of an exchange may take. A stream has no deadline once its head is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    pub connect: Duration,
    /// From our last byte to the head of the answer, and for the upstream to take more of the request.
    pub first_byte: Duration,
    /// For the client to send more of the request.
    pub upload: Duration,
}

/// Why there is no answer from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    #[error("the path can't be passed on")]
    Target,
    #[error("can't connect: {0}")]
    Connect(io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("nothing of the request's body came for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The client's own body broke off or was malformed while it was being passed on.
    #[error("the request's body broke off: {0}")]
    RequestBody(String),
    #[error("no whole answer: {0}")]
    Garbled(#[from] Garbled),
    #[error("no whole answer: {0}")]
    Session(#[from] NotGivenOut),
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_mins(1),
            upload: Duration::from_secs(30),
        }
    }
}

impl Upstream {
    /// `odd_answers` is what all workers have told, `streams` what this one has under way.
    pub fn new(odd_answers: Arc<OddAnswers>, streams: WorkerStreams) -> Self {
        let (pools, scratch) = (Mutex::default(), Scratch::default());
        Self { pools, scratch, deadlines: Deadlines::default(), odd_answers, streams }
    }

    /// Send `request`, which came from `peer`, to the upstream of the resource that `permit` is for, whatever
    /// its URI named; there to `at`, if the upstream itself has named that for it. The permit is used up: one
    /// request each.
    pub async fn send(
        &self,
        permit: Admitted,
        at: Option<PathAndQuery>,
        request: Request<Incoming>,
        names: &IdentityHeaders,
        peer: IpAddr,
    ) -> Result<Response<UpstreamBody>, UpstreamFault> {
        let (head, body) = request.into_parts();
        let resource = permit.resource();
        let target = match &at {
            Some(at) => [at.as_str(), "", "", ""],
            None => target(&head.uri, resource).ok_or(UpstreamFault::Target)?,
        };
        let mut text = RequestHead::new(&head.method, &target);
        let identity = &permit.token().facts().headers;
        let word = headers::Word { names, identity, peer };
        headers::for_upstream(&head.headers, resource, &word, |name, value| {
            text.field(name, value);
        });
        let text = text.end(&head.method, Coding::of(&body));
        let (method, server) = (head.method, Arc::clone(&resource.upstream));
        // They share the memory that the request was read into.
        drop((head.headers, head.uri, head.extensions, permit));
        let pool = self.pool(&server);
        let connect = async {
            let stream =
                connect(&server, self.deadlines.connect).await.map_err(UpstreamFault::Connect)?;
            Ok(Socket::new(stream, self.scratch.clone()))
        };
        http1::exchange(&pool, connect, Upload::new(text, body), &method, self.deadlines).await
    }

    /// Each second, end answers that may not go on and close connections that nobody uses.
    pub async fn keep_house(&self) {
        loop {
            sleep(PAUSE).await;
            self.streams.sweep();
            self.tick();
        }
    }

    fn tick(&self) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, pool) in pools.iter() {
            pool.tick();
        }
        // Nobody else has it: its resource is gone.
        pools.retain(|(server, _)| Arc::strong_count(server) > 1);
    }

    /// There are as many as resources: few.
    fn pool(&self, server: &Arc<UpstreamServer>) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pool)) = pools.iter().find(|(own, _)| Arc::ptr_eq(own, server)) {
            return pool.clone();
        }
        let pool = Pool::default();
        pools.push((Arc::clone(server), pool.clone()));
        pool
    }
}

/// The path within the resource, under the upstream's own path, with the same query: parts of one text. The
/// bytes that were judged are the bytes that are sent.
pub(super) fn target<'a>(judged: &'a Uri, resource: &'a Resource) -> Option<[&'a str; 4]> {
    let within = judged.path().strip_prefix(resource.url.path())?;
    let own = resource.upstream.url.path.as_str();
    let path = if own.is_empty() && !within.starts_with('/') { "/" } else { own };
    let (mark, query) = judged.query().map_or(("", ""), |query| ("?", query));
    Some([path, within, mark, query])
}

/// Does `server` accept a connection now, and show a certificate that is good if it is to? For readiness.
pub async fn accepts(server: &UpstreamServer) -> io::Result<()> {
    connect(server, Deadlines::default().connect).await.map(drop)
}

async fn connect(server: &UpstreamServer, within: Duration) -> io::Result<Stream> {
    timeout(within, async {
        let authority = server.url.authority.as_str();
        Ok(match (&server.url.kind, &server.tls) {
            (UpstreamKind::Http, _) => Stream::Tcp(connect_tcp(authority).await?),
            (UpstreamKind::Unix(path), _) => Stream::Unix(UnixStream::connect(path).await?),
            (UpstreamKind::Https, Some(tls)) => {
                Stream::Tls(Box::new(tls.connect(connect_tcp(authority).await?).await?))
            }
            (UpstreamKind::Https, None) => return Err(io::Error::other("TLS is not set up")),
        })
    })
    .await?
}

async fn connect_tcp(authority: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What is ended here was ended within this before; learning it from another replica takes as long again.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::{PublicUrl, Scopes};
    use crate::policy::Access;
    use crate::wire::UpstreamUrl;

    fn sent(public: &str, upstream: &str, judged: &str) -> Option<String> {
        let resource = Resource::new(
            PublicUrl::parse(public).unwrap(),
            None,
            UpstreamUrl::parse(upstream).unwrap(),
            Access::Anyone,
            Vec::new(),
            Scopes::default(),
        );
        target(&judged.parse().unwrap(), &resource).map(|parts| parts.concat())
    }

    #[test]
    fn the_path_within_the_resource_stands_under_the_upstreams() {
        for (public, upstream, judged, expected) in [
            ("https://a.example/mcp", "http://u:3000/mcp", "/mcp?x=1", Some("/mcp?x=1")),
            ("https://a.example/mcp", "http://u:3000/mcp", "/mcp/s", Some("/mcp/s")),
            ("https://a.example/team/mcp", "http://u:3000/mcp", "/team/mcp?x", Some("/mcp?x")),
            ("https://a.example/mcp", "http://u:3000", "/mcp", Some("/")),
            ("https://a.example/mcp", "http://u:3000", "/mcp/s?x=1", Some("/s?x=1")),
            ("https://a.example", "http://u:3000/mcp", "/", Some("/mcp/")),
            ("https://a.example", "http://u:3000", "/s", Some("/s")),
            ("https://a.example/mcp", "http://u:3000/mcp", "/other", None),
        ] {
            assert_eq!(sent(public, upstream, judged).as_deref(), expected, "{judged}");
        }
    }

    /// A permit for one resource never leads to another's upstream, whatever the request names.
    #[test]
    fn the_uri_of_the_request_does_not_choose_the_upstream() {
        let sent = sent("https://a.example/mcp", "http://u:3000/mcp", "http://evil:80/mcp");

        assert_eq!(sent.as_deref(), Some("/mcp"));
    }
}
