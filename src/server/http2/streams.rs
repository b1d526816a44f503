//! The requests that one HTTP/2 connection has under way: a task each, on the worker that has the
//! connection, and none outlives it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;

/// The streams of one connection; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    tasks: JoinSet<()>,
    open: HashMap<Id, Open>,
    begun: u32,
}

#[derive(Debug)]
struct Open {
    task: AbortHandle,
    /// Since when the client takes nothing of its answer.
    stuck_since: Option<Instant>,
}

/// Ends every stream when it is dropped. The tasks hold their `Streams`, so those would not go by themselves.
#[derive(Debug)]
pub struct CutWhenDropped(Streams);

impl Streams {
    pub fn cut_when_dropped(&self) -> CutWhenDropped {
        CutWhenDropped(self.clone())
    }

    /// How many are under way.
    pub fn open(&self) -> usize {
        self.lock().tasks.len()
    }

    /// How many there ever were.
    pub fn begun(&self) -> u32 {
        self.lock().begun
    }

    /// Forget those that have ended. The connection's task is woken when another does.
    pub fn reap(&self, context: &mut Context<'_>) {
        let mut inner = self.lock();
        while let Poll::Ready(Some(ended)) = inner.tasks.poll_join_next_with_id(context) {
            let id = match ended {
                Ok((id, ())) => id,
                Err(error) => {
                    if error.is_panic() {
                        tracing::error!(
                            fault = "panic",
                            whose_fault = "us",
                            "a request was lost to a bug of ours"
                        );
                    }
                    error.id()
                }
            };
            inner.open.remove(&id);
        }
    }

    /// The answer of `task` waits for its client since then, or not at all.
    pub fn note_stuck(&self, task: Id, since: Option<Instant>) {
        if let Some(open) = self.lock().open.get_mut(&task) {
            open.stuck_since = since;
        }
    }

    /// Reset those whose client has taken nothing for `limit`. When to look again.
    pub fn reset_stuck(&self, limit: Duration) -> Instant {
        let now = Instant::now();
        let mut next = now;
        for open in self.lock().open.values() {
            match open.stuck_since {
                // h2 writes RST_STREAM for an answer that is dropped before its end.
                Some(since) if now.duration_since(since) >= limit => open.task.abort(),
                Some(since) => next = next.min(since),
                None => {}
            }
        }
        // Whatever gets stuck from now on has until then at least.
        next + limit
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut inner = self.lock();
        let task = inner.tasks.spawn(stream);
        inner.open.insert(task.id(), Open { task, stuck_since: None });
        inner.begun = inner.begun.wrapping_add(1);
    }
}

impl Drop for CutWhenDropped {
    fn drop(&mut self) {
        self.0.lock().tasks.abort_all();
    }
}
