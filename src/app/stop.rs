//! How a process ends: what ends after what, and by when. What this file grants the rest besides requests is 1 s
//! for each step: with the default settings it takes 29 s at worst, and Kubernetes kills after 30 s. `Running` says what each step is, `cli::serve` takes the last one.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::server::{DrainSettings, Drained};

/// Told to a second time.
pub const AT_ONCE: DrainSettings =
    DrainSettings { keep_accepting: Duration::ZERO, finish_within: Duration::ZERO };

/// For threads that wait for a disk: whoever runs the runtime grants it, after everything else.
pub const LONGEST_DISK: Duration = Duration::from_secs(1);

/// `within` that long, by whose call nobody else knows of it yet.
pub fn unannounced(within: Duration) -> DrainSettings {
    let keep_accepting = KEEP_ACCEPTING.min(within / 2);
    DrainSettings { keep_accepting, finish_within: within.saturating_sub(keep_accepting) }
}

/// The steps. `requests` keeps to the settings itself, and `writes`, of what the IdP said, to the time that
/// it is given; the others are cut.
pub async fn in_order(
    settings: DrainSettings,
    requests: impl AsyncFnOnce(DrainSettings) -> Drained,
    writes: impl AsyncFnOnce(Duration),
    operators: impl AsyncFnOnce(Drained),
    health: impl AsyncFnOnce(DrainSettings) -> Drained,
    goodbye: impl Future<Output = ()>,
) -> Drained {
    // They go on while requests finish, and those may begin some more: only what is left is waited for.
    let writes_over =
        Instant::now() + settings.keep_accepting + settings.finish_within + LONGEST_WRITES;
    let drained = requests(settings).await;
    writes(writes_over.saturating_duration_since(Instant::now())).await;
    let listeners = async {
        let _ = timeout(LONGEST_OPERATORS, operators(drained)).await;
        // Last of what listens: until then a probe must not find us dead.
        health(DrainSettings { finish_within: LONGEST_HEALTH, ..AT_ONCE }).await;
    };
    let _ = tokio::join!(listeners, timeout(LONGEST_GOODBYE, goodbye));
    drained
}

/// How long an ingress may take to hear that we are not ready.
const KEEP_ACCEPTING: Duration = Duration::from_secs(5);
/// After the time for requests is over, even if they took all of it.
const LONGEST_WRITES: Duration = Duration::from_secs(1);
const LONGEST_OPERATORS: Duration = Duration::from_secs(1);
const LONGEST_HEALTH: Duration = Duration::from_secs(1);
/// To the other replicas. Not told, they notice by our silence.
const LONGEST_GOODBYE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    /// A server that is never done by itself.
    async fn busy(settings: DrainSettings) -> Drained {
        sleep(settings.keep_accepting + settings.finish_within).await;
        Drained::CutShort
    }

    /// How long it takes if everything takes as long as it may, what `in_order` leaves to others included.
    async fn longest(settings: DrainSettings) -> Duration {
        let begun = Instant::now();
        let end = in_order(settings, busy, sleep, async |_| pending().await, busy, pending());
        assert_eq!(end.await, Drained::CutShort);
        begun.elapsed() + LONGEST_DISK
    }

    /// `terminationGracePeriodSeconds` is 30 if nobody sets it.
    #[tokio::test(start_paused = true)]
    async fn a_stop_is_over_before_kubernetes_kills() {
        let signalled = longest(DrainSettings::default()).await;
        let asked_to = longest(unannounced(Duration::from_secs(25))).await;

        assert_eq!((signalled.as_secs(), asked_to.as_secs()), (29, 29));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_call_has_no_time_for_requests() {
        assert!(longest(AT_ONCE).await <= Duration::from_secs(5));
    }

    /// The IdP's answer of a moment ago has all the time that requests do not need.
    #[tokio::test(start_paused = true)]
    async fn what_the_idp_said_is_written_while_requests_finish_and_after() {
        let drained = async |_| {
            sleep(Duration::from_secs(3)).await;
            Drained::Everything
        };
        let mut given = Duration::ZERO;

        let writes = async |left| given = left;
        let end =
            in_order(DrainSettings::default(), drained, writes, async |_| {}, busy, async {}).await;

        assert_eq!(end, Drained::Everything);
        assert_eq!(given, Duration::from_secs(25 + 1 - 3));
    }
}
