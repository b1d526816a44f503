//! HTTP/2 from clients, or from an ingress that puts many people's requests on one connection.

use bytes::Bytes;
use http::Version;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::support::doorman::{Doorman, Login};
use crate::support::exchange::{Answering, Request, Upload};
use crate::support::fake_idp::Person;
use crate::support::fake_mcp_server::{FakeMcpServer, Feed};
use crate::support::http2::Shared;
use crate::support::soon;

/// With one worker, so that whoever is on it shares everything that could be shared.
async fn doorman() -> (Doorman, Shared) {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).workers(1).start().await;
    let shared = Shared::through(doorman.door()).await;
    (doorman, shared)
}

async fn log_in(doorman: &Doorman, sub: &'static str) -> Login {
    doorman.idp().sign_in(Person { sub, ..Person::alice() });
    doorman.log_in().await
}

/// An event stream that has begun.
async fn stream(doorman: &Doorman, shared: &Shared, login: &Login) -> (Answering, Feed) {
    let feed = doorman.upstream().streams_events();
    let mut answer = shared.open(doorman.request(&login.tokens.access)).await;
    assert_eq!(answer.status, 200);
    doorman.upstream().arrival().await;
    feed.event("begun");
    answer.until("begun\n\n").await;
    (answer, feed)
}

/// `RST_STREAM` with a code that no client takes for a proper end.
async fn assert_reset(mut answer: Answering) {
    let end = answer.next_bytes().await;
    let Some(Err(fault)) = end else { panic!("it looks complete, or goes on: {end:?}") };
    let fault = format!("{fault:?}");
    assert!(fault.contains("INTERNAL_ERROR") && fault.contains("Remote"), "{fault}");
}

/// The MCP server can't tell the protocols apart.
#[tokio::test]
async fn a_call_is_the_same_for_the_mcp_server() {
    let (doorman, shared) = doorman().await;
    let login = doorman.log_in().await;
    let request = || {
        doorman
            .request(&login.tokens.access)
            .header("content-length", "62")
            .header("cookie", "a=1; b=2")
            .header("mcp-method", "tools/list")
            .body("x".repeat(62))
    };

    let over_1 = doorman.door().send(request()).await;
    let over_2 = shared.send(request()).await;

    assert_eq!(over_1.answer(), over_2.answer());
    let [one, two] = &doorman.upstream().received()[..] else { panic!("not two requests") };
    assert_eq!(one.headers, two.headers);
    assert_eq!((&one.method, &one.target, &one.body), (&two.method, &two.target, &two.body));
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let (doorman, shared) = doorman().await;
    let login = doorman.log_in().await;
    let (mut answer, feed) = stream(&doorman, &shared, &login).await;

    assert_eq!(answer.version, Version::HTTP_2);
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    for number in 0..5 {
        feed.event(&format!("event {number}"));
        assert_eq!(answer.until("\n\n").await, format!("data: event {number}\n\n"));
    }
    feed.end();
    assert_eq!(answer.whole().await.text(), "", "a proper end is a proper end");
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let (doorman, shared) = doorman().await;
    let login = doorman.log_in().await;
    let (answer, feed) = stream(&doorman, &shared, &login).await;

    for _ in 0..32 {
        feed.bytes("0123456789abcdef".repeat(4096));
    }
    feed.end();

    let whole = answer.whole().await;
    assert_eq!(whole.body.len(), 32 * 65_536);
    assert!(whole.body.chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
}

/// Nothing is remembered of a connection.
#[tokio::test]
async fn people_who_share_a_connection_have_their_own_identities() {
    let (doorman, shared) = doorman().await;
    let (one, two) = (log_in(&doorman, "one").await, log_in(&doorman, "two").await);
    let (_open, _feed) = stream(&doorman, &shared, &one).await;
    let call = |login: &Login| shared.open(doorman.request(&login.tokens.access));

    let (second, first) = tokio::join!(call(&two), call(&one));
    for answer in [second, first] {
        answer.whole().await.assert_status(200);
    }
    let nobody = Request::post("/mcp").header("content-type", "application/json");
    shared.send(nobody).await.assert_status(401).challenge();
    call(&two).await.whole().await.assert_status(200);

    let mut told = Vec::new();
    for received in doorman.upstream().received() {
        let [user] = received.values("x-forwarded-user")[..] else { panic!("{received:?}") };
        told.push(user.to_owned());
    }
    assert_eq!((told.len(), &*told[0], &*told[3]), (4, "one", "two"));
    told[1..3].sort_unstable();
    assert_eq!(told[1..3], ["one", "two"]);
}

#[tokio::test]
async fn a_login_that_ends_cuts_its_own_streams_only() {
    let (doorman, shared) = doorman().await;
    let (one, two) = (log_in(&doorman, "one").await, log_in(&doorman, "two").await);
    let (cut, _feed) = stream(&doorman, &shared, &one).await;
    let (mut other, feed) = stream(&doorman, &shared, &two).await;

    doorman.revoke(&one.client, &one.tokens.refresh).await.assert_status(200);

    assert_reset(cut).await;
    doorman.upstream().hang_up().await;
    feed.event("more");
    other.until("more\n\n").await;
    shared.send(doorman.request(&one.tokens.access)).await.assert_status(401);
}

/// MCP "Cancellation": closing the stream is how a client cancels.
#[tokio::test]
async fn a_client_that_leaves_a_stream_cancels_its_own_call_only() {
    let (doorman, shared) = doorman().await;
    let login = doorman.log_in().await;
    let (leaving, _feed) = stream(&doorman, &shared, &login).await;
    let (mut other, feed) = stream(&doorman, &shared, &login).await;

    leaving.hang_up();

    doorman.upstream().hang_up().await;
    feed.event("more");
    other.until("more\n\n").await;
}

/// R7
#[tokio::test]
async fn a_stream_that_breaks_off_does_not_look_complete() {
    let (doorman, shared) = doorman().await;
    let login = doorman.log_in().await;
    let (answer, feed) = stream(&doorman, &shared, &login).await;

    feed.break_off();

    assert_reset(answer).await;
}

#[tokio::test]
async fn stopping_waits_for_a_call_that_is_running() {
    let (doorman, shared) = doorman().await;
    let login = doorman.log_in().await;
    let server = doorman.upstream().clone();
    let feed = server.answers_later();
    let mut answer = shared.open(doorman.request(&login.tokens.access)).await;
    feed.bytes("{\"half\":");
    answer.until("half").await;

    let finish = async {
        feed.bytes("true}");
        feed.end();
        answer.whole().await
    };
    let ((), rest) = tokio::join!(doorman.stop(), finish);

    assert_eq!(rest.text(), "true}");
}

/// RFC 9110 §15.5.20: the one name that a request has is `:authority`.
#[tokio::test]
async fn a_name_that_is_not_ours_is_misdirected() {
    let (doorman, shared) = doorman().await;
    let login = doorman.log_in().await;
    let elsewhere = doorman.request(&login.tokens.access).header("host", "evil.example");

    shared.send(elsewhere).await.assert_json_rpc_error(421);

    doorman.upstream().assert_untouched();
}

/// An answer may come before the request is whole, as a refusal does. What the client had on its way by then is no
/// error of its, however often that happens; else it would end everybody's requests on the connection.
#[tokio::test]
async fn bodies_that_come_after_their_answers_harm_nobody() {
    let (doorman, shared) = doorman().await;
    let alice = doorman.log_in().await;
    let (mut others, feed) = stream(&doorman, &shared, &alice).await;

    for _ in 0..300 {
        let (pieces, receiver) = mpsc::unbounded_channel();
        let refused = shared.open_with(doorman.request("bad"), |_| Upload(receiver).boxed()).await;
        assert_eq!(refused.status, 401);
        pieces.send(Bytes::from_static(b"late")).unwrap();
        drop(pieces);
        refused.whole().await.assert_json_rpc_error(401);
    }

    shared.send(doorman.request(&alice.tokens.access)).await.assert_status(200);
    feed.event("still here");
    others.until("still here\n\n").await;
}

/// Who goes on sending to nobody is told to stop.
#[tokio::test]
async fn a_long_body_that_nobody_wants_is_not_read() {
    let (doorman, shared) = doorman().await;
    let (pieces, receiver) = mpsc::unbounded_channel();
    let refused = shared.open_with(doorman.request("bad"), |_| Upload(receiver).boxed()).await;
    assert_eq!(refused.status, 401);

    // The one who would send them has gone when the stream has been reset.
    let told = async {
        while pieces.send(Bytes::from_static(&[b'x'; 1024])).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the upload", told).await;
}
