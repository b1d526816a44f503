//! What every backend must do, as one test. `clock` is the clock that the store under test reads.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, ManualClock, Timestamp};
use crate::secret;
use crate::store::{Created, Key, Record, Store, Swap, lease};

pub async fn holds(store: Arc<dyn Store>, clock: &ManualClock) {
    a_record_is_read_until_it_expires(&*store, clock).await;
    a_swap_needs_the_version_that_was_read(&*store, clock).await;
    a_kind_lists_its_own(&*store, clock).await;
    a_lease_is_held_by_one(&*store, clock).await;
    of_a_hundred_callers_one_wins(store, clock).await;
}

async fn a_record_is_read_until_it_expires(store: &dyn Store, clock: &ManualClock) {
    store.put(&key("a", "1"), "one".to_owned(), in_a_minute(clock)).await.unwrap();

    assert_eq!(value(store.read(&key("a", "1")).await.unwrap()), Some("one".to_owned()));
    clock.advance(Duration::from_secs(60));

    assert_eq!(store.read(&key("a", "1")).await.unwrap(), None);
    assert_eq!(store.take(&key("a", "1")).await.unwrap(), None);
    assert!(matches!(
        store.create(&key("a", "1"), "new".to_owned(), in_a_minute(clock)).await.unwrap(),
        Created::New(_)
    ));
    assert_eq!(value(store.take(&key("a", "1")).await.unwrap()), Some("new".to_owned()));
    assert_eq!(store.read(&key("a", "1")).await.unwrap(), None);
}

async fn a_swap_needs_the_version_that_was_read(store: &dyn Store, clock: &ManualClock) {
    let until = in_a_minute(clock);
    store.put(&key("b", "1"), "one".to_owned(), until).await.unwrap();
    let read = store.read(&key("b", "1")).await.unwrap().unwrap().version;

    let Swap::Done(second) =
        store.swap(&key("b", "1"), read, "two".to_owned(), until).await.unwrap()
    else {
        panic!("nobody else wrote");
    };
    assert_eq!(
        store.swap(&key("b", "1"), read, "three".to_owned(), until).await.unwrap(),
        Swap::Lost
    );
    assert_eq!(value(store.read(&key("b", "1")).await.unwrap()), Some("two".to_owned()));

    // Removed and made anew, it is another record: an old reader must not write over it.
    store.delete(&key("b", "1")).await.unwrap();
    assert_eq!(
        store.swap(&key("b", "1"), second, "four".to_owned(), until).await.unwrap(),
        Swap::Lost
    );
    store.create(&key("b", "1"), "five".to_owned(), until).await.unwrap();
    assert_eq!(
        store.swap(&key("b", "1"), second, "six".to_owned(), until).await.unwrap(),
        Swap::Lost
    );
}

async fn a_kind_lists_its_own(store: &dyn Store, clock: &ManualClock) {
    let until = in_a_minute(clock);
    for (kind, name) in [("c", "2"), ("c", "1"), ("cc", "1"), ("d", "1")] {
        store.put(&key(kind, name), format!("{kind} {name}"), until).await.unwrap();
    }

    let mut values: Vec<_> =
        store.list("c").await.unwrap().into_iter().map(|record| record.value).collect();

    values.sort();
    assert_eq!(values, ["c 1", "c 2"]);
}

async fn a_lease_is_held_by_one(store: &dyn Store, clock: &ManualClock) {
    let first =
        lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap().unwrap();

    assert!(lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap().is_none());
    clock.advance(Duration::from_secs(30));
    let first = first.renew(store, in_a_minute(clock)).await.unwrap().unwrap();
    clock.advance(Duration::from_secs(45));
    assert!(lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap().is_none());
    first.release(store).await.unwrap();
    let second =
        lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap().unwrap();

    clock.advance(Duration::from_secs(60));
    let third = lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap();
    assert!(third.is_some(), "a lease that nobody gave back runs out");
    assert!(second.renew(store, in_a_minute(clock)).await.unwrap().is_none());
}

async fn of_a_hundred_callers_one_wins(store: Arc<dyn Store>, clock: &ManualClock) {
    let until = in_a_minute(clock);
    store.put(&key("e", "take"), String::new(), until).await.unwrap();
    store.put(&key("e", "swap"), String::new(), until).await.unwrap();
    let read = store.read(&key("e", "swap")).await.unwrap().unwrap().version;

    let callers: Vec<_> = (0..100)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let taken = store.take(&key("e", "take")).await.unwrap().is_some();
                let created =
                    store.create(&key("e", "create"), String::new(), until).await.unwrap();
                let swapped =
                    store.swap(&key("e", "swap"), read, String::new(), until).await.unwrap();
                [taken, created != Created::Present, swapped != Swap::Lost]
            })
        })
        .collect();

    let mut winners = [0; 3];
    for caller in callers {
        for (count, won) in winners.iter_mut().zip(caller.await.unwrap()) {
            *count += usize::from(won);
        }
    }
    assert_eq!(winners, [1, 1, 1]);
}

fn in_a_minute(clock: &ManualClock) -> Timestamp {
    Clock::Manual(clock.clone()).now().after(Duration::from_secs(60))
}

fn key(kind: &'static str, name: &str) -> Key {
    Key::new(kind, &secret::short_hash(name.as_bytes()))
}

fn value(record: Option<Record>) -> Option<String> {
    record.map(|record| record.value)
}
