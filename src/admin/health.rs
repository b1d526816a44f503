//! The health listener: `/livez` and `/readyz` for the kubelet. Nothing personal, nothing to change.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, StatusCode};

use crate::wire::{Request, Response, answer};

/// Whether traffic should come here.
#[derive(Debug, Default)]
pub struct Readiness {
    /// Every upstream has accepted a connection once. Latched: a server that is down for a moment
    /// answers 502, which tells more than a pod that is taken out of service.
    upstreams_seen: AtomicBool,
    /// The store has told which grants ended: before that, an ended one could get in. Latched: afterwards
    /// a store that is away delays what is learnt, and takes nobody out of service.
    endings_read: AtomicBool,
    /// No other replica seals with a key that this one lacks, or lacks the one that this one seals with.
    /// Latched: who serves goes on.
    keys_agree: AtomicBool,
    stopping: AtomicBool,
}

impl Readiness {
    pub fn upstreams_seen(&self) {
        self.upstreams_seen.store(true, Ordering::Release);
    }

    pub fn endings_read(&self) {
        self.endings_read.store(true, Ordering::Release);
    }

    pub fn keys_agree(&self) {
        self.keys_agree.store(true, Ordering::Release);
    }

    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn reason_not_ready(&self) -> Option<&'static str> {
        if self.stopping.load(Ordering::Acquire) {
            Some("stopping\n")
        } else if !self.endings_read.load(Ordering::Acquire) {
            Some("waiting for the store\n")
        } else if !self.keys_agree.load(Ordering::Acquire) {
            Some("waiting for replicas with other sealing keys to go\n")
        } else if !self.upstreams_seen.load(Ordering::Acquire) {
            Some("waiting for the upstream to accept a connection\n")
        } else {
            None
        }
    }
}

/// Liveness depends on nothing outside; readiness never on the IdP.
pub fn answer(readiness: &Readiness, request: &Request) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return answer::method_not_allowed("GET, HEAD");
    }
    match request.uri().path() {
        "/livez" => answer::plain(StatusCode::OK, "ok\n"),
        "/readyz" => match readiness.reason_not_ready() {
            None => answer::plain(StatusCode::OK, "ok\n"),
            Some(reason) => answer::plain(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        _ => answer::not_found(),
    }
}
