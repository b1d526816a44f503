//! Threat F6: thousands that connect and say nothing, or little, or little at a time. Who means well is served all the
//! while; the slow ones are closed, and nothing is left of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mcp_doorman::clock::Clock;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::program::{Program, eventually};
use crate::support::fake_idp::FakeIdp;
use crate::wire::{self, Wire};
use crate::{distribution, sized};

/// In what a client is slow.
#[derive(Clone, Copy, Debug)]
enum Slow {
    /// Says nothing.
    Silent,
    /// Stops within the head of a request.
    HalfAHead,
    /// Sends a head byte by byte.
    Head,
    /// Sends a body byte by byte, with a good token.
    Body,
    /// Stops one byte before the end of HTTP/2's preface.
    HalfAPreface,
}

#[tokio::test]
async fn those_who_are_slow_are_closed_and_take_nothing_from_others() {
    let idp = FakeIdp::start(Clock::System).await;
    let server = Server::start().await;
    let mut program = Program::start(&idp, server.address, "").await;
    let token = program.token().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let before = program.descriptors();
    let mut slow = JoinSet::new();
    for number in 0..crowd() {
        slow.spawn(be_slow(kind(number), program.connect().await, token.clone()));
    }
    eventually("all to be there", async || program.descriptors() >= before + crowd()).await;

    let mut calling = JoinSet::new();
    for client in 0..CALLERS {
        calling.spawn(call_until(Arc::clone(&is_over), program.address, token.clone(), client));
    }
    let mut closed: [Vec<Duration>; KINDS.len()] = Default::default();
    while let Some(end) = timeout(PATIENCE, slow.join_next()).await.expect("some stay") {
        let (kind, after) = end.unwrap();
        closed[kind as usize].push(after);
    }
    is_over.store(true, Ordering::Relaxed);
    let times = calling.join_all().await.concat();

    assert!(times.len() > CALLERS * 10, "only {} calls", times.len());
    assert_eq!(closed.iter().map(Vec::len).sum::<usize>(), crowd());
    // But for the connections to the server that wait for the next call.
    eventually("its files to be closed", async || {
        program.descriptors() <= before + server.open.load(Ordering::Relaxed)
    })
    .await;
    program.assert_well();
    eprintln!("{} calls meanwhile: {}", times.len(), distribution(times));
    for (kind, after) in KINDS.into_iter().zip(closed) {
        eprintln!("{} of {kind:?}, closed: {}", after.len(), distribution(after));
    }
}

/// Until it is closed; after how long that was.
async fn be_slow(kind: Slow, mut wire: Wire, token: String) -> (Slow, Duration) {
    let begun = Instant::now();
    let whole = wire::call(&token, 0, &"x".repeat(100_000));
    let head = whole.find("\r\n\r\n").unwrap() + 4;
    let (at_once, then) = match kind {
        Slow::Silent => ("", ""),
        Slow::HalfAHead => (&whole[..head / 2], ""),
        Slow::Head => ("P", &whole[1..head]),
        Slow::Body => (&whole[..=head], &whole[head + 1..]),
        Slow::HalfAPreface => ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", ""),
    };
    // It may be closed already.
    let _ = wire.try_send(at_once.as_bytes()).await;
    let mut then = then.bytes();
    loop {
        match timeout(BETWEEN_BYTES, wire.read_more()).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => {
                if let Some(byte) = then.next() {
                    let _ = wire.try_send(&[byte]).await;
                }
            }
        }
    }
    let said = String::from_utf8_lossy(&wire.read);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{kind:?}: {said}");
    (kind, begun.elapsed())
}

/// Each answered, over a connection that stays or one of its own.
async fn call_until(
    is_over: Arc<AtomicBool>,
    address: SocketAddr,
    token: String,
    client: usize,
) -> Vec<Duration> {
    let (mut times, mut wire) = (Vec::new(), Wire::connect(address).await);
    while !is_over.load(Ordering::Relaxed) {
        let number = client * 1_000_000 + times.len();
        let begun = Instant::now();
        if number.is_multiple_of(4) {
            wire = Wire::connect(address).await;
        }
        wire.send(wire::call(&token, number, "{}")).await;
        let answer = timeout(PATIENCE, wire.answer("POST")).await.unwrap().unwrap();
        assert_eq!((answer.status(), answer.text()), (200, &*number.to_string()), "{answer:?}");
        times.push(begun.elapsed());
        sleep(BETWEEN_CALLS).await;
    }
    times
}

/// Answers each call with its number.
struct Server {
    address: SocketAddr,
    /// How many connections to it there are.
    open: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let open = Arc::clone(&counted);
                open.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    wire::answer_each(stream).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, open }
    }
}

fn kind(number: usize) -> Slow {
    KINDS[number % KINDS.len()]
}

fn crowd() -> usize {
    sized(400, 4000)
}

const KINDS: [Slow; 5] =
    [Slow::Silent, Slow::HalfAHead, Slow::Head, Slow::Body, Slow::HalfAPreface];
const CALLERS: usize = 10;
const BETWEEN_BYTES: Duration = Duration::from_millis(500);
const BETWEEN_CALLS: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(90);
