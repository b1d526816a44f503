//! A flood of registrations, from one address and from many. It fills no memory and no store; one address is
//! told to come later; whoever else registers or is logged in does not notice.

use std::fs;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::fleet::Fleet;
use crate::life;
use crate::load_balancer::LoadBalancer;
use crate::rotating_idp::RotatingIdp;
use crate::servers::Server;
use crate::sized;
use crate::support::client::metadata;
use crate::support::doorman::{HOST, ORIGIN, REDIRECT};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

#[tokio::test]
async fn a_million_registrations_fill_nothing_and_hold_up_no_login() {
    let redis = Server::start(&[]);
    let (idp, upstream) = (RotatingIdp::start(Duration::MAX).await, FakeMcpServer::start().await);
    let state = format!("{{ redis: {{ address: \"127.0.0.1:{}\" }} }}", redis.port);
    let fleet = Fleet::start(1, &idp, &upstream, &state, "trusted_proxies: [127.0.0.0/8]");
    let replica = fleet.balanced();
    let client = life::register(&replica).await.unwrap();
    let granted = life::authorize(&replica, &client).await.unwrap();
    let tokens = replica.send(life::redemption(&client, &granted)).await.unwrap().tokens();
    let memory_before = memory(&fleet);
    let count = sized(20_000, 1_000_000);
    let records: usize = redis.say(&["DBSIZE"]);

    // One address: an office, or somebody who does not stop.
    let begun = Instant::now();
    let flood =
        tokio::spawn(register_all(replica.clone(), count / 2, |_| "198.51.100.1".to_owned()));
    let mut unrelated = 0;
    while !flood.is_finished() {
        assert_registers(&replica, &format!("192.0.2.{}", unrelated % 250)).await;
        unrelated += 1;
        sleep(Duration::from_millis(100)).await;
    }
    assert!(unrelated > 0);
    let of_one = flood.await.unwrap();
    assert!(of_one.registered >= 120 && of_one.put_off > 0, "{of_one:?}");
    let memory_of_one = memory(&fleet);
    eprintln!(
        "{memory_before} KiB; {of_one:?} in {:?}, {unrelated} unrelated, {memory_of_one} KiB",
        begun.elapsed()
    );

    // An address each: nothing tells them from people, and each takes its own share only.
    let begun = Instant::now();
    let flood = tokio::spawn(register_all(replica.clone(), count / 2, |number| {
        let [_, b, c, d] = u32::try_from(number).unwrap().to_be_bytes();
        format!("100.{b}.{c}.{d}")
    }));
    let (mut calls, mut unrelated) = (0, 0);
    while !flood.is_finished() {
        let answer = replica.send(life::call(&tokens.access)).await.unwrap();
        answer.assert_status(200);
        calls += 1;
        assert_registers(&replica, &format!("192.0.2.{}", unrelated % 250)).await;
        unrelated += 1;
        sleep(Duration::from_millis(100)).await;
    }
    assert!(calls > 0 && unrelated > 0);
    let of_many = flood.await.unwrap();
    assert_eq!(of_many.registered, count / 2, "{of_many:?}");
    let memory_of_many = memory(&fleet);
    eprintln!(
        "{of_many:?} in {:?}, {calls} calls, {unrelated} unrelated, {memory_of_many} KiB",
        begun.elapsed()
    );

    // What it remembers of addresses has a bound, of clients nothing.
    assert!(memory_of_many < memory_of_one + 32 * 1024);
    assert_eq!(redis.say::<usize>(&["DBSIZE"]), records);
    let answer = replica.send(life::refresh(&client, &tokens.refresh)).await.unwrap();
    answer.assert_status(200);
}

#[derive(Clone, Copy, Debug, Default)]
struct Flood {
    registered: usize,
    put_off: usize,
}

/// So many registrations as fast as they are answered, the n-th from `address(n)`.
async fn register_all(replica: LoadBalancer, count: usize, address: fn(usize) -> String) -> Flood {
    let mut floods = JoinSet::new();
    for first in 0..CONNECTIONS {
        let replica = replica.clone();
        floods.spawn(async move {
            let mut connection = replica.connection().await;
            let mut flood = Flood::default();
            for number in (first..count).step_by(CONNECTIONS) {
                let request = registration(&address(number)).into_http(HOST, Full::new);
                connection.ready().await.unwrap();
                let answer = connection.send_request(request).await.unwrap();
                let (head, body) = answer.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                flood.count(&Exchange::of(head.status, head.headers, body));
            }
            flood
        });
    }
    let all = floods.join_all().await.into_iter();
    all.fold(Flood::default(), |all, one| Flood {
        registered: all.registered + one.registered,
        put_off: all.put_off + one.put_off,
    })
}

impl Flood {
    /// RFC 6585 §4
    fn count(&mut self, answer: &Exchange) {
        if answer.status == 201 {
            self.registered += 1;
            return;
        }
        answer.assert_error(429, "temporarily_unavailable");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{answer}");
        self.put_off += 1;
    }
}

async fn assert_registers(replica: &LoadBalancer, address: &str) {
    replica.send(registration(address)).await.unwrap().assert_status(201);
}

fn registration(address: &str) -> Request {
    let request = Request::post(&format!("{ORIGIN}/register")).json(&metadata(REDIRECT));
    request.header("x-forwarded-for", address)
}

/// What the process holds, in KiB.
fn memory(fleet: &Fleet) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", fleet.process_id(0))).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const CONNECTIONS: usize = 16;
