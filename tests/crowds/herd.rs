//! Fault 53: after a restart everybody comes back at once, with the tokens that they have.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcp_doorman::clock::Clock;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::program::Program;
use crate::support::access_token::{IDP_KEY, of, set_of};
use crate::support::fake_idp::FakeIdp;
use crate::wire::{self, Wire};
use crate::{distribution, sized};

#[tokio::test]
async fn with_tokens_of_ours_all_are_back_within_seconds() {
    let idp = FakeIdp::start(Clock::System).await;
    let program = Program::start(&idp, upstream(), "").await;
    let mut tokens = Vec::new();
    for _ in 0..crowd() / 10 {
        tokens.push(program.token().await);
    }

    come_back(program, &idp, &tokens).await;
}

/// Its keys are fetched for all of them together.
#[tokio::test]
async fn with_tokens_of_the_idp_all_are_back_within_seconds() {
    let idp = FakeIdp::start(Clock::System).await;
    idp.publish_keys(200, set_of(&[&IDP_KEY]));
    let program = Program::start(&idp, upstream(), "tokens: { issued_by: idp }").await;
    let now = Clock::System.now().seconds();
    let token = |number: usize| {
        let of_person = of(&idp, "somebody", now).claim("jti", number.to_string());
        of_person.signed_by(&IDP_KEY)
    };
    let tokens: Vec<String> = (0..crowd()).map(token).collect();

    come_back(program, &idp, &tokens).await;
}

/// All clients, after a restart.
async fn come_back(mut program: Program, idp: &FakeIdp, tokens: &[String]) {
    let mut connected = JoinSet::new();
    for number in 0..crowd() {
        let (token, mut client) = (tokens[number % tokens.len()].clone(), program.connect().await);
        connected.spawn(async move {
            client.send(wire::call(&token, number, "{}")).await;
            let answer = client.answer("POST").await.unwrap();
            assert_eq!(answer.status(), 200, "{answer:?}");
            (token, client)
        });
    }
    let clients = connected.join_all().await;
    let before = (fetches(idp), idp.asked("/authorize").len(), idp.asked("/token").len());

    program.kill();
    let begun = Instant::now();
    program.start_again();
    let mut coming = JoinSet::new();
    for (number, (token, client)) in clients.into_iter().enumerate() {
        drop(client);
        coming.spawn(come_in(program.address, token, number, begun));
    }
    let (times, put_off): (Vec<Duration>, Vec<usize>) = coming.join_all().await.into_iter().unzip();

    let after = (fetches(idp), idp.asked("/authorize").len(), idp.asked("/token").len());
    assert_eq!(times.len(), crowd());
    assert!(after.0 - before.0 <= 1, "the keys were fetched {} times", after.0 - before.0);
    assert_eq!((after.1, after.2), (before.1, before.2), "somebody had to log in");
    program.assert_well();
    eprintln!(
        "{} back, {} after the restart, {} times put off; keys fetched {} times",
        times.len(),
        distribution(times),
        put_off.iter().sum::<usize>(),
        after.0 - before.0,
    );
}

fn fetches(idp: &FakeIdp) -> usize {
    idp.asked("/jwks").len()
}

/// As soon as it listens. When the answer came since `begun`, and how often it was 503 before.
async fn come_in(
    address: SocketAddr,
    token: String,
    number: usize,
    begun: Instant,
) -> (Duration, usize) {
    let mut put_off = 0;
    while begun.elapsed() < PATIENCE {
        let Ok(mut client) = Wire::try_connect(address).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        client.send(wire::call(&token, number, "{}")).await;
        let answer = client.answer("POST").await.unwrap();
        if answer.status() == 200 {
            assert_eq!(answer.text(), number.to_string());
            return (begun.elapsed(), put_off);
        }
        assert_eq!(answer.status(), 503, "{answer:?}");
        put_off += 1;
        sleep(Duration::from_millis(200)).await;
    }
    panic!("client {number} did not come in, {put_off} times put off");
}

/// Answers each call with its number.
fn upstream() -> SocketAddr {
    // Room for all: it is not the server that is tried.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(4096).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(wire::answer_each(stream));
        }
    });
    address
}

/// Two files each are as many as a process may have.
fn crowd() -> usize {
    sized(2000, 9000)
}

const PATIENCE: Duration = Duration::from_secs(60);
