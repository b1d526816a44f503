//! All grants there are, whichever replica wrote them: for the operator, who lists and ends them.

use std::sync::Arc;
use std::vec;

use tokio::task::yield_now;

use crate::clock::Timestamp;
use crate::grants::{Grant, GrantState, Grants, row};
use crate::seal::KeyRing;
use crate::store::{Record, StoreFault};

/// The grants that are not over: live ones, and those whose code is under way. Opened one by one, so that
/// no more of them than the reader keeps are in memory at once.
#[derive(Debug)]
pub struct Inventory {
    records: vec::IntoIter<Record>,
    ring: Arc<KeyRing>,
    now: Timestamp,
    unreadable: usize,
}

impl Grants {
    /// Takes as long as there are grants: for operators, not for a request's way.
    pub async fn inventory(&self) -> Result<Inventory, StoreFault> {
        let records = self.on.store.list(row::KEYS).await?.into_iter();
        let (ring, now) = (Arc::clone(&self.on.ring), self.on.clock.now());
        Ok(Inventory { records, ring, now, unreadable: 0 })
    }

    /// Those of the inventory that `is_meant`, and how many rows could not be read.
    pub async fn find(
        &self,
        is_meant: impl Fn(&Grant) -> bool,
    ) -> Result<(Vec<Grant>, usize), StoreFault> {
        let (mut inventory, mut found) = (self.inventory().await?, Vec::new());
        for (number, grant) in inventory.by_ref().enumerate() {
            if is_meant(&grant) {
                found.push(grant);
            }
            if number % TURN == 0 {
                yield_now().await;
            }
        }
        Ok((found, inventory.unreadable()))
    }

    /// Of grants that are ended together: each may wait for the IdP.
    pub const ENDED_AT_ONCE: usize = 16;
}

/// Grants that are opened before others have a turn.
const TURN: usize = 256;

impl Inventory {
    /// How many rows were passed over so far because no key of ours opens them: sealed with one that is
    /// gone, or by another release. Nobody can use such a grant here.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    fn is_over(&self, grant: &Grant) -> bool {
        match grant.state {
            GrantState::CodeIssued | GrantState::Live => grant.ends_at <= self.now,
            GrantState::Ended => true,
        }
    }
}

impl Iterator for Inventory {
    type Item = Grant;

    fn next(&mut self) -> Option<Grant> {
        loop {
            let record = self.records.next()?;
            match self.ring.open(&row::ROW, &record.value) {
                Ok(grant) if self.is_over(&grant) => {}
                Ok(grant) => return Some(grant),
                Err(_) => self.unreadable += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::grants::GrantId;
    use crate::grants::set_up::{GRANT, SetUp};
    use crate::store::Store as _;

    async fn listed(grants: &Grants) -> (Vec<(GrantId, GrantState)>, usize) {
        let mut inventory = grants.inventory().await.unwrap();
        let listed = inventory.by_ref().map(|grant| (grant.id, grant.state)).collect();
        (listed, inventory.unreadable())
    }

    #[tokio::test]
    async fn every_replica_sees_a_grant_until_it_is_over() {
        let SetUp { grants, .. } = SetUp::with_code(None).await;
        let there = grants.replica();

        assert_eq!(listed(&there).await, (vec![(GRANT, GrantState::CodeIssued)], 0));
        grants.redeem(GRANT).await.unwrap();
        assert_eq!(listed(&there).await, (vec![(GRANT, GrantState::Live)], 0));
        grants.end(GRANT).await.unwrap();
        assert_eq!(listed(&there).await, (Vec::new(), 0));
    }

    #[tokio::test]
    async fn a_grant_that_has_lasted_its_time_is_over() {
        let SetUp { grants, clock, .. } = SetUp::live("T1").await;
        let mut inventory = grants.inventory().await.unwrap();

        clock.advance(Duration::from_hours(240));
        inventory.now = grants.now();

        assert_eq!(inventory.next(), None);
    }

    #[tokio::test]
    async fn a_row_that_does_not_open_is_counted() {
        let SetUp { grants, store, .. } = SetUp::live("T1").await;
        let until = grants.now().after(Duration::from_secs(60));
        let key = GrantId::new([9; 16]).key();
        store.put(&key, "doorman_row_of_another_key".to_owned(), until).await.unwrap();

        assert_eq!(listed(&grants).await, (vec![(GRANT, GrantState::Live)], 1));
    }

    #[test]
    fn an_id_is_read_back_as_it_is_told_in_full() {
        let id = GrantId::new(*b"\x00\x01bcdefghijklmn\xff");

        assert_eq!(GrantId::parse(&id.hex()), Some(id));
        assert_eq!(id.hex().len(), 32);
        for wrong in
            ["", &id.to_string(), &format!("{}0", id.hex()), &format!("+{}", &id.hex()[1..])]
        {
            assert_eq!(GrantId::parse(wrong), None, "{wrong}");
        }
    }
}
