//! What happens where the machine has no more to give: files, connections, memory, readers of the log.

use std::fs;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval};

use crate::support::doorman::{Doorman, RESOURCE, mcp_request};
use crate::support::exchange::Request;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::http2::Shared;
use crate::support::program::{LOCAL, Program};
use crate::support::soon;

/// Fault 46 of the design. Connections that nobody closes have taken all the files that there may be.
#[tokio::test]
async fn without_files_what_is_open_goes_on_and_nothing_spins() {
    let program = Program::started(LOCAL, &["prlimit", "--nofile=64:64"]).await;
    assert_eq!(program.lines_with("\"started\"")[0]["open_files"], 64);
    let feed = program.upstream.streams_events();
    let shared = Shared::through(program.door()).await;
    let mut stream = shared.open(program.request()).await;
    feed.event("first");
    stream.until("first\n\n").await;

    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(program.address()).await.unwrap());
    }
    program.line_with("can't accept connections").await;
    // By who is connected already: there is no file for the other half of the call.
    let refused = shared.send(program.request()).await;
    let (before, begin) = (program.processor_time(), Instant::now());
    let mut each = interval(Duration::from_millis(100));
    for number in 0..20 {
        each.tick().await;
        feed.event(&format!("event {number}"));
        stream.until(&format!("event {number}\n\n")).await;
    }
    let spent = program.processor_time().saturating_sub(before);

    refused.assert_json_rpc_error(503);
    assert_eq!(refused.header("retry-after"), "5");
    let line = program.line_with("for want of room").await;
    assert_eq!(line["whose_fault"], "us");
    assert!(spent < begin.elapsed() / 4, "it took {spent:?} of {:?}", begin.elapsed());
    let told = program.lines_with("can't accept connections").len();
    assert_eq!(told, 1, "once in 10 s");
    drop(idle);
    let recovered = async {
        loop {
            let answer = shared.send(program.request()).await;
            match answer.status.as_u16() {
                200 => return,
                _ => answer.assert_json_rpc_error(503),
            };
        }
    };
    soon("a file for the call", recovered).await;
    program.door().send(program.request()).await.assert_status(200);
}

/// Fault 48 of the design: the log's reader has stopped, and the pipe to it is full.
#[tokio::test]
async fn requests_go_on_though_nobody_reads_the_log() {
    let mut program = Program::start(LOCAL, &[]).await;
    program.read_until("the IdP answers").await;
    let shared = Shared::through(program.door()).await;

    // 64 KiB fit into the pipe: each of these says more than 200 bytes.
    for _ in 0..1000 {
        shared.send(mcp_request(RESOURCE).bearer("made-up")).await.assert_status(401);
    }
    shared.send(program.request()).await.assert_status(200);
    program.read_log();

    let all = async {
        while program.lines_with("access token refused").len() < 1000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("all lines", all).await;
    assert_eq!(program.stop().await, Some(0));
    program.line_with("\"stopped\"").await;
}

#[tokio::test]
async fn requests_go_on_though_the_log_has_no_reader_any_more() {
    let mut program = Program::start(LOCAL, &[]).await;
    program.read_until("the IdP answers").await;
    program.close_log();

    for _ in 0..10 {
        let refused = program.door().send(mcp_request(RESOURCE).bearer("made-up")).await;
        refused.assert_status(401);
        program.door().send(program.request()).await.assert_status(200);
    }

    assert_eq!(program.stop().await, Some(0));
}

/// It would take all the time that whoever kills leaves us.
#[tokio::test]
async fn a_log_that_nobody_reads_does_not_hold_up_a_stop() {
    let mut program = Program::start(LOCAL, &[]).await;
    program.read_until("the IdP answers").await;
    let shared = Shared::through(program.door()).await;
    for _ in 0..500 {
        shared.send(mcp_request(RESOURCE).bearer("made-up")).await.assert_status(401);
    }
    drop(shared);
    let begin = Instant::now();

    assert_eq!(program.stop().await, Some(0));

    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_start_that_fails_says_why_before_it_ends() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let yaml = format!("listen: {}\n", taken.local_addr().unwrap());

    let mut program = Program::start(&yaml, &[]).await;

    program.read_until("can't start").await;
}

/// Fault 44 of the design.
#[tokio::test]
async fn without_memory_streams_end_and_requests_wait() {
    let group = tempfile::tempdir().unwrap();
    let used = |mib: u64| {
        // In one step, as the kernel has it.
        let written = group.path().join("written");
        fs::write(&written, format!("{}\n", mib << 20)).unwrap();
        fs::rename(&written, group.path().join("memory.current")).unwrap();
    };
    fs::write(group.path().join("memory.max"), format!("{}\n", 100 << 20)).unwrap();
    fs::write(group.path().join("memory.stat"), format!("inactive_file {}\n", 10 << 20)).unwrap();
    used(90);
    let upstream = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(upstream).memory(group.path()).start().await;
    let token = doorman.log_in().await.tokens.access;
    let listen = || Request::get(RESOURCE).bearer(&token).header("accept", "text/event-stream");
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(listen()).await;
    feed.event("before");
    stream.until("before\n\n").await;

    used(96);
    doorman.log().line_with("further listening streams are refused").await;
    let refused = doorman.door().send(listen()).await;
    doorman.call(&token).await.assert_status(200);
    feed.event("during");
    stream.until("during\n\n").await;
    used(106);
    doorman.log().line_with("further requests are refused").await;
    let also_refused = doorman.call(&token).await;
    let end = stream.next_bytes().await;
    used(50);
    doorman.log().line_with("there is memory again").await;

    for answer in [refused, also_refused] {
        answer.assert_json_rpc_error(503);
        assert_eq!(answer.header("retry-after"), "5");
    }
    assert!(end.is_none(), "not a proper end: {end:?}");
    doorman.call(&token).await.assert_status(200);
    assert_eq!(doorman.log().text().matches("memory is short: ").count(), 2);
}
