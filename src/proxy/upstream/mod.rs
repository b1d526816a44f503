//! The one door to the MCP server: each worker has its own, with its own connections.

mod body;
mod connect;
mod http1;
mod http2;
mod intake;
mod patience;
mod pool;
mod socket;

use std::io;
use std::mem;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::uri::{PathAndQuery, Uri};
use http::{Method, Response};
use http_body::Body as _;
use rustix::io::Errno;
use tokio::time::sleep;

use crate::policy::{Admitted, Resource, UpstreamDeadlines, UpstreamServer};
use crate::proxy::headers::{self, IdentityHeaders};
use crate::proxy::lateness::Lateness;
use crate::proxy::odd_answers::OddAnswers;
use crate::proxy::redirects::LeadsAway;
use crate::proxy::sessions::NotGivenOut;
use crate::proxy::streams::WorkerStreams;
use crate::wire::request_body::RequestBody;
use crate::wire::{Request, UpstreamProtocol};

use connect::connect;
use http1::upload::{Coding, Upload};
use intake::{BadUpload, Intake, TooLarge};
use pool::Pool;
use socket::Socket;

pub use body::{BrokenBody, UpstreamBody};
pub use connect::accepts;
pub use http1::Garbled;
pub use http2::NoAnswer;

// What `fuzzing` feeds.
#[cfg(any(test, fuzzing))]
pub mod fed {
    pub use super::http1::body::Framing;
    pub use super::http1::{answer_head, chunked};
}

/// What a worker needs to reach upstreams.
#[derive(Debug)]
pub struct Upstream {
    /// Of a server whose resource is gone they go too: each worker has some, so none may hold it.
    connections: Mutex<Vec<(Weak<UpstreamServer>, Connections)>>,
    /// Bytes of a request's body.
    longest_body: u64,
    pub(super) odd_answers: Arc<OddAnswers>,
    lateness: Lateness,
    pub(super) streams: WorkerStreams,
}

/// Those to one upstream.
#[derive(Clone, Debug)]
enum Connections {
    Http1(Pool),
    Http2(http2::pool::Pool),
}

/// How long each phase of an exchange may take. A stream has no deadline once its head is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    pub connect: Duration,
    /// From our last byte to the head of the answer, and for the upstream to take more of the request.
    pub first_byte: Duration,
    /// For the client to send more of the request. So long we wait in all, too, and then only for who sends on
    /// average `slowest_upload`.
    pub upload: Duration,
    /// Bytes of a body in a second of waiting for it.
    pub slowest_upload: u64,
}

/// Why there is no answer from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    #[error("the path can't be passed on")]
    Target,
    #[error("can't connect: {0}")]
    Connect(io::Error),
    /// For want of something that we have, or our machine.
    #[error("can't connect for want of room: {0}")]
    NoRoom(io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("nothing of the request's body came for {} s", .0.as_secs())]
    Stalled(Duration),
    #[error("the request's body came too slowly, at less than {0} bytes in a second")]
    Trickling(u64),
    /// The client's own body broke off or was malformed while it was being passed on.
    #[error("the request's body broke off: {0}")]
    RequestBody(String),
    #[error("the request's body is too large: {0}")]
    TooLarge(#[from] TooLarge),
    #[error("no whole answer: {0}")]
    Garbled(#[from] Garbled),
    #[error("no whole answer: {0}")]
    NoAnswer(#[from] NoAnswer),
    /// There are as many connections as there may be.
    #[error("no connection has room for another stream")]
    Full,
    #[error("no whole answer: {0}")]
    Session(#[from] NotGivenOut),
    #[error("no answer that can be passed on: {0}")]
    Redirect(#[from] LeadsAway),
    /// What it says of sessions can't be read.
    #[error("its stream of events has a Content-Encoding, though only identity was accepted")]
    EncodedStream,
}

impl UpstreamFault {
    /// Of what was tried before there was a connection.
    fn of_connect(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            // Files, of ours and of the machine; ports; memory.
            Some(
                Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS | Errno::NOMEM,
            ) => Self::NoRoom(error),
            Some(_) | None => Self::Connect(error),
        }
    }
}

impl From<BadUpload> for UpstreamFault {
    fn from(bad: BadUpload) -> Self {
        match bad {
            BadUpload::BrokeOff(fault) => Self::RequestBody(fault),
            BadUpload::TooLarge(fault) => Self::TooLarge(fault),
        }
    }
}

impl Deadlines {
    fn of(server: &UpstreamServer) -> Self {
        let UpstreamDeadlines { connect, first_byte } = server.deadlines;
        Self { connect, first_byte, upload: UPLOAD, slowest_upload: SLOWEST_UPLOAD }
    }
}

impl Upstream {
    /// `odd_answers` is what all workers have told, `streams` what this one has under way, `longest_body` the most
    /// bytes that a request's body may have.
    pub fn new(odd_answers: Arc<OddAnswers>, streams: WorkerStreams, longest_body: u64) -> Self {
        let (connections, lateness) = (Mutex::default(), Lateness::of_looks_each(PAUSE));
        Self { connections, longest_body, odd_answers, lateness, streams }
    }

    /// Whether there are time and memory for `request`. Errors: what to tell its client.
    pub fn check_room_for(&self, request: &Request) -> Result<(), &'static str> {
        if self.lateness.is_too_late() {
            return Err("there is too much to do now");
        }
        if !self.streams.has_room_for(request) {
            return Err("there is no memory for this now");
        }
        Ok(())
    }

    /// Send `request`, which came from `peer` and is used up, to the upstream of the resource that `permit` is for,
    /// whatever its URI named; there to `at`, if the upstream itself has named that for it. The permit is used up
    /// too: one request each.
    pub async fn send(
        &self,
        permit: Admitted,
        at: Option<PathAndQuery>,
        request: &mut Request,
        names: &IdentityHeaders,
        peer: IpAddr,
    ) -> Result<Response<UpstreamBody>, UpstreamFault> {
        let intake = Intake::begin(request.body().size_hint().exact(), self.longest_body)?;
        let resource = permit.resource();
        let identity = &permit.token().facts().headers;
        let word = headers::Word { names, identity, peer };
        let server = Arc::clone(&resource.upstream);
        let deadlines = Deadlines::of(&server);
        match self.connections(&server) {
            Connections::Http1(pool) => {
                let (method, text, body) = for_http1(request, at.as_ref(), resource, &word)?;
                let connect = async || {
                    let stream = connect(&server).await.map_err(UpstreamFault::of_connect)?;
                    Ok(Socket::new(stream))
                };
                let upload = Upload::new(text, body, intake);
                let answer = http1::exchange(&pool, connect, upload, &method, deadlines).await?;
                Ok(answer.map(UpstreamBody::Http1))
            }
            Connections::Http2(pool) => {
                let (head, body) = for_http2(request, at.as_ref(), resource, &word)?;
                // Boxed: HTTP/1 would hold room for it.
                let answer =
                    Box::pin(http2::exchange(&pool, &server, head, body, intake, deadlines));
                Ok(answer.await?.map(|body| UpstreamBody::Http2(Box::new(body))))
            }
        }
    }

    /// Each second, end answers that may not go on and close connections that nobody uses, and see how late it is.
    pub async fn keep_house(&self) {
        loop {
            sleep(PAUSE).await;
            self.streams.sweep();
            self.tick();
            if let Some(refused) = self.lateness.look() {
                tracing::warn!(
                    refused = refused.count,
                    late_by_seconds = refused.late_by.as_secs(),
                    fix = "give the container more processor time, or run more replicas",
                    whose_fault = "us",
                    "calls refused: a worker has more to do than it can"
                );
            }
        }
    }

    fn tick(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, own) in connections.iter() {
            match own {
                Connections::Http1(pool) => pool.tick(),
                Connections::Http2(pool) => pool.tick(),
            }
        }
        connections.retain(|(server, _)| server.strong_count() > 0);
    }

    /// There are as many as resources: few.
    fn connections(&self, server: &Arc<UpstreamServer>) -> Connections {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let is_its = |own: &Weak<UpstreamServer>| std::ptr::eq(own.as_ptr(), Arc::as_ptr(server));
        if let Some((_, own)) = connections.iter().find(|(own, _)| is_its(own)) {
            return own.clone();
        }
        let own = match server.protocol {
            UpstreamProtocol::Http1 => Connections::Http1(Pool::default()),
            UpstreamProtocol::Http2 => Connections::Http2(http2::pool::Pool::default()),
        };
        connections.push((Arc::downgrade(server), own.clone()));
        own
    }
}

/// `request` as an upstream gets it that speaks HTTP/1. What is left of the request's own head is dropped: it shares
/// the memory that the request was read into.
fn for_http1(
    request: &mut Request,
    at: Option<&PathAndQuery>,
    resource: &Resource,
    word: &headers::Word<'_>,
) -> Result<(Method, Vec<u8>, RequestBody), UpstreamFault> {
    let (head, body) = mem::take(request).into_parts();
    let target = target_of(&head.uri, at, resource)?;
    let mut text = http1::request_head::RequestHead::new(&head.method, &target);
    headers::for_upstream(&head.headers, resource, word, |name, value| {
        text.field(name, value);
    });
    let text = text.end(&head.method, Coding::of(&body));
    Ok((head.method, text, body))
}

/// The same for one that speaks HTTP/2.
fn for_http2(
    request: &mut Request,
    at: Option<&PathAndQuery>,
    resource: &Resource,
    word: &headers::Word<'_>,
) -> Result<(http::Request<()>, RequestBody), UpstreamFault> {
    let (head, body) = mem::take(request).into_parts();
    let target = target_of(&head.uri, at, resource)?;
    let mut fields = http2::RequestHead::default();
    headers::for_upstream(&head.headers, resource, word, |name, value| {
        fields.field(name, value);
    });
    let sent = fields.end(&head.method, &resource.upstream, &target, &body);
    Ok((sent.ok_or(UpstreamFault::Target)?, body))
}

/// What is asked for: parts of one text.
fn target_of<'a>(
    judged: &'a Uri,
    at: Option<&'a PathAndQuery>,
    resource: &'a Resource,
) -> Result<[&'a str; 4], UpstreamFault> {
    match at {
        Some(at) => Ok([at.as_str(), "", "", ""]),
        None => target(judged, resource).ok_or(UpstreamFault::Target),
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

/// For the client to send more of the request.
const UPLOAD: Duration = Duration::from_secs(30);
/// Bytes a second.
const SLOWEST_UPLOAD: u64 = 1024;
/// What is ended here was ended within this before; learning it from another replica takes as long again.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::clock::Clock;
    use crate::grants::Revocations;
    use crate::proxy::streams::{StreamSettings, Streams};

    fn worker() -> Upstream {
        let (clock, hour) = (Clock::System, Duration::from_hours(1));
        let settings =
            StreamSettings { listening_grace: hour, running_grace: hour, comment_every: None };
        let revocations = Arc::new(Revocations::new(clock.clone()));
        let streams = Arc::new(Streams::new(settings, revocations, clock));
        Upstream::new(Arc::default(), streams.of_worker(), 0)
    }

    fn sent(public: &str, upstream: &str, judged: &str) -> Option<String> {
        let resource = Resource::between(public, upstream);
        target(&judged.parse().unwrap(), &resource).map(|parts| parts.concat())
    }

    /// Faults 46 and 47 of the design.
    #[test]
    fn want_of_room_is_not_the_upstreams_fault() {
        let of = |errno: Errno| UpstreamFault::of_connect(errno.into());

        for ours in [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM] {
            assert!(matches!(of(ours), UpstreamFault::NoRoom(_)), "{ours}");
        }
        for theirs in [Errno::CONNREFUSED, Errno::TIMEDOUT, Errno::NOENT, Errno::AGAIN] {
            assert!(matches!(of(theirs), UpstreamFault::Connect(_)), "{theirs}");
        }
        let late = io::Error::from(io::ErrorKind::TimedOut);
        assert!(matches!(UpstreamFault::of_connect(late), UpstreamFault::Connect(_)));
    }

    /// After a reload nobody else has the server, and each worker had connections to it.
    #[tokio::test]
    async fn connections_to_a_server_that_is_gone_go_from_every_worker() {
        let workers = [(); 2].map(|()| worker());
        let server =
            Arc::clone(&Resource::between("https://a.example/mcp", "http://u:3/mcp").upstream);
        let kept = |worker: &Upstream| worker.connections.lock().unwrap().len();
        for worker in &workers {
            worker.connections(&server);
            worker.connections(&server);
            worker.tick();
            assert_eq!(kept(worker), 1);
        }

        drop(server);

        for worker in &workers {
            worker.tick();
            assert_eq!(kept(worker), 0);
        }
    }

    /// Fault 45 of the design.
    #[tokio::test(start_paused = true)]
    async fn there_is_no_room_where_time_is_short() {
        let upstream = worker();

        assert_eq!(upstream.check_room_for(&Request::default()), Ok(()));
        advance(Duration::from_secs(3)).await;
        assert_eq!(
            upstream.check_room_for(&Request::default()),
            Err("there is too much to do now")
        );
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
            ("https://a.example/mcp/", "http://u:3000/mcp", "/mcp/", Some("/mcp/")),
            ("https://a.example/mcp/", "http://u:3000/mcp", "/mcp/s", Some("/mcp/s")),
            ("https://a.example/", "http://u:3000/mcp", "/s", Some("/mcp/s")),
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
