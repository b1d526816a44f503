//! MCP servers that speak HTTP/2: the same as over HTTP/1, on connections that many requests share. None waits there
//! unseen, none is sent twice, and what goes wrong with one stream is felt by no other.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http_body::{Body, Frame};
use tempfile::tempdir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::doorman::{Builder, Doorman, RESOURCE};
use crate::support::exchange::{Answering, Door, Exchange, Request};
use crate::support::fake_mcp_server::{FakeMcpServer, Flood, Http2};
use crate::support::http2_mcp_server::Http2McpServer;
use crate::support::http2_mcp_server::Step::{
    self, Break, Data, Head, HeadAlone, Interim, LastData, Reset, Rest, Trailers, UntilToldTo,
};
use crate::support::soon;
use crate::support::tls_authority::{Clients, TlsAuthority};
use crate::upstream_kinds::carries_calls_and_streams;

/// A doorman with one worker, so that all streams can share, before `server`.
async fn before(server: FakeMcpServer, most_streams: Option<u32>) -> (Builder, String) {
    let port = server.also_over_http2(Http2 { most_streams, tls: None }).await;
    let address = format!("127.0.0.1:{port}");
    (reaching(server, &format!("http://{address}/mcp"), ""), address)
}

fn reaching(server: FakeMcpServer, url: &str, more: &str) -> Builder {
    let yaml = format!("upstream: \"{url}\", upstream_protocol: http2{more}");
    let doorman = Doorman::in_front_of(server).workers(1).reaching(RESOURCE, &yaml, &[]);
    doorman.limits(|limits| limits.request_body = LONG as u64)
}

async fn started(server: FakeMcpServer, most_streams: Option<u32>) -> (Doorman, String) {
    let doorman = before(server, most_streams).await.0.start().await;
    doorman.until_ready().await;
    // By which it was seen that it speaks HTTP/2.
    doorman.upstream().connection().await;
    let token = doorman.log_in().await.tokens.access;
    (doorman, token)
}

/// A doorman before a server that plays `script`, and a token.
async fn playing(script: &[Step]) -> (Http2McpServer, Doorman, String) {
    let server = Http2McpServer::start(script).await;
    let doorman = reaching(FakeMcpServer::start().await, &server.url(), "").start().await;
    let token = doorman.log_in().await.tokens.access;
    (server, doorman, token)
}

async fn opened_at_once(door: &Door, request: &Request, count: usize) -> Vec<Answering> {
    let open = |_| {
        let (door, request) = (door.clone(), request.clone());
        async move { door.open(request).await }
    };
    (0..count).map(open).collect::<JoinSet<_>>().join_all().await
}

async fn sent_at_once(door: &Door, requests: Vec<Request>) -> Vec<Exchange> {
    let send = |request| {
        let door = door.clone();
        async move { door.send(request).await }
    };
    requests.into_iter().map(send).collect::<JoinSet<_>>().join_all().await
}

#[tokio::test]
async fn a_server_that_speaks_http2_is_as_good_as_any() {
    let (builder, address) = before(FakeMcpServer::start().await, None).await;

    carries_calls_and_streams(builder.start().await, &address).await;
}

/// RFC 9113 §3.2
#[tokio::test]
async fn a_server_that_speaks_http2_over_tls_is_as_good_as_any() {
    let authority = TlsAuthority::new();
    let server = FakeMcpServer::start().await;
    let tls = authority.signs("localhost").speaking(Some(b"h2"), Clients::Anybody);
    let port = server.also_over_http2(Http2 { most_streams: None, tls: Some(tls) }).await;
    let address = format!("localhost:{port}");
    let yaml = format!(
        "upstream: https://{address}/mcp, upstream_protocol: http2, upstream_tls: {{ ca: /ca.pem }}"
    );
    let files = [("/ca.pem", authority.pem())];
    let builder = Doorman::in_front_of(server).reaching(RESOURCE, &yaml, &files);

    carries_calls_and_streams(builder.start().await, &address).await;
}

/// RFC 9113 §8.2.2, §8.3.1
#[tokio::test]
async fn a_request_has_no_field_of_a_connection() {
    let (doorman, token) = started(FakeMcpServer::start().await, None).await;

    let request = doorman.request(&token).header("connection", "x-own").header("x-own", "1");
    let request = request.header("te", "trailers").header("keep-alive", "timeout=5");
    doorman.send(request.header("x-other", "2")).await.assert_status(200);

    let received = doorman.upstream().only_request();
    for name in ["connection", "x-own", "te", "keep-alive", "host", "transfer-encoding"] {
        assert!(received.values(name).is_empty(), "{name}");
    }
    assert_eq!(received.values("x-other"), ["2"]);
    assert_eq!(received.values("x-forwarded-user").len(), 1);
}

/// What does not speak HTTP/2 is told nothing, and the operator is told what it is.
#[tokio::test]
async fn a_server_that_does_not_speak_http2_is_a_server_that_cannot_be_reached() {
    let authority = TlsAuthority::new();
    let server = FakeMcpServer::start().await;
    let plain = server.url("/mcp");
    let tls = authority.signs("localhost").acceptor(Clients::Anybody);
    let over_tls = format!("https://localhost:{}/mcp", server.also_over_tls(tls).await);
    // It would speak it, but does not say so.
    let tls = authority.signs("localhost").speaking(None, Clients::Anybody);
    let port = server.also_over_http2(Http2 { most_streams: None, tls: Some(tls) }).await;
    let silent = format!("https://localhost:{port}/mcp");
    for (url, why) in [
        (plain, "no HTTP/2"),
        (over_tls, "NoApplicationProtocol"),
        (silent, "it does not agree to HTTP/2 (ALPN)"),
    ] {
        let server = FakeMcpServer::start().await;
        let yaml = format!("upstream: {url}, upstream_protocol: http2");
        let yaml =
            if url.starts_with("https") { yaml + ", upstream_tls: { ca: /ca.pem }" } else { yaml };
        let files = [("/ca.pem", authority.pem())];
        let doorman = Doorman::in_front_of(server).reaching(RESOURCE, &yaml, &files).start().await;
        let token = doorman.log_in().await.tokens.access;

        doorman.call(&token).await.assert_json_rpc_error(502);

        doorman.health().send(Request::get("/readyz")).await.assert_status(503);
        for line in ["waiting for the upstream", "request not answered"] {
            let line = doorman.log().line_with(line).await;
            assert!(line.contains(&url) && line.contains(why), "{line}");
        }
    }
    server.assert_untouched();
}

/// Fault 24: a client that counted no streams hung 4,800 of 5,000 here, without an error.
#[tokio::test]
async fn no_stream_waits_for_another_to_end() {
    let server = FakeMcpServer::start().await;
    server.streams_to_everybody();
    let (doorman, token) = started(server, Some(20)).await;
    let (door, request) = (doorman.door(), doorman.request(&token));

    let mut streams = opened_at_once(&door, &request, 200).await;

    doorman.upstream().tells_everybody("alive");
    for stream in &mut streams {
        assert_eq!(stream.status, 200);
        assert_eq!(stream.until("\n\n").await, "data: alive\n\n");
    }
    assert_eq!(doorman.upstream().connections(), 10, "connections for 200 streams");
    assert_eq!(doorman.upstream().received().len(), 200);
}

/// A herd must not open a connection each where one does.
#[tokio::test]
async fn what_comes_at_once_shares_a_connection() {
    let (doorman, token) = started(FakeMcpServer::start().await, None).await;
    let (door, request) = (doorman.door(), doorman.request(&token));

    let answers = sent_at_once(&door, vec![request; 100]).await;

    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(doorman.upstream().connections(), 1);
}

#[tokio::test]
async fn who_finds_no_room_is_told_to_come_again() {
    let server = FakeMcpServer::start().await;
    server.streams_to_everybody();
    let (doorman, token) = started(server, Some(1)).await;
    let (door, request) = (doorman.door(), doorman.request(&token));
    let mut streams = opened_at_once(&door, &request, 64).await;
    assert!(streams.iter().all(|stream| stream.status == 200));

    let answer = doorman.call(&token).await;

    answer.assert_json_rpc_error(503);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(doorman.upstream().received().len(), 64);
    // Who leaves makes room.
    streams.pop().unwrap().hang_up();
    doorman.upstream().hang_up().await;
    doorman.until_open_answers(63).await;
    assert_eq!(door.open(request).await.status, 200);
}

/// RFC 9113 §6.8
#[tokio::test]
async fn a_connection_that_goes_away_ends_its_streams_and_begins_none() {
    let (doorman, token) = started(FakeMcpServer::start().await, None).await;
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    feed.event("before");
    stream.until("before").await;

    doorman.upstream().goes_away();
    for _ in 0..20 {
        doorman.call(&token).await.assert_status(200);
    }

    feed.event("after");
    assert_eq!(stream.until("\n\n").await, "data: after\n\n");
    feed.end();
    assert!(stream.next_bytes().await.is_none(), "a proper end is a proper end");
    assert_eq!(doorman.upstream().connections(), 2);
}

/// A request must not be lost because an idle connection was closed, and not be sent twice to save it.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used() {
    let (doorman, token) = started(FakeMcpServer::start().await, None).await;

    for _ in 0..20 {
        doorman.call(&token).await.assert_status(200);
        doorman.upstream().breaks_connections();
        let closed = async {
            while doorman.upstream().open_connections() > 0 {
                tokio::task::yield_now().await;
            }
        };
        soon("its end", closed).await;
    }
}

/// Fault 21: the upstream hears of it, and of no other's end.
#[tokio::test]
async fn a_client_that_leaves_ends_its_own_stream_alone() {
    let (doorman, token) = started(FakeMcpServer::start().await, None).await;
    let feed = doorman.upstream().streams_events();
    let mut stays = doorman.door().open(doorman.request(&token)).await;
    let other_feed = doorman.upstream().streams_events();
    let mut leaves = doorman.door().open(doorman.request(&token)).await;
    other_feed.event("begun");
    leaves.until("begun").await;

    leaves.hang_up();

    doorman.upstream().hang_up().await;
    feed.event("alive");
    assert_eq!(stays.until("\n\n").await, "data: alive\n\n");
    assert_eq!(doorman.upstream().connections(), 1);
}

/// RFC 9113 §7: by CANCEL, also before there is an answer.
#[tokio::test]
async fn what_is_not_wanted_any_more_is_cancelled() {
    for script in [&[Rest][..], &[Head(200, "", ""), Data("begun"), Rest]] {
        let (server, doorman, token) = playing(script).await;
        let (door, request) = (doorman.door(), doorman.request(&token));

        let asking = async {
            let mut answer = door.open(request).await;
            answer.until("begun").await;
        };
        let _ = timeout(Duration::from_millis(500), asking).await;

        let reset = async {
            while server.resets().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        soon("a reset", reset).await;
        assert_eq!(server.resets(), [Reason::CANCEL], "{script:?}");
    }
}

/// R7 of the design. The client can't know what has happened, so nothing is tried again; not even what the upstream
/// says that it has not done (RFC 9113 §8.7), because it is its word alone.
#[tokio::test]
async fn what_is_no_answer_is_a_502_and_is_not_asked_for_again() {
    let many_interim = [&[Interim(103); 17][..], &[HeadAlone(200, "", "")]].concat();
    for script in [
        &[Reset(Reason::REFUSED_STREAM)][..],
        &[Reset(Reason::NO_ERROR)],
        &[Reset(Reason::INTERNAL_ERROR)],
        &[Interim(100), Reset(Reason::CANCEL)],
        &[Break, Rest],
        &many_interim,
        &[Interim(101), Rest],
        &[HeadAlone(600, "", "")],
    ] {
        let (server, doorman, token) = playing(script).await;

        let answer = doorman.call(&token).await;

        answer.assert_json_rpc_error(502);
        assert_eq!(server.requests(), 1, "{script:?}");
        assert!(doorman.log().text().contains("no whole answer"), "{script:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_break_off() {
    for (name, value, data, then) in [
        ("", "", "begun", Reset(Reason::INTERNAL_ERROR)),
        ("", "", "begun", Reset(Reason::CANCEL)),
        // No end, whatever its name.
        ("", "", "begun", Reset(Reason::NO_ERROR)),
        ("", "", "begun", Break),
        ("content-length", "9", "begun", LastData("")),
        ("content-length", "9", "begun", Trailers),
        ("content-length", "9", "begun", LastData("too long")),
    ] {
        let script = [Head(200, name, value), UntilToldTo, Data(data), then, Rest];
        let (server, doorman, token) = playing(&script).await;

        let mut answer = doorman.door().open(doorman.request(&token)).await;
        assert_eq!(answer.status, 200);
        server.go_on();

        let end = loop {
            match answer.next_bytes().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(end.is_some_and(|end| end.is_err()), "it looks whole: {script:?}");
        assert!(doorman.log().text().contains("answer broke off"), "{script:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_whole_is_whole() {
    for (script, expected) in [
        (&[Head(200, "", ""), Data("wh"), LastData("ole")][..], "whole"),
        (&[Head(200, "content-length", "5"), Data("whole"), LastData("")], "whole"),
        (&[Head(200, "", ""), Data("whole"), Trailers], "whole"),
        (&[Interim(100), Interim(103), Head(200, "", ""), LastData("whole")], "whole"),
        (&[HeadAlone(200, "", "")], ""),
        (&[Head(200, "", ""), LastData("")], ""),
        (&[HeadAlone(204, "", "")], ""),
        (&[HeadAlone(304, "content-length", "5")], ""),
    ] {
        let (server, doorman, token) = playing(script).await;

        for _ in 0..3 {
            let answer = doorman.call(&token).await;
            assert_eq!(answer.text(), expected, "{script:?}");
            assert!(!answer.headers.contains_key("x-late"));
        }

        assert_eq!(server.requests(), 3);
    }
}

/// RFC 9113 §8.1: an answer may come before the request is whole, and says why. The reset that follows it, with
/// `NO_ERROR`, takes nothing away.
#[tokio::test]
async fn an_early_answer_reaches_the_client() {
    let refused = FakeMcpServer::start().await;
    refused.answers(413, &[], "too large");
    refused.answers_unread();
    let (doorman, token) = started(refused, None).await;

    let request = doorman.request(&token).body(vec![b'x'; 8 * 1024 * 1024]);
    let answer = doorman.send(request).await;

    assert_eq!(answer.assert_status(413).text(), "too large");
    let request = doorman.request(&token).body(vec![b'x'; 8 * 1024 * 1024]);
    assert_eq!(doorman.send(request).await.assert_status(413).text(), "too large");
    assert_eq!(doorman.upstream().connections(), 1);
}

/// Fault 20, the other way round: what the upstream does not take, the client keeps.
#[tokio::test]
async fn an_upload_goes_no_faster_than_the_upstream_takes_it() {
    let (doorman, token) = started(FakeMcpServer::start().await, None).await;
    doorman.upstream().reads_uploads(false);
    let given = Arc::new(AtomicUsize::new(0));
    let upload = Given(Arc::clone(&given));
    let door = doorman.door();
    let request = doorman.request(&token).into_http(&door.authority, |_| upload);
    let server = doorman.upstream();

    let watching = async {
        server.arrival().await;
        let all = async {
            while given.load(Ordering::Relaxed) < LONG {
                tokio::task::yield_now().await;
            }
        };
        let all = timeout(Duration::from_millis(700), all).await;
        assert!(all.is_err(), "all of it was taken, and none of it was read");
        assert!(given.load(Ordering::Relaxed) < LONG / 2, "{given:?} of {LONG}");
        server.reads_uploads(true);
    };
    let (answer, ()) = tokio::join!(door.open_body("an upload".to_owned(), request), watching);

    answer.whole().await.assert_status(200);
    let received = server.only_request().body;
    assert!(received.len() == LONG && received.iter().all(|byte| *byte == b'x'));
}

/// Fault 20: what its client does not read, the upstream keeps; other streams go on.
#[tokio::test]
async fn an_answer_goes_no_faster_than_the_client_takes_it() {
    let (doorman, token) = started(FakeMcpServer::start().await, None).await;
    let flood = doorman.upstream().floods(LONG);
    let door = doorman.door().receiving(64 * 1024);
    let mut stream = door.open(doorman.request(&token)).await;
    let all = async {
        while flood.taken() < LONG {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(Duration::from_millis(700), all).await.is_err(), "all of it was taken");
    let ahead = flood.taken();
    assert!(ahead < LONG / 2, "{ahead} of {LONG}");

    for _ in 0..20 {
        soon("another's answer", doorman.call(&token)).await.assert_status(200);
    }

    let mut read = 0;
    while let Some(bytes) = stream.next_bytes().await {
        let bytes = bytes.unwrap();
        let is_as_sent = |(at, byte): (usize, &u8)| *byte == Flood::byte_at(read + at, LONG);
        assert!(bytes.iter().enumerate().all(is_as_sent), "other bytes after {read}");
        read += bytes.len();
    }
    assert_eq!(read, LONG);
    assert_eq!(doorman.upstream().connections(), 1);
}

/// A few clients that read nothing must not use up what all streams share.
#[tokio::test]
async fn those_who_read_nothing_hold_up_nobody() {
    let (doorman, token) = started(FakeMcpServer::start().await, None).await;
    let door = doorman.door().receiving(4 * 1024);
    let mut stuck = Vec::new();
    for _ in 0..16 {
        let _flood = doorman.upstream().floods(LONG);
        stuck.push(door.open(doorman.request(&token)).await);
    }

    for _ in 0..20 {
        soon("another's answer", doorman.call(&token)).await.assert_status(200);
    }

    assert_eq!(doorman.upstream().connections(), 1);
    drop(stuck);
}

/// Fault 15: executions are never more than calls, whenever connections die.
#[tokio::test]
async fn no_call_is_made_twice_when_connections_die() {
    let (doorman, token) = started(FakeMcpServer::start().await, Some(10)).await;
    let (door, server) = (doorman.door(), doorman.upstream());
    let (mut whole, mut calls) = (0, 0);
    let killing = async {
        loop {
            tokio::time::sleep(Duration::from_millis(7)).await;
            server.breaks_connections();
            tokio::time::sleep(Duration::from_millis(5)).await;
            server.goes_away();
        }
    };
    let calling = async {
        for round in 0..30 {
            let request = |number| {
                let id = format!("{round}-{number}");
                doorman.request(&token).header("x-call", &id)
            };
            for answer in sent_at_once(&door, (0..40).map(request).collect()).await {
                assert!([200, 502].contains(&answer.status.as_u16()), "{}", answer.status);
                whole += usize::from(answer.status == 200);
                calls += 1;
            }
        }
    };
    tokio::select! { () = killing => {}, () = calling => {} }

    let received = server.received();
    let mut ids: Vec<_> = received.iter().map(|request| request.values("x-call")[0]).collect();
    ids.sort_unstable();
    let executions = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), executions, "a call was made twice");
    assert!(whole <= executions && executions <= calls, "{whole} {executions} {calls}");
    assert!(whole < calls && whole > 0, "{whole} of {calls}: connections died, or all did");
    // It is as before.
    doorman.call(&token).await.assert_status(200);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", silent.local_addr().unwrap());
    let more = ", upstream_deadlines: { connect: 200ms }";
    let doorman = reaching(FakeMcpServer::start().await, &url, more).start().await;
    let token = doorman.log_in().await.tokens.access;
    let (door, request) = (doorman.door(), doorman.request(&token));

    let answers = soon("answers", sent_at_once(&door, vec![request; 20])).await;

    for answer in answers {
        answer.assert_json_rpc_error(502);
    }
    let line = doorman.log().line_with("request not answered").await;
    assert!(line.contains("can't connect: timed out"), "{line}");
}

#[tokio::test]
async fn a_call_that_is_not_answered_is_given_up_alone() {
    let server = FakeMcpServer::start().await;
    let port = server.also_over_http2(Http2::default()).await;
    let more = ", upstream_deadlines: { first_byte: 1s }";
    let url = format!("http://127.0.0.1:{port}/mcp");
    let doorman = reaching(server, &url, more).start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    doorman.upstream().never_answers();

    doorman.call(&token).await.assert_json_rpc_error(504);

    doorman.upstream().hang_up().await;
    feed.event("alive");
    assert_eq!(stream.until("\n\n").await, "data: alive\n\n");
}

/// Servers close what is idle, and a request that crosses that on its way would be lost.
#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let (doorman, token) = started(FakeMcpServer::start().await, None).await;
    doorman.call(&token).await.assert_status(200);

    let closed = async {
        while doorman.upstream().open_connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("its end", closed).await;

    doorman.call(&token).await.assert_status(200);
    assert_eq!(doorman.upstream().connections(), 2);
}

#[tokio::test]
async fn a_socket_may_speak_http2() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("server.sock");
    let server = FakeMcpServer::start().await;
    server.also_at_over_http2(&socket);
    let url = format!("unix:{}:/mcp", socket.display());
    let doorman = reaching(server, &url, "").start().await;
    let token = doorman.log_in().await.tokens.access;

    doorman.call(&token).await.assert_status(200);

    assert_eq!(doorman.upstream().only_request().authority.as_deref(), Some("localhost"));
}

const LONG: usize = 64 * 1024 * 1024;

/// A request body, and how much of it was taken.
struct Given(Arc<AtomicUsize>);

impl Body for Given {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: &[u8] = &[b'x'; 64 * 1024];
        if self.0.load(Ordering::Relaxed) == LONG {
            return Poll::Ready(None);
        }
        self.0.fetch_add(PIECE.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))))
    }
}
