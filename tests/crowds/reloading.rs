//! Fault 36: the config changes again and again amid a crowd. Nothing that is under way is cut, no call is refused.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcp_doorman::clock::Clock;
use tokio::task::JoinSet;

use crate::program::{Program, eventually};
use crate::sized;
use crate::support::exchange::Request;
use crate::support::fake_idp::FakeIdp;
use crate::under_way::{AT_ONCE, Upstream, answer_to, open};
use crate::wire;

#[tokio::test]
async fn reloaded_it_cuts_nobody_and_refuses_nobody() {
    let (listening, calling, reloads) = (1000, 200, sized(20, 500));
    let (idp, upstream) = (FakeIdp::start(Clock::System).await, Upstream::start().await);
    let more = "stop: { keep_accepting: 0s, finish_within: 25s }";
    let mut program = Program::start(&idp, upstream.address, more).await;
    let token = program.token().await;
    let streams =
        open(&program, &upstream, 0..listening, |number| wire::listen(&token, number)).await;
    let calls = listening..listening + calling;
    let calls = open(&program, &upstream, calls, |number| wire::call(&token, number, "{}")).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let (mut client, is_over) = (program.connect().await, Arc::clone(&is_over));
        let call = wire::call(&token, AT_ONCE, "{}");
        callers.spawn(async move {
            let mut calls = 0;
            while !is_over.load(Ordering::Relaxed) {
                client.send(&call).await;
                let answer = client.answer("POST").await.unwrap();
                assert!(answer.status() == 200 && answer.text() == answer_to(AT_ONCE));
                calls += 1;
            }
            calls
        });
    }

    for number in 1..=reloads {
        reload(&program, number).await;
    }
    is_over.store(true, Ordering::Relaxed);
    upstream.finish();

    let meanwhile: usize = callers.join_all().await.into_iter().sum();
    eprintln!("{reloads} reloads: {meanwhile} calls meanwhile");
    assert!(meanwhile > reloads);
    for (number, answer, _) in calls.join_all().await {
        assert!(answer.is_whole() && answer.text() == answer_to(number), "{answer:?}");
    }
    assert_eq!(streams.len(), listening);
    program.assert_well();
    program.signal("-TERM");
    for (number, answer, _) in streams.join_all().await {
        assert!(answer.is_whole(), "it was cut: {answer:?}");
        assert_eq!(wire::without_comments(answer.text()), format!("data: {number}\n\n"));
    }
    assert_eq!(program.end().await.code(), Some(0));
}

/// Each time the resource has another name, and each second time its server other deadlines, so that connections to it
/// are made anew.
async fn reload(program: &Program, number: usize) {
    let config = fs::read_to_string(program.config()).unwrap();
    let (before, rest) = config.split_once(", access: any").unwrap();
    let before = before.split(", name:").next().unwrap();
    let rest = rest.split_once(" }]").unwrap().1;
    let (name, wait) = (format!("number {number}"), 30 + number / 2);
    let config = format!(
        "{before}, name: {name}, upstream_deadlines: {{ first_byte: {wait}s }}, access: any }}]{rest}"
    );
    fs::write(program.config(), config).unwrap();
    program.signal("-HUP");
    let shown = Duration::from_secs(10);
    let has_it = async || {
        let document = Request::get("/.well-known/oauth-protected-resource/mcp");
        program.door().send(document).await.json()["resource_name"] == name.as_str()
    };
    tokio::time::timeout(shown, eventually("the new name", has_it)).await.unwrap();
}
