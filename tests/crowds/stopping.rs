//! Faults 38 and 39: told to stop amid a crowd, the program finishes every call, then lets those that listen
//! go, a few at a time. Told twice, it ends at once.

use std::time::{Duration, Instant};

use mcp_doorman::clock::Clock;
use tokio::time::timeout;

use crate::program::{Program, eventually};
use crate::support::fake_idp::FakeIdp;
use crate::under_way::{AT_ONCE, Upstream, answer_to, open};
use crate::wire;

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
    late.send(wire::call(&token, AT_ONCE, "{}")).await;
    let late = late.answer("POST").await.unwrap();
    let is_in_time = told.elapsed() < Duration::from_secs(2);

    assert!(late.status() == 200 && late.text() == answer_to(AT_ONCE), "{late:?}");
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
