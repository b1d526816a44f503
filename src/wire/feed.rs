//! A body's way from the connection that it comes over to whoever reads it: one piece at a time, and only when it is
//! asked for, so that what nobody reads stays in its sender's hands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// The connection's end. Dropped before `end`, the body broke off.
#[derive(Debug)]
pub struct Feed(Shared);

/// The reader's end.
#[derive(Debug)]
pub struct Fed(Shared);

/// Why a body has no proper end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokeOff {
    #[error("the connection was closed before its end")]
    Closed,
    /// In the words of whoever judged it.
    #[error("{0}")]
    Malformed(String),
}

/// What the reader is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    NothingYet,
    More,
    /// It is gone.
    NothingEver,
}

type Shared = Arc<Mutex<State>>;

#[derive(Debug, Default)]
struct State {
    /// For the reader to take.
    piece: Bytes,
    /// Bytes that the reader has not taken yet, if that is known.
    left: Option<u64>,
    end: Option<Result<(), BrokeOff>>,
    is_wanted: bool,
    is_unwanted: bool,
    reader: Option<Waker>,
    feeder: Option<Waker>,
}

/// A body of `length` bytes, if that is known, which begins with `piece`.
pub fn feed(length: Option<u64>, piece: Bytes) -> (Feed, Fed) {
    let state = State { piece, left: length, ..State::default() };
    let state = Arc::new(Mutex::new(state));
    (Feed(Arc::clone(&state)), Fed(state))
}

impl Feed {
    /// Who polls the reader next asks us afterwards, so that the reader need not wake us.
    pub fn will_ask(&self) {
        lock(&self.0).feeder = None;
    }

    /// Whoever asks is woken when that is no longer `NothingYet`.
    pub fn wanted(&self, context: &Context<'_>) -> Wanted {
        let mut state = lock(&self.0);
        if state.is_unwanted {
            Wanted::NothingEver
        } else if state.is_wanted && state.piece.is_empty() {
            Wanted::More
        } else {
            state.feeder = Some(context.waker().clone());
            Wanted::NothingYet
        }
    }

    /// To be called when more is wanted, with something.
    pub fn put(&self, piece: Bytes) {
        let mut state = lock(&self.0);
        state.piece = piece;
        wake(state);
    }

    /// All of it was put.
    pub fn end(self) {
        self.finish(Ok(()));
    }

    pub fn fail(self, fault: BrokeOff) {
        self.finish(Err(fault));
    }

    fn finish(&self, end: Result<(), BrokeOff>) {
        let mut state = lock(&self.0);
        if state.end.is_none() {
            state.end = Some(end);
            wake(state);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.finish(Err(BrokeOff::Closed));
    }
}

impl Fed {
    /// The next piece; `None` at the end.
    pub fn poll_piece(&self, context: &Context<'_>) -> Poll<Option<Result<Bytes, BrokeOff>>> {
        let mut state = lock(&self.0);
        if !state.piece.is_empty() {
            let piece = std::mem::take(&mut state.piece);
            state.is_wanted = false;
            state.left = state.left.map(|left| left.saturating_sub(piece.len() as u64));
            return Poll::Ready(Some(Ok(piece)));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(fault)) => Poll::Ready(Some(Err(fault.clone()))),
            None => {
                state.is_wanted = true;
                state.reader = Some(context.waker().clone());
                let feeder = state.feeder.take();
                drop(state);
                feeder.into_iter().for_each(Waker::wake);
                Poll::Pending
            }
        }
    }

    /// Whether all of it was taken.
    pub fn is_over(&self) -> bool {
        let state = lock(&self.0);
        state.piece.is_empty() && state.end == Some(Ok(()))
    }

    /// Bytes still to come, if that is known.
    pub fn left(&self) -> Option<u64> {
        lock(&self.0).left
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.is_unwanted = true;
        state.piece = Bytes::new();
        let feeder = state.feeder.take();
        drop(state);
        feeder.into_iter().for_each(Waker::wake);
    }
}

/// Only now, without the lock: whoever is woken may want it.
fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    reader.into_iter().for_each(Waker::wake);
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::woken::Woken;

    /// One task for both ends must not be needed: a body may be read in another one.
    #[test]
    fn whoever_waits_is_woken() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        let (feed, body) = feed(Some(3), Bytes::new());

        assert_eq!(feed.wanted(&context), Wanted::NothingYet);
        assert!(body.poll_piece(&context).is_pending());
        assert_eq!(woken.take(), 1, "the connection, to read");
        assert_eq!(feed.wanted(&context), Wanted::More);
        feed.put(Bytes::from_static(b"abc"));
        assert_eq!(woken.take(), 1, "the reader, to take it");
        assert_eq!(feed.wanted(&context), Wanted::NothingYet);
        assert_eq!(body.poll_piece(&context), Poll::Ready(Some(Ok(Bytes::from_static(b"abc")))));
        assert_eq!(body.left(), Some(0));
        drop(body);
        assert_eq!(woken.take(), 1, "the connection, to read no more");
        assert_eq!(feed.wanted(&context), Wanted::NothingEver);
    }

    /// RFC 9112 §8: what is missing must not pass for the end.
    #[test]
    fn a_body_whose_connection_has_gone_broke_off() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        let (feed, body) = feed(None, Bytes::new());

        assert!(body.poll_piece(&context).is_pending());
        drop(feed);

        assert_eq!(woken.take(), 1, "the reader");
        assert_eq!(body.poll_piece(&context), Poll::Ready(Some(Err(BrokeOff::Closed))));
        assert!(!body.is_over());
    }
}
