//! What every backend must do, as one test. `clock` is the clock that the store under test reads.

use std::sync::Arc;
use std::time::Duration;

use crate::chance::Chance;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::secret;
use crate::store::{
    Created, Cursor, Followed, Key, Reach, Record, Store, Swap, Version, epoch, lease,
};

pub async fn holds(store: Arc<dyn Store>, clock: &ManualClock) {
    a_record_is_read_until_it_expires(&*store, clock).await;
    a_swap_needs_the_version_that_was_read(&*store, clock).await;
    a_kind_lists_its_own(&*store, clock).await;
    a_lease_is_held_by_one(&*store, clock).await;
    every_follower_of_a_log_sees_every_entry(&*store, clock).await;
    all_agree_on_the_epoch(&store, clock).await;
    what_many_append_at_once_is_seen_by_all(&store, clock).await;
    of_a_hundred_callers_one_wins(store, clock).await;
}

async fn a_record_is_read_until_it_expires(store: &dyn Store, clock: &ManualClock) {
    assert_eq!(store.read(&key("a", "1")).await.unwrap(), None);
    store.put(&key("a", "1"), "zero".to_owned(), in_a_minute(clock)).await.unwrap();
    store.put(&key("a", "1"), "one".to_owned(), in_a_minute(clock)).await.unwrap();

    assert_eq!(value(store.read(&key("a", "1")).await.unwrap()), Some("one".to_owned()));
    clock.advance(Duration::from_secs(59));
    let last = store.read(&key("a", "1")).await.unwrap().unwrap();
    assert_eq!(store.read(&key("a", "1")).await.unwrap().as_ref(), Some(&last));
    clock.advance(Duration::from_secs(1));

    assert_eq!(store.read(&key("a", "1")).await.unwrap(), None);
    assert_eq!(store.list("a").await.unwrap(), []);
    assert_eq!(swap(store, "a", last.version, "dead", in_a_minute(clock)).await, Swap::Lost);
    assert_eq!(store.take(&key("a", "1")).await.unwrap(), None);
    store.put(&key("a", "1"), "two".to_owned(), in_a_minute(clock)).await.unwrap();
    clock.advance(Duration::from_secs(60));
    assert!(matches!(
        store.create(&key("a", "1"), "new".to_owned(), in_a_minute(clock)).await.unwrap(),
        Created::New(_)
    ));
    assert_eq!(
        store.create(&key("a", "1"), "again".to_owned(), in_a_minute(clock)).await.unwrap(),
        Created::Present
    );
    assert_eq!(value(store.take(&key("a", "1")).await.unwrap()), Some("new".to_owned()));
    assert_eq!(store.read(&key("a", "1")).await.unwrap(), None);
    assert_eq!(store.take(&key("a", "1")).await.unwrap(), None);
    store.delete(&key("a", "1")).await.unwrap();
}

async fn a_swap_needs_the_version_that_was_read(store: &dyn Store, clock: &ManualClock) {
    let until = in_a_minute(clock);
    let Created::New(created) =
        store.create(&key("b", "1"), "nil".to_owned(), until).await.unwrap()
    else {
        panic!("nobody else wrote");
    };
    store.put(&key("b", "1"), "one".to_owned(), until).await.unwrap();
    assert_eq!(swap(store, "b", created, "late", until).await, Swap::Lost);
    let read = store.read(&key("b", "1")).await.unwrap().unwrap().version;

    let Swap::Done(second) = swap(store, "b", read, "two", until).await else {
        panic!("nobody else wrote");
    };
    assert_eq!(swap(store, "b", read, "three", until).await, Swap::Lost);
    let found = store.read(&key("b", "1")).await.unwrap();
    assert_eq!(found, Some(Record { value: "two".to_owned(), version: second }));

    // Removed and made anew, it is another record: an old reader must not write over it.
    store.delete(&key("b", "1")).await.unwrap();
    assert_eq!(swap(store, "b", second, "four", until).await, Swap::Lost);
    store.create(&key("b", "1"), "five".to_owned(), until).await.unwrap();
    assert_eq!(swap(store, "b", second, "six", until).await, Swap::Lost);

    // A swap also says until when.
    let read = store.read(&key("b", "1")).await.unwrap().unwrap().version;
    let longer = until.after(Duration::from_secs(60));
    assert!(matches!(swap(store, "b", read, "seven", longer).await, Swap::Done(_)));
    clock.advance(Duration::from_secs(60));
    assert_eq!(value(store.read(&key("b", "1")).await.unwrap()), Some("seven".to_owned()));
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
    let mut first =
        lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap().unwrap();

    assert!(lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap().is_none());
    clock.advance(Duration::from_secs(30));
    assert!(first.renew(store, in_a_minute(clock)).await.unwrap());
    clock.advance(Duration::from_secs(45));
    assert!(lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap().is_none());
    first.release(store).await.unwrap();
    let mut second =
        lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap().unwrap();

    clock.advance(Duration::from_secs(60));
    let third = lease::acquire(store, &key("lease", "1"), in_a_minute(clock)).await.unwrap();
    assert!(third.is_some(), "a lease that nobody gave back runs out");
    assert!(!second.renew(store, in_a_minute(clock)).await.unwrap());
}

async fn every_follower_of_a_log_sees_every_entry(store: &dyn Store, clock: &ManualClock) {
    let append = async |text: &str, until| store.append("l", text.to_owned(), until).await.unwrap();
    assert_eq!(follow(store, Cursor::START).await, (vec![], Cursor::START));
    append("one", in_a_minute(clock)).await;
    store.append("other", "not ours".to_owned(), in_a_minute(clock)).await.unwrap();
    append("two", in_a_minute(clock)).await;

    let (first, after_two) = follow(store, Cursor::START).await;
    assert_eq!(first, ["one", "two"]);
    assert_eq!(follow(store, after_two).await, (vec![], after_two));
    clock.advance(Duration::from_secs(30));
    append("three", in_a_minute(clock)).await;
    let (second, after_three) = follow(store, after_two).await;
    assert_eq!(second, ["three"]);
    assert!(Cursor::START < after_two && after_two < after_three);

    // Who starts now needs only what is alive; who was there before goes on from where it was.
    clock.advance(Duration::from_secs(30));
    append("four", in_a_minute(clock)).await;
    assert_eq!(follow(store, Cursor::START).await.0, ["three", "four"]);
    assert_eq!(follow(store, after_two).await.0, ["three", "four"]);
    assert_eq!(follow(store, after_three).await.0, ["four"]);

    // What is dead when it is reached is passed over, once.
    clock.advance(Duration::from_secs(60));
    let (dead, after_four) = follow(store, after_three).await;
    assert_eq!(dead, [""; 0]);
    assert!(after_four > after_three);
    append("five", in_a_minute(clock)).await;
    assert_eq!(follow(store, after_four).await.0, ["five"]);
    assert_eq!(follow(store, Cursor::START).await.0, ["five"]);
}

async fn all_agree_on_the_epoch(store: &Arc<dyn Store>, clock: &ManualClock) {
    let began = Clock::Manual(clock.clone()).now();
    let askers: Vec<_> = (0..10)
        .map(|_| {
            let (store, clock) = (Arc::clone(store), Clock::Manual(clock.clone()));
            tokio::spawn(async move { epoch::of(&*store, &clock, Chance::system()).await.unwrap() })
        })
        .collect();

    let first = epoch::of(&**store, &Clock::Manual(clock.clone()), Chance::system()).await.unwrap();

    assert_eq!(first.began, began);
    for asker in askers {
        assert_eq!(asker.await.unwrap(), first);
    }
    clock.advance(Duration::from_secs(1_000_000));
    let later = epoch::of(&**store, &Clock::Manual(clock.clone()), Chance::system()).await.unwrap();
    assert_eq!(later, first);
}

async fn what_many_append_at_once_is_seen_by_all(store: &Arc<dyn Store>, clock: &ManualClock) {
    let until = in_a_minute(clock);
    let writers: Vec<_> = (0..100)
        .map(|number| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.append("m", number.to_string(), until).await.unwrap() })
        })
        .collect();

    // Reading while others write, nothing is passed over.
    let mut seen = Vec::new();
    let mut cursor = Cursor::START;
    while writers.iter().any(|writer| !writer.is_finished()) {
        let Followed::New(new, next) = store.follow("m", cursor).await.unwrap() else {
            panic!("nothing was lost");
        };
        seen.extend(new);
        cursor = next;
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let Followed::New(rest, _) = store.follow("m", cursor).await.unwrap() else {
        panic!("nothing was lost");
    };
    seen.extend(rest);

    let Followed::New(all, _) = store.follow("m", Cursor::START).await.unwrap() else {
        panic!("nothing was lost");
    };
    assert_eq!(seen, all);
    let mut numbers: Vec<u32> = all.iter().map(|text| text.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
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
                let swapped = store
                    .swap(&key("e", "swap"), read, String::new(), until, Reach::OneServer)
                    .await
                    .unwrap();
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

async fn swap(
    store: &dyn Store,
    kind: &'static str,
    read: Version,
    value: &str,
    until: Timestamp,
) -> Swap {
    store.swap(&key(kind, "1"), read, value.to_owned(), until, Reach::TwoServers).await.unwrap()
}

async fn follow(store: &dyn Store, after: Cursor) -> (Vec<String>, Cursor) {
    match store.follow("l", after).await.unwrap() {
        Followed::New(entries, next) => (entries, next),
        Followed::Lost => panic!("nothing was lost"),
    }
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
