//! Which replicas share a store, and with which sealing keys. Two that can't open what the other seals would
//! refuse good tokens at random, so the later one waits until they agree.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::{Chance, NoEntropy};
use crate::clock::Clock;
use crate::seal::KeyRing;
use crate::store::{Cursor, Followed, Store, StoreFault};

/// This process among the replicas.
#[derive(Debug)]
pub struct Replica {
    store: Arc<dyn Store>,
    clock: Clock,
    id: u64,
    keys: Mutex<Keys>,
    has_agreed: AtomicBool,
}

/// The keys of a ring, by what names them in everything that they sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    pub current: u32,
    /// With the current one.
    pub all: Vec<u32>,
}

impl Keys {
    pub fn of(ring: &KeyRing) -> Self {
        let all: Vec<u32> = ring.key_ids().map(u32::from_be_bytes).collect();
        Self { current: all.first().copied().unwrap_or_default(), all }
    }

    /// Can each open what the other seals?
    fn agree_with(&self, other: &Self) -> bool {
        self.all.contains(&other.current) && other.all.contains(&self.current)
    }
}

/// What a replica says of itself, so often that it is taken for gone when it falls silent. Not sealed: who
/// has another key has to read it.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Here { replica: u64, keys: Keys, has_agreed: bool },
    Left { replica: u64 },
}

impl Replica {
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        chance: Chance,
        ring: &KeyRing,
    ) -> Result<Self, NoEntropy> {
        let (id, keys) = (u64::from_be_bytes(chance.bytes()?), Mutex::new(Keys::of(ring)));
        Ok(Self { store, clock, id, keys, has_agreed: AtomicBool::new(false) })
    }

    /// Whether the others would agree with the keys of `ring` as well.
    pub async fn would_agree(&self, ring: &KeyRing) -> Result<bool, StoreFault> {
        self.others_agree_with(&Keys::of(ring)).await
    }

    /// This one seals with `ring` from now on. If the others can't be told now, its next sign of life tells them.
    pub async fn change_keys(&self, ring: &KeyRing) -> Result<(), StoreFault> {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Keys::of(ring);
        self.say_here().await
    }

    /// Say that this one is here, and ask whether its keys agree with those of the others: of those that
    /// were told yes before, if there are any. Once yes, always yes: who came first goes on.
    pub async fn agrees(&self) -> Result<bool, StoreFault> {
        self.say_here().await?;
        if self.has_agreed.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if !self.others_agree_with(&self.keys()).await? {
            return Ok(false);
        }
        self.has_agreed.store(true, Ordering::Relaxed);
        self.say_here().await?;
        Ok(true)
    }

    /// Nobody need wait for this one any more.
    pub async fn leave(&self) -> Result<(), StoreFault> {
        self.say(&Said::Left { replica: self.id }).await
    }

    async fn others_agree_with(&self, own: &Keys) -> Result<bool, StoreFault> {
        let others = self.others().await?;
        let is_first = !others.iter().any(|(_, has_agreed)| *has_agreed);
        let mut judges = others.iter().filter(|(_, has_agreed)| is_first || *has_agreed);
        Ok(judges.all(|(keys, _)| own.agree_with(keys)))
    }

    fn keys(&self) -> Keys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn say_here(&self) -> Result<(), StoreFault> {
        let has_agreed = self.has_agreed.load(Ordering::Relaxed);
        let here = Said::Here { replica: self.id, keys: self.keys(), has_agreed };
        self.say(&here).await
    }

    async fn say(&self, said: &Said) -> Result<(), StoreFault> {
        let text = serde_json::to_string(said).map_err(|_| StoreFault)?;
        self.store.append(LOG, text, self.clock.now().after(PATIENCE)).await
    }

    /// The keys of the others that are here, and whether those were told yes.
    async fn others(&self) -> Result<Vec<(Keys, bool)>, StoreFault> {
        let said = match self.store.follow(LOG, Cursor::START).await? {
            Followed::New(said, _) => said,
            Followed::Lost => Vec::new(),
        };
        let mut here = HashMap::new();
        // What a later version says in another way is not understood, and stops nobody.
        for said in said.iter().filter_map(|text| serde_json::from_str(text).ok()) {
            match said {
                Said::Here { replica, keys, has_agreed } => {
                    here.insert(replica, (keys, has_agreed));
                }
                Said::Left { replica } => {
                    here.remove(&replica);
                }
            }
        }
        here.remove(&self.id);
        Ok(here.into_values().collect())
    }
}

/// Between two signs of life.
pub const PAUSE: Duration = Duration::from_secs(5);
/// Who says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(20);
const LOG: &str = "replicas";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::store::MemoryStore;

    struct SetUp {
        clock: ManualClock,
        store: Arc<dyn Store>,
    }

    impl SetUp {
        fn new() -> Self {
            let clock = ManualClock::starting_at(Timestamp::from_seconds(1_790_000_000));
            let store = Arc::new(MemoryStore::new(Clock::Manual(clock.clone())));
            Self { clock, store }
        }

        fn replica(&self, all: &[u32]) -> Replica {
            Replica {
                store: Arc::clone(&self.store),
                clock: Clock::Manual(self.clock.clone()),
                id: u64::from_be_bytes(Chance::system().bytes().unwrap()),
                keys: Mutex::new(keys(all)),
                has_agreed: AtomicBool::new(false),
            }
        }
    }

    fn keys(all: &[u32]) -> Keys {
        Keys { current: all[0], all: all.to_vec() }
    }

    /// A rotation in two steps, each replaced one after the other: first the new key is only known.
    #[tokio::test]
    async fn replicas_agree_if_each_opens_what_the_other_seals() {
        for (first, second, agree) in [
            (&[1][..], &[1][..], true),
            (&[1], &[1, 2], true),
            (&[1, 2], &[2, 1], true),
            (&[2, 1], &[2], true),
            (&[1], &[2], false),
            (&[1], &[2, 1], false),
            (&[2, 1], &[1], false),
        ] {
            let set_up = SetUp::new();
            assert_eq!(set_up.replica(first).agrees().await, Ok(true), "{first:?} alone");

            assert_eq!(set_up.replica(second).agrees().await, Ok(agree), "{first:?} {second:?}");
        }
    }

    /// The mistake is the newcomer's: it waits, and what serves goes on.
    #[tokio::test]
    async fn who_came_first_goes_on_and_so_do_its_like() {
        let set_up = SetUp::new();
        let (first, wrong) = (set_up.replica(&[1]), set_up.replica(&[2]));
        assert_eq!(first.agrees().await, Ok(true));
        assert_eq!(wrong.agrees().await, Ok(false));

        assert_eq!(first.agrees().await, Ok(true));
        assert_eq!(set_up.replica(&[1]).agrees().await, Ok(true), "after a crash, say");
    }

    /// The last of the old ones leaves, or dies.
    #[tokio::test]
    async fn a_newcomer_waits_until_those_it_differs_from_are_gone() {
        let set_up = SetUp::new();
        let (leaves, dies) = (set_up.replica(&[1]), set_up.replica(&[1]));
        let new = set_up.replica(&[2, 1]);
        for old in [&leaves, &dies] {
            assert_eq!(old.agrees().await, Ok(true));
        }
        assert_eq!(new.agrees().await, Ok(false));

        leaves.leave().await.unwrap();
        set_up.clock.advance(Duration::from_secs(19));
        assert_eq!(new.agrees().await, Ok(false));
        set_up.clock.advance(Duration::from_secs(1));

        assert_eq!(new.agrees().await, Ok(true));
    }

    /// A rotation in two steps, each replica reloaded after the other.
    #[tokio::test]
    async fn a_replica_changes_its_keys_while_the_others_open_what_it_will_seal() {
        let set_up = SetUp::new();
        let (one, other) = (set_up.replica(&[1]), set_up.replica(&[1]));
        for replica in [&one, &other] {
            assert_eq!(replica.agrees().await, Ok(true));
        }
        assert_eq!(one.others_agree_with(&keys(&[2, 1])).await, Ok(false), "nobody else has 2");

        for (changed, all) in [(&one, [1, 2]), (&other, [1, 2]), (&one, [2, 1]), (&other, [2, 1])] {
            assert_eq!(changed.others_agree_with(&keys(&all)).await, Ok(true), "{all:?}");
            *changed.keys.lock().unwrap() = keys(&all);
            // Its next sign of life.
            assert_eq!(changed.agrees().await, Ok(true));
        }
        assert_eq!(set_up.replica(&[2]).agrees().await, Ok(true));
    }

    /// Nobody serves yet, so nobody is right.
    #[tokio::test]
    async fn two_newcomers_that_differ_both_wait() {
        let set_up = SetUp::new();
        let (one, other) = (set_up.replica(&[1]), set_up.replica(&[2]));
        one.say_here().await.unwrap();

        assert_eq!(other.agrees().await, Ok(false));
        assert_eq!(one.agrees().await, Ok(false));
    }
}
