//! The old HTTP+SSE transport (MCP 2024-11-05): a stream whose first event says where messages go. Both are
//! guarded, and messages belong to whoever opened the stream.

use http::Method;
use serde_json::{Value, json};

use crate::support::doorman::{Doorman, ORIGIN, RESOURCE, code_form};
use crate::support::exchange::{Answering, Exchange, Request};
use crate::support::fake_idp::Person;
use crate::support::fake_mcp_server::{FakeMcpServer, Feed};

const OTHER: &str = "https://tools.example.com/other";
/// As the upstream names the session.
const OWN: &str = "0f3c-canary-session";

async fn doorman() -> Doorman {
    Doorman::in_front_of(FakeMcpServer::start().await).upstream_path("/sse").start().await
}

/// A stream that was opened with the old transport, and where its client then sends messages.
struct Stream {
    feed: Feed,
    client: Answering,
    endpoint: String,
}

fn get(token: &str) -> Request {
    Request::get(RESOURCE).header("accept", "text/event-stream").bearer(token)
}

/// The upstream says `first` on a stream that `token` opens.
async fn hears(doorman: &Doorman, token: &str, first: &[u8]) -> (Feed, Answering) {
    let feed = doorman.upstream().streams_events();
    let client = doorman.door().open(get(token)).await;
    assert_eq!(client.status, 200);
    feed.bytes(first.to_vec());
    (feed, client)
}

impl Stream {
    /// The upstream wants messages at `url`.
    async fn open(doorman: &Doorman, token: &str, url: &str) -> Self {
        let first = format!("event: endpoint\ndata: {url}\n\n");
        let (feed, mut client) = hears(doorman, token, first.as_bytes()).await;
        let event = client.until("\n\n").await;
        let endpoint = event.strip_prefix("event: endpoint\ndata: ").unwrap();
        let endpoint = endpoint.strip_suffix("\n\n").unwrap().to_owned();
        Self { feed, client, endpoint }
    }
}

fn message(method: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method })
}

/// As a client sends it, which resolves the URL.
async fn post(doorman: &Doorman, token: &str, endpoint: &str) -> Exchange {
    let url = url::Url::parse(RESOURCE).unwrap().join(endpoint).unwrap();
    assert_eq!(url.origin().ascii_serialization(), ORIGIN, "clients refuse another origin");
    doorman.send(Request::post(url.as_str()).json(&message("ping")).bearer(token)).await
}

#[track_caller]
fn assert_refused(answer: &Exchange) {
    answer.assert_json_rpc_error(404);
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// The whole conversation, as both sides see it.
#[tokio::test]
async fn a_conversation_in_the_old_transport() {
    let doorman = doorman().await;
    let token = doorman.log_in().await.tokens.access;
    let mut stream = Stream::open(&doorman, &token, &format!("/messages?session_id={OWN}")).await;
    doorman.upstream().answers(202, &[("content-type", "text/plain")], "Accepted");

    for (method, answer) in
        [("initialize", "1"), ("notifications/initialized", ""), ("tools/list", "2")]
    {
        let url = format!("{ORIGIN}{}", stream.endpoint);
        let request = Request::post(&url).json(&message(method)).bearer(&token);
        let accepted = doorman.send(request).await;
        assert_eq!(accepted.assert_status(202).text(), "Accepted");
        stream.feed.bytes(format!("event: message\ndata: {answer}\n\n"));
        let read = stream.client.until("\n\n").await;
        assert_eq!(read, format!("event: message\ndata: {answer}\n\n"));
    }
    stream.feed.end();
    assert!(stream.client.next_bytes().await.is_none());

    let received = doorman.upstream().received();
    let lines: Vec<_> = received.iter().map(|it| format!("{} {}", it.method, it.target)).collect();
    let sent = format!("POST /messages?session_id={OWN}");
    assert_eq!(lines, ["GET /sse", &sent, &sent, &sent]);
    for it in &received {
        assert_eq!(it.values("x-forwarded-user"), [Person::alice().sub]);
        assert!(it.values("authorization").is_empty());
    }
    assert_eq!(received[1].body, message("initialize").to_string());
    assert!(!doorman.log().text().contains(OWN), "the log tells a session");
}

/// Relative and absolute, as servers write it, under any path: all that counts is where it leads.
#[tokio::test]
async fn messages_go_where_the_upstream_wants_them() {
    let doorman = doorman().await;
    let token = doorman.log_in().await.tokens.access;
    let here = doorman.upstream().authority();
    let mut seen = 0;

    for (url, target) in [
        // TypeScript SDK, Python SDK
        ("/message?sessionId=1-2".to_owned(), "/message?sessionId=1-2"),
        ("/messages/?session_id=12".to_owned(), "/messages/?session_id=12"),
        (format!("http://{here}/m?x=1&y=%20"), "/m?x=1&y=%20"),
        (format!("https://{here}/m"), "/m"),
        (format!("{ORIGIN}/m/1"), "/m/1"),
        (format!("//{here}/m/2"), "/m/2"),
        ("m?s=1".to_owned(), "/m?s=1"),
        ("?s=1".to_owned(), "/sse?s=1"),
        ("../m/../n?s=1#fragment".to_owned(), "/n?s=1"),
        ("  /m?s=1 ".to_owned(), "/m?s=1"),
    ] {
        let stream = Stream::open(&doorman, &token, &url).await;
        assert!(stream.endpoint.starts_with("/mcp?sessionId=doorman_sm_"), "{}", stream.endpoint);
        post(&doorman, &token, &stream.endpoint).await.assert_status(200);
        assert_eq!(doorman.upstream().received().pop().unwrap().target, target, "{url}");
        seen += 1;
    }
    assert_eq!(seen, 10);
}

/// Nothing but the sealed text says where a message goes.
#[tokio::test]
async fn a_client_does_not_choose_where_its_messages_go() {
    let doorman = doorman().await;
    let token = doorman.log_in().await.tokens.access;
    let stream = Stream::open(&doorman, &token, "/m?s=1").await;

    post(&doorman, &token, &format!("{}&s=2&path=/other", stream.endpoint))
        .await
        .assert_status(200);

    assert_eq!(doorman.upstream().received().pop().unwrap().target, "/m?s=1");
}

/// G5
#[tokio::test]
async fn messages_of_another_or_to_nowhere_are_refused() {
    let other = FakeMcpServer::start().await;
    let builder = Doorman::in_front_of(FakeMcpServer::start().await).upstream_path("/sse");
    let doorman = builder.and_at(OTHER, &other).start().await;
    let alice = doorman.log_in().await.tokens.access;
    let (client, browser) = (doorman.register().await, doorman.browser());
    let authorization = doorman.authorization(&client).with("resource", OTHER);
    let granted = doorman.complete(&browser, &authorization).await;
    let elsewhere = doorman.token(&code_form(&client, &granted, OTHER)).await.tokens().access;
    doorman.idp().sign_in(Person { sub: "bob-11c2", ..Person::alice() });
    let bob = doorman.log_in().await.tokens.access;
    let stream = Stream::open(&doorman, &alice, &format!("/m?session_id={OWN}")).await;
    let endpoint = &stream.endpoint;
    let of_header = endpoint.replace("doorman_sm_", "doorman_si_");
    let mut seen = 0;

    for (token, url) in [
        (&bob, endpoint.clone()),
        (&elsewhere, endpoint.replace("/mcp?", "/other?")),
        (&alice, endpoint[..endpoint.len() - 1].to_owned()),
        (&alice, of_header),
        (&alice, endpoint.replace("/mcp?", "/mcp/more?")),
        (&alice, endpoint.replace("sessionId", "session_id")),
        (&alice, format!("{endpoint}&session_id={OWN}")),
        (&alice, format!("{endpoint}&sessionId={OWN}")),
        // As the upstream knows it, which somebody may have learned.
        (&alice, format!("/mcp?sessionId={OWN}")),
        (&bob, format!("/mcp?session_id={OWN}")),
        (&bob, format!("/mcp?x=1&session%5Fid={OWN}")),
        (&bob, format!("/mcp/m?session_id={OWN}")),
        (&bob, "/mcp?sessionId".to_owned()),
        // As ASP.NET reads it too.
        (&bob, format!("/mcp?SESSIONID={OWN}")),
        (&alice, endpoint.replace("sessionId", "sessionid")),
    ] {
        let answer = post(&doorman, token, &url).await;
        assert_refused(&answer);
        assert!(!answer.text().contains(OWN));
        seen += 1;
    }
    assert_eq!(seen, 15);
    assert_eq!(doorman.upstream().received().len(), 1, "the GET alone");
    other.assert_untouched();
    assert_eq!(doorman.send(Request::post(&format!("{ORIGIN}{endpoint}"))).await.status, 401);
    post(&doorman, &alice, endpoint).await.assert_status(200);
}

/// Threat F17 of the design. Else the client would be told how the upstream names its session.
#[tokio::test]
async fn a_stream_that_cannot_be_read_is_not_passed_on() {
    let doorman = doorman().await;
    let token = doorman.log_in().await.tokens.access;
    let headers = [("content-type", "text/event-stream"), ("content-encoding", "gzip")];
    doorman.upstream().answers(200, &headers, "event: endpoint\ndata: /m?s=1\n\n");

    let answer = doorman.send(get(&token).header("accept-encoding", "gzip, br")).await;

    answer.assert_json_rpc_error(502);
    assert_eq!(doorman.upstream().only_request().values("accept-encoding"), ["identity"]);
    doorman.log().line_with("has a Content-Encoding").await;
}

#[tokio::test]
async fn messages_are_taken_by_every_replica_and_after_a_restart() {
    let one = doorman().await;
    let upstream = one.upstream().clone();
    let other = Doorman::in_front_of(upstream).upstream_path("/sse").beside(&one).start().await;
    let token = one.log_in().await.tokens.access;
    let stream = Stream::open(&one, &token, "/m?s=1").await;

    post(&other, &token, &stream.endpoint).await.assert_status(200);
    drop(stream.client);
    let one = one.restarted().await;
    post(&one, &token, &stream.endpoint).await.assert_status(200);

    let received = one.upstream().received();
    assert!(received[1..].iter().all(|it| it.target == "/m?s=1"), "{received:#?}");
}

/// Its client would send messages, and their sender's name with them, past us.
#[tokio::test]
async fn a_stream_that_names_another_host_is_cut() {
    let doorman = doorman().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for first in [
        "event: endpoint\ndata: https://evil.example/m?s=canary\n\n",
        "event: endpoint\ndata: http://127.0.0.1:1/m\n\n",
        "event: endpoint\ndata: //evil.example/m\n\n",
        "event: endpoint\ndata: \\\\evil.example/m\n\n",
        "event: endpoint\ndata: file:///etc/passwd\n\n",
        "event: endpoint\ndata: http://[\n\n",
        "event: endpoint\ndata: /m\ndata: /n\n\n",
        "event: endpoint\ndata: \n\n",
    ] {
        let (_feed, mut client) = hears(&doorman, &token, first.as_bytes()).await;
        let end = client.next_bytes().await;
        assert!(end.as_ref().is_some_and(Result::is_err), "{first:?}: {end:?}");
        doorman.upstream().hang_up().await;
        seen += 1;
    }
    assert_eq!(seen, 8);
    let log = doorman.log().text();
    assert_eq!(log.matches("event stream cut").count(), 8);
    assert!(log.contains("names another host than `upstream` does"), "{log}");
    assert!(!log.contains("s=canary"), "the log tells a session");
}

/// G9
#[tokio::test]
async fn however_it_arrives_only_the_url_of_the_first_event_changes() {
    let doorman = doorman().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for end in ["\n", "\r\n", "\r"] {
        for size in [1, 2, 3, 7, 1000] {
            let before =
                format!("\u{feff}{end}: hello{end}{end}retry: 5{end}{end}: x{end}id: 1{end}");
            let after = format!("{end}{end}event: endpoint{end}data: /m{end}{end}\u{0}half");
            let text = format!("{before}event: endpoint{end}data: /m?s=1{after}");
            let feed = doorman.upstream().streams_events();
            let client = doorman.door().open(get(&token)).await;
            for piece in text.as_bytes().chunks(size) {
                feed.bytes(piece.to_vec());
            }
            feed.end();
            let read = client.whole().await.text();
            let changed = read.strip_prefix(&format!("{before}event: endpoint{end}data: "));
            let endpoint = changed
                .and_then(|rest| rest.strip_suffix(&after))
                .unwrap_or_else(|| panic!("{read:?}"));
            post(&doorman, &token, endpoint).await.assert_status(200);
            assert_eq!(doorman.upstream().received().pop().unwrap().target, "/m?s=1");
            seen += 1;
        }
    }
    assert_eq!(seen, 15);
}

/// A GET stream of the later transport, and whatever else is no `endpoint` event.
#[tokio::test]
async fn what_shows_that_it_is_another_event_passes_at_once() {
    let doorman = doorman().await;
    let token = doorman.log_in().await.tokens.access;
    let long = "x".repeat(8 * 1024);
    let mut seen = 0;

    for first in [
        "event: message\n",
        ": comment",
        "\n",
        "id: 7\ndata: \n\n",
        "retry: 500\n\n",
        &format!("event: endpoint\ndata: {long}"),
        &long,
        "event: m",
        "hello",
    ] {
        let (_feed, mut client) = hears(&doorman, &token, first.as_bytes()).await;
        let mut read = String::new();
        while read.len() < first.len() {
            read += std::str::from_utf8(&client.next_bytes().await.unwrap().unwrap()).unwrap();
        }
        assert_eq!(read, first);
        seen += 1;
    }
    assert_eq!(seen, 9);
}

/// What has a length is no stream that goes on; the answer to a call names no endpoint.
#[tokio::test]
async fn only_a_stream_to_a_get_names_an_endpoint() {
    let doorman = doorman().await;
    let token = doorman.log_in().await.tokens.access;
    let event = "event: endpoint\ndata: /m?s=1\n\n";
    let stream = ("content-type", "text/event-stream");

    doorman.upstream().answers(200, &[stream], event);
    let answer = doorman.send(get(&token)).await;
    assert_eq!(answer.assert_status(200).text(), event);
    let feed = doorman.upstream().streams_events();
    feed.bytes(event);
    feed.end();
    assert_eq!(doorman.call(&token).await.text(), event);
    let feed = doorman.upstream().answers_later();
    feed.bytes(event);
    feed.end();
    assert_eq!(doorman.send(get(&token)).await.text(), event);
    assert!(doorman.upstream().received().iter().any(|it| it.method == Method::POST));
}
