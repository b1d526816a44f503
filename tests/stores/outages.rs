//! Redis goes away, hangs, comes back, or comes back empty.

use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::redis_contract::cluster;
use crate::servers::{Server, clock, settings, single, soon_async, store};
use crate::store::redis::RedisServers;
use crate::store::{Cursor, Followed, Key, Store, StoreFault};

const UNTIL: Timestamp = Timestamp::from_seconds(5_000);
/// Two seconds, and what a busy machine adds.
const DEADLINE: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn a_server_that_is_gone_is_told_at_once_and_found_again() {
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]);
    let store = store(&single(&server), &clock()).await;
    store.put(&key(1), "before".to_owned(), UNTIL).await.unwrap();

    server.kill();
    every_verb_faults_in_time(&*store).await;
    server.start_again();

    assert_recovers(&*store).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time_and_found_again() {
    let server = Server::start(&[]);
    let store = store(&single(&server), &clock()).await;
    store.put(&key(1), "before".to_owned(), UNTIL).await.unwrap();

    server.hang();
    every_verb_faults_in_time(&*store).await;
    server.go_on();

    assert_recovers(&*store).await;
}

/// A request after a quiet night does not pay for a connection that broke in it.
#[tokio::test]
async fn a_connection_that_broke_unused_is_made_anew_before_it_is_needed() {
    let server = Server::start(&[]);
    let store = store(&single(&server), &clock()).await;
    let connections =
        || server.say::<String>(&["CLIENT", "LIST", "TYPE", "normal"]).lines().count();
    soon_async("both connections", async || (connections() >= 3).then_some(())).await;

    server.say::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert!(connections() < 3);
    soon_async("both connections again", async || (connections() >= 3).then_some(())).await;

    store.read(&key(1)).await.unwrap();
    store.append("log", "x".to_owned(), UNTIL).await.unwrap();
}

#[tokio::test]
async fn a_full_server_is_a_fault_and_still_read() {
    let server = Server::start(&["maxmemory-policy noeviction"]);
    let store = store(&single(&server), &clock()).await;
    store.put(&key(1), "before".to_owned(), UNTIL).await.unwrap();
    server.say::<()>(&["CONFIG", "SET", "maxmemory", "1mb"]);

    assert_eq!(store.put(&key(2), "x".repeat(100_000), UNTIL).await, Err(StoreFault));

    assert_eq!(store.read(&key(1)).await.unwrap().unwrap().value, "before");
}

/// A log that was lost is not a log in which nothing happened.
#[tokio::test]
async fn a_log_that_was_lost_is_noticed() {
    let (server, clock) = (Server::start(&[]), clock());
    let store = store(&single(&server), &clock).await;
    store.append("log", "one".to_owned(), UNTIL).await.unwrap();
    let Followed::New(_, cursor) = store.follow("log", Cursor::START).await.unwrap() else {
        panic!("nothing was lost yet");
    };

    server.say::<()>(&["FLUSHALL"]);
    assert_eq!(store.follow("log", cursor).await.unwrap(), Followed::Lost);

    // Neither when it has been begun anew meanwhile.
    store.append("log", "two".to_owned(), UNTIL).await.unwrap();
    assert_eq!(store.follow("log", cursor).await.unwrap(), Followed::Lost);
    let Followed::New(entries, cursor) = store.follow("log", Cursor::START).await.unwrap() else {
        panic!("a follower that starts has lost nothing");
    };
    assert_eq!(entries, ["two"]);

    // Nor when only its end was lost, as in a failover.
    let keys: Vec<String> = server.say(&["KEYS", "*log"]);
    let [stream] = keys.as_slice() else { panic!("{keys:?}") };
    let last: Vec<(String, Vec<String>)> =
        server.say(&["XREVRANGE", stream, "+", "-", "COUNT", "1"]);
    server.say::<u32>(&["XDEL", stream, &last.first().unwrap().0]);
    store.append("log", "three".to_owned(), UNTIL).await.unwrap();
    assert_eq!(store.follow("log", cursor).await.unwrap(), Followed::Lost);

    // Nor when all that was seen of it has expired, and need not be found.
    clock.advance(Duration::from_secs(5_000));
    server.say::<()>(&["FLUSHALL"]);
    store.append("log", "four".to_owned(), Timestamp::from_seconds(10_000)).await.unwrap();
    assert_eq!(store.follow("log", cursor).await.unwrap(), Followed::Lost);
}

#[tokio::test]
async fn a_cluster_that_lost_a_node_serves_the_rest_and_heals() {
    let mut nodes = cluster();
    for node in &nodes {
        node.say::<()>(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let addresses = nodes.iter().map(Server::address).collect();
    let store = store(&settings(RedisServers::Cluster(addresses)), &clock()).await;

    let [_, lost, _] = nodes.as_mut_slice() else { panic!("three were started") };
    lost.kill();
    let (mut served, mut faults) = (0, 0);
    for number in 0..30 {
        let begun = Instant::now();
        match store.put(&key(number), "x".to_owned(), UNTIL).await {
            Ok(()) => served += 1,
            Err(StoreFault) => faults += 1,
        }
        assert!(begun.elapsed() < DEADLINE);
    }
    assert!(served >= 10 && faults >= 3, "{served} {faults}");
    lost.start_again();

    for number in 0..30 {
        soon_async("the whole cluster", async || {
            store.put(&key(number), "y".to_owned(), UNTIL).await.ok()
        })
        .await;
    }
}

async fn every_verb_faults_in_time(store: &dyn Store) {
    // Of the first, the outcome is unknown; afterwards it is known that nobody answers.
    for _ in 0..2 {
        in_time(store.read(&key(9))).await;
        in_time(store.put(&key(9), String::new(), UNTIL)).await;
        in_time(store.take(&key(9))).await;
        in_time(store.create(&key(9), String::new(), UNTIL)).await;
        in_time(store.delete(&key(9))).await;
        in_time(store.list("k")).await;
        in_time(store.append("log", String::new(), UNTIL)).await;
        in_time(store.follow("log", Cursor::START)).await;
    }
}

async fn in_time<T: std::fmt::Debug>(answer: impl Future<Output = Result<T, StoreFault>>) {
    let begun = Instant::now();
    answer.await.unwrap_err();
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
}

fn key(number: u8) -> Key {
    Key::new("k", &[number; 16])
}

/// Reads what was there, and takes what must reach a second server again.
async fn assert_recovers(store: &dyn Store) {
    let found = soon_async("recovery", async || store.read(&key(1)).await.ok()).await;
    assert_eq!(found.unwrap().value, "before");
    soon_async("recovery of what settles", async || {
        store.append("log", "after".to_owned(), UNTIL).await.ok()
    })
    .await;
}
