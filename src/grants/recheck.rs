//! Asking the IdP again before a grant goes on: one at a time for each grant, across replicas, and to an
//! end even if the client that began it goes away.
//!
//! Many an IdP takes its refresh token only once. So what it answers is written down together with the new
//! generation before anybody is told, and a store that is away is tried again for a long time.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::instrument::WithSubscriber as _;

use crate::grants::vouch::{IdpToken, Vouch};
use crate::grants::{AdvanceFault, Grant, GrantId, GrantState, Grants, ReadGrant};
use crate::idp::{Recheck, Verdict};
use crate::store::lease::{self, Lease};
use crate::store::{StoreFault, Swap};

/// The grant as it is now. `None` if somebody else changed the row meanwhile: judge again by what it says.
pub(super) type Rechecked = Result<Option<Grant>, AdvanceFault>;

/// The grants that this process asks about. A lease may run out while the store is away; this does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking(Arc<Mutex<HashSet<GrantId>>>);

/// The right to ask about one grant.
pub(super) struct Turn {
    asking: Asking,
    id: GrantId,
}

impl Asking {
    pub(super) fn begin(&self, id: GrantId) -> Option<Turn> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        is_new.then(|| Turn { asking: self.clone(), id })
    }

    fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.asking.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Grants {
    /// Ask the IdP about the person of `read`, and go on if it says yes, or can't say and there is time left.
    pub(super) async fn recheck(&self, read: ReadGrant, presented: u32) -> Rechecked {
        let grants = self.clone();
        self.to_an_end(async move { grants.ask_in_turn(read, presented).await }).await
    }

    /// Neither the client's connection nor the worker that has it may end `asking`: the IdP's new token would
    /// be lost.
    pub(super) async fn to_an_end<T: Send + 'static>(
        &self,
        asking: impl Future<Output = Result<T, AdvanceFault>> + Send + 'static,
    ) -> Result<T, AdvanceFault> {
        let asking = self.on.background.spawn(asking.with_current_subscriber());
        match timeout(LONGEST_ANSWER, asking).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => {
                tracing::error!(fault = %error, whose_fault = "us", "asking the IdP again broke off");
                Err(AdvanceFault::TookTooLong)
            }
            Err(_) => Err(AdvanceFault::TookTooLong),
        }
    }

    /// Wait until nobody is asked about any more, `within` that long. What is then not over is cut.
    pub async fn rechecks_are_over(&self, within: Duration) {
        let over = async {
            while !self.asking.is_over() {
                sleep(SHORTEST_PAUSE).await;
            }
        };
        if timeout(within, over).await.is_err() {
            tracing::error!(
                whose_fault = "store",
                "stopped while what the IdP said could not be written down: some people may have to sign in again"
            );
        }
    }

    async fn ask_in_turn(&self, read: ReadGrant, presented: u32) -> Rechecked {
        let id = read.grant.id;
        let mut pause = SHORTEST_PAUSE;
        let until = Instant::now() + LONGEST_ANSWER;
        while Instant::now() < until {
            if let Some(_turn) = self.asking.begin(id)
                && let Some(lease) = self.lease(id).await?
            {
                return self.ask_alone(&read, presented, lease).await;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
            if !self.is_unchanged(&read).await? {
                return Ok(None);
            }
        }
        Err(AdvanceFault::TookTooLong)
    }

    pub(super) async fn lease(&self, id: GrantId) -> Result<Option<Lease>, StoreFault> {
        lease::acquire(&*self.on.store, &id.lease_key(), self.on.clock.now().after(LEASE)).await
    }

    async fn is_unchanged(&self, read: &ReadGrant) -> Result<bool, StoreFault> {
        let now = self.read(read.grant.id).await?;
        Ok(now.is_some_and(|now| now.version == read.version))
    }

    async fn ask_alone(&self, read: &ReadGrant, presented: u32, lease: Lease) -> Rechecked {
        // Whoever had the turn before may have asked already.
        let current = self.read(read.grant.id).await?.filter(|now| now.version == read.version);
        match current {
            Some(current) => self.holding(lease, self.ask(current, presented)).await,
            None => self.holding(lease, async { Ok(None) }).await,
        }
    }

    /// Do `work` while nobody else may ask. The lease is short, so that a process that dies holds up nobody
    /// for long, and renewed as long as the work takes.
    pub(super) async fn holding<T>(&self, mut lease: Lease, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    // Not given back, it runs out by itself.
                    let _ = lease.release(&*self.on.store).await;
                    return done;
                }
                // A store that is away is asked again in time; one that gave it to somebody else does not
                // undo what was asked already.
                () = sleep(RENEWAL) => {
                    let _ = lease.renew(&*self.on.store, self.on.clock.now().after(LEASE)).await;
                }
            }
        }
    }

    async fn ask(&self, current: ReadGrant, presented: u32) -> Rechecked {
        let idp = &self.on.idp;
        let (id, issuer) = (current.grant.id, idp.issuer());
        let Some(token) = current.grant.vouch.refresh_token.clone() else { return Ok(None) };
        let answer = idp.recheck(&token.secret(), &current.grant.resource).await;
        match &answer.verdict {
            Verdict::Refused(error) => {
                // Of a token that somebody else renewed meanwhile it says nothing.
                let read = self.read(id).await?;
                if !read.is_some_and(|read| read.grant.vouch.refresh_token == Some(token)) {
                    return Ok(None);
                }
                tracing::info!(grant_id = %id, idp = issuer, error, "the IdP no longer vouches for the person, grant ended");
                self.end(id).await?;
                return Err(AdvanceFault::Ended);
            }
            Verdict::Vouched(Some(person)) if person.key != current.grant.person.key => {
                tracing::warn!(grant_id = %id, idp = issuer, whose_fault = "idp", "the IdP speaks of another person, grant ended");
                self.end(id).await?;
                return Err(AdvanceFault::Ended);
            }
            Verdict::Unknown(fault) => {
                tracing::warn!(grant_id = %id, idp = issuer, %fault, whose_fault = "idp", "the IdP does not say whether the person may go on");
            }
            Verdict::Vouched(_) | Verdict::Silent => {}
        }
        self.write_down(current, presented, &answer).await
    }

    /// Write what the IdP said about `current`.
    async fn write_down(
        &self,
        mut current: ReadGrant,
        presented: u32,
        answer: &Recheck,
    ) -> Rechecked {
        let asked_about = current.grant.vouch.clone();
        let mut pause = SHORTEST_PAUSE;
        let until = Instant::now() + LONGEST_WRITING;
        loop {
            let row = &current.grant;
            if row.state != GrantState::Live {
                return Err(AdvanceFault::Ended);
            }
            // Somebody else has a newer word of the IdP's.
            let (vouch, asked) = (&row.vouch, &asked_about);
            if vouch.refresh_token != asked.refresh_token || vouch.last_ok != asked.last_ok {
                return Ok(None);
            }
            // The client may have used its newest token meanwhile, which changes what an older one means.
            let now = self.on.clock.now();
            let judgement = row.generations.judge(presented, now);
            let Some(generations) = row.generations.after(judgement, presented, now) else {
                self.end(row.id).await?;
                return Err(AdvanceFault::Theft);
            };
            let grant = Grant { generations, ..self.told_by_idp(row, answer) };
            match self.swap(&grant, current.version).await {
                Ok(Swap::Done(_)) => return self.if_time_is_left(grant, &answer.verdict).await,
                Ok(Swap::Lost) => {}
                // Nothing new would be lost.
                Err(fault) if answer.refresh_token.is_none() => return Err(fault.into()),
                Err(fault) if Instant::now() >= until => {
                    tracing::error!(grant_id = %grant.id, whose_fault = "store", "what the IdP said could not be written down");
                    return Err(fault.into());
                }
                Err(StoreFault) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            match self.read(grant.id).await {
                // A write of ours whose outcome was unknown was done after all.
                Ok(Some(read)) if read.grant == grant => {
                    return self.if_time_is_left(grant, &answer.verdict).await;
                }
                Ok(Some(read)) => current = read,
                Ok(None) => return Err(AdvanceFault::Ended),
                Err(StoreFault) => {}
            }
        }
    }

    /// `grant` after the IdP's `answer`.
    fn told_by_idp(&self, grant: &Grant, answer: &Recheck) -> Grant {
        let (now, mut told) = (self.on.clock.now(), grant.clone());
        match &answer.verdict {
            Verdict::Vouched(person) => {
                told.vouch = Vouch { last_ok: now, asked_in_vain: false, ..told.vouch };
                if let Some(person) = person {
                    told.person.clone_from(person);
                }
            }
            // Nobody asked about this person, and their last word still holds: it is just shorter now.
            Verdict::Silent if grant.vouch.word_holds(&self.lifetimes, now) => {}
            Verdict::Silent | Verdict::Unknown(_) | Verdict::Refused(_) => {
                told.vouch.asked_in_vain = true;
            }
        }
        if let Some(renewed) = &answer.refresh_token {
            told.vouch.refresh_token = Some(IdpToken::new(renewed));
        }
        told
    }

    /// An IdP that has been silent for too long vouches for nobody, but that ends no grant: the client keeps
    /// its token and comes back. One that is there and still refuses will not say anything else: the client
    /// would come back for ever.
    async fn if_time_is_left(&self, grant: Grant, verdict: &Verdict) -> Rechecked {
        if !self.access_time(&grant).told.is_zero() {
            return Ok(Some(grant));
        }
        if !verdict.is_unclear_refusal() {
            return Err(AdvanceFault::Unvouched);
        }
        let (id, issuer) = (grant.id, self.on.idp.issuer());
        tracing::info!(grant_id = %id, idp = issuer, "the IdP has not vouched for the person for too long and refuses to, grant ended");
        self.end(id).await?;
        Err(AdvanceFault::Ended)
    }
}

/// Shorter than a client waits, so that who comes after a process that died still gets its turn; what is
/// written after it has run out is refused by the row itself, if somebody else asked meanwhile.
const LEASE: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(5);
/// How long a client waits.
pub(super) const LONGEST_ANSWER: Duration = Duration::from_secs(20);
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a store that is away is tried again.
pub(super) const LONGEST_WRITING: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests;
