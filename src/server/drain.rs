//! Ending gracefully: the listener stops, connections finish what they are doing, and after a while what
//! is left is cut. Signals are read elsewhere; this is what they turn.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How far the ending has come. It only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Serving,
    /// New connections are still accepted: whoever routes to us may not have heard yet.
    Draining,
    /// No new connections, and no further request on those that stand.
    Finishing,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// Before we stop to accept.
    pub keep_accepting: Duration,
    /// After that, for answers under way.
    pub finish_within: Duration,
}

impl Default for DrainSettings {
    /// Fits, with what else has to end, into the 30 s after which Kubernetes kills.
    fn default() -> Self {
        Self { keep_accepting: Duration::ZERO, finish_within: Duration::from_secs(25) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every answer was sent to its end.
    Everything,
    /// Some were cut.
    CutShort,
}

/// Ends whatever holds one of its `Stop`s.
#[derive(Debug)]
pub struct Drain(watch::Sender<Stage>);

/// Held by everything that must have ended before the process may.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Stage>);

impl Drain {
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(Stage::Serving);
        (Self(sender), Stop(receiver))
    }

    /// Go through the stages. Called a second time, it ends at once, and so does the first call.
    pub async fn drain(&self, settings: DrainSettings) -> Drained {
        if !self.advance(Stage::Draining) {
            self.advance(Stage::Ended);
            self.0.closed().await;
            return Drained::CutShort;
        }
        let mut ended = Stop(self.0.subscribe());
        tokio::select! {
            () = sleep(settings.keep_accepting) => {}
            () = ended.reached(Stage::Ended) => {}
        }
        drop(ended);
        self.advance(Stage::Finishing);
        let in_time = timeout(settings.finish_within, self.0.closed()).await.is_ok();
        // Not the first to end it: a second call was, and cut what it found.
        let is_ours = self.advance(Stage::Ended);
        self.0.closed().await;
        if in_time && is_ours { Drained::Everything } else { Drained::CutShort }
    }

    /// `false` if that stage had been reached before.
    fn advance(&self, to: Stage) -> bool {
        self.0.send_if_modified(|stage| {
            let is_new = *stage < to;
            *stage = to.max(*stage);
            is_new
        })
    }
}

impl Stop {
    /// Whether it has gone further since this was made. For less than it takes to ask `reached`.
    pub fn has_moved(&self) -> bool {
        self.0.has_changed().unwrap_or(true)
    }

    /// Wait for `stage` or a later one. Dropping the `Drain` counts as `Ended`.
    pub async fn reached(&mut self, stage: Stage) {
        let _ = self.0.wait_for(|now| *now >= stage).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const SETTINGS: DrainSettings = DrainSettings {
        keep_accepting: Duration::from_secs(5),
        finish_within: Duration::from_secs(25),
    };

    /// Ends `after` it was told to finish, or when it is cut.
    async fn worker(mut stop: Stop, after: Duration) {
        stop.reached(Stage::Finishing).await;
        tokio::select! {
            () = sleep(after) => {}
            () = stop.reached(Stage::Ended) => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_when_the_last_worker_does() {
        let (drain, stop) = Drain::new();
        let begin = Instant::now();

        tokio::spawn(worker(stop.clone(), Duration::from_secs(3)));
        tokio::spawn(worker(stop, Duration::from_secs(7)));

        assert_eq!(drain.drain(SETTINGS).await, Drained::Everything);
        assert_eq!(begin.elapsed().as_secs(), 5 + 7);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_too_long_is_cut() {
        let (drain, stop) = Drain::new();
        let begin = Instant::now();

        tokio::spawn(worker(stop, Duration::from_secs(1000)));

        assert_eq!(drain.drain(SETTINGS).await, Drained::CutShort);
        assert_eq!(begin.elapsed().as_secs(), 5 + 25);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_call_ends_both_at_once() {
        let (drain, stop) = Drain::new();
        let begin = Instant::now();
        tokio::spawn(worker(stop, Duration::from_secs(1000)));

        let second = async {
            sleep(Duration::from_secs(2)).await;
            drain.drain(SETTINGS).await
        };
        let ends = tokio::join!(drain.drain(SETTINGS), second);

        assert_eq!(ends, (Drained::CutShort, Drained::CutShort));
        assert_eq!(begin.elapsed().as_secs(), 2);
    }
}
