//! The epoch of a store: which store this is, and since when. Other than the one that a token was issued
//! under, it says that what the token counts on was lost, or is in another store.

use crate::chance::Chance;
use crate::clock::{Clock, Timestamp};
use crate::store::{Created, Key, Store, StoreFault};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub id: [u8; 16],
    pub began: Timestamp,
}

/// The epoch of `store`; a store that has none begins one. All replicas on one store agree on it.
///
/// Ask again after a fault: what answers then may be an empty store.
pub async fn of(store: &dyn Store, clock: &Clock, chance: Chance) -> Result<Epoch, StoreFault> {
    let key = Key::new("epoch", &[0; 16]);
    if let Some(record) = store.read(&key).await? {
        return parse(&record.value);
    }
    let begun = Epoch { id: chance.bytes().map_err(|_| StoreFault)?, began: clock.now() };
    match store.create(&key, write(begun), Timestamp::from_seconds(u64::MAX)).await? {
        Created::New(_) => Ok(begun),
        // Another replica was quicker.
        Created::Present => parse(&store.read(&key).await?.ok_or(StoreFault)?.value),
    }
}

fn write(epoch: Epoch) -> String {
    format!("1 {:032x} {}", u128::from_be_bytes(epoch.id), epoch.began.seconds())
}

fn parse(text: &str) -> Result<Epoch, StoreFault> {
    let read = || {
        let (id, began) = text.strip_prefix("1 ")?.split_once(' ')?;
        let id = u128::from_str_radix(id, 16).ok()?.to_be_bytes();
        Some(Epoch { id, began: Timestamp::from_seconds(began.parse().ok()?) })
    };
    read().ok_or(StoreFault)
}
