//! The grants of somebody who logged out at the IdP, found and ended.

use tracing::instrument::WithSubscriber as _;

use crate::grants::{Grant, GrantState, Grants, row};
use crate::idp::LoggedOut;
use crate::store::StoreFault;

impl Grants {
    /// End every grant of whoever logged out; how many ended. Looks at every grant there is.
    ///
    /// An error means that some may still be live: say so, and let the caller try again.
    pub async fn end_those_of(&self, logged_out: LoggedOut) -> Result<usize, StoreFault> {
        let rows = self.on.store.list("grant").await?;
        // A row that does not open is as good as none.
        let grants = rows.iter().filter_map(|row| self.on.ring.open(&row::ROW, &row.value).ok());
        let theirs = grants.filter(|grant: &Grant| is_of(grant, logged_out));
        // Each in a task of its own: whoever waits may give up, and the IdP may be slow to revoke.
        let ending: Vec<_> = theirs
            .map(|grant| {
                let ending = self.clone().end_as_logged_out(grant).with_current_subscriber();
                self.on.background.spawn(ending)
            })
            .collect();
        let mut ended = Ok(0);
        for ending in ending {
            let done = ending.await.unwrap_or(Err(StoreFault));
            ended = ended.and_then(|count| done.map(|()| count + 1));
        }
        ended
    }

    async fn end_as_logged_out(self, grant: Grant) -> Result<(), StoreFault> {
        self.end(grant.id).await?;
        tracing::info!(
            grant_id = %grant.id,
            client_id = %grant.client,
            user = grant.person.key,
            idp = self.on.idp.issuer(),
            "grant ended: its person logged out at the IdP",
        );
        Ok(())
    }
}

fn is_of(grant: &Grant, logged_out: LoggedOut) -> bool {
    grant.state != GrantState::Ended
        && match logged_out {
            LoggedOut::Person(subject) => grant.subject == Some(subject),
            LoggedOut::Session { session, subject } => {
                grant.session == Some(session)
                    && subject.is_none_or(|subject| grant.subject == Some(subject))
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::set_up::{GRANT, SetUp, StoreConduct};
    use crate::grants::{GrantId, NewGrant};
    use crate::idp::{Identity, LoggedIn};
    use crate::oauth::{ClientDigest, Scopes};
    use crate::store::Cursor;

    const ALICE: [u8; 16] = [1; 16];
    const BOB: [u8; 16] = [2; 16];
    const ALICES: GrantId = GrantId::new([11; 16]);
    const BOBS: GrantId = GrantId::new([12; 16]);

    /// Besides the grant of `SetUp`, which has neither name.
    async fn grant_of(subject: [u8; 16], id: GrantId, grants: &Grants) {
        let person = Identity { key: "key".to_owned(), email: None, groups: Vec::new() };
        let (subject, session) = (Some(subject), Some([9; 16]));
        let new = NewGrant {
            id,
            login: LoggedIn { person, refresh_token: None, subject, session },
            client: ClientDigest::of("doorman_ci_x"),
            client_name: "Inspector".to_owned(),
            resource: "https://tools.example.com/mcp".to_owned(),
            scopes: Scopes::default(),
        };
        grants.create(new).await.unwrap();
    }

    #[tokio::test]
    async fn every_replica_learns_that_a_person_is_out() {
        let SetUp { grants: here, .. } = SetUp::with_code(None).await;
        let there = here.replica();
        let begun = there.follow_endings(Cursor::START).await.unwrap();
        // One began here, one there.
        grant_of(ALICE, ALICES, &here).await;
        grant_of(BOB, BOBS, &there).await;

        assert_eq!(there.end_those_of(LoggedOut::Person(ALICE)).await, Ok(1));
        let next = there.follow_endings(begun).await.unwrap();
        assert_eq!(here.end_those_of(LoggedOut::Person(BOB)).await, Ok(1));
        there.follow_endings(next).await.unwrap();
        here.follow_endings(Cursor::START).await.unwrap();

        for replica in [&here, &there] {
            assert!(replica.on.revocations.contains(ALICES));
            assert!(replica.on.revocations.contains(BOBS));
            assert!(!replica.on.revocations.contains(GRANT));
        }
        assert_eq!(here.end_those_of(LoggedOut::Person(ALICE)).await, Ok(0), "once is enough");
    }

    /// The IdP is told to come again, and then it works.
    #[tokio::test]
    async fn an_end_that_could_not_be_written_is_no_success() {
        let SetUp { grants, store, .. } = SetUp::with_code(None).await;
        grant_of(ALICE, ALICES, &grants).await;

        for conduct in [StoreConduct::Away, StoreConduct::LosesSwaps] {
            store.conduct(conduct);
            assert_eq!(grants.end_those_of(LoggedOut::Person(ALICE)).await, Err(StoreFault));
        }
        store.conduct(StoreConduct::Good);

        assert_eq!(grants.end_those_of(LoggedOut::Person(ALICE)).await, Ok(1));
    }

    /// Whose IdP tells no session is in none.
    #[tokio::test]
    async fn what_a_grant_does_not_know_is_not_meant() {
        let SetUp { grants, .. } = SetUp::with_code(None).await;
        grant_of(ALICE, ALICES, &grants).await;
        let session = |session, subject| LoggedOut::Session { session, subject };

        for nobody in [
            LoggedOut::Person(BOB),
            LoggedOut::Person([9; 16]),
            session([8; 16], None),
            session([8; 16], Some(ALICE)),
            session([9; 16], Some(BOB)),
            session(ALICE, None),
        ] {
            assert_eq!(grants.end_those_of(nobody).await, Ok(0), "{nobody:?}");
        }
        assert_eq!(grants.end_those_of(session([9; 16], Some(ALICE))).await, Ok(1));
    }
}
