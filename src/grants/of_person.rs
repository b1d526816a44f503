//! The grants of somebody who logged out at the IdP, found and ended.

use tokio::task::JoinSet;
use tracing::instrument::WithSubscriber as _;

use crate::clock::Timestamp;
use crate::grants::{Grant, Grants};
use crate::idp::LoggedOut;
use crate::seal::Kind;
use crate::store::{Key, StoreFault};

impl Grants {
    /// End every grant of whoever logged out; how many ended. Looks at every grant there is.
    ///
    /// An error means that some may still be live: say so, and let the caller try again.
    pub async fn end_those_of(&self, logged_out: LoggedOut) -> Result<usize, StoreFault> {
        self.note(logged_out).await?;
        let (theirs, _) = self.find(|grant| is_of(grant, logged_out)).await?;
        // In a task of its own: whoever waits may give up.
        let ending = self.clone().end_all_as_logged_out(theirs).with_current_subscriber();
        self.on.background.spawn(ending).await.unwrap_or(Err(StoreFault))
    }

    /// Several at once: the IdP may be slow to revoke.
    async fn end_all_as_logged_out(self, theirs: Vec<Grant>) -> Result<usize, StoreFault> {
        let (mut waiting, mut under_way) = (theirs.into_iter(), JoinSet::new());
        let mut ended = Ok(0);
        loop {
            while under_way.len() < Self::ENDED_AT_ONCE
                && let Some(grant) = waiting.next()
            {
                let ending = self.clone().end_as_logged_out(grant);
                under_way.spawn(ending.with_current_subscriber());
            }
            let Some(done) = under_way.join_next().await else { return ended };
            let done = done.unwrap_or(Err(StoreFault));
            ended = ended.and_then(|count| done.map(|()| count + 1));
        }
    }

    /// For grants that the store has lost and could adopt again.
    async fn note(&self, logged_out: LoggedOut) -> Result<(), StoreFault> {
        if !self.on.idp.revokes_single_tokens() {
            return Ok(());
        }
        let now = self.on.clock.now();
        let sealed = self.on.ring.seal(&LOGOUT, &now).map_err(|_| StoreFault)?;
        let name = match logged_out {
            LoggedOut::Person(subject) => subject,
            LoggedOut::Session { session, .. } => session,
        };
        // No refresh token of before lasts longer.
        self.on.store.put(&key(name), sealed, now.after(self.lifetimes.refresh)).await
    }

    /// Did the person log out, of everything or of their session, after `began`?
    pub(super) async fn has_logged_out(
        &self,
        began: Timestamp,
        subject: Option<[u8; 16]>,
        session: Option<[u8; 16]>,
    ) -> Result<bool, StoreFault> {
        for name in subject.into_iter().chain(session) {
            let noted = self.on.store.read(&key(name)).await?;
            let at = noted.and_then(|record| self.on.ring.open(&LOGOUT, &record.value).ok());
            if at.is_some_and(|at| at >= began) {
                return Ok(true);
            }
        }
        Ok(false)
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
    match logged_out {
        LoggedOut::Person(subject) => grant.subject == Some(subject),
        LoggedOut::Session { session, subject } => {
            grant.session == Some(session)
                && subject.is_none_or(|subject| grant.subject == Some(subject))
        }
    }
}

fn key(name: [u8; 16]) -> Key {
    Key::new("logout", &name)
}

/// When somebody logged out.
const LOGOUT: Kind<Timestamp> = Kind::new("doorman_lo_", 1);

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
        let person = Identity { key: "key".to_owned(), ..Identity::default() };
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
