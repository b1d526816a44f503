//! What strangers may do how often. A good token, and a client that gets nothing wrong, never meets a budget
//! here: a hosted client's whole user base comes from few addresses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;

use crate::budget::{Budget, Exhausted, Rate};
use crate::wire::caller::TrustedProxies;
use crate::wire::{Arrival, Caller, Response};

/// Lives as long as the process, whatever the config becomes.
#[derive(Debug)]
pub struct Budgets {
    registrations: Budget,
    authorizations: Budget,
    failures: Budget,
    /// Of requests to our own endpoints that are under way.
    pub under_way: Semaphore,
    told_of_unknown_callers: AtomicBool,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub enum Spending {
    Registration,
    Authorization,
    /// A bad token, code, client or secret.
    Failure,
}

impl Budgets {
    pub fn new() -> Self {
        let rate =
            |burst, milliseconds| Rate { burst, interval: Duration::from_millis(milliseconds) };
        Self {
            // An office that comes in on Monday and adds the server from one address.
            registrations: Budget::new(rate(120, 1000), rate(1200, 50)),
            authorizations: Budget::new(rate(240, 250), rate(2400, 25)),
            failures: Budget::new(rate(300, 200), rate(6000, 10)),
            under_way: Semaphore::new(MOST_UNDER_WAY),
            told_of_unknown_callers: AtomicBool::new(false),
        }
    }

    pub fn spend(
        &self,
        spending: Spending,
        proxies: &TrustedProxies,
        headers: &HeaderMap,
        arrival: Arrival,
    ) -> Result<(), Exhausted> {
        let caller = proxies.caller(arrival.peer, headers);
        self.tell_of_unknown(caller, proxies);
        let budget = match spending {
            Spending::Registration => &self.registrations,
            Spending::Authorization => &self.authorizations,
            Spending::Failure => &self.failures,
        };
        budget.spend(caller, arrival.at).inspect_err(|exhausted| {
            tracing::warn!(
                request_id = %arrival.id,
                ?caller,
                ?spending,
                fault = %exhausted,
                retry_after_seconds = exhausted.retry_after.as_secs(),
                whose_fault = "client",
                "answered 429"
            );
        })
    }

    fn tell_of_unknown(&self, caller: Caller, proxies: &TrustedProxies) {
        if caller == Caller::Unknown
            && proxies.is_empty()
            && !self.told_of_unknown_callers.swap(true, Ordering::Relaxed)
        {
            tracing::info!(
                fix = "set trusted_proxies to the addresses of your ingress",
                "requests come from a private address, the ingress' most likely: callers can't be told \
                 apart, so they share one budget"
            );
        }
    }
}

/// `response` with the time after which it is worth trying again.
pub fn retry_after(mut response: Response, exhausted: Exhausted) -> Response {
    let seconds = exhausted.retry_after.as_millis().div_ceil(1000);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Each takes some KiB, and a login waits for the IdP.
const MOST_UNDER_WAY: usize = 1024;
