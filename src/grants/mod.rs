//! A grant: one login by one person with one client for one resource.
//!
//! Tokens carry what is needed to go on; the grant's row decides whether they may. Every change of a row
//! is one compare-and-swap.

mod adoption;
mod ending;
pub mod generations;
pub mod inventory;
mod of_person;
mod recheck;
pub mod revocations;
pub mod row;
#[cfg(test)]
pub mod set_up;
pub mod vouch;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock::{Clock, Timestamp};
use crate::idp::{Idp, LoggedIn};
use crate::oauth::{ClientDigest, Scopes};
use crate::seal::KeyRing;
use crate::store::epoch::{Epoch, Epochs, Missing};
use crate::store::{Created, Reach, Store, StoreFault, Swap, Version};

pub use adoption::{Keepsake, Orphan};
use generations::{Generations, Judgement};
use recheck::Asking;
pub use revocations::Revocations;
pub use row::{Grant, GrantId, GrantState};
use vouch::Vouch;

/// How long tokens and grants last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an access token; `LONGEST_ACCESS` at most.
    pub access: Duration,
    /// Of a refresh token that is not used.
    pub refresh: Duration,
    /// Of the whole grant, however often it is refreshed.
    pub grant: Duration,
    /// How long the IdP's word about a person holds.
    pub recheck_after: Duration,
    /// How much longer, if the IdP is asked and does not answer, or can't be asked.
    pub recheck_grace: Duration,
    /// Tokens that were issued before are refused, however long they would last.
    pub not_before: Timestamp,
}

/// The rows of all grants, and which of them ended a short while ago.
#[derive(Clone, Debug)]
pub struct Grants {
    on: Foundation,
    lifetimes: Lifetimes,
    asking: Asking,
}

/// What grants stand on.
#[derive(Clone, Debug)]
pub struct Foundation {
    pub store: Arc<dyn Store>,
    pub epochs: Arc<Epochs>,
    pub ring: Arc<KeyRing>,
    pub revocations: Arc<Revocations>,
    pub idp: Arc<Idp>,
    pub clock: Clock,
    /// Where what must not end with a connection goes on.
    pub background: Handle,
}

/// Of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessTime {
    pub expires: Timestamp,
    /// How long from now its client is told that it lives: less, for its way back to us, and because both
    /// sides count whole seconds. Python's clients refresh only when the time that they were told is over;
    /// a 401 before that makes them ask for a login. Zero if there is no time left.
    pub told: Duration,
}

/// A row as it was read; changing it needs it to be still the same.
#[derive(Debug)]
pub struct ReadGrant {
    pub grant: Grant,
    version: Version,
}

/// What a new grant is made of.
#[derive(Debug)]
pub struct NewGrant {
    pub id: GrantId,
    pub login: LoggedIn,
    pub client: ClientDigest,
    pub client_name: String,
    pub resource: String,
    pub scopes: Scopes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateFault {
    /// The login of this grant was finished before.
    #[error("the login was finished before")]
    Present,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedeemFault {
    #[error("no such grant, or its code has expired")]
    Unknown,
    /// A second use of the code. The grant is ended.
    #[error("the code was used before")]
    Reused,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvanceFault {
    #[error("the grant has ended")]
    Ended,
    /// A token that can only be in the hands of two parties. The grant is ended.
    #[error("the refresh token was replaced long ago")]
    Theft,
    /// The IdP has not vouched for the person for too long, and does not answer now.
    #[error("the IdP does not say whether the person may go on")]
    Unvouched,
    /// It is being found out whether the person may go on; the client may come back.
    #[error("asking the IdP takes too long")]
    TookTooLong,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl Grants {
    pub fn new(on: Foundation, lifetimes: Lifetimes) -> Self {
        Self { on, lifetimes, asking: Asking::default() }
    }

    /// The same grants by another config. Whom one asks about, the other does not.
    pub fn succeeded_by(&self, on: Foundation, lifetimes: Lifetimes) -> Self {
        Self { on, lifetimes, asking: self.asking.clone() }
    }

    /// Of the store that has what is written now.
    pub async fn epoch(&self) -> Result<Epoch, StoreFault> {
        self.on.epochs.current().await
    }

    /// Why there is no row for a token that was issued at `issued`, under `epoch`.
    pub async fn why_missing(
        &self,
        epoch: Epoch,
        issued: Timestamp,
    ) -> Result<Missing, StoreFault> {
        let why = self.on.epochs.why_missing(epoch).await?;
        // An instance with a store of its own that issued nothing for so long is gone, and its store too.
        let last_use =
            issued.after(self.lifetimes.access.min(LONGEST_ELSEWHERE)).after(LATEST_REFRESH);
        Ok(match why {
            Missing::Elsewhere if self.now() >= last_use => Missing::Lost,
            why @ (Missing::Over | Missing::Lost | Missing::Elsewhere) => why,
        })
    }

    /// Where grants are kept.
    pub fn epochs(&self) -> &Epochs {
        &self.on.epochs
    }

    pub fn now(&self) -> Timestamp {
        self.on.clock.now()
    }

    /// Was a token that was issued at `issued` cut off by the operator?
    pub fn is_cut_off(&self, issued: Timestamp) -> bool {
        issued < self.lifetimes.not_before
    }

    /// Write the row of a grant whose code is about to be sent to the client.
    pub async fn create(&self, new: NewGrant) -> Result<(), CreateFault> {
        let now = self.on.clock.now();
        let vouch = Vouch::at(now, new.login.refresh_token.as_ref());
        let ends_at = now.after(self.lifetimes.grant);
        let ends_at = match vouch.refresh_token {
            Some(_) => ends_at,
            None => ends_at.min(vouch.holds_until(&self.lifetimes, now)),
        };
        let grant = Grant {
            id: new.id,
            state: GrantState::CodeIssued,
            generations: Generations::first(now),
            person: new.login.person,
            client: new.client,
            client_name: new.client_name,
            resource: new.resource,
            scopes: new.scopes,
            began: now,
            ends_at,
            vouch,
            subject: new.login.subject,
            session: new.login.session,
        };
        let sealed = self.sealed(&grant)?;
        match self.on.store.create(&grant.id.key(), sealed, now.after(CODE_LIFETIME)).await? {
            Created::New(_) => Ok(()),
            Created::Present => Err(CreateFault::Present),
        }
    }

    pub async fn read(&self, id: GrantId) -> Result<Option<ReadGrant>, StoreFault> {
        let Some(record) = self.on.store.read(&id.key()).await? else { return Ok(None) };
        // A row that does not open, or is another's, is as good as none.
        let grant = self.on.ring.open(&row::ROW, &record.value).ok();
        Ok(grant
            .filter(|grant: &Grant| grant.id == id)
            .map(|grant| ReadGrant { grant, version: record.version }))
    }

    /// The client redeems the code: the grant goes live. Call it last, after every other check, so that
    /// a wrong request burns nothing.
    pub async fn redeem(&self, id: GrantId) -> Result<Grant, RedeemFault> {
        let Some(read) = self.read(id).await? else { return Err(RedeemFault::Unknown) };
        match read.grant.state {
            GrantState::CodeIssued => {}
            // RFC 6749 §10.5: a code used twice ends what it bought.
            GrantState::Live => {
                self.end(id).await?;
                return Err(RedeemFault::Reused);
            }
            GrantState::Ended => return Err(RedeemFault::Unknown),
        }
        let live = Grant {
            state: GrantState::Live,
            generations: Generations::first(self.on.clock.now()),
            ..read.grant
        };
        let sealed = self.sealed(&live)?;
        let until = self.idle_end(&live);
        let key = id.key();
        let swapped =
            self.on.store.swap(&key, read.version, sealed.clone(), until, Reach::OneServer);
        match swapped.await {
            Ok(Swap::Done(_)) => Ok(live),
            // Two redemptions at once: the one that lost is a replay like any other.
            Ok(Swap::Lost) => {
                self.end(id).await?;
                Err(RedeemFault::Reused)
            }
            // Done after all? No two redemptions seal the same text.
            Err(fault) => match self.on.store.read(&key).await? {
                Some(record) if record.value == sealed => Ok(live),
                _ => Err(fault.into()),
            },
        }
    }

    /// A refresh token of generation `presented` is shown: the grant as it is to be issued for. Asks the IdP
    /// whether the person may go on, if that was long ago.
    pub async fn advance(
        &self,
        mut read: ReadGrant,
        presented: u32,
    ) -> Result<Grant, AdvanceFault> {
        for _ in 0..MOST_TRIES {
            let now = self.on.clock.now();
            if read.grant.state != GrantState::Live || read.grant.ends_at <= now {
                return Err(AdvanceFault::Ended);
            }
            let id = read.grant.id;
            let judgement = read.grant.generations.judge(presented, now);
            let Some(next) = read.grant.generations.after(judgement, presented, now) else {
                self.end(id).await?;
                return Err(AdvanceFault::Theft);
            };
            let vouch = &read.grant.vouch;
            let must_ask = judgement == Judgement::Ahead && vouch.refresh_token.is_some();
            if must_ask || vouch.is_stale(&self.lifetimes, now) {
                if let Some(grant) = self.recheck(read, presented).await? {
                    return Ok(grant);
                }
            } else if next == read.grant.generations {
                return Ok(read.grant);
            } else {
                let next = Grant { generations: next, ..read.grant };
                if let Swap::Done(_) = self.swap(&next, read.version).await? {
                    return Ok(next);
                }
            }
            // Somebody else wrote meanwhile: judge again by what it says now.
            read = self.read(id).await?.ok_or(AdvanceFault::Ended)?;
        }
        Err(AdvanceFault::Store(StoreFault))
    }

    /// Of an access token that is issued now for `grant`.
    pub fn access_time(&self, grant: &Grant) -> AccessTime {
        let now = self.on.clock.now();
        let usual = now.after(self.lifetimes.access).after(ALLOWANCE);
        let vouched = grant.vouch.holds_until(&self.lifetimes, now);
        self.told(now, usual.min(vouched).min(grant.ends_at))
    }

    /// Of an access token that is issued now to a machine, for which nobody vouches.
    pub fn machine_time(&self) -> AccessTime {
        let now = self.on.clock.now();
        self.told(now, now.after(self.lifetimes.access).after(ALLOWANCE))
    }

    fn told(&self, now: Timestamp, expires: Timestamp) -> AccessTime {
        let left = now.until(expires);
        // Of what is about to end nothing is taken away.
        let told = if left > ALLOWANCE { left.saturating_sub(ALLOWANCE) } else { left };
        AccessTime { expires, told: told.min(self.lifetimes.access) }
    }

    /// The newest access token was seen: what came before it is no longer needed for a retry.
    pub async fn confirm(&self, id: GrantId, generation: u32) -> Result<(), StoreFault> {
        for _ in 0..MOST_TRIES {
            let Some(read) = self.read(id).await? else { return Ok(()) };
            let confirmed = read.grant.generations.confirmed(generation);
            let Some(generations) = confirmed else { return Ok(()) };
            let confirmed = Grant { generations, ..read.grant };
            if let Swap::Done(_) = self.swap(&confirmed, read.version).await? {
                return Ok(());
            }
        }
        Err(StoreFault)
    }

    async fn swap(&self, grant: &Grant, read: Version) -> Result<Swap, StoreFault> {
        let (until, reach) = match grant.state {
            GrantState::CodeIssued => (self.on.clock.now().after(CODE_LIFETIME), Reach::OneServer),
            GrantState::Live => (self.idle_end(grant), Reach::OneServer),
            // An ending that was answered must not come undone when a server is lost.
            GrantState::Ended => (grant.ends_at, Reach::TwoServers),
        };
        self.on.store.swap(&grant.id.key(), read, self.sealed(grant)?, until, reach).await
    }

    /// When the grant ends if nothing more is heard of it.
    fn idle_end(&self, grant: &Grant) -> Timestamp {
        let idle = self.on.clock.now().after(self.lifetimes.refresh.max(self.lifetimes.access));
        idle.min(grant.ends_at)
    }

    fn sealed(&self, grant: &Grant) -> Result<String, StoreFault> {
        self.on.ring.seal(&row::ROW, grant).map_err(|_| StoreFault)
    }
}

/// Of any access token that there may be, whatever the config says now.
pub const LONGEST_ACCESS: Duration = Duration::from_hours(24);

/// From our redirect to the client's token request.
pub const CODE_LIFETIME: Duration = Duration::from_mins(1);
/// After its access token has expired.
const LATEST_REFRESH: Duration = Duration::from_mins(10);
const LONGEST_ELSEWHERE: Duration = Duration::from_hours(2);
const ALLOWANCE: Duration = Duration::from_secs(5);
const MOST_TRIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::set_up::{FirmIdp, GRANT, SetUp, StoreConduct};

    /// The client would try again, with a code that it has spent, and be thrown out.
    #[tokio::test]
    async fn a_redemption_that_nobody_heard_of_is_done() {
        let SetUp { grants, store, .. } = SetUp::with_code(None).await;
        store.conduct(StoreConduct::SwapsUnheard);

        let redeemed = grants.redeem(GRANT).await.unwrap();

        assert_eq!(grants.read(GRANT).await.unwrap().unwrap().grant, redeemed);
        assert_eq!(grants.redeem(GRANT).await, Err(RedeemFault::Reused));
    }

    /// Somebody who can write to the store swapped two rows: neither speaks for the other's tokens.
    #[tokio::test]
    async fn a_row_under_another_key_is_nobodys() {
        let SetUp { grants, store, .. } = SetUp::live("T1").await;
        let (other, until) = (GrantId::new([8; 16]), grants.now().after(Duration::from_secs(60)));
        let row = store.read(&GRANT.key()).await.unwrap().unwrap();
        store.put(&other.key(), row.value, until).await.unwrap();

        assert!(grants.read(GRANT).await.unwrap().is_some());
        assert!(grants.read(other).await.unwrap().is_none());
    }

    /// A replay that could not be punished must not look as if it had been.
    #[tokio::test]
    async fn a_redemption_that_loses_and_cannot_end_the_grant_says_so() {
        let SetUp { grants, store, .. } = SetUp::with_code(None).await;
        store.conduct(StoreConduct::LosesSwaps);

        assert_eq!(grants.redeem(GRANT).await, Err(RedeemFault::Store(StoreFault)));
        assert!(grants.on.revocations.contains(GRANT));
    }

    #[tokio::test]
    async fn an_ended_grant_keeps_its_row_for_late_replays() {
        let SetUp { grants, .. } = SetUp::with_code(None).await;
        grants.redeem(GRANT).await.unwrap();

        grants.end(GRANT).await.unwrap();

        assert_eq!(grants.read(GRANT).await.unwrap().unwrap().grant.state, GrantState::Ended);
        assert!(grants.on.revocations.contains(GRANT));
        assert_eq!(grants.redeem(GRANT).await, Err(RedeemFault::Unknown));
    }

    /// The store lost its last writes, perhaps that somebody had to go: the IdP's word of a minute ago is
    /// not enough for a token that the row does not know.
    #[tokio::test]
    async fn a_token_that_the_row_does_not_know_is_asked_about_first() {
        let SetUp { grants, clock, .. } = SetUp::live("T1").await;
        let firm =
            FirmIdp::saying(200, r#"{"access_token":"a","refresh_token":"T2"}"#, &clock).await;

        let read = grants.read(GRANT).await.unwrap().unwrap();
        let known = grants.asking(&firm).advance(read, 1).await.unwrap();
        assert_eq!((known.generations.newest(), firm.asked()), (2, 0), "known, and young enough");
        let read = grants.read(GRANT).await.unwrap().unwrap();
        let ahead = grants.asking(&firm).advance(read, 9).await.unwrap();

        assert_eq!((ahead.generations.newest(), firm.asked()), (10, 1));
    }

    #[tokio::test]
    async fn a_token_that_neither_the_row_nor_the_idp_knows_ends_the_grant() {
        let SetUp { grants, clock, .. } = SetUp::live("T1").await;
        let firm = FirmIdp::saying(400, r#"{"error":"invalid_grant"}"#, &clock).await;

        let read = grants.read(GRANT).await.unwrap().unwrap();
        let ahead = grants.asking(&firm).advance(read, 9).await;

        assert_eq!(ahead, Err(AdvanceFault::Ended));
        assert!(grants.on.revocations.contains(GRANT));
    }
}
