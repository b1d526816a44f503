//! How a grant ends: its row says so, every replica learns of it, and the IdP's token goes with it.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::instrument::WithSubscriber as _;

use crate::clock::Timestamp;
use crate::grants::revocations::{ENDING, Ending};
use crate::grants::vouch::{IdpToken, Vouch};
use crate::grants::{Grant, GrantId, GrantState, Grants, MOST_TRIES};
use crate::store::{Cursor, Followed, StoreFault, Swap};

impl Grants {
    /// End the grant. Its access tokens are refused from now on; its row stays, so that a late replay
    /// of its code or refresh token finds an ended grant and not none.
    ///
    /// An error means that the row may still be live: say so, and let the caller try again.
    pub async fn end(&self, id: GrantId) -> Result<(), StoreFault> {
        let until = self.on.clock.now().after(self.lifetimes.access + CLOCK_LEEWAY);
        self.on.revocations.add(id, until);
        for _ in 0..MOST_TRIES {
            // A store that lost the row has lost what would tell the other replicas.
            let Some(read) = self.read(id).await? else {
                return self.tell_replicas(id, until).await;
            };
            if read.grant.state == GrantState::Ended {
                // Told again: the caller may be trying again because that failed.
                return self.tell_replicas(id, until).await;
            }
            // What could still ask the IdP goes with it.
            let idp_token = read.grant.vouch.refresh_token.clone();
            let vouch = Vouch { refresh_token: None, ..read.grant.vouch };
            let ended = Grant { state: GrantState::Ended, vouch, ..read.grant };
            if let Swap::Done(_) = self.swap(&ended, read.version).await? {
                self.tell_replicas(id, until).await?;
                self.revoke_at_idp(id, idp_token).await;
                return Ok(());
            }
        }
        Err(StoreFault)
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
