//! How a grant ends: its row says so, every replica learns of it, and the IdP's token goes with it.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::instrument::WithSubscriber as _;

use crate::clock::Timestamp;
use crate::grants::generations::Generations;
use crate::grants::revocations::{ENDING, Ending};
use crate::grants::vouch::{IdpToken, Vouch};
use crate::grants::{Grant, GrantId, GrantState, Grants, LONGEST_ACCESS, MOST_TRIES};
use crate::idp::Identity;
use crate::oauth::{ClientDigest, Scopes};
use crate::store::{Cursor, Followed, StoreFault, Swap};

impl Grants {
    /// End the grant. Its access tokens are refused from now on; its row stays, so that a late replay
    /// of its code or refresh token finds an ended grant and not none.
    ///
    /// An error means that the row may still be live: say so, and let the caller try again.
    pub async fn end(&self, id: GrantId) -> Result<(), StoreFault> {
        // However short they are now, some may have been issued while they were longer.
        let until = self.on.clock.now().after(LONGEST_ACCESS + CLOCK_LEEWAY);
        self.on.revocations.add(id, until);
        // Before the row: as long as that is not ended, whoever tries again finds it.
        self.tell_replicas(id, until).await?;
        for _ in 0..MOST_TRIES {
            let Some(read) = self.read(id).await? else { return self.bury(id).await };
            if read.grant.state == GrantState::Ended {
                return Ok(());
            }
            // What could still ask the IdP goes with it.
            let idp_token = read.grant.vouch.refresh_token.clone();
            let vouch = Vouch { refresh_token: None, ..read.grant.vouch };
            let ended = Grant { state: GrantState::Ended, vouch, ..read.grant };
            let swapped = self.swap(&ended, read.version).await;
            if swapped != Ok(Swap::Lost) {
                // Whether or not that was heard: the row may have forgotten it.
                self.revoke_at_idp(id, idp_token).await;
                return swapped.map(|_| ());
            }
        }
        Err(StoreFault)
    }

    /// A grant without a row that can be read: it gets one that says that it is over, for whoever would
    /// rebuild it.
    async fn bury(&self, id: GrantId) -> Result<(), StoreFault> {
        // Nobody rebuilds one that left no keepsake, and there are many: each token of a machine has a grant of
        // its own.
        let can_come_back = self.on.idp.revokes_single_tokens();
        if !can_come_back && self.on.store.read(&id.key()).await?.is_none() {
            return Ok(());
        }
        let now = self.on.clock.now();
        let grant = Grant {
            id,
            state: GrantState::Ended,
            generations: Generations::first(now),
            person: Identity::default(),
            client: ClientDigest::of(""),
            client_name: String::new(),
            resource: String::new(),
            scopes: Scopes::default(),
            began: now,
            // No refresh token of it lasts longer.
            ends_at: now.after(self.lifetimes.refresh),
            vouch: Vouch::at(now, None),
            subject: None,
            session: None,
        };
        self.on.store.put(&id.key(), self.sealed(&grant)?, grant.ends_at).await
    }

    async fn tell_replicas(&self, grant: GrantId, until: Timestamp) -> Result<(), StoreFault> {
        let ending = Ending { grant, until };
        let sealed = self.on.ring.seal(&ENDING, &ending).map_err(|_| StoreFault)?;
        self.on.store.append(ENDINGS, sealed, until).await
    }

    /// Learn which grants other replicas ended since `after`. Returns where to go on.
    pub async fn follow_endings(&self, after: Cursor) -> Result<Cursor, StoreFault> {
        if let Some(next) = self.learn_endings(after).await? {
            return Ok(next);
        }
        // The store forgot: it may be another now, and what is known here must not be forgotten with it.
        self.on.epochs.read().await?;
        for (grant, until) in self.on.revocations.known() {
            self.tell_replicas(grant, until).await?;
        }
        self.learn_endings(Cursor::START).await?.ok_or(StoreFault)
    }

    /// `None` if the log that `after` is from is gone.
    async fn learn_endings(&self, after: Cursor) -> Result<Option<Cursor>, StoreFault> {
        let (entries, next) = match self.on.store.follow(ENDINGS, after).await? {
            Followed::New(entries, next) => (entries, next),
            Followed::Lost => return Ok(None),
        };
        for entry in entries {
            // Sealed with a key that this replica does not have, or not by us at all.
            if let Ok(ending) = self.on.ring.open(&ENDING, &entry) {
                self.on.revocations.add(ending.grant, ending.until);
            }
        }
        Ok(Some(next))
    }

    /// Revoke what the grant could ask the IdP with. The IdP being away delays nobody for long, and is tried
    /// again.
    pub(super) async fn revoke_at_idp(&self, id: GrantId, token: Option<IdpToken>) {
        let Some(token) = token.filter(|_| self.on.idp.revokes_single_tokens()) else { return };
        let grants = self.clone();
        let revoking = async move {
            let mut pauses = PAUSES.into_iter();
            while let Err(fault) = grants.on.idp.revoke(&token.secret()).await {
                let pause = pauses.next().filter(|_| fault.is_passing());
                let will_try_again = pause.is_some();
                tracing::warn!(grant_id = %id, idp = grants.on.idp.issuer(), %fault, will_try_again, whose_fault = "idp", "the refresh token of an ended grant was not revoked at the IdP");
                let Some(pause) = pause else { return };
                sleep(pause).await;
            }
        };
        let revoking = self.on.background.spawn(revoking.with_current_subscriber());
        let _ = timeout(LONGEST_WAIT, revoking).await;
    }
}

/// The log of grants that ended while access tokens of theirs may still be alive.
const ENDINGS: &str = "endings";
const CLOCK_LEEWAY: Duration = Duration::from_mins(5);
/// For the IdP, of whoever ends the grant.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// Before the next try.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_mins(1),
    Duration::from_mins(5),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::set_up::{GRANT, SetUp, StoreConduct};
    use crate::store::Store as _;

    /// The row may still be live, so nobody may be told that it is not; its tokens are refused anyway.
    #[tokio::test]
    async fn an_end_that_could_not_be_written_is_no_success_and_revokes_all_the_same() {
        let SetUp { grants, store, .. } = SetUp::with_code(None).await;
        store.conduct(StoreConduct::LosesSwaps);
        assert!(!grants.on.revocations.contains(GRANT));

        let ended = grants.end(GRANT).await;

        assert_eq!(ended, Err(StoreFault));
        assert!(grants.on.revocations.contains(GRANT));
    }

    /// The store is full for logs, or goes away between two writes: whoever tries again ends it for all.
    #[tokio::test]
    async fn an_end_that_was_not_told_to_the_others_is_ended_by_the_next_try() {
        let SetUp { grants: here, store, .. } = SetUp::with_code(None).await;
        let there = here.replica();
        let begun = there.follow_endings(Cursor::START).await.unwrap();
        store.conduct(StoreConduct::AppendsNothing);

        assert_eq!(here.end(GRANT).await, Err(StoreFault));
        let row = here.read(GRANT).await.unwrap().unwrap().grant;
        assert_ne!(row.state, GrantState::Ended, "nobody would look for it any more");
        store.conduct(StoreConduct::Good);
        here.end(GRANT).await.unwrap();

        there.follow_endings(begun).await.unwrap();
        assert!(there.on.revocations.contains(GRANT));
    }

    /// Nobody may rebuild it from what its refresh token carries.
    #[tokio::test]
    async fn a_grant_whose_row_is_lost_ends_for_good() {
        let SetUp { grants, store, .. } = SetUp::live("T1").await;
        for lost in ["deleted", "unreadable"] {
            let until = grants.now().after(Duration::from_secs(60));
            match lost {
                "deleted" => store.delete(&GRANT.key()).await.unwrap(),
                _ => store.put(&GRANT.key(), "of another key".to_owned(), until).await.unwrap(),
            }

            grants.end(GRANT).await.unwrap();

            let row = grants.read(GRANT).await.unwrap().unwrap().grant;
            assert_eq!(row.state, GrantState::Ended, "{lost}");
        }
    }

    #[tokio::test]
    async fn every_replica_learns_of_an_ending() {
        let SetUp { grants: here, .. } = SetUp::with_code(None).await;
        let there = here.replica();
        let begun = there.follow_endings(Cursor::START).await.unwrap();

        here.end(GRANT).await.unwrap();

        assert!(!there.on.revocations.contains(GRANT));
        let next = there.follow_endings(begun).await.unwrap();
        assert!(there.on.revocations.contains(GRANT));
        assert_eq!(there.follow_endings(next).await, Ok(next));
        // One that starts later reads it from the beginning.
        let late = here.replica();
        late.follow_endings(Cursor::START).await.unwrap();
        assert!(late.on.revocations.contains(GRANT));
    }
}
