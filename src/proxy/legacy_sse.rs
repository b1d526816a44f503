//! The old HTTP+SSE transport (MCP 2024-11-05): a stream to a GET, whose first event says where the client
//! POSTs its messages. It is told a URL of the resource's own, which has that sealed: so the messages are
//! guarded as the stream is, whatever paths the upstream uses, and belong to whoever opened the stream.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use http_body::{Body as HttpBody, Frame, SizeHint};
use url::{Position, Url};

use crate::policy::Resource;
use crate::proxy::BodyFault;
use crate::proxy::first_event::{FirstEvent, Looked, NoUrl};
use crate::proxy::open_answers::OpenAnswer;
use crate::proxy::sessions::{Holder, NotGivenOut, NotTheirs, Sessions};
use crate::wire::{Arrival, RequestId};

/// What the URL in an `endpoint` event is mapped with.
#[derive(Debug)]
pub struct Endpoint {
    sessions: Arc<Sessions>,
    holder: Holder,
    resource: Arc<Resource>,
    /// Path and query that the upstream was asked for, which a relative URL is relative to.
    asked: String,
    request_id: RequestId,
}

/// A stream to a GET, which may begin with an `endpoint` event. Dropped, it is forgotten.
#[derive(Debug)]
pub struct EndpointStream {
    answer: OpenAnswer,
    /// Until the first event has been seen.
    looking: Option<(FirstEvent, Endpoint)>,
    /// What comes next, before more of the answer.
    next: Bytes,
    is_over: bool,
}

/// Why the URL in an `endpoint` event is not passed on. Completes "… ends: ".
#[derive(Debug, thiserror::Error)]
pub enum BadEndpoint {
    #[error(transparent)]
    NoUrl(#[from] NoUrl),
    #[error("its event endpoint names no URL")]
    NotAUrl,
    #[error(
        "its event endpoint names another host than `upstream` does, whose messages are not ours"
    )]
    AnotherOrigin,
    #[error(transparent)]
    NotGivenOut(#[from] NotGivenOut),
}

/// The target that a message is for, as the upstream named it. `None` if `uri` names no session: then it is
/// no message of this transport.
pub fn target(
    sessions: &Sessions,
    holder: Holder,
    resource: &Resource,
    uri: &Uri,
) -> Result<Option<PathAndQuery>, NotTheirs> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let mut named = url::form_urlencoded::parse(query).filter(|(name, _)| names_a_session(name));
    let Some((name, given)) = named.next() else { return Ok(None) };
    // What only the upstream would read as a session is one that we have not given out.
    let is_ours = name == PARAMETER && named.next().is_none() && uri.path() == path(resource);
    if !is_ours {
        return Err(NotTheirs::NotOurs);
    }
    sessions.open_target(holder, &given).map(Some)
}

impl Endpoint {
    /// Of a stream that the upstream is asked for with a GET to `asked`.
    pub fn new(
        sessions: &Arc<Sessions>,
        holder: Holder,
        resource: &Arc<Resource>,
        asked: String,
        arrival: Arrival,
    ) -> Self {
        let (sessions, resource) = (Arc::clone(sessions), Arc::clone(resource));
        Self { sessions, holder, resource, asked, request_id: arrival.id }
    }

    /// The public URL for messages, as every client resolves it: an absolute path.
    fn map(&self, url: &[u8]) -> Result<String, BadEndpoint> {
        let upstream = self.resource.upstream.url.origin();
        let url = std::str::from_utf8(url).map_err(|_| BadEndpoint::NotAUrl)?;
        let url = Url::parse(&format!("{upstream}{}", self.asked))
            .and_then(|base| base.join(url))
            .map_err(|_| BadEndpoint::NotAUrl)?;
        if !self.is_here(&url) {
            return Err(BadEndpoint::AnotherOrigin);
        }
        let target = PathAndQuery::try_from(&url[Position::BeforePath..Position::AfterQuery])
            .map_err(|_| BadEndpoint::NotAUrl)?;
        let sealed = self.sessions.seal_target(self.holder, &target)?;
        Ok(format!("{}?{PARAMETER}={sealed}", path(&self.resource)))
    }

    /// At the upstream, whichever scheme it believes to be asked in; or at our own origin, which it is told to
    /// write links with. Only path and query are taken in any case.
    fn is_here(&self, url: &Url) -> bool {
        self.resource.upstream.url.is_origin_of(url)
            || url.origin().ascii_serialization() == self.resource.url.origin()
    }
}

impl EndpointStream {
    pub fn new(answer: OpenAnswer, endpoint: Endpoint) -> Self {
        let looking = Some((FirstEvent::default(), endpoint));
        Self { answer, looking, next: Bytes::new(), is_over: false }
    }

    /// Whether what comes next comes as the upstream sends it.
    pub fn is_settled(&self) -> bool {
        self.looking.is_none() && self.next.is_empty() && !self.is_over
    }

    pub fn into_answer(self) -> OpenAnswer {
        self.answer
    }

    /// What of `data` goes out now.
    fn look(&mut self, data: Bytes) -> Result<Bytes, BodyFault> {
        let Some((first, endpoint)) = &mut self.looking else { return Ok(data) };
        match first.look(&data, |url| endpoint.map(url)) {
            Ok(Looked::Undecided(out)) => Ok(out),
            Ok(Looked::Decided(out, next)) => {
                self.looking = None;
                self.next = next;
                Ok(out)
            }
            Err(fault) => {
                let resource = &endpoint.resource;
                tracing::warn!(
                    request_id = %endpoint.request_id,
                    resource = %resource.url,
                    upstream = %resource.upstream.url,
                    %fault,
                    whose_fault = "upstream",
                    "event stream cut",
                );
                Err(BodyFault::Cut)
            }
        }
    }
}

impl HttpBody for EndpointStream {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let stream = self.get_mut();
        loop {
            if !stream.next.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut stream.next)))));
            }
            if stream.is_over {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut stream.answer).poll_frame(context)) {
                frame if stream.looking.is_none() => return Poll::Ready(frame),
                Some(Ok(frame)) => {
                    // Else they are trailers, which such a stream does not have.
                    let Ok(data) = frame.into_data() else { continue };
                    let out = stream.look(data);
                    if !matches!(&out, Ok(out) if out.is_empty()) {
                        return Poll::Ready(Some(out.map(Frame::data)));
                    }
                }
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                None => {
                    stream.is_over = true;
                    let held = stream.looking.take().map(|(mut first, _)| first.rest());
                    stream.next = held.unwrap_or_default();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.looking.is_none() && self.next.is_empty() && self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// How both SDKs spell it, in any case, because some servers read it so: a name that is anything else to the upstream
/// can't be told from any parameter.
fn names_a_session(name: &str) -> bool {
    ["sessionId", "session_id"].iter().any(|own| own.eq_ignore_ascii_case(name))
}

fn path(resource: &Resource) -> &str {
    let path = resource.url.path();
    if path.is_empty() { "/" } else { path }
}

const PARAMETER: &str = "sessionId";
