//! Answers of upstreams that are under way, so that one can be ended from outside even while it is silent.
//! Each worker has a list of its own; `proxy::streams` decides what ends.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use slab::Slab;

use crate::clock::Timestamp;
use crate::grants::GrantId;
use crate::proxy::BodyFault;
use crate::proxy::event_ends::{COMMENT, EventEnds};
use crate::proxy::upstream::{BrokenBody, UpstreamBody};

/// The answers that one worker has under way; clones share them. They stand in one piece of memory that is
/// used again and again: a request allocates nothing to be in it.
#[derive(Clone, Debug, Default)]
pub struct OpenAnswers(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    entries: Slab<Entry>,
    /// How many there have ever been.
    made: u64,
}

/// What an answer is given by, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The id of the grant.
    pub grant: [u8; 16],
    /// When its access token was.
    pub issued: Timestamp,
    pub until: Timestamp,
    /// What happens at `until`.
    pub then: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As if the upstream had nothing more to say.
    Clean,
    /// So that it can't look complete.
    Cut,
}

/// A request that is on its way to the upstream. Dropped, it is forgotten.
#[derive(Debug)]
pub struct AwaitedAnswer {
    list: OpenAnswers,
    key: usize,
}

/// The body of an upstream's answer, passed on as it comes. Dropped, it is forgotten.
#[derive(Debug)]
pub struct OpenAnswer(AwaitedAnswer);

#[derive(Debug)]
struct Entry {
    lease: Lease,
    /// The older, the lower.
    number: u64,
    state: State,
    /// Of a stream of events that gets comments while it is quiet.
    quiet: Option<Quiet>,
    /// Of whoever waits for more.
    waker: Option<Waker>,
}

/// The list has the body, not the connection: what the client does not read is not polled either, and its
/// upstream must hear of the end all the same.
#[derive(Debug)]
enum State {
    Awaited,
    Coming(UpstreamBody),
    Ended(End),
}

/// How long a stream of events has been quiet, and whether something may be put in.
#[derive(Debug, Default)]
struct Quiet {
    ends: EventEnds,
    /// `None` if something has passed since it was looked at.
    since: Option<Timestamp>,
    is_comment_due: bool,
}

impl OpenAnswers {
    /// A request is about to be sent.
    pub fn await_answer(&self, lease: Lease) -> AwaitedAnswer {
        let mut list = self.lock();
        list.made += 1;
        let entry =
            Entry { lease, number: list.made, state: State::Awaited, quiet: None, waker: None };
        let key = list.entries.insert(entry);
        drop(list);
        AwaitedAnswer { list: self.clone(), key }
    }

    pub fn count(&self) -> usize {
        self.lock().entries.len()
    }

    /// Look at those that have not ended.
    pub fn each(&self, mut look: impl FnMut(&Lease)) {
        for (_, entry) in &self.lock().entries {
            if !matches!(entry.state, State::Ended(_)) {
                look(&entry.lease);
            }
        }
    }

    /// End those that `judge` has an end for. What was ended, once each.
    pub fn end_those(&self, mut judge: impl FnMut(&Lease) -> Option<End>) -> Vec<(Lease, End)> {
        self.end_entries(|entry| judge(&entry.lease))
    }

    /// End, as they are to end, the oldest of those that end so: as many as `share` makes of all of them.
    pub fn end_oldest(&self, then: End, share: impl FnOnce(usize) -> usize) -> usize {
        let mut numbers = Vec::new();
        for (_, entry) in &self.lock().entries {
            if entry.lease.then == then && !matches!(entry.state, State::Ended(_)) {
                numbers.push(entry.number);
            }
        }
        numbers.sort_unstable();
        let count = share(numbers.len());
        let Some(last) = count.checked_sub(1).and_then(|last| numbers.get(last)) else { return 0 };
        let ends =
            |entry: &Entry| (entry.lease.then == then && entry.number <= *last).then_some(then);
        self.end_entries(ends).len()
    }

    fn end_entries(&self, mut judge: impl FnMut(&Entry) -> Option<End>) -> Vec<(Lease, End)> {
        let (mut ended, mut left) = (Vec::new(), Vec::new());
        for (_, entry) in &mut self.lock().entries {
            if matches!(entry.state, State::Ended(_)) {
                continue;
            }
            if let Some(end) = judge(entry) {
                left.push((mem::replace(&mut entry.state, State::Ended(end)), entry.waker.take()));
                ended.push((entry.lease, end));
            }
        }
        // Only now, without the lock: whoever is woken or dropped may want it.
        for (body, waker) in left {
            // Closes the connection to the upstream, which tells it to stop.
            drop(body);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        ended
    }

    /// Have a comment put into each stream that `is_overdue`, by the time since when it has been quiet. One
    /// that said something since the last time is quiet from `now` on.
    pub fn comment(&self, now: Timestamp, is_overdue: impl Fn(Timestamp) -> bool) {
        let mut left = Vec::new();
        for (_, entry) in &mut self.lock().entries {
            let (Some(quiet), State::Coming(_)) = (&mut entry.quiet, &entry.state) else {
                continue;
            };
            if is_overdue(*quiet.since.get_or_insert(now)) && quiet.ends.is_between_events() {
                quiet.is_comment_due = true;
                left.extend(entry.waker.take());
            }
        }
        // Without the lock, as above.
        left.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AwaitedAnswer {
    /// Wait until it is ended from outside.
    pub async fn ended(&self) {
        poll_fn(|context| {
            let mut list = self.list.lock();
            match list.entries.get_mut(self.key) {
                Some(Entry { state: State::Awaited | State::Coming(_), waker, .. }) => {
                    remember(waker, context);
                    Poll::Pending
                }
                Some(Entry { state: State::Ended(_), .. }) | None => Poll::Ready(()),
            }
        })
        .await;
    }

    /// The upstream answers with `body`, which may last until `until`.
    pub fn begin(self, body: UpstreamBody, until: Timestamp, then: End) -> OpenAnswer {
        if let Some(entry) = self.list.lock().entries.get_mut(self.key)
            && matches!(entry.state, State::Awaited)
        {
            entry.lease = Lease { until, then, ..entry.lease };
            entry.state = State::Coming(body);
        }
        OpenAnswer(self)
    }
}

impl OpenAnswer {
    /// It is a stream of events, which gets comments while it is quiet.
    pub fn with_comments(self) -> Self {
        if let Some(entry) = self.0.list.lock().entries.get_mut(self.0.key) {
            entry.quiet = Some(Quiet::default());
        }
        self
    }
}

impl Quiet {
    fn pass(&mut self, frame: &Frame<Bytes>) {
        self.ends.pass(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
        (self.since, self.is_comment_due) = (None, false);
    }

    /// Nothing has come for long, and nothing is there now.
    fn comment(&mut self) -> Option<Frame<Bytes>> {
        self.is_comment_due.then(|| {
            (self.since, self.is_comment_due) = (None, false);
            Frame::data(Bytes::from_static(COMMENT))
        })
    }
}

impl Drop for AwaitedAnswer {
    fn drop(&mut self) {
        let entry = self.list.lock().entries.try_remove(self.key);
        // Without the lock, as above.
        drop(entry);
    }
}

impl HttpBody for OpenAnswer {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let mut list = self.0.list.lock();
        let Some(Entry { lease, state, quiet, waker, .. }) = list.entries.get_mut(self.0.key)
        else {
            return Poll::Ready(Some(Err(BodyFault::Cut)));
        };
        match state {
            State::Coming(body) => {
                let frame = Pin::new(body).poll_frame(context);
                if let Poll::Ready(Some(Err(fault))) = &frame {
                    tell_broken(lease, fault);
                }
                let frame = frame.map_err(BodyFault::BrokeOff);
                match (&frame, quiet) {
                    (Poll::Pending, quiet) => {
                        if let Some(comment) = quiet.as_mut().and_then(Quiet::comment) {
                            return Poll::Ready(Some(Ok(comment)));
                        }
                        remember(waker, context);
                    }
                    (Poll::Ready(Some(Ok(frame))), Some(quiet)) => quiet.pass(frame),
                    (Poll::Ready(_), _) => {}
                }
                frame
            }
            State::Ended(End::Clean) => Poll::Ready(None),
            State::Ended(End::Cut) | State::Awaited => Poll::Ready(Some(Err(BodyFault::Cut))),
        }
    }

    /// Never of one that was cut: whoever asks would take it for whole.
    fn is_end_stream(&self) -> bool {
        match self.0.list.lock().entries.get(self.0.key) {
            Some(Entry { state: State::Coming(body), .. }) => body.is_end_stream(),
            Some(_) | None => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.list.lock().entries.get(self.0.key) {
            Some(Entry { state: State::Coming(body), .. }) => body.size_hint(),
            Some(_) | None => SizeHint::default(),
        }
    }
}

/// The client sees that it broke off; why, only we know.
fn tell_broken(lease: &Lease, fault: &BrokenBody) {
    let whose_fault = match fault {
        BrokenBody::Request(_) => "client",
        BrokenBody::Connection(_)
        | BrokenBody::Closed
        | BrokenBody::Chunk(_)
        | BrokenBody::Stream(_) => "upstream",
    };
    let grant_id = GrantId::new(lease.grant);
    tracing::warn!(%grant_id, %fault, whose_fault, "answer broke off");
}

fn remember(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        // Copies it only if it is another one.
        Some(waker) => waker.clone_from(context.waker()),
        None => *waker = Some(context.waker().clone()),
    }
}

#[cfg(test)]
mod tests;
