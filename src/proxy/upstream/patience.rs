//! How long an exchange waits, and for whom. Each step forward has its deadline anew: a long upload is not late, unless
//! it is slow on average.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::proxy::upstream::intake::Intake;
use crate::proxy::upstream::{Deadlines, UpstreamFault};

/// Whom an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// For more of the request.
    Client,
    /// To take more of it, or to answer.
    Upstream,
}

/// Of one exchange. Its timer is somebody else's, so that nothing is allocated.
#[derive(Debug)]
pub struct Patience<'t> {
    timer: Pin<&'t mut Option<Sleep>>,
    deadlines: Deadlines,
    /// What the timer is for.
    awaited: Awaited,
    limit: Duration,
}

impl<'t> Patience<'t> {
    pub fn new(timer: Pin<&'t mut Option<Sleep>>, deadlines: Deadlines) -> Self {
        Self { timer, deadlines, awaited: Awaited::Upstream, limit: Duration::ZERO }
    }

    /// Ready when it has an end. `intake` is of what is yet to come of the request, if anything is; `has_moved`:
    /// the exchange has come further since it was asked last.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        awaited: Awaited,
        intake: Option<&mut Intake>,
        has_moved: bool,
    ) -> Poll<UpstreamFault> {
        let is_new = has_moved || awaited != self.awaited;
        let ended = self.timer.as_ref().as_pin_ref().map(|timer| timer.deadline());
        if ended.is_none() || is_new {
            let waited = match ended {
                Some(deadline) if self.awaited == Awaited::Client => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.limit.saturating_sub(left)
                }
                Some(_) | None => Duration::ZERO,
            };
            let patience = intake.map(|intake| {
                intake.wait(waited);
                intake.patience(&self.deadlines)
            });
            self.limit = match (awaited, patience) {
                (Awaited::Client, Some(patience)) => patience,
                (Awaited::Client | Awaited::Upstream, _) => self.deadlines.first_byte,
            };
            self.awaited = awaited;
            self.timer.set(Some(sleep(self.limit)));
        }
        let Some(timer) = self.timer.as_mut().as_pin_mut() else { return Poll::Pending };
        timer.poll(context).map(|()| match self.awaited {
            Awaited::Upstream => UpstreamFault::Slow(self.limit),
            Awaited::Client if self.limit < self.deadlines.upload => {
                UpstreamFault::Trickling(self.deadlines.slowest_upload)
            }
            Awaited::Client => UpstreamFault::Stalled(self.limit),
        })
    }
}
