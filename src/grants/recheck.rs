//! Asking the IdP again before a grant goes on: one at a time for each grant, across replicas, and to an
//! end even if the client that began it goes away.
//!
//! Many an IdP takes its refresh token only once. So what it answers is written down together with the new
//! generation before anybody is told, and tried again until the store has it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::instrument::WithSubscriber as _;

use crate::grants::generations::Generations;
use crate::grants::vouch::{IdpToken, Vouch};
use crate::grants::{AdvanceFault, Grant, GrantState, Grants, ReadGrant};
use crate::idp::{Idp, Recheck, Verdict};
use crate::store::lease::{self, Lease};
use crate::store::{StoreFault, Swap};

/// The grant as it is now. `None` if somebody else changed the row meanwhile: judge again by what it says.
pub(super) type Rechecked = Option<Grant>;

impl Grants {
    /// Ask the IdP about the person of `read`, and go on with `next` if it says yes, or can't say and there
    /// is time left.
    pub(super) async fn recheck(
        &self,
        idp: &Arc<Idp>,
        read: ReadGrant,
        next: Generations,
    ) -> Result<Rechecked, AdvanceFault> {
        let lease = self.lease(&read).await?;
        // Whoever held the lease before may have asked already.
        let Some(current) =
            self.read(read.grant.id).await?.filter(|now| now.version == read.version)
        else {
            lease.release(&*self.store).await?;
            return Ok(None);
        };
        let (grants, idp) = (self.clone(), Arc::clone(idp));
        let asking = async move {
            let ended = grants.ask(&idp, current, next).await;
            // Not given back, it runs out by itself.
            let _ = lease.release(&*grants.store).await;
            ended
        };
        // A task of its own: the IdP's new token must not be lost with the client's connection.
        let asking = tokio::spawn(asking.with_current_subscriber());
        match timeout(LONGEST_ANSWER, asking).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) | Err(_) => Err(StoreFault.into()),
        }
    }

    /// The right to ask for this grant, as soon as nobody else does.
    async fn lease(&self, read: &ReadGrant) -> Result<Lease, AdvanceFault> {
        let key = read.grant.id.lease_key();
        let waiting = async {
            loop {
                let until = self.clock.now().after(LEASE);
                if let Some(lease) = lease::acquire(&*self.store, &key, until).await? {
                    return Ok(lease);
                }
                sleep(POLL).await;
            }
        };
        timeout(LONGEST_ANSWER, waiting).await.unwrap_or(Err(StoreFault.into()))
    }

    async fn ask(
        &self,
        idp: &Arc<Idp>,
        current: ReadGrant,
        next: Generations,
    ) -> Result<Rechecked, AdvanceFault> {
        let id = current.grant.id;
        let Some(token) = current.grant.vouch.refresh_token.clone() else {
            return Ok(None);
        };
        let answer = idp.recheck(&token.secret()).await;
        match &answer.verdict {
            Verdict::Refused(error) => {
                tracing::info!(grant_id = %id, idp = idp.issuer(), error, "the IdP no longer vouches for the person, grant ended");
                self.end(id).await?;
                return Err(AdvanceFault::Ended);
            }
            Verdict::Vouched(Some(person)) if person.key != current.grant.person.key => {
                tracing::warn!(grant_id = %id, idp = idp.issuer(), whose_fault = "idp", "the IdP speaks of another person, grant ended");
                self.end(id).await?;
                return Err(AdvanceFault::Ended);
            }
            Verdict::Unknown(fault) => {
                tracing::warn!(grant_id = %id, idp = idp.issuer(), %fault, whose_fault = "idp", "the IdP does not say whether the person may go on");
            }
            Verdict::Vouched(_) => {}
        }
        self.write_down(current, next, &answer).await
    }

    /// Write what the IdP said, until the store has it.
    async fn write_down(
        &self,
        mut current: ReadGrant,
        next: Generations,
        answer: &Recheck,
    ) -> Result<Rechecked, AdvanceFault> {
        let judged = current.grant.generations.newest();
        let mut pause = POLL;
        for _ in 0..MOST_WRITES {
            if current.grant.state != GrantState::Live {
                return Err(AdvanceFault::Ended);
            }
            let is_overtaken = current.grant.generations.newest() != judged;
            let generations = if is_overtaken { current.grant.generations } else { next };
            let grant = self.told(&current.grant, generations, answer);
            match self.swap(&grant, current.version).await {
                Ok(Swap::Done(_)) if is_overtaken => return Ok(None),
                Ok(Swap::Done(_)) => return self.if_time_is_left(grant),
                Ok(Swap::Lost) => {}
                Err(StoreFault) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            match self.read(grant.id).await {
                // A write of ours whose outcome was unknown was done after all.
                Ok(Some(read)) if read.grant == grant => return self.if_time_is_left(grant),
                Ok(Some(read)) => current = read,
                Ok(None) => return Err(AdvanceFault::Ended),
                Err(StoreFault) => {}
            }
        }
        tracing::error!(grant_id = %current.grant.id, whose_fault = "store", "what the IdP said could not be written down");
        Err(StoreFault.into())
    }

    /// `grant` after the IdP's `answer`.
    fn told(&self, grant: &Grant, generations: Generations, answer: &Recheck) -> Grant {
        let renewed = answer.refresh_token.as_ref().map(IdpToken::new);
        let refresh_token = renewed.or_else(|| grant.vouch.refresh_token.clone());
        let (last_ok, asked_in_vain) = match answer.verdict {
            Verdict::Vouched(_) => (self.clock.now(), false),
            Verdict::Unknown(_) | Verdict::Refused(_) => (grant.vouch.last_ok, true),
        };
        let person = match &answer.verdict {
            Verdict::Vouched(Some(person)) => person.clone(),
            Verdict::Vouched(None) | Verdict::Unknown(_) | Verdict::Refused(_) => {
                grant.person.clone()
            }
        };
        let vouch = Vouch { last_ok, asked_in_vain, refresh_token };
        Grant { generations, person, vouch, ..grant.clone() }
    }

    /// An IdP that has been silent for too long vouches for nobody, but that ends no grant: the client keeps
    /// its token and comes back.
    fn if_time_is_left(&self, grant: Grant) -> Result<Rechecked, AdvanceFault> {
        if grant.vouch.holds_until(&self.lifetimes) <= self.clock.now() {
            return Err(AdvanceFault::Unvouched);
        }
        Ok(Some(grant))
    }
}

/// Longer than the IdP and the store may take together.
const LEASE: Duration = Duration::from_secs(60);
/// How long a client waits for what another one began.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// With their pauses about 40 s, within the lease.
const MOST_WRITES: usize = 14;
