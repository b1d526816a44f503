//! Faults 38 and 39: told to stop amid a crowd, the program finishes every call, then lets those that listen
//! go, a few at a time. Told twice, it ends at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_doorman::clock::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::dice::Dice;
use crate::program::{Program, eventually};
use crate::support::fake_idp::FakeIdp;
use crate::wire::{self, Message, Wire};

#[tokio::test]
async fn told_to_stop_it_finishes_every_call_and_lets_the_streams_go_one_after_the_other() {
    tokio::join!(stop_amid(1000, 200, 1), stop_amid(1000, 200, 2));
}

async fn stop_amid(listening: usize, calling: usize, workers: usize) {
    let (idp, upstream) = (FakeIdp::start(Clock::System).await, Upstream::start().await);
    let more = format!("workers: {workers}\nstop: {{ keep_accepting: 2s, finish_within: 25s }}");
    let mut program = Program::start(&idp, upstream.address, &more).await;
    let token = program.token().await;
    let mut streams =
        open(&program, &upstream, 0..listening, |number| wire::listen(&token, number)).await;
    let calls = listening..listening + calling;
    let mut calls =
        open(&program, &upstream, calls, |number| wire::call(&token, number, "{}")).await;

    let told = Instant::now();
    program.signal("-TERM");
    upstream.finish();
    eventually("it to know", async || !program.is_ready().await).await;
    let mut late = program.connect().await;
    late.send(wire::call(&token, 9999, "{}")).await;
    let late = late.answer("POST").await.unwrap();
    let is_in_time = told.elapsed() < Duration::from_secs(2);

    assert!(late.status() == 200 && late.text() == answer_to(9999), "{late:?}");
    assert!(is_in_time, "it took {:?}, and has shown nothing", told.elapsed());
    let mut calls_over = Vec::new();
    while let Some(ended) = calls.join_next().await {
        let (number, answer, when) = ended.unwrap();
        assert!(answer.is_whole() && answer.status() == 200, "{answer:?}");
        assert_eq!(answer.text(), answer_to(number));
        calls_over.push(when - told);
    }
    let mut streams_over = Vec::new();
    while let Some(ended) = streams.join_next().await {
        let (number, answer, when) = ended.unwrap();
        assert!(answer.is_whole(), "it was cut after {:?}: {answer:?}", when - told);
        assert_eq!(wire::without_comments(answer.text()), format!("data: {number}\n\n"));
        streams_over.push(when - told);
    }
    let end = program.end().await;
    assert_eq!(end.code(), Some(0));
    assert_eq!((calls_over.len(), streams_over.len()), (calling, listening));
    streams_over.sort_unstable();
    let (first, last) = (streams_over[0], streams_over[listening - 1]);
    eprintln!(
        "{workers} workers: calls {}; streams from {first:.1?} to {last:.1?}; ended after {:.1?}",
        crate::distribution(calls_over.clone()),
        told.elapsed(),
    );
    for second in first.as_secs()..=last.as_secs() {
        let count = streams_over.iter().filter(|over| over.as_secs() == second).count();
        eprintln!("  {second:>3} s {:<60} {count}", "#".repeat(count * 60 / listening));
        assert!(count <= listening / 2, "{count} of {listening} at once");
    }
    assert!(last > first + Duration::from_secs(3), "from {first:?} to {last:?}");
    // Each worker lets its own go when its own calls are over.
    calls_over.sort_unstable();
    let over = if workers == 1 { calling - 1 } else { calling / 2 };
    assert!(calls_over[over] <= first, "streams ended from {first:?}, calls at {calls_over:?}");
}

#[tokio::test]
async fn told_twice_it_ends_at_once_and_nothing_looks_complete() {
    let (idp, upstream) = (FakeIdp::start(Clock::System).await, Upstream::start().await);
    let more = "stop: { keep_accepting: 5m, finish_within: 1h }";
    let mut program = Program::start(&idp, upstream.address, more).await;
    let token = program.token().await;
    let streams = open(&program, &upstream, 0..100, |number| wire::listen(&token, number)).await;
    let calls =
        open(&program, &upstream, 100..200, |number| wire::call(&token, number, "{}")).await;

    program.signal("-TERM");
    eventually("it to know", async || !program.is_ready().await).await;
    let told = Instant::now();
    program.signal("-TERM");

    let end = timeout(Duration::from_secs(10), program.end()).await;
    assert_eq!(end.unwrap().code(), Some(1));
    eprintln!("told twice: ended after {:.1?}", told.elapsed());
    for (_, answer, _) in streams.join_all().await.into_iter().chain(calls.join_all().await) {
        assert!(!answer.is_whole(), "{answer:?}");
    }
}

type Ends = JoinSet<(usize, Message, Instant)>;

/// So many requests, under way at the server; each is read to its end.
async fn open(
    program: &Program,
    upstream: &Upstream,
    numbers: std::ops::Range<usize>,
    request: impl Fn(usize) -> String,
) -> Ends {
    let mut ends = JoinSet::new();
    let until = upstream.arrived() + numbers.len();
    for number in numbers {
        let (mut client, request) = (program.connect().await, request(number));
        client.send(&request).await;
        ends.spawn(async move {
            let answer = client.answer(request.split(' ').next().unwrap()).await;
            let when = Instant::now();
            (number, answer.unwrap_or_else(nothing), when)
        });
    }
    eventually("all to be under way", async || upstream.arrived() == until).await;
    ends
}

/// Of an answer that did not begin.
fn nothing() -> Message {
    let line = ["", "0", ""].map(str::to_owned);
    Message { line, fields: Vec::new(), body: Vec::new(), trailers: 0, end: wire::End::Open }
}

/// Answers calls when it is told to, each after a while of its own.
struct Upstream {
    address: std::net::SocketAddr,
    arrived: watch::Receiver<usize>,
    finish: watch::Sender<bool>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, arrived) = watch::channel(0);
        let (finish, told) = watch::channel(false);
        let count = Arc::new(count);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&count), told.clone()));
            }
        });
        Self { address, arrived, finish }
    }

    fn arrived(&self) -> usize {
        *self.arrived.borrow()
    }

    fn finish(&self) {
        self.finish.send_replace(true);
    }
}

async fn serve(
    stream: TcpStream,
    count: Arc<watch::Sender<usize>>,
    mut told: watch::Receiver<bool>,
) {
    let mut wire = Wire::over(stream);
    while let Some(request) = wire.request().await {
        let number = request.number();
        if request.method() == "GET" {
            wire.send(format!("{}{}", wire::EVENTS, wire::event(&number.to_string()))).await;
            count.send_modify(|count| *count += 1);
            while wire.read_more().await {}
            return;
        }
        count.send_modify(|count| *count += 1);
        tokio::select! {
            told = told.wait_for(|told| *told) => drop(told.unwrap()),
            _ = wire.read_more() => return,
        }
        let answer = answer_to(number);
        if number == 9999 {
            wire.send(wire::whole(&answer)).await;
        } else {
            // Its work: some of it before the answer begins, some while it goes on.
            let work = Dice::seeded(number as u64).pause(LONGEST_CALL);
            let first = number.is_multiple_of(2);
            sleep(if first { work / 2 } else { work }).await;
            let (begin, rest) = answer.split_at(answer.len() / 2);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            wire.send(head + begin).await;
            sleep(if first { work / 2 } else { Duration::ZERO }).await;
            wire.send(rest).await;
        }
    }
}

/// Longer than a packet, so that a cut is seen.
fn answer_to(number: usize) -> String {
    format!("{{\"number\":{number},\"text\":\"{}\"}}", "x".repeat(number % 50 * 1000))
}

const LONGEST_CALL: Duration = Duration::from_secs(5);
