//! How much of the MCP server, and of us, one client may take.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::support::doorman::{Builder, Doorman, RESOURCE};
use crate::support::exchange::{Answering, Door, Upload};
use crate::support::fake_mcp_server::{FakeMcpServer, Http2};
use crate::support::http2::Shared;
use crate::support::raw_mcp_server::RawMcpServer;
use crate::support::raw_mcp_server::Step::{Head, Rest, Say};

const MOST: usize = 1024;

/// One whose requests may be `MOST` bytes long, and a token.
async fn doorman() -> (Doorman, String) {
    before(FakeMcpServer::start().await).await
}

async fn before(upstream: FakeMcpServer) -> (Doorman, String) {
    started(Doorman::in_front_of(upstream)).await
}

/// The same in front of a server that speaks HTTP/2.
async fn doorman_before_http2() -> (Doorman, String) {
    let server = FakeMcpServer::start().await;
    let port = server.also_over_http2(Http2 { most_streams: None, tls: None }).await;
    let upstream = format!("upstream: \"http://127.0.0.1:{port}/mcp\", upstream_protocol: http2");
    started(Doorman::in_front_of(server).reaching(RESOURCE, &upstream, &[])).await
}

async fn started(doorman: Builder) -> (Doorman, String) {
    let doorman = doorman.limits(|limits| limits.request_body = MOST as u64).workers(1);
    let doorman = doorman.start().await;
    let token = doorman.log_in().await.tokens.access;
    (doorman, token)
}

/// Threat F5 of the design. Nobody else bounds what the MCP server reads into its memory.
#[tokio::test]
async fn a_body_that_says_it_is_too_large_reaches_nobody() {
    let (doorman, token) = doorman().await;
    let shared = Shared::through(doorman.door()).await;
    let request = |length| doorman.request(&token).body("x".repeat(length));

    let over_1 = doorman.door().send(request(MOST + 1)).await;
    let over_2 = shared.send(request(MOST + 1)).await;

    over_1.assert_json_rpc_error(413);
    over_2.assert_json_rpc_error(413);
    doorman.upstream().assert_untouched();
    let line = doorman.log().line_with("too large").await;
    assert!(line.contains("\"whose_fault\":\"client\""), "{line}");
    assert!(line.contains("1024 bytes that limits.request_body allows"), "{line}");
    doorman.door().send(request(MOST)).await.assert_status(200);
    shared.send(request(MOST)).await.assert_status(200);
}

/// Who has no token learns nothing of the limit.
#[tokio::test]
async fn a_large_body_without_a_token_gets_the_challenge() {
    let (doorman, _) = doorman().await;

    let answer = doorman.door().send(doorman.request("").body("x".repeat(MOST + 1))).await;

    answer.assert_status(401);
}

/// Threat F5 of the design. A limit on what comes is none on what it unpacks to.
#[tokio::test]
async fn a_packed_body_reaches_nobody() {
    let (doorman, token) = doorman().await;
    let send = async |encoding: &str| {
        let request = doorman.request(&token).header("content-encoding", encoding).body("{}");
        doorman.door().send(request).await
    };

    for encoding in ["gzip", "X-GZIP", "identity, deflate", "made-up"] {
        let answer = send(encoding).await;
        answer.assert_json_rpc_error(415);
        assert_eq!(answer.header("accept-encoding"), "identity");
    }

    doorman.upstream().assert_untouched();
    let line = doorman.log().line_with("Content-Encoding").await;
    assert!(line.contains("\"whose_fault\":\"client\""), "{line}");
    send("Identity").await.assert_status(200);
    let unknown = doorman.request("").header("content-encoding", "gzip");
    doorman.door().send(unknown).await.assert_status(401);
}

/// Chunked, or over HTTP/2 without a length.
#[tokio::test]
async fn a_body_that_grows_too_large_is_broken_off() {
    for (doorman, token) in [doorman().await, doorman_before_http2().await] {
        breaks_off_what_grows_too_large(&doorman, &token).await;
    }
}

async fn breaks_off_what_grows_too_large(doorman: &Doorman, token: &str) {
    let shared = Shared::through(doorman.door()).await;
    for is_http2 in [false, true] {
        for (more, expected) in [(MOST - 4, 200), (MOST - 3, 413)] {
            let server = doorman.upstream();
            let sending = async |pieces: mpsc::UnboundedSender<Bytes>| {
                pieces.send(Bytes::from_static(b"four")).unwrap();
                // So it is under way.
                assert_eq!(server.next_upload().await, "four");
                pieces.send(Bytes::from("x".repeat(more))).unwrap();
                match expected {
                    413 => server.hang_up().await,
                    _ => assert_eq!(server.next_upload().await.len(), more),
                }
            };
            let (pieces, receiver) = mpsc::unbounded_channel();
            let request = doorman.request(token);
            let door: Door = doorman.door();
            let asking = async {
                if is_http2 {
                    shared.open_with(request, |_| Upload(receiver).boxed()).await
                } else {
                    let request = request.into_http(&door.authority, |_| Upload(receiver));
                    door.open_body("an upload".to_owned(), request).await
                }
            };

            let (answer, ()): (Answering, ()) = tokio::join!(asking, sending(pieces));

            let answer = answer.whole().await;
            answer.assert_status(expected);
            if expected == 413 {
                answer.assert_json_rpc_error(413);
            }
        }
    }
}

/// R7 of the design: what has begun must not look whole.
#[tokio::test]
async fn an_answer_that_has_begun_breaks_off_when_its_request_grows_too_large() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
    let server = RawMcpServer::start([vec![Head, Say(head.to_vec()), Rest]]).await;
    let (doorman, token) = before(FakeMcpServer::in_place_of(&server)).await;
    let (pieces, receiver) = mpsc::unbounded_channel();
    let door = doorman.door();
    let request = doorman.request(&token).into_http(&door.authority, |_| Upload(receiver));
    pieces.send(Bytes::from_static(b"four")).unwrap();
    let mut answer = door.open_body("an upload".to_owned(), request).await;
    answer.until("data: 1\n\n").await;

    pieces.send(Bytes::from("x".repeat(MOST))).unwrap();

    let end = answer.next_bytes().await;
    assert!(matches!(end, Some(Err(_))), "it looks complete: {end:?}");
    doorman.log().line_with("limits.request_body").await;
}
