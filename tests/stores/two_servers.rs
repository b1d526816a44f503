//! What has reached two servers survives the loss of one.

use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::servers::{Server, clock, settings, single, soon, soon_async, store, try_say};
use crate::store::redis::{RedisLogin, RedisServers};
use crate::store::{Created, Cursor, Followed, Key, Reach, Store as _, StoreFault, Swap};

const UNTIL: Timestamp = Timestamp::from_seconds(5_000);

fn replica_of(master: &Server) -> Server {
    let replica = Server::start(&[
        &format!("replicaof 127.0.0.1 {}", master.port),
        "repl-diskless-load on-empty-db",
    ]);
    master.say::<()>(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    soon("a replica in step", || {
        let role: String = try_say(master.port, &["INFO", "replication"]).ok()?;
        // It takes writes only from its first acknowledgement on.
        let in_step = role.contains("state=online") && !role.contains(",offset=0,");
        in_step.then_some(())
    });
    replica
}

#[tokio::test]
async fn a_failover_loses_nothing_that_reached_two_servers() {
    let mut master = Server::start(&[]);
    let replica = replica_of(&master);
    let sentinel = Server::sentinel_of(&master, "main");
    soon("a sentinel that knows the replica", || {
        let known: String = try_say(sentinel.port, &["INFO", "sentinel"]).ok()?;
        known.contains("slaves=1").then_some(())
    });
    let settings = settings(RedisServers::Sentinel {
        sentinels: vec![sentinel.address()],
        master: "main".to_owned(),
        login: RedisLogin::default(),
    });
    let store = store(&settings, &clock()).await;
    let grant = Key::new("grant", &[1; 16]);
    let Created::New(mut version) = store.create(&grant, "0".to_owned(), UNTIL).await.unwrap()
    else {
        panic!("it was there before");
    };

    // Write on while the master dies.
    let mut settled = Vec::new();
    for number in 1.. {
        if number == 200 {
            master.kill();
        }
        let text = number.to_string();
        match store.swap(&grant, version, text.clone(), UNTIL, Reach::TwoServers).await {
            Ok(Swap::Done(next)) => version = next,
            Ok(Swap::Lost) => panic!("nobody else writes"),
            Err(StoreFault) => break,
        }
        if store.append("endings", text.clone(), UNTIL).await.is_err() {
            break;
        }
        settled.push(text);
    }
    assert!(settled.len() >= 199);
    let found = soon_async("failover", async || store.read(&grant).await.ok()).await;

    // What was under way when the master died may be there too; nothing that was answered may lack.
    let last: usize = found.unwrap().value.parse().unwrap();
    assert!(last >= settled.len(), "{last} of {}", settled.len());
    let Followed::New(entries, _) = store.follow("endings", Cursor::START).await.unwrap() else {
        panic!("nothing was lost");
    };
    assert!(entries.starts_with(&settled), "{} of {}", entries.len(), settled.len());
    assert!(
        try_say::<String>(replica.port, &["INFO", "replication"]).unwrap().contains("role:master")
    );
    // With nobody to take over from it, the new master is as far as a write can get.
    store.append("endings", "alone".to_owned(), UNTIL).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_does_not_keep_up_is_a_fault() {
    let master = Server::start(&[]);
    let replica = replica_of(&master);
    let store = store(&single(&master), &clock()).await;
    store.append("log", "before".to_owned(), UNTIL).await.unwrap();

    replica.hang();
    let begun = Instant::now();
    assert_eq!(store.append("log", "during".to_owned(), UNTIL).await, Err(StoreFault));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    replica.go_on();

    soon_async("a replica that keeps up", async || {
        store.append("log", "after".to_owned(), UNTIL).await.ok()
    })
    .await;
}

/// Only who needs two servers waits for them.
#[tokio::test]
async fn waiting_for_a_replica_holds_up_nobody_else() {
    let master = Server::start(&[]);
    let replica = replica_of(&master);
    let store = store(&single(&master), &clock()).await;
    store.append("log", "before".to_owned(), UNTIL).await.unwrap();

    replica.hang();
    let ending = store.append("log", "during".to_owned(), UNTIL);
    let others = async {
        // Once the other one waits.
        soon_async("a write that waits", async || {
            let clients: String = try_say(master.port, &["INFO", "clients"]).ok()?;
            clients.contains("blocked_clients:1").then_some(())
        })
        .await;
        let begun = Instant::now();
        store.put(&Key::new("k", &[1; 16]), String::new(), UNTIL).await.unwrap();
        begun.elapsed()
    };
    let (ending, waited) = tokio::join!(ending, others);
    replica.go_on();

    assert_eq!(ending, Err(StoreFault));
    assert!(waited < Duration::from_millis(200), "{waited:?}");
}
