//! Redis keeps the contract however it is set up.

use std::process::{Command, Stdio};

use crate::contract;
use crate::secret::Secret;
use crate::servers::{Server, clock, settings, single, soon, store, try_say};
use crate::store::redis::{RedisLogin, RedisServers, RedisTls};
use crate::store::{Cursor, Followed, Key, Store as _};

#[tokio::test]
async fn one_server_keeps_the_contract() {
    let (server, clock) = (Server::start(&[]), clock());

    contract::holds(store(&single(&server), &clock).await, &clock).await;
}

/// A user who may do only what is needed: no INFO, no CONFIG.
#[tokio::test]
async fn a_user_with_few_rights_over_tls_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let (key, roots) = (dir.path().join("key.pem"), dir.path().join("roots.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&roots)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let port = crate::servers::free_port();
    let server = Server::start_on(
        port,
        &[
            &format!("tls-port {port}"),
            &format!("tls-cert-file {}", roots.display()),
            &format!("tls-key-file {}", key.display()),
            "tls-auth-clients no",
            "user default off",
            "user doorman on >s3cr3t ~mcp-doorman:* -@all +@read +@write +@scripting +@connection \
             +wait -@dangerous",
        ],
    );
    let clock = clock();
    let mut settings = single(&server);
    settings.tls = RedisTls::OnWithRoots(roots);
    settings.login = RedisLogin {
        user: Some("doorman".to_owned()),
        password: Some(Secret::new("s3cr3t".to_owned())),
    };

    contract::holds(store(&settings, &clock).await, &clock).await;

    // Without that file its certificate is nobody's.
    settings.tls = RedisTls::On;
    let distrustful = store(&settings, &clock).await;
    assert!(distrustful.read(&Key::new("k", &[1; 16])).await.is_err());
}

#[tokio::test]
async fn a_master_that_sentinels_name_keeps_the_contract() {
    let (master, clock) = (Server::start(&[]), clock());
    let _replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
    let sentinel = Server::sentinel_of(&master, "main");
    let settings = settings(RedisServers::Sentinel {
        sentinels: vec![sentinel.address()],
        master: "main".to_owned(),
        login: RedisLogin::default(),
    });

    contract::holds(store(&settings, &clock).await, &clock).await;
}

pub fn cluster() -> Vec<Server> {
    let nodes: Vec<_> = (0..3)
        .map(|_| Server::start(&["cluster-enabled yes", "cluster-node-timeout 2000"]))
        .collect();
    let [first, ..] = nodes.as_slice() else { panic!("three were started") };
    for (node, slots) in nodes.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        node.say::<()>(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
        node.say::<()>(&["CLUSTER", "MEET", "127.0.0.1", &first.port.to_string()]);
    }
    for node in &nodes {
        soon("a cluster that is whole", || {
            let info: String = try_say(node.port, &["CLUSTER", "INFO"]).ok()?;
            (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3"))
                .then_some(())
        });
    }
    nodes
}

#[tokio::test]
async fn a_cluster_keeps_the_contract() {
    let (nodes, clock) = (cluster(), clock());
    let [first, ..] = nodes.as_slice() else { panic!("three were started") };
    let settings = settings(RedisServers::Cluster(vec![first.address()]));

    contract::holds(store(&settings, &clock).await, &clock).await;

    // Records lie on all of them, and all are listed.
    let store = store(&settings, &clock).await;
    let until = crate::clock::Timestamp::from_seconds(u64::MAX);
    for number in 0..100_u8 {
        store.put(&Key::new("spread", &[number; 16]), number.to_string(), until).await.unwrap();
    }
    for node in &nodes {
        assert!(node.say::<u32>(&["DBSIZE"]) > 10);
    }
    assert_eq!(store.list("spread").await.unwrap().len(), 100);
}

/// More than fits one answer of Redis.
#[tokio::test]
async fn what_is_long_is_read_whole() {
    let (server, clock) = (Server::start(&[]), clock());
    let store = store(&single(&server), &clock).await;
    let until = crate::clock::Timestamp::from_seconds(2_000);
    for number in 0..2_500_u32 {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        store.put(&Key::new("many", &id), number.to_string(), until).await.unwrap();
        store.append("many", number.to_string(), until).await.unwrap();
    }

    assert_eq!(store.list("many").await.unwrap().len(), 2_500);
    let Followed::New(entries, next) = store.follow("many", Cursor::START).await.unwrap() else {
        panic!("nothing was lost");
    };
    assert_eq!(entries, (0..2_500).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(store.follow("many", next).await.unwrap(), Followed::New(vec![], next));
}

/// What nobody needs any more is removed by Redis itself, and everything of ours is under the prefix.
#[tokio::test]
async fn nothing_is_left_behind() {
    let (server, clock) = (Server::start(&[]), clock());
    contract::holds(store(&single(&server), &clock).await, &clock).await;

    let keys: Vec<String> = server.say(&["KEYS", "*"]);

    assert!(!keys.is_empty());
    for key in keys {
        assert!(key.starts_with("mcp-doorman:"), "{key}");
        let expires: i64 = server.say(&["PTTL", &key]);
        let a_century = 100 * 365 * 24 * 3600 * 1000_i64;
        assert!(expires > 0 && expires <= a_century + 300_000, "{key}: {expires}");
    }
}
