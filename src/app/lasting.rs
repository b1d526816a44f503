//! What goes on as long as it is needed, begun again if a bug of ours ends it: who was sent away elsewhere must not be
//! let in here because the one task that hears of it is gone.

use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

/// A background task. Ends when dropped.
#[derive(Debug)]
pub struct Lasting(JoinHandle<()>);

impl Lasting {
    /// `task`, with whatever it needs. `what` is for the log.
    pub fn begin<T, F>(what: &'static str, log: &Dispatch, with: T, task: fn(T) -> F) -> Self
    where
        T: Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let keeping = async move {
            // Dropped with this one, it ends what it has begun.
            let mut begun = JoinSet::new();
            begun.spawn(task(with.clone()).with_current_subscriber());
            while let Some(Err(_)) = begun.join_next().await {
                tracing::error!(
                    what,
                    whose_fault = "us",
                    "a background task panicked: it begins again"
                );
                sleep(PAUSE).await;
                begun.spawn(task(with.clone()).with_current_subscriber());
            }
        };
        Self(tokio::spawn(keeping.with_subscriber(log.clone())))
    }

    pub fn end(&self) {
        self.0.abort();
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.end();
    }
}

const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panicked_begins_again_until_it_is_over() {
        let (begun, mut times) = mpsc::unbounded_channel();

        let lasting = Lasting::begin(
            "a test",
            &Dispatch::none(),
            begun,
            |begun: mpsc::UnboundedSender<()>| async move {
                begun.send(()).unwrap();
                assert!(begun.is_closed(), "a bug");
            },
        );
        for _ in 0..3 {
            times.recv().await.unwrap();
        }
        lasting.end();

        while times.recv().await.is_some() {}
    }

    #[tokio::test]
    async fn what_nobody_needs_any_more_ends() {
        let (held, mut ended) = mpsc::channel::<()>(1);
        let (begun, mut beginning) = mpsc::channel(1);
        let with = (begun, held);
        let lasting = Lasting::begin(
            "a test",
            &Dispatch::none(),
            with,
            |(begun, _held): (mpsc::Sender<()>, mpsc::Sender<()>)| async move {
                begun.send(()).await.unwrap();
                pending::<()>().await;
            },
        );
        beginning.recv().await.unwrap();

        drop(lasting);

        assert!(ended.recv().await.is_none());
    }

    #[tokio::test]
    async fn what_is_done_is_not_begun_again() {
        let (begun, mut times) = mpsc::unbounded_channel();

        let _lasting = Lasting::begin(
            "a test",
            &Dispatch::none(),
            begun,
            |begun: mpsc::UnboundedSender<()>| async move {
                begun.send(()).unwrap();
            },
        );

        assert!(times.recv().await.is_some() && times.recv().await.is_none());
    }
}
