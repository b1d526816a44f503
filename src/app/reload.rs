//! A running process takes on another config: everything derived from it is made anew beside what serves, and swapped
//! when it is whole. Whatever goes wrong before that, nothing has changed.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use crate::admin::health::Readiness;
use crate::app::build::{self, Derived, Estate, Parts, takes_tokens_of_the_idp};
use crate::app::lasting::Lasting;
use crate::app::{Running, StartFault, announcement, background, spared};
use crate::config::{Config, IssuedBy, ResourceSettings};
use crate::grants::GrantId;
use crate::idp::DiscoveryFault;
use crate::seal::KeyRing;
use crate::store::StoreFault;

/// Why a process goes on by the config that it has.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFault {
    #[error(transparent)]
    Unusable(#[from] StartFault),
    #[error("{key}: {why}; put it back, or restart")]
    NeedsRestart { key: &'static str, why: &'static str },
    #[error(
        "sealing_keys: the key that seals now is not among them: logins and registrations of clients would end; list it after the new one, or restart to give it up"
    )]
    KeyGone,
    #[error(
        "sealing_keys: another replica lacks the key that this one would seal with, or seals with one that this one would lack; to rotate, first add the new key at the end everywhere, then move it to the front"
    )]
    AnotherKey,
    #[error("sealing_keys: the store does not say whether other replicas have them: {0}")]
    Store(#[from] StoreFault),
    #[error("idp: it is another one now, and can't be used: {0}")]
    Idp(Arc<DiscoveryFault>),
}

/// By what a process serves, and what goes on for that.
#[derive(Debug)]
pub struct Serving {
    parts: Parts,
    tasks: Vec<Lasting>,
}

impl Running {
    /// Serve by `config` from now on; what is under way goes on by what it began with. The keys of which that
    /// could not be done, and which wait for the next start.
    pub async fn reload(&self, config: Config) -> Result<Vec<&'static str>, ReloadFault> {
        // Boxed: rare, and all that has to be made for it is large.
        Box::pin(self.take_on(config).with_subscriber(self.log.clone())).await
    }

    async fn take_on(&self, config: Config) -> Result<Vec<&'static str>, ReloadFault> {
        let mut serving = self.serving.lock().await;
        let before = &serving.parts;
        check_continuity(&config, &before.config)?;
        let (config, left) = config.taken_on_after(&before.config);
        let ring = build::ring(&config).map_err(StartFault::from)?;
        let Derived { routes, parts, seen } =
            build::derive(config, Arc::clone(&ring), &self.estate, Some(before))?;
        if !parts.idp.is_found() && before.idp.is_found() {
            // Whoever named it wrongly hears of it while people can still log in.
            parts.idp.discovered().await.map_err(ReloadFault::Idp)?;
        }
        // Last: to ask an IdP takes time, in which others may change theirs.
        self.check_keys(&ring, &before.ring).await?;
        if let Some(replica) = &self.estate.replica {
            let _ = replica.change_keys(&ring).await;
        }
        self.control.grants.store(Arc::new(parts.grants.clone()));
        announcement::changed(&parts.config);
        let next = Serving::begin(parts, seen, &self.estate, &self.readiness, &self.log);
        self.estate.streams.cut_before(next.parts.config.tokens.not_before);
        self.peers.spare(spared(&next.parts.config));
        if let (Some(tls), Some(identity)) = (self.public.tls(), &next.parts.config.tls) {
            tls.renew(identity.clone());
        }
        self.front.replace(routes);
        **serving = next;
        Ok(left)
    }

    /// What this one sealed a moment ago has to be opened, and replicas that can't open what the others seal would
    /// refuse good tokens at random.
    async fn check_keys(&self, ring: &KeyRing, before: &KeyRing) -> Result<(), ReloadFault> {
        // A Secret and the config that lists its keys reach a pod one after the other.
        if !before.key_ids().take(1).all(|sealing| ring.key_ids().any(|id| id == sealing)) {
            return Err(ReloadFault::KeyGone);
        }
        let Some(replica) = &self.estate.replica else { return Ok(()) };
        if ring.key_ids().eq(before.key_ids()) || replica.would_agree(ring).await? {
            return Ok(());
        }
        Err(ReloadFault::AnotherKey)
    }
}

/// What the rest of a config is made for, and what clients know us by, changes with a new process alone.
fn check_continuity(config: &Config, before: &Config) -> Result<(), ReloadFault> {
    let changes = [
        (
            config.issuer != before.issuer,
            "issuer",
            "it has changed, or, if it is not set, the host of the first of resources[].url: everybody would be signed out, and the IdP may not know the new redirect URI",
        ),
        (
            config.issued_by != before.issued_by,
            "tokens.issued_by",
            "who issues the tokens changes for clients and upstreams alike",
        ),
        (
            config.tls.is_some() != before.tls.is_some(),
            "tls",
            "the port begins to speak TLS, or ceases to, for all connections at once",
        ),
    ];
    match changes.into_iter().find(|(has_changed, ..)| *has_changed) {
        Some((_, key, why)) => Err(ReloadFault::NeedsRestart { key, why }),
        None => Ok(()),
    }
}

impl Serving {
    /// Do what goes on besides answering requests by these `parts`.
    pub fn begin(
        parts: Parts,
        seen: mpsc::Receiver<(GrantId, u32)>,
        estate: &Estate,
        readiness: &Arc<Readiness>,
        log: &Dispatch,
    ) -> Self {
        let Parts { config, idp, documents, grants, .. } = &parts;
        let keys_of = takes_tokens_of_the_idp(config).then(|| Arc::clone(idp));
        let issuing = (config.issued_by == IssuedBy::Idp).then(|| Arc::clone(idp));
        let audiences = config.resources.iter().map(ResourceSettings::audience_name);
        let audiences: Vec<_> = audiences.collect();
        let upstreams = parts.upstreams.clone();
        let (found, ready) = (Arc::clone(idp), Arc::clone(readiness));
        let tasks = vec![
            Lasting::begin("find_idp", log, found, background::find_idp),
            Lasting::begin("keep_keys", log, keys_of, background::keep_keys),
            Lasting::begin("look_as_clients_do", log, (issuing, audiences), |(idp, audiences)| {
                background::look_as_clients_do(idp, audiences)
            }),
            Lasting::begin("await_upstreams", log, (upstreams, ready), |(upstreams, ready)| {
                background::await_upstreams(upstreams, ready)
            }),
            Lasting::begin(
                "follow_endings",
                log,
                (grants.clone(), Arc::clone(&estate.endings), Arc::clone(readiness)),
                |(grants, cursor, readiness)| background::follow_endings(grants, cursor, readiness),
            ),
            Lasting::begin(
                "advertise_documents",
                log,
                Arc::clone(documents),
                background::advertise_documents,
            ),
            Lasting::begin(
                "watch_certificate",
                log,
                (config.tls.clone(), estate.clock.clone()),
                |(identity, clock)| background::watch_certificate(identity, clock),
            ),
        ];
        // Ends by itself, once the last request is answered that the sender's routes were asked.
        let confirming = background::confirm_generations(grants.clone(), seen);
        tokio::spawn(confirming.with_subscriber(log.clone()));
        Self { parts, tasks }
    }

    pub fn end(&self) {
        for task in &self.tasks {
            task.end();
        }
    }
}
