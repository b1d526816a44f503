//! A grant: one login by one person with one client for one resource.
//!
//! Tokens carry what is needed to go on; the grant's row decides whether they may. Every change of a row
//! is one compare-and-swap.

pub mod generations;
pub mod revocations;
pub mod row;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::idp::Identity;
use crate::oauth::{ClientDigest, Scopes};
use crate::seal::KeyRing;
use crate::store::{Created, Reach, Store, StoreFault, Swap, Version};

use generations::{Generations, Judgement};
pub use revocations::Revocations;
pub use row::{Grant, GrantId, GrantState};

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an access token.
    pub access: Duration,
    /// Of a refresh token that is not used.
    pub refresh: Duration,
    /// Of the whole grant while the IdP is not asked again about the person.
    pub grant: Duration,
}

/// The rows of all grants, and which of them ended a short while ago.
#[derive(Clone, Debug)]
pub struct Grants {
    store: Arc<dyn Store>,
    ring: Arc<KeyRing>,
    revocations: Arc<Revocations>,
    lifetimes: Lifetimes,
    clock: Clock,
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
    pub person: Identity,
    pub client: ClientDigest,
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
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl Grants {
    pub fn new(
        store: Arc<dyn Store>,
        ring: Arc<KeyRing>,
        revocations: Arc<Revocations>,
        lifetimes: Lifetimes,
        clock: Clock,
    ) -> Self {
        Self { store, ring, revocations, lifetimes, clock }
    }

    /// Write the row of a grant whose code is about to be sent to the client.
    pub async fn create(&self, new: NewGrant) -> Result<(), CreateFault> {
        let now = self.clock.now();
        let grant = Grant {
            id: new.id,
            state: GrantState::CodeIssued,
            generations: Generations::first(now),
            person: new.person,
            client: new.client,
            resource: new.resource,
            scopes: new.scopes,
            ends_at: now.after(self.lifetimes.grant),
        };
        let sealed = self.sealed(&grant)?;
        match self.store.create(&grant.id.key(), sealed, now.after(CODE_LIFETIME)).await? {
            Created::New(_) => Ok(()),
            Created::Present => Err(CreateFault::Present),
        }
    }

    pub async fn read(&self, id: GrantId) -> Result<Option<ReadGrant>, StoreFault> {
        let Some(record) = self.store.read(&id.key()).await? else { return Ok(None) };
        // A row that does not open, or is another's, is as good as none.
        let grant = self.ring.open(&row::ROW, &record.value).ok();
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
            generations: Generations::first(self.clock.now()),
            ..read.grant
        };
        match self.swap(&live, read.version).await? {
            Swap::Done(_) => Ok(live),
            // Two redemptions at once: the one that lost is a replay like any other.
            Swap::Lost => {
                self.end(id).await?;
                Err(RedeemFault::Reused)
            }
        }
    }

    /// A refresh token of generation `presented` is shown: the grant as it is to be issued for.
    pub async fn advance(
        &self,
        mut read: ReadGrant,
        presented: u32,
    ) -> Result<Grant, AdvanceFault> {
        for _ in 0..MOST_TRIES {
            let now = self.clock.now();
            if read.grant.state != GrantState::Live || read.grant.ends_at <= now {
                return Err(AdvanceFault::Ended);
            }
            match read.grant.generations.judge(presented, now) {
                Judgement::Repeat => return Ok(read.grant),
                Judgement::Theft => {
                    self.end(read.grant.id).await?;
                    return Err(AdvanceFault::Theft);
                }
                Judgement::Advance => {}
            }
            let id = read.grant.id;
            let next =
                Grant { generations: read.grant.generations.next(presented, now), ..read.grant };
            match self.swap(&next, read.version).await? {
                Swap::Done(_) => return Ok(next),
                // A parallel refresh won: judge again by what it wrote.
                Swap::Lost => read = self.read(id).await?.ok_or(AdvanceFault::Ended)?,
            }
        }
        Err(AdvanceFault::Store(StoreFault))
    }

    /// The newest access token was seen: what came before it is no longer needed for a retry.
    pub async fn confirm(&self, id: GrantId, generation: u32) -> Result<(), StoreFault> {
        let Some(read) = self.read(id).await? else { return Ok(()) };
        if let Some(generations) = read.grant.generations.confirmed(generation) {
            // Lost to a refresh: then the confirmation is out of date anyway.
            self.swap(&Grant { generations, ..read.grant }, read.version).await?;
        }
        Ok(())
    }

    /// End the grant. Its access tokens are refused from now on; its row stays, so that a late replay
    /// of its code or refresh token finds an ended grant and not none.
    ///
    /// An error means that the row may still be live: say so, and let the caller try again.
    pub async fn end(&self, id: GrantId) -> Result<(), StoreFault> {
        self.revocations.add(id, self.clock.now().after(self.lifetimes.access + CLOCK_LEEWAY));
        for _ in 0..MOST_TRIES {
            let Some(read) = self.read(id).await? else { return Ok(()) };
            if read.grant.state == GrantState::Ended {
                return Ok(());
            }
            let ended = Grant { state: GrantState::Ended, ..read.grant };
            if let Swap::Done(_) = self.swap(&ended, read.version).await? {
                return Ok(());
            }
        }
        Err(StoreFault)
    }

    async fn swap(&self, grant: &Grant, read: Version) -> Result<Swap, StoreFault> {
        let (until, reach) = match grant.state {
            GrantState::CodeIssued => (self.clock.now().after(CODE_LIFETIME), Reach::OneServer),
            GrantState::Live => (self.idle_end(grant), Reach::OneServer),
            // An ending that was answered must not come undone when a server is lost.
            GrantState::Ended => (grant.ends_at, Reach::TwoServers),
        };
        self.store.swap(&grant.id.key(), read, self.sealed(grant)?, until, reach).await
    }

    /// When the grant ends if nothing more is heard of it.
    fn idle_end(&self, grant: &Grant) -> Timestamp {
        let idle = self.clock.now().after(self.lifetimes.refresh.max(self.lifetimes.access));
        idle.min(grant.ends_at)
    }

    fn sealed(&self, grant: &Grant) -> Result<String, StoreFault> {
        self.ring.seal(&row::ROW, grant).map_err(|_| StoreFault)
    }
}

/// From our redirect to the client's token request.
pub const CODE_LIFETIME: Duration = Duration::from_mins(1);
const CLOCK_LEEWAY: Duration = Duration::from_mins(5);
const MOST_TRIES: usize = 16;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::clock::ManualClock;
    use crate::oauth::PublicUrl;
    use crate::seal::KeyMaterial;
    use crate::secret;
    use crate::store::{Answer, Cursor, Followed, Key, MemoryStore, Record};

    /// A store where somebody else is always quicker.
    #[derive(Debug)]
    struct AlwaysLost(MemoryStore);

    impl Store for AlwaysLost {
        fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
            self.0.read(key)
        }

        fn put<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, ()> {
            self.0.put(key, value, until)
        }

        fn take<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
            self.0.take(key)
        }

        fn create<'a>(
            &'a self,
            key: &'a Key,
            value: String,
            until: Timestamp,
        ) -> Answer<'a, Created> {
            self.0.create(key, value, until)
        }

        fn swap<'a>(
            &'a self,
            _: &'a Key,
            _: Version,
            _: String,
            _: Timestamp,
            _: Reach,
        ) -> Answer<'a, Swap> {
            Box::pin(async { Ok(Swap::Lost) })
        }

        fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, ()> {
            self.0.delete(key)
        }

        fn list<'a>(&'a self, kind: &'static str) -> Answer<'a, Vec<Record>> {
            self.0.list(kind)
        }

        fn append<'a>(
            &'a self,
            log: &'static str,
            entry: String,
            until: Timestamp,
        ) -> Answer<'a, ()> {
            self.0.append(log, entry, until)
        }

        fn follow<'a>(&'a self, log: &'static str, after: Cursor) -> Answer<'a, Followed> {
            self.0.follow(log, after)
        }
    }

    const GRANT: GrantId = GrantId::new([7; 16]);

    fn clock() -> Clock {
        Clock::Manual(ManualClock::starting_at(Timestamp::from_seconds(1_790_000_000)))
    }

    /// With one grant, whose code has just been sent.
    async fn grants_in(store: Arc<dyn Store>, clock: &Clock) -> Grants {
        let key = URL_SAFE_NO_PAD.encode(secret::sha256(b"this deployment"));
        let key = KeyMaterial::parse(&key).unwrap();
        let issuer = PublicUrl::parse("https://tools.example.com").unwrap();
        let lifetimes = Lifetimes {
            access: Duration::from_hours(1),
            refresh: Duration::from_hours(24),
            grant: Duration::from_hours(240),
        };
        let ring = Arc::new(KeyRing::new(&key, &[], &issuer).unwrap());
        let revocations = Arc::new(Revocations::new(clock.clone()));
        let grants = Grants::new(store, ring, revocations, lifetimes, clock.clone());
        let new = NewGrant {
            id: GRANT,
            person: Identity { key: "alice-7f3a".to_owned(), email: None, groups: Vec::new() },
            client: ClientDigest::of("doorman_ci_x"),
            resource: "https://tools.example.com/mcp".to_owned(),
            scopes: Scopes::default(),
        };
        grants.create(new).await.unwrap();
        grants
    }

    /// The row may still be live, so nobody may be told that it is not; its tokens are refused anyway.
    #[tokio::test]
    async fn an_end_that_could_not_be_written_is_no_success_and_revokes_all_the_same() {
        let clock = clock();
        let store = Arc::new(AlwaysLost(MemoryStore::new(clock.clone())));
        let grants = grants_in(store, &clock).await;
        assert!(!grants.revocations.contains(GRANT));

        let ended = grants.end(GRANT).await;

        assert_eq!(ended, Err(StoreFault));
        assert!(grants.revocations.contains(GRANT));
    }

    /// A replay that could not be punished must not look as if it had been.
    #[tokio::test]
    async fn a_redemption_that_loses_and_cannot_end_the_grant_says_so() {
        let clock = clock();
        let store = Arc::new(AlwaysLost(MemoryStore::new(clock.clone())));
        let grants = grants_in(store, &clock).await;

        assert_eq!(grants.redeem(GRANT).await, Err(RedeemFault::Store(StoreFault)));
        assert!(grants.revocations.contains(GRANT));
    }

    #[tokio::test]
    async fn an_ended_grant_keeps_its_row_for_late_replays() {
        let clock = clock();
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let grants = grants_in(store, &clock).await;
        grants.redeem(GRANT).await.unwrap();

        grants.end(GRANT).await.unwrap();

        assert_eq!(grants.read(GRANT).await.unwrap().unwrap().grant.state, GrantState::Ended);
        assert!(grants.revocations.contains(GRANT));
        assert_eq!(grants.redeem(GRANT).await, Err(RedeemFault::Unknown));
    }
}
