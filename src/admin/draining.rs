//! What the admin socket and the process tell each other about ending: an operator asks for it, the process
//! does it and says how it went. The doing is `server`'s and `app`'s.

use std::time::Duration;

use tokio::sync::watch;

/// How far it has come. It only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Asked { within: Duration },
    Over { cut_short: bool },
}

#[derive(Debug)]
pub struct Draining(watch::Sender<Stage>);

/// Held by what must have ended before the process may.
#[derive(Debug)]
pub struct Witness(#[expect(dead_code, reason = "counted by being there")] watch::Receiver<Stage>);

impl Default for Draining {
    fn default() -> Self {
        Self(watch::Sender::new(Stage::Serving))
    }
}

impl Draining {
    /// Ask for it. Does nothing if it was asked for before, or is over.
    pub fn ask(&self, within: Duration) {
        self.0.send_if_modified(|stage| {
            let is_first = *stage == Stage::Serving;
            if is_first {
                *stage = Stage::Asked { within };
            }
            is_first
        });
    }

    /// Until somebody asks; how long it may take.
    pub async fn asked(&self) -> Duration {
        let mut stage = self.0.subscribe();
        loop {
            if let Stage::Asked { within } = *stage.borrow_and_update() {
                return within;
            }
            if stage.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Until it is over. Were some answers cut?
    pub async fn over(&self) -> bool {
        let mut stage = self.0.subscribe();
        loop {
            if let Stage::Over { cut_short } = *stage.borrow_and_update() {
                return cut_short;
            }
            if stage.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub fn witness(&self) -> Witness {
        Witness(self.0.subscribe())
    }

    /// It is over: tell whoever waits, and wait until no `Witness` is left.
    pub async fn finish(&self, cut_short: bool) {
        self.0.send_replace(Stage::Over { cut_short });
        self.0.closed().await;
    }
}
