//! Deadlines and drains over in-memory pipes, with a clock that only moves when all is idle; and hyper
//! as the judge of `framing`.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::*;
use crate::server::drain::{Drain, DrainSettings, Drained};
use crate::server::framing::Framing;
use crate::wire::{self, answer};

const GET: &[u8] = b"GET /mcp HTTP/1.1\r\nHost: a\r\n\r\n";

async fn reply(_: Request, _: IpAddr) -> Response {
    answer::plain(http::StatusCode::OK, "done").map(Into::into)
}

/// More than any pipe here holds.
async fn large(_: Request, _: IpAddr) -> Response {
    http::Response::new(wire::Body::full(vec![b'x'; 100_000]).into())
}

/// A client's end of a connection that answers everything with "done".
fn connect(stop: Stop) -> DuplexStream {
    let (client, server) = duplex(64 * 1024);
    let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
    tokio::spawn(serve(server, peer, reply, stop));
    client
}

/// What comes until the server closes, and after how many seconds it does.
async fn read_to_end(client: &mut DuplexStream) -> (String, u64) {
    let begin = Instant::now();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    (answer, begin.elapsed().as_secs())
}

async fn read_answer(client: &mut DuplexStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "closed too early");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let (_drain, stop) = Drain::new();
    let mut client = connect(stop);

    assert_eq!(read_to_end(&mut client).await, (String::new(), 10));
}

#[tokio::test(start_paused = true)]
async fn a_header_that_drips_is_answered_with_408() {
    let (_drain, stop) = Drain::new();
    let mut client = connect(stop);
    let begin = Instant::now();

    sleep(Duration::from_secs(9)).await;
    for byte in &GET[..5] {
        client.write_all(&[*byte]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    let mut answer = vec![0; 24];
    client.read_exact(&mut answer).await.unwrap();

    assert_eq!(begin.elapsed().as_secs(), 9 + 10);
    assert_eq!(answer, b"HTTP/1.1 408 Request Tim");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_75_seconds_each_time() {
    let (_drain, stop) = Drain::new();
    let mut client = connect(stop);

    for _ in 0..3 {
        client.write_all(GET).await.unwrap();
        read_answer(&mut client).await;
        sleep(Duration::from_secs(70)).await;
    }

    assert_eq!(read_to_end(&mut client).await, (String::new(), 5));
}

#[tokio::test(start_paused = true)]
async fn the_header_of_a_later_request_has_its_own_deadline() {
    let (_drain, stop) = Drain::new();
    let mut client = connect(stop);
    client.write_all(GET).await.unwrap();
    read_answer(&mut client).await;

    sleep(Duration::from_secs(3)).await;
    client.write_all(&GET[..20]).await.unwrap();
    let begin = Instant::now();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();

    assert_eq!((&answer, begin.elapsed().as_secs()), (b"HTTP/1.1 408", 10));
}

/// One that never ends would otherwise hold its memory for ever.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut_and_one_that_reads_slowly_is_not() {
    let (_drain, stop) = Drain::new();
    let (mut client, server) = duplex(1024);
    let begin = Instant::now();
    client.write_all(GET).await.unwrap();

    let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
    let slow = async {
        let mut some = [0; 1024];
        for _ in 0..5 {
            sleep(Duration::from_secs(50)).await;
            client.read_exact(&mut some).await.unwrap();
        }
    };
    tokio::join!(serve(server, peer, large, stop), slow);

    assert_eq!(begin.elapsed().as_secs(), 5 * 50 + 60);
}

/// A client that believes that it may send another request would find the connection closed.
#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_wait_for_the_body_says_that_it_is_the_last() {
    let (_drain, stop) = Drain::new();
    let head = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";

    let mut in_two = connect(stop.clone());
    in_two.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        assert_ne!(in_two.read_buf(&mut answer).await.unwrap(), 0, "closed too early");
    }
    // It is read, so that closing does not take the answer back.
    in_two.write_all(b"body").await.unwrap();
    let (rest, _) = read_to_end(&mut in_two).await;

    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(rest, "");

    let mut chunked = connect(stop.clone());
    let chunks = b"POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    chunked.write_all(&[&chunks[..], b"1\r\na\r\n1\r\n"].concat()).await.unwrap();
    let (answer, _) = read_to_end(&mut chunked).await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");

    let mut in_one = connect(stop);
    for whole in [[&head[..], b"body"].concat(), [&chunks[..], b"1\r\na\r\n0\r\n\r\n"].concat()] {
        in_one.write_all(&whole).await.unwrap();
        read_answer(&mut in_one).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_as_long_as_it_likes() {
    let (_drain, stop) = Drain::new();
    let (mut client, server) = duplex(1024);
    let slow = async |_: Request, _: IpAddr| {
        sleep(Duration::from_hours(2)).await;
        answer::plain(http::StatusCode::OK, "done").map(Into::into)
    };
    client.write_all(GET).await.unwrap();

    let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
    let read = async {
        read_answer(&mut client).await;
        drop(client);
    };
    tokio::join!(serve(server, peer, slow, stop), read);
}

/// MCP 2026-07-28: closing the stream is the client's way to cancel.
#[tokio::test(start_paused = true)]
async fn a_client_that_goes_cancels_its_request() {
    let (_drain, stop) = Drain::new();
    let (mut client, server) = duplex(1024);
    let begun = Arc::new(Notify::new());
    let handler_begun = Arc::clone(&begun);
    let handler = move |_: Request, _: IpAddr| {
        handler_begun.notify_one();
        std::future::pending::<Response>()
    };
    client.write_all(GET).await.unwrap();

    let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
    let go = async {
        begun.notified().await;
        client.shutdown().await.unwrap();
    };

    tokio::join!(serve(server, peer, handler, stop), go);
}

/// Nor does it have to read first what it no longer wants.
#[tokio::test(start_paused = true)]
async fn a_client_that_goes_without_reading_is_not_waited_for() {
    let (_drain, stop) = Drain::new();
    let (mut client, server) = duplex(1024);
    let begin = Instant::now();
    client.write_all(GET).await.unwrap();

    let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
    let go = async {
        sleep(Duration::from_secs(5)).await;
        client.shutdown().await.unwrap();
    };
    tokio::join!(serve(server, peer, large, stop), go);

    assert_eq!(begin.elapsed().as_secs(), 5);
}

/// RFC 9112 §9.3.2
#[tokio::test(start_paused = true)]
async fn what_comes_while_an_answer_is_due_is_the_next_request() {
    let (_drain, stop) = Drain::new();
    let slow = async |request: Request, _: IpAddr| {
        sleep(Duration::from_secs(1)).await;
        let host = request.headers()[http::header::HOST].to_str().unwrap();
        http::Response::new(wire::Body::full(format!("{host} done")).into())
    };
    let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
    let long = "b".repeat(1000);
    let malformed = "GET /mcp HTTP/1.1\nHost: c\n\n";
    for (next, expected) in [
        (format!("GET /mcp HTTP/1.1\r\nHost: {long}\r\n\r\n"), format!("{long} done")),
        (malformed.to_owned(), String::from("HTTP/1.1 400 ")),
        (malformed.repeat(10), String::from("HTTP/1.1 400 ")),
    ] {
        let (mut client, server) = duplex(64 * 1024);
        client.write_all(GET).await.unwrap();
        let ask = async {
            sleep(Duration::from_millis(500)).await;
            for piece in next.as_bytes().chunks(30) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut answers = String::new();
            while !answers.contains(&expected) {
                let mut some = [0; 4096];
                let count = client.read(&mut some).await.unwrap();
                assert_ne!(count, 0, "{answers}");
                answers.push_str(str::from_utf8(&some[..count]).unwrap());
            }
            drop(client);
            answers
        };
        let ((), answers) = tokio::join!(serve(server, peer, slow, stop.clone()), ask);
        assert!(answers.contains("\r\n\r\na done"), "{answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_requests_finish_and_idle_connections_go() {
    let (drain, stop) = Drain::new();
    let settings = DrainSettings {
        keep_accepting: Duration::from_secs(5),
        finish_within: Duration::from_secs(25),
    };
    let mut idle = connect(stop.clone());
    idle.write_all(GET).await.unwrap();
    read_answer(&mut idle).await;
    let (mut busy, server) = duplex(1024);
    let slow = async |_: Request, _: IpAddr| {
        sleep(Duration::from_secs(20)).await;
        answer::plain(http::StatusCode::OK, "done").map(Into::into)
    };
    let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
    let serving = serve(server, peer, slow, stop);
    busy.write_all(GET).await.unwrap();

    let (drained, (), idle_end, busy_end) = tokio::join!(
        drain.drain(settings),
        serving,
        read_to_end(&mut idle),
        read_to_end(&mut busy)
    );

    assert_eq!(drained, Drained::Everything);
    assert_eq!(idle_end, (String::new(), 5));
    assert!(busy_end.0.contains("connection: close\r\n"), "{}", busy_end.0);
    assert!(busy_end.0.ends_with("done"));
    assert_eq!(busy_end.1, 20);
}

/// Ended as a signal ends it. Nobody was told, so that clients connect until the last moment.
const SIGNAL: DrainSettings =
    DrainSettings { keep_accepting: Duration::ZERO, finish_within: Duration::from_secs(25) };

/// Closing would be a reset to whoever is writing right now.
#[tokio::test(start_paused = true)]
async fn who_has_just_connected_has_one_request_left() {
    let (drain, mut stop) = Drain::new();
    let mut client = connect(stop.clone());

    let late = async {
        stop.reached(Stage::Finishing).await;
        drop(stop);
        sleep(Duration::from_millis(900)).await;
        client.write_all(&GET[..10]).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        // The second one comes too late.
        client.write_all(&[&GET[10..], GET].concat()).await.unwrap();
        read_to_end(&mut client).await.0
    };
    let (drained, answer) = tokio::join!(drain.drain(SIGNAL), late);

    assert_eq!(drained, Drained::Everything);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
    assert_eq!(answer.matches("connection: close\r\n").count(), 1, "{answer}");
    assert!(answer.ends_with("done"), "{answer}");
}

/// The same if it comes in one piece.
#[tokio::test(start_paused = true)]
async fn the_last_answer_says_that_it_is_the_last() {
    let (drain, mut stop) = Drain::new();
    let mut client = connect(stop.clone());

    let late = async {
        stop.reached(Stage::Finishing).await;
        drop(stop);
        sleep(Duration::from_millis(900)).await;
        client.write_all(GET).await.unwrap();
        read_to_end(&mut client).await
    };
    let (drained, (answer, seconds)) = tokio::join!(drain.drain(SIGNAL), late);

    assert_eq!((drained, seconds), (Drained::Everything, 0));
    assert_eq!(answer.matches("connection: close\r\n").count(), 1, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_connected_and_says_nothing_holds_nobody_up() {
    let (drain, stop) = Drain::new();
    let mut before = connect(stop.clone());
    // Its own ten seconds for a first byte are nearly over.
    sleep(Duration::from_millis(9_500)).await;
    let mut client = connect(stop);
    let begin = Instant::now();

    let (drained, (_, first), (_, second)) =
        tokio::join!(drain.drain(SIGNAL), read_to_end(&mut before), read_to_end(&mut client));

    assert_eq!(drained, Drained::Everything);
    assert_eq!((first, second, begin.elapsed().as_secs()), (1, 1, 1));
}

/// What hyper alone, with no check before it, takes for requests: how many, and their bodies' bytes.
async fn seen_by_hyper(bytes: &[u8]) -> (usize, usize) {
    let seen = Mutex::new((0, 0));
    let service = service_fn(async |request: http::Request<Incoming>| {
        let body = request.into_body().collect().await?.to_bytes();
        let mut seen = seen.lock().unwrap();
        *seen = (seen.0 + 1, seen.1 + body.len());
        Ok::<_, hyper::Error>(http::Response::new(String::new()))
    });
    let io = TokioIo::new(tokio::io::join(bytes, tokio::io::sink()));
    let _ = Builder::new().half_close(true).serve_connection(io, service).await;
    seen.into_inner().unwrap()
}

/// How many requests `framing` sees end in `bytes`; `None` if it refuses them or the last one is cut off.
fn seen_by_framing(bytes: &[u8]) -> Option<usize> {
    let mut framing = Framing::default();
    let mut requests = 0;
    for byte in bytes {
        framing.observe(&[*byte]).ok()?;
        requests += usize::from(framing.at_rest());
    }
    framing.at_rest().then_some(requests)
}

/// The point of it all: what passes `framing`, hyper cuts into the same requests.
#[test]
fn hyper_sees_the_requests_that_framing_sees() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut compared = 0;

    for _ in 0..3000 {
        let (bytes, body) = well_formed().new_tree(&mut runner).unwrap().current();
        let Some(requests) = seen_by_framing(&bytes) else { continue };
        compared += 1;
        let seen = runtime.block_on(seen_by_hyper(&bytes));
        assert_eq!(seen, (requests, body), "{}", String::from_utf8_lossy(&bytes));
    }

    assert!(compared > 1000, "{compared}");
}

/// Requests that are mostly good, glued together, and how many bytes their bodies hold.
fn well_formed() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let field = prop_oneof![
        6 => "[a-zA-Z!#$%&'*+.^_|~-]{1,12}: ?[ -~]{0,12}\r\n",
        1 => "X:[\t ]*[\\x00-\\x20a]{0,2}[\t ]*\r\n",
        1 => Just("Expect: 100-continue\r\n".to_owned()),
    ];
    let fields = proptest::collection::vec(field, 0..4).prop_map(|fields| fields.concat());
    let chunk =
        ("[0]{0,3}", "[ -~\r\n]{1,20}", "(;[ -~]{0,6})?").prop_map(|(zeros, data, extension)| {
            (format!("{zeros}{:x}{extension}\r\n{data}\r\n", data.len()), data.len())
        });
    let body = prop_oneof![
        Just((String::from("\r\n"), 0)),
        "[ -~\r\n]{0,40}".prop_map(|body| {
            (format!("content-length:{}\r\n\r\n{body}", body.len()), body.len())
        }),
        (proptest::collection::vec(chunk, 0..4), "(A: [ -~]{0,5}\r\n)?").prop_map(
            |(chunks, trailer)| {
                let length = chunks.iter().map(|chunk| chunk.1).sum();
                let data: String = chunks.into_iter().map(|chunk| chunk.0).collect();
                (format!("Transfer-Encoding: Chunked\r\n\r\n{data}0\r\n{trailer}\r\n"), length)
            }
        ),
    ];
    let request =
        ("[A-Z]{1,5}", "/[!-~]{0,8}", fields, body).prop_map(|(method, target, fields, body)| {
            (format!("{method} {target} HTTP/1.1\r\n{fields}Host: a\r\n{}", body.0), body.1)
        });
    proptest::collection::vec(request, 1..4).prop_map(|requests| {
        let length = requests.iter().map(|request| request.1).sum();
        let bytes: String = requests.into_iter().map(|request| request.0).collect();
        (bytes.into_bytes(), length)
    })
}
