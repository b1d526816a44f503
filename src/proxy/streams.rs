//! Answers obey the grant that they are given by: they are cut when it ends, and do not outlive their access
//! token by long. Begun by `forward`; each worker looks over its own once a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::Body as _;

use crate::clock::{Clock, Timestamp};
use crate::grants::{GrantId, Revocations};
use crate::proxy::Body;
use crate::proxy::open_answers::{AwaitedAnswer, End, Lease, OpenAnswers};
use crate::proxy::pressure::{Gauge, Pressure};
use crate::proxy::upstream::UpstreamBody;
use crate::token::VerifiedToken;
use crate::token::verified::TokenFacts;
use crate::wire;
use crate::wire::names::MCP_METHOD;

/// How long answers outlive the access token that they were asked for with, and what keeps quiet ones open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Of a stream that only listens. Then it ends, and clients open it anew.
    pub listening_grace: Duration,
    /// Of every other answer, how much longer than `listening_grace`. Then it is cut.
    pub running_grace: Duration,
    /// How long a stream of events is quiet before it gets a comment, for whoever closes what is idle.
    pub comment_every: Option<Duration>,
}

/// What ends answers that are under way, whichever worker has them.
#[derive(Debug)]
pub struct Streams {
    settings: StreamSettings,
    revocations: Arc<Revocations>,
    clock: Clock,
    workers: Mutex<Vec<OpenAnswers>>,
    pressure: Gauge,
    /// Told once we stop: how many seconds answers have from then on.
    finishing_within: OnceLock<u64>,
    /// Seconds since 1970: what was asked for with an access token from before is cut.
    not_before: AtomicU64,
}

/// The answers that one worker has under way.
#[derive(Debug)]
pub struct WorkerStreams {
    all: Arc<Streams>,
    open: OpenAnswers,
    farewell: Mutex<Farewell>,
}

/// How a worker's listening streams end when we stop: last, and not all at once, because their clients open
/// them anew elsewhere, all of them at the same moment otherwise.
#[derive(Debug, Default)]
struct Farewell {
    /// Seconds since we stop.
    since: u64,
    /// How many end each second, once they do.
    share: Option<usize>,
}

/// An answer that is awaited, and what it will be.
#[derive(Debug)]
pub struct Awaited {
    answer: AwaitedAnswer,
    expires: Timestamp,
    asks_to_listen: bool,
}

impl Streams {
    pub fn new(settings: StreamSettings, revocations: Arc<Revocations>, clock: Clock) -> Self {
        let (workers, finishing_within) = (Mutex::default(), OnceLock::new());
        let not_before = AtomicU64::new(0);
        let pressure = Gauge::default();
        Self { settings, revocations, clock, workers, pressure, finishing_within, not_before }
    }

    /// For one more worker.
    pub fn of_worker(self: &Arc<Self>) -> WorkerStreams {
        let open = OpenAnswers::default();
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(open.clone());
        WorkerStreams { all: Arc::clone(self), open, farewell: Mutex::default() }
    }

    /// How many answers are under way, those that are awaited included.
    pub fn count(&self) -> usize {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().map(OpenAnswers::count).sum()
    }

    /// How short of memory we are: to be told, and asked.
    pub fn pressure(&self) -> &Gauge {
        &self.pressure
    }

    /// We stop, and no answer lasts longer than `within`. Calls may go on until then; streams that only listen
    /// end properly once no call is left, or shortly before.
    pub fn finish(&self, within: Duration) {
        let _ = self.finishing_within.set(within.as_secs());
    }

    /// The operator refuses tokens from before that from now on.
    pub fn cut_before(&self, moment: Timestamp) {
        self.not_before.store(moment.seconds(), Ordering::Relaxed);
    }

    /// When answers end whose token expires at `expires`: a stream that listens, and any other.
    fn ends(&self, expires: Timestamp) -> (Timestamp, Timestamp) {
        let listening = expires.after(self.settings.listening_grace);
        (listening, listening.after(self.settings.running_grace))
    }
}

impl WorkerStreams {
    /// Whether there is memory for the answer to `request`.
    pub fn has_room_for<B>(&self, request: &Request<B>) -> bool {
        match self.all.pressure.read() {
            Pressure::None => true,
            Pressure::Streams => !asks_to_listen(request),
            Pressure::Requests => false,
        }
    }

    /// `request` is about to be sent, with `token`.
    pub fn await_answer<B>(&self, token: &VerifiedToken, request: &Request<B>) -> Awaited {
        let TokenFacts { grant, issued, expires, .. } = *token.facts();
        let (_, until) = self.all.ends(expires);
        let lease = Lease { grant: grant.bytes(), issued, until, then: End::Cut };
        let answer = self.open.await_answer(lease);
        Awaited { answer, expires, asks_to_listen: asks_to_listen(request) }
    }

    /// What was awaited is here.
    pub fn carry(&self, awaited: Awaited, headers: &HeaderMap, body: UpstreamBody) -> Body {
        // Nothing more will come: there is nothing to end.
        if body.is_end_stream() {
            return Body::Own(wire::Body::Empty);
        }
        let (listening, running) = self.all.ends(awaited.expires);
        let (until, then) = if awaited.asks_to_listen && is_event_stream(headers) {
            (listening, End::Clean)
        } else {
            (running, End::Cut)
        };
        let answer = awaited.answer.begin(body, until, then);
        let gets_comments =
            self.all.settings.comment_every.is_some() && is_open_event_stream(headers);
        Body::Upstream(if gets_comments { answer.with_comments() } else { answer })
    }

    /// Let some of those that listen go, if it is time.
    fn say_farewell(&self, within: u64) {
        let mut farewell = self.farewell.lock().unwrap_or_else(PoisonError::into_inner);
        farewell.since += 1;
        let (mut listening, mut running) = (0_usize, 0_usize);
        self.open.each(|lease| match lease.then {
            End::Clean => listening += 1,
            End::Cut => running += 1,
        });
        let is_time = running == 0 || farewell.since + u64::from(FAREWELL) >= within;
        if farewell.share.is_none() && is_time {
            farewell.share = Some(listening.div_ceil(FAREWELL.into()));
        }
        // Those that came later go with the last ones.
        let mut left = match farewell.share {
            None => return,
            Some(share) if farewell.since < within => share,
            Some(_) => usize::MAX,
        };
        self.open.end_those(|lease| {
            (lease.then == End::Clean && left > 0).then(|| {
                left -= 1;
                End::Clean
            })
        });
    }

    /// End what may not go on, and have a word put into what has been quiet for long. To be called each second:
    /// one timer for all there are.
    pub fn sweep(&self) {
        let now = self.all.clock.now();
        if let Some(every) = self.all.settings.comment_every {
            self.open.comment(now, |since| since.after(every) <= now);
        }
        if let Some(within) = self.all.finishing_within.get() {
            self.say_farewell(*within);
        }
        if self.all.pressure.read() == Pressure::Requests {
            // Their clients open them anew, elsewhere or later: not all at the same moment.
            let count = self.open.end_oldest(End::Clean, |all| all.div_ceil(SHED.into()));
            tracing::debug!(count, "streams ended: memory is short");
        }
        let not_before = self.all.not_before.load(Ordering::Relaxed);
        let ended = self.open.end_those(|lease| {
            let is_refused = lease.issued.seconds() < not_before;
            if is_refused || self.all.revocations.contains(GrantId::new(lease.grant)) {
                return Some(End::Cut);
            }
            (lease.until <= now).then_some(lease.then)
        });
        for (lease, end) in ended {
            let grant = GrantId::new(lease.grant);
            match end {
                End::Clean => tracing::debug!(grant_id = %grant, "stream ended: its token expired"),
                End::Cut if lease.until <= now => {
                    tracing::info!(grant_id = %grant, "answer cut: its token expired long ago");
                }
                End::Cut => {
                    tracing::info!(grant_id = %grant, "answer cut: its grant has ended, or its token is refused now");
                }
            }
        }
    }
}

impl Awaited {
    /// Wait until it may not be awaited any longer.
    pub async fn ended(&self) {
        self.answer.ended().await;
    }
}

/// Not for the answer to a call, but for whatever the server may have to say: MCP 2025-03-26 to 2025-11-25
/// "Listening for Messages from the Server", 2026-07-28 `subscriptions/listen`.
fn asks_to_listen<B>(request: &Request<B>) -> bool {
    match *request.method() {
        Method::GET => true,
        Method::POST => {
            request.headers().get(&MCP_METHOD).is_some_and(|name| name == "subscriptions/listen")
        }
        _ => false,
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let essence = |value: &[u8]| {
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        let essence = value.get(..end).unwrap_or_default().trim_ascii();
        essence.eq_ignore_ascii_case(b"text/event-stream")
    };
    headers.get(CONTENT_TYPE).is_some_and(|value| essence(value.as_bytes()))
}

/// One into which something can be put: its length is not told, and its bytes are the events.
pub(super) fn is_open_event_stream(headers: &HeaderMap) -> bool {
    is_event_stream(headers) && !headers.contains_key(CONTENT_LENGTH) && !is_encoded(headers)
}

pub(super) fn is_encoded_event_stream(headers: &HeaderMap) -> bool {
    is_event_stream(headers) && is_encoded(headers)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let is_plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    !headers.get_all(CONTENT_ENCODING).iter().all(is_plain)
}

/// Seconds over which listening streams end when we stop, and by how much sooner than all else.
const FAREWELL: u8 = 5;
/// Which part of the listening streams ends each second while memory is short.
const SHED: u8 = 10;

#[cfg(test)]
mod tests;
