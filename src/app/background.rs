//! What goes on besides answering requests.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::instrument::WithSubscriber as _;

use crate::admin::health::Readiness;
use crate::app::certificate;
use crate::app::memory::Memory;
use crate::authorization_server::clients::document::{DocumentFault, Documents, Support};
use crate::clock::Clock;
use crate::grants::{GrantId, Grants};
use crate::idp::Idp;
use crate::oauth::ClientIdUrl;
use crate::policy::UpstreamServer;
use crate::proxy::pressure::Pressure;
use crate::proxy::{Streams, upstream};
use crate::store::Cursor;
use crate::store::replicas::{self, Replica};
use crate::tls::ServerIdentity;

/// Ask the IdP about itself until it answers, so that the first login need not wait, and an operator
/// sees in the log at once whether it can be reached.
pub async fn find_idp(idp: Arc<Idp>) {
    // Of before the config changed.
    if idp.is_found() {
        return;
    }
    let mut pause = Duration::from_secs(1);
    while idp.discovered().await.is_err() {
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
    tracing::info!(idp = idp.issuer(), "the IdP answers");
}

/// Tell what would stop clients that are to get their tokens from the IdP.
pub async fn look_as_clients_do(idp: Option<Arc<Idp>>, audiences: Vec<String>) {
    let Some(idp) = idp else { return };
    // Nothing can be said of an IdP that is away; who finds it tells when it is here.
    while !idp.is_found() {
        sleep(Duration::from_secs(1)).await;
    }
    let obstacles = idp.obstacles(&audiences).await;
    for obstacle in &obstacles {
        tracing::warn!(
            idp = idp.issuer(),
            fault = %obstacle,
            fix = obstacle.fix(),
            whose_fault = "idp",
            "MCP clients can't get tokens from the IdP by themselves"
        );
    }
    if obstacles.is_empty() {
        tracing::info!(idp = idp.issuer(), "nothing is known that stops MCP clients at the IdP");
    }
}

/// See how much memory is left, and say what there is none for.
pub async fn watch_memory(memory: Memory, streams: Arc<Streams>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let before = streams.pressure().read();
        let percent = memory.used();
        // Who refuses everything with nothing under way has nothing to wait for: what is free within the process, the
        // kernel does not know of.
        let now = match percent {
            Some(percent) if streams.count() > 0 => before.then(percent),
            Some(_) | None => Pressure::None,
        };
        if now == before {
            continue;
        }
        streams.pressure().set(now);
        let what = match now {
            Pressure::None => {
                tracing::info!(percent, "there is memory again: nothing is refused");
                continue;
            }
            Pressure::Streams => "further listening streams are refused",
            Pressure::Requests => "further requests are refused, listening streams ended",
        };
        let fix = "raise the memory limit of the container";
        tracing::warn!(percent, fix, whose_fault = "us", "memory is short: {what}");
    }
}

/// Know the keys of an IdP whose tokens clients bring, so that no request has to wait for them, and a key
/// that is no longer published soon verifies nothing.
pub async fn keep_keys(idp: Option<Arc<Idp>>) {
    let Some(idp) = idp else { return };
    loop {
        sleep(Duration::from_secs(1)).await;
        idp.refresh_keys().await;
    }
}

/// Be ready once every upstream has accepted a connection.
pub async fn await_upstreams(upstreams: Vec<Arc<UpstreamServer>>, readiness: Arc<Readiness>) {
    let mut waiting = JoinSet::new();
    for server in upstreams {
        waiting.spawn(await_upstream(server).with_current_subscriber());
    }
    waiting.join_all().await;
    readiness.upstreams_seen();
}

async fn await_upstream(server: Arc<UpstreamServer>) {
    // Before the config changed, in other things.
    if server.was_seen.load(Ordering::Relaxed) {
        return;
    }
    let mut tries = 0_u32;
    while let Err(error) = upstream::accepts(&server).await {
        // Told at once and then each half minute.
        if tries.is_multiple_of(60) {
            tracing::warn!(upstream = %server.url, fault = %error, whose_fault = "upstream", "waiting for the upstream to accept a connection");
        }
        tries = tries.wrapping_add(1);
        sleep(Duration::from_millis(500)).await;
    }
    server.was_seen.store(true, Ordering::Relaxed);
    tracing::info!(upstream = %server.url, "the upstream accepts connections");
}

/// Learn which grants other replicas end, each second. Ready once everything was read that is there.
///
/// `last` is how far it was read by whoever did before: from there it shows whether the store has lost the log. Then all of
/// it is read again, since there may be keys now for what could not be read.
pub async fn follow_endings(grants: Grants, last: Arc<Mutex<Cursor>>, readiness: Arc<Readiness>) {
    let mut cursor = *last.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reads_again = cursor != Cursor::START;
    let mut faults = 0_u32;
    loop {
        match grants.follow_endings(cursor).await {
            Ok(next) => {
                if faults > 0 {
                    tracing::info!("the store answers");
                }
                *last.lock().unwrap_or_else(PoisonError::into_inner) = next;
                (cursor, faults) = (if reads_again { Cursor::START } else { next }, 0);
                reads_again = false;
                readiness.endings_read();
            }
            Err(fault) => {
                // Told at once and then each half minute or so.
                if faults.is_multiple_of(30) {
                    tracing::error!(%fault, whose_fault = "store", "can't read which grants have ended: access tokens live on, logins and refreshes wait");
                }
                faults = faults.wrapping_add(1);
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Warn, at first and each day, if the certificate that clients are shown ends soon.
pub async fn watch_certificate(identity: Option<ServerIdentity>, clock: Clock) {
    let Some(identity) = identity else { return };
    loop {
        certificate::warn_if_it_ends(&identity, clock.now());
        sleep(DAY).await;
    }
}

/// Be ready once this replica's sealing keys agree with those of the others, and tell the others that it is
/// here. Without a store that replicas share there are no others.
pub async fn agree_on_keys(replica: Option<Arc<Replica>>, readiness: Arc<Readiness>) {
    let Some(replica) = replica else { return readiness.keys_agree() };
    let mut refused = 0_u32;
    loop {
        // A store that is away is told of by who follows the endings.
        let agrees = replica.agrees().await;
        if agrees == Ok(true) {
            readiness.keys_agree();
        }
        if agrees == Ok(false) {
            // Told at once and then each half minute.
            if refused.is_multiple_of(30) {
                tracing::error!(
                    whose_fault = "us",
                    fix = "give all replicas the same sealing_keys; to rotate, first add the new key at the end everywhere, then move it to the front",
                    "not ready: another replica uses sealing keys that this one lacks, or lacks the one that this one seals with"
                );
            }
            refused = refused.wrapping_add(1);
        }
        sleep(if agrees == Ok(true) { replicas::PAUSE } else { SOON }).await;
    }
}

/// Say in the metadata that client ID metadata documents are supported as long as those of known clients
/// can be fetched from here: a client that is promised it does not register when it then fails.
pub async fn advertise_documents(documents: Arc<Documents>) {
    let settings = documents.settings();
    if settings.support != Support::WithinReach {
        return;
    }
    if settings.probed.is_empty() {
        tracing::info!(
            "client ID metadata documents are not advertised: none of registration.probed_documents is allowed, so nothing tells whether they are within reach"
        );
        return;
    }
    let (mut last, mut pause) = (None, SOON);
    loop {
        let outcome = documents.probe().await;
        let is_within_reach = outcome.is_ok();
        documents.advertise(is_within_reach);
        if last != Some(is_within_reach) {
            tell_what_is_advertised(&outcome);
            pause = SOON;
        }
        last = Some(is_within_reach);
        // Sooner after a failure: at the start, the network may not be there yet.
        pause = if is_within_reach { settings.probe_pause } else { pause * 2 };
        pause = pause.min(settings.probe_pause);
        sleep(pause).await;
    }
}

fn tell_what_is_advertised(outcome: &Result<(), (ClientIdUrl, DocumentFault)>) {
    match outcome {
        Ok(()) => tracing::info!(
            advertised = true,
            "client ID metadata documents are advertised: those of known clients can be fetched from here"
        ),
        Err((url, fault)) => tracing::info!(
            advertised = false,
            %url,
            %fault,
            "client ID metadata documents are not advertised, clients register themselves: one of a known client can't be used"
        ),
    }
}

/// Write down which generations are in use: of each grant the newest, and many at once. To be woken by each
/// costs the worker that saw it more than the rest of judging a token.
pub async fn confirm_generations(grants: Grants, mut seen: mpsc::Receiver<(GrantId, u32)>) {
    let (mut batch, mut newest) = (Vec::new(), HashMap::new());
    while seen.recv_many(&mut batch, usize::MAX).await > 0 {
        for (grant, generation) in batch.drain(..) {
            let known = newest.entry(grant).or_insert(generation);
            *known = generation.max(*known);
        }
        for (grant, generation) in newest.drain() {
            if let Err(fault) = grants.confirm(grant, generation).await {
                tracing::warn!(grant_id = %grant, %fault, "generation not confirmed");
            }
        }
        sleep(BETWEEN_BATCHES).await;
    }
}

const DAY: Duration = Duration::from_hours(24);
const BETWEEN_BATCHES: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(1);
