//! The file store keeps the contract, over restarts too, and says what it can't.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::chance::Chance;
use crate::clock::ManualClock;
use crate::store::{contract, epoch};

const START: Timestamp = Timestamp::from_seconds(1_000);
const SOON: Timestamp = Timestamp::from_seconds(1_060);

fn clock() -> ManualClock {
    ManualClock::starting_at(START)
}

fn open(dir: &TempDir, clock: &ManualClock) -> FileStore {
    try_open(dir, clock).unwrap()
}

/// The thread that wrote last may still be about to let go of the file.
fn try_open(dir: &TempDir, clock: &ManualClock) -> Result<FileStore, OpenFault> {
    let begun = Instant::now();
    loop {
        match FileStore::open(dir.path(), Clock::Manual(clock.clone())) {
            Err(OpenFault::InUse { .. }) if begun.elapsed() < Duration::from_secs(2) => {
                thread::yield_now();
            }
            opened => return opened,
        }
    }
}

fn refusal(dir: &TempDir) -> String {
    let fault = try_open(dir, &clock()).unwrap_err();
    fault.to_string().replace(dir.path().to_str().unwrap(), "DIR")
}

fn key(name: &str) -> Key {
    Key::new("k", &crate::secret::short_hash(name.as_bytes()))
}

#[tokio::test]
async fn a_file_keeps_the_contract() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());

    contract::holds(Arc::new(open(&dir, &clock)), &clock).await;
}

/// Each verb finds what the one before left behind, in another process as it were.
#[tokio::test]
async fn a_restart_between_any_two_verbs_changes_nothing() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let fresh = || open(&dir, &clock);

    let Created::New(created) = fresh().create(&key("a"), "1".to_owned(), SOON).await.unwrap()
    else {
        panic!("it was there before it was created");
    };
    assert_eq!(fresh().read(&key("a")).await.unwrap().unwrap().version, created);
    let swap = |read, value: &str| {
        let (store, value) = (fresh(), value.to_owned());
        async move { store.swap(&key("a"), read, value, SOON, Reach::TwoServers).await.unwrap() }
    };
    let Swap::Done(swapped) = swap(created, "2").await else { panic!("nobody else wrote") };
    assert_eq!(swap(created, "3").await, Swap::Lost);
    fresh().delete(&key("a")).await.unwrap();
    assert_eq!(fresh().list("k").await.unwrap(), []);
    fresh().put(&key("a"), "4".to_owned(), SOON).await.unwrap();
    assert_eq!(swap(swapped, "5").await, Swap::Lost);
    let put = fresh().read(&key("a")).await.unwrap().unwrap();
    assert!(put.version != created && put.version != swapped, "a version came again");
    assert_eq!(fresh().take(&key("a")).await.unwrap(), Some(put));
    assert_eq!(fresh().take(&key("a")).await.unwrap(), None);

    fresh().append("log", "x".to_owned(), SOON).await.unwrap();
    let Followed::New(first, cursor) = fresh().follow("log", Cursor::START).await.unwrap() else {
        panic!("lost");
    };
    fresh().append("log", "y".to_owned(), SOON).await.unwrap();
    let Followed::New(second, _) = fresh().follow("log", cursor).await.unwrap() else {
        panic!("lost");
    };
    assert_eq!((first, second), (vec!["x".to_owned()], vec!["y".to_owned()]));

    let epoch = |store| async move {
        epoch::of(&store, &Clock::Manual(self::clock()), Chance::system()).await.unwrap()
    };
    assert_eq!(epoch(fresh()).await, epoch(fresh()).await);
}

#[tokio::test]
async fn only_its_owner_may_read_it() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("state");

    let store = FileStore::open(&dir, Clock::Manual(clock())).unwrap();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("state.redb"))), (0o700, 0o600));
    drop(store);
}

/// A process was killed while it made the file.
#[tokio::test]
async fn what_was_left_half_made_is_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(format!("state.unfinished-{}", std::process::id()));
    fs::write(&left, "half").unwrap();
    fs::write(dir.path().join("state.unfinished-0"), "another's").unwrap();

    let store = open(&dir, &clock());

    store.put(&key("k"), "v".to_owned(), SOON).await.unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir, &clock());

    insta::assert_snapshot!(refusal(&dir), @"DIR/state.redb is in use by another process: it holds the state of one process only, so stop the other one, or give each a directory of its own");

    drop(first);
    open(&dir, &clock());
}

#[tokio::test]
async fn a_file_that_is_not_ours_or_is_empty_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    fs::write(&path, "not a store, but somebody's notes").unwrap();

    insta::assert_snapshot!(refusal(&dir), @"DIR/state.redb is damaged (not a redb database: magic number mismatch): move it away to start without it, which signs everybody out");
    assert_eq!(fs::read(&path).unwrap(), b"not a store, but somebody's notes");

    fs::write(&path, "").unwrap();
    insta::assert_snapshot!(refusal(&dir), @"DIR/state.redb is damaged (it is empty): move it away to start without it, which signs everybody out");
    assert_eq!(fs::read(&path).unwrap(), b"");
}

/// A store of a hundred records, closed.
async fn full(dir: &TempDir) -> Vec<u8> {
    let store = open(dir, &clock());
    for number in 0..100 {
        store.put(&key(&number.to_string()), "x".repeat(500), SOON).await.unwrap();
    }
    drop(store);
    // Opened and closed once more, so that it was closed when it is copied.
    drop(open(dir, &clock()));
    fs::read(dir.path().join("state.redb")).unwrap()
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let whole = full(&dir).await;

    for length in [1, 100, 4096, 10_000, whole.len() / 2, whole.len() - 1] {
        fs::write(dir.path().join("state.redb"), &whole[..length]).unwrap();

        let refusal = refusal(&dir);

        assert!(refusal.starts_with("DIR/state.redb is damaged ("), "{length}: {refusal}");
    }
}

/// Whatever redb makes of it, a panic of its own included.
#[tokio::test]
async fn damage_is_refused_or_was_in_nothing_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let whole = full(&dir).await;
    let mut refused = 0;

    for page in 0..whole.len() / 4096 {
        let mut flipped = whole.clone();
        flipped[page * 4096 + 50] ^= 0x40;
        fs::write(dir.path().join("state.redb"), &flipped).unwrap();

        match try_open(&dir, &clock()) {
            Ok(store) => assert_eq!(store.list("k").await.unwrap().len(), 100, "page {page}"),
            Err(OpenFault::Damaged { .. }) => refused += 1,
            Err(fault) => panic!("page {page}: {fault}"),
        }
    }
    assert!(refused > 10, "{refused} of {}", whole.len() / 4096);
}

/// The caller is told of a fault a moment before the file is closed.
fn until(store: &FileStore, is_so: impl Fn(&State) -> bool) {
    let begun = Instant::now();
    while !is_so(&store.0.state.read().unwrap()) {
        assert!(begun.elapsed() < Duration::from_secs(2));
        thread::yield_now();
    }
}

#[tokio::test]
async fn a_full_disk_loses_only_what_was_not_answered() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = open(&dir, &clock);
    store.put(&key("a"), "before".to_owned(), SOON).await.unwrap();

    store.0.health.fill_disk(true);
    assert_eq!(store.put(&key("a"), "during".to_owned(), SOON).await, Err(StoreFault));
    until(&store, |state| matches!(state, State::Closed { .. }));
    store.0.health.fill_disk(false);
    clock.advance(Duration::from_secs(1));

    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().value, "before");
    store.put(&key("a"), "after".to_owned(), SOON).await.unwrap();
    assert_eq!(store.read(&key("a")).await.unwrap().unwrap().value, "after");
}

/// The kernel may show as written what the disk never took.
#[tokio::test]
async fn after_a_failed_flush_nothing_is_believed_until_a_restart() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = open(&dir, &clock);
    store.put(&key("a"), "before".to_owned(), SOON).await.unwrap();

    store.0.health.break_flush(true);
    assert_eq!(store.put(&key("a"), "during".to_owned(), SOON).await, Err(StoreFault));
    until(&store, |state| matches!(state, State::Broken));
    store.0.health.break_flush(false);
    clock.advance(Duration::from_secs(10));

    assert_eq!(store.read(&key("a")).await, Err(StoreFault));
    assert_eq!(store.put(&key("a"), "after".to_owned(), SOON).await, Err(StoreFault));
}

#[tokio::test]
async fn the_file_follows_what_is_alive() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let size = || fs::metadata(dir.path().join("state.redb")).unwrap().len();
    let store = Arc::new(open(&dir, &clock));
    let put_many = async |names: std::ops::Range<u32>| {
        let puts: Vec<_> = names
            .map(|name| {
                let store = Arc::clone(&store);
                let until = Clock::Manual(clock.clone()).now().after(Duration::from_secs(10));
                tokio::spawn(async move {
                    store.put(&key(&name.to_string()), "x".repeat(1000), until).await.unwrap();
                })
            })
            .collect();
        for put in puts {
            put.await.unwrap();
        }
    };
    // A few at a time: who waits for too long is told that the store is away.
    let put_many = async |names: std::ops::Range<u32>| {
        for start in names.step_by(100) {
            put_many(start..start + 100).await;
        }
    };
    put_many(0..4000).await;
    let after_a_burst = size();

    for round in 1..3 {
        clock.advance(Duration::from_secs(10));
        put_many(round * 4000..(round + 1) * 4000).await;
    }
    assert!(size() < 4 * after_a_burst, "{} {after_a_burst}", size());

    clock.advance(Duration::from_secs(10));
    drop(store);
    open(&dir, &clock);
    assert!(size() < after_a_burst / 2, "{} {after_a_burst}", size());
}

/// A disk on which nothing comes to an end until this is dropped.
struct HungDisk {
    release: Option<mpsc::Sender<()>>,
    holding: Option<thread::JoinHandle<()>>,
}

impl HungDisk {
    fn of(store: &FileStore) -> Self {
        let inner = Arc::clone(&store.0);
        let (release, released) = mpsc::channel::<()>();
        let (holds, held) = mpsc::channel();
        let holding = thread::spawn(move || {
            let _nobody_else = inner.state.write().unwrap();
            holds.send(()).unwrap();
            let _ = released.recv();
        });
        held.recv().unwrap();
        Self { release: Some(release), holding: Some(holding) }
    }
}

impl Drop for HungDisk {
    fn drop(&mut self) {
        drop(self.release.take());
        self.holding.take().unwrap().join().unwrap();
    }
}

/// Ask, and go before there is an answer.
async fn abandon<T: fmt::Debug>(asked: Answer<'_, T>) {
    tokio::select! {
        biased;
        answered = asked => panic!("the disk hangs, and yet: {answered:?}"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_spent_and_an_ending_is_made() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = open(&dir, &clock);
    let new = || "new".to_owned();
    let mut versions = Vec::new();
    for name in ["taken", "swapped", "ended", "deleted"] {
        let created = store.create(&key(name), "old".to_owned(), SOON).await.unwrap();
        let Created::New(version) = created else { panic!("{name} was there") };
        versions.push(version);
    }

    let disk = HungDisk::of(&store);
    abandon(store.take(&key("taken"))).await;
    abandon(store.create(&key("created"), new(), SOON)).await;
    abandon(store.swap(&key("swapped"), versions[1], new(), SOON, Reach::OneServer)).await;
    abandon(store.swap(&key("ended"), versions[2], new(), SOON, Reach::TwoServers)).await;
    abandon(store.delete(&key("deleted"))).await;
    abandon(store.put(&key("put"), new(), SOON)).await;
    abandon(store.append("log", new(), SOON)).await;
    drop(disk);
    // Comes after all of them.
    store.put(&key("last"), new(), SOON).await.unwrap();

    let value = async |name| store.read(&key(name)).await.unwrap().map(|record| record.value);
    assert_eq!(value("taken").await.as_deref(), Some("old"));
    assert_eq!(value("created").await, None);
    assert_eq!(value("swapped").await.as_deref(), Some("old"));
    assert_eq!(value("ended").await.as_deref(), Some("new"));
    assert_eq!(value("deleted").await, None);
    assert_eq!(value("put").await.as_deref(), Some("new"));
    let Followed::New(entries, _) = store.follow("log", Cursor::START).await.unwrap() else {
        panic!("lost");
    };
    assert_eq!(entries, ["new"]);
}

#[tokio::test(start_paused = true)]
async fn changes_do_not_pile_up_before_a_disk_that_hangs() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = open(&dir, &clock);
    let disk = HungDisk::of(&store);
    let k = key("k");
    let put = || store.put(&k, "v".to_owned(), SOON);

    let mut queued = 0;
    let refused = loop {
        let asked = tokio::time::Instant::now();
        tokio::select! {
            biased;
            answer = put() => break (answer, asked.elapsed()),
            () = std::future::ready(()) => queued += 1,
        }
    };
    drop(disk);

    assert_eq!(refused, (Err(StoreFault), Duration::ZERO));
    // Those that the writer holds already are no longer in the queue.
    assert!((MOST_WAITING..=2 * MOST_WAITING).contains(&queued), "{queued}");
    let begun = Instant::now();
    while put().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not recover");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_may_take_longer_than_a_request_may() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = open(&dir, &clock);
    let disk = HungDisk::of(&store);
    let mut list = store.list("k");
    let mut read = Box::pin(async { store.read(&key("k")).await });
    tokio::select! {
        biased;
        listed = &mut list => panic!("{listed:?}"),
        read = &mut read => panic!("{read:?}"),
        () = std::future::ready(()) => {}
    }

    tokio::time::advance(DEADLINE + Duration::from_millis(1)).await;
    assert_eq!(read.await, Err(StoreFault));
    tokio::time::advance(LIST_DEADLINE.saturating_sub(2 * DEADLINE)).await;
    tokio::select! {
        biased;
        listed = &mut list => panic!("{listed:?}"),
        () = std::future::ready(()) => {}
    }
    drop(disk);

    assert_eq!(list.await, Ok(Vec::new()));
}
