//! A running process takes on another config: everything derived from it is made anew beside what serves, and swapped
//! when it is whole. Whatever goes wrong before that, nothing has changed.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use crate::admin::health::Readiness;
use crate::app::build::{self, Derived, Parts, takes_tokens_of_the_idp};
use crate::app::lasting::Lasting;
use crate::app::{Running, StartFault, announcement, background, spared};
use crate::config::{Config, IssuedBy, ResourceSettings};
use crate::grants::GrantId;
use crate::idp::DiscoveryFault;
use crate::policy::UpstreamServer;
use crate::seal::KeyRing;
use crate::store::StoreFault;

/// Why a process goes on by the config that it has.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFault {
    #[error(transparent)]
    Unusable(#[from] StartFault),
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

impl ReloadFault {
    /// Could it be over in a minute, with nobody changing anything here?
    pub fn is_passing(&self) -> bool {
        match self {
            Self::AnotherKey | Self::Store(_) | Self::Idp(_) => true,
            Self::Unusable(_) | Self::KeyGone => false,
        }
    }
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
        let (config, left) = config.taken_on_after(&before.config);
        let ring = build::ring(&config).map_err(StartFault::from)?;
        self.check_keys(&ring, &before.ring).await?;
        let Derived { routes, parts, seen } =
            build::derive(config, Arc::clone(&ring), &self.estate, Some(before))?;
        if !parts.idp.is_found() && before.idp.is_found() {
            // Whoever named it wrongly hears of it while people can still log in.
            parts.idp.discovered().await.map_err(ReloadFault::Idp)?;
        }
        if let Some(replica) = &self.estate.replica {
            let _ = replica.change_keys(&ring).await;
        }
        self.control.grants.store(Arc::new(parts.grants.clone()));
        announcement::changed(&parts.config, self.estate.now());
        let next = Serving::begin(parts, seen, Some(before), &self.readiness, &self.log);
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

impl Serving {
    /// Do what goes on besides answering requests by these `parts`, which may be those of another config than
    /// `before`.
    pub fn begin(
        parts: Parts,
        seen: mpsc::Receiver<(GrantId, u32)>,
        before: Option<&Parts>,
        readiness: &Arc<Readiness>,
        log: &Dispatch,
    ) -> Self {
        // Who was waited for is waited for further.
        let before = before.filter(|_| readiness.has_seen_upstreams());
        let upstreams = parts.upstreams_unlike(before);
        let Parts { config, idp, documents, grants, .. } = &parts;
        let keys_of = takes_tokens_of_the_idp(config).then(|| Arc::clone(idp));
        let issuing = (config.issued_by == IssuedBy::Idp).then(|| Arc::clone(idp));
        let audiences = config.resources.iter().map(ResourceSettings::audience_name);
        let audiences: Vec<_> = audiences.collect();
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
                (grants.clone(), Arc::clone(readiness)),
                |(grants, readiness)| background::follow_endings(grants, readiness),
            ),
            Lasting::begin(
                "advertise_documents",
                log,
                Arc::clone(documents),
                background::advertise_documents,
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

impl Parts {
    fn upstreams_unlike(&self, before: Option<&Self>) -> Vec<Arc<UpstreamServer>> {
        let is_known = |server: &Arc<UpstreamServer>| {
            before.is_some_and(|before| before.upstreams.iter().any(|own| Arc::ptr_eq(own, server)))
        };
        self.upstreams.iter().filter(|server| !is_known(server)).cloned().collect()
    }
}
