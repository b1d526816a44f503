//! Faults 21 and 22: a client that goes away is seen to go by the MCP server, however it goes, each time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mcp_doorman::clock::Clock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::program::{Program, eventually};
use crate::support::fake_idp::FakeIdp;
use crate::wire::{self, Wire};
use crate::{distribution, sized};

/// What the MCP server has seen of each request, by its number.
#[derive(Debug)]
struct Watcher(Mutex<Vec<Seen>>);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    times: usize,
    has_ended: Option<Instant>,
}

/// How a client goes.
#[derive(Clone, Copy, Debug)]
enum Going {
    Fin,
    Rst,
    /// Says that it has nothing more to say, and goes on reading. Counts as gone.
    Half,
}

#[tokio::test]
async fn every_client_that_goes_is_seen_to_go_by_the_mcp_server() {
    let count = sized(10_000, 30_000);
    let idp = FakeIdp::start(Clock::System).await;
    let watcher = Arc::new(Watcher(Mutex::new(vec![Seen::default(); count])));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::clone(&watcher)));
    let mut program = Program::start(&idp, upstream, "streams: { comment_every: none }").await;
    let token = program.token().await;
    let before = program.descriptors();
    let mut times: [Vec<Duration>; 3] = Default::default();

    for wave in 0..count / WAVE {
        let numbers = wave * WAVE..(wave + 1) * WAVE;
        let mut clients: JoinSet<(usize, Wire)> = JoinSet::new();
        for number in numbers.clone() {
            clients.spawn(open(program.connect().await, token.clone(), number));
        }
        let clients = clients.join_all().await;
        eventually("all to be open", async || {
            watcher.seen(numbers.clone(), |seen| seen.times == 1)
        })
        .await;
        assert!(watcher.seen(numbers.clone(), |seen| seen.has_ended.is_none()), "some are closed");

        let mut gone = Vec::new();
        let mut half_closed = Vec::new();
        for (number, mut client) in clients {
            let went = Instant::now();
            match going(number) {
                Going::Fin => drop(client),
                Going::Rst => {
                    client.stream.set_zero_linger().unwrap();
                    drop(client);
                }
                Going::Half => {
                    client.stream.shutdown().await.unwrap();
                    half_closed.push((number, client));
                }
            }
            gone.push((number, went));
        }
        let all = || watcher.seen(numbers.clone(), |seen| seen.has_ended.is_some());
        eventually("all to be seen to go", async || all()).await;
        for (number, went) in gone {
            let seen = watcher.0.lock().unwrap()[number].has_ended.unwrap();
            let took = seen - went;
            assert!(took < LONGEST, "{:?}, after {took:?}", going(number));
            times[number % 3].push(took);
        }
        // Who still reads, reads that nothing was finished.
        for (number, mut client) in half_closed {
            while client.read_more().await {}
            let read = client.read.escape_ascii().to_string();
            assert_eq!(read.is_empty(), !is_stream(number), "{read}");
            assert!(!client.read.ends_with(wire::LAST_CHUNK.as_bytes()), "{read}");
        }
    }

    assert!(watcher.seen(0..count, |seen| seen.times == 1), "one was sent twice");
    eventually("its descriptors back", async || program.descriptors() <= before).await;
    program.assert_well();
    for (way, times) in [Going::Fin, Going::Rst, Going::Half].iter().zip(times) {
        eprintln!("{way:?}: all {} seen, {}", times.len(), distribution(times));
    }
}

async fn open(mut client: Wire, token: String, number: usize) -> (usize, Wire) {
    if is_stream(number) {
        client.send(wire::listen(&token, number)).await;
        client.until(&format!("data: {number}\n\n\r\n")).await;
    } else {
        client.send(wire::call(&token, number, "{}")).await;
    }
    (number, client)
}

fn going(number: usize) -> Going {
    [Going::Fin, Going::Rst, Going::Half][number % 3]
}

fn is_stream(number: usize) -> bool {
    number.is_multiple_of(2)
}

impl Watcher {
    fn seen(&self, mut numbers: std::ops::Range<usize>, is_so: impl Fn(&Seen) -> bool) -> bool {
        let seen = self.0.lock().unwrap();
        numbers.all(|number| is_so(&seen[number]))
    }
}

/// Streams say something, calls are not answered; each lasts until its connection ends.
async fn serve(listener: TcpListener, watcher: Arc<Watcher>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(watch(stream, Arc::clone(&watcher)));
    }
}

async fn watch(stream: TcpStream, watcher: Arc<Watcher>) {
    let mut wire = Wire::over(stream);
    // Those by which readiness is seen bring nothing.
    let Some(request) = wire.request().await else { return };
    let number = request.number();
    watcher.0.lock().unwrap()[number].times += 1;
    if request.method() == "GET" {
        let event = wire::event(&number.to_string());
        wire.send(format!("{}{event}", wire::EVENTS)).await;
    }
    while wire.read_more().await {}
    watcher.0.lock().unwrap()[number].has_ended = Some(Instant::now());
}

const WAVE: usize = 500;
/// On a machine that does other things too.
const LONGEST: Duration = Duration::from_secs(5);
