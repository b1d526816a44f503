//! Streams: events as they come, back-pressure of none, and ends that tell how they ended.

use std::time::Duration;

use bytes::Bytes;
use http::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::doorman::Doorman;
use crate::support::exchange::{Answering, Door, Request, Upload};
use crate::support::fake_mcp_server::{FakeMcpServer, Flood};

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();

    let mut stream = doorman.door().open(doorman.request(&token)).await;

    assert_eq!(stream.status.as_u16(), 200);
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert!(!stream.headers.contains_key("content-length"));
    for number in 0..5 {
        feed.event(&format!("event {number}"));
        let read = stream.until("\n\n").await;
        assert_eq!(read, format!("data: event {number}\n\n"));
    }
    feed.end();
    assert!(stream.next_bytes().await.is_none(), "a proper end is a proper end");
}

/// Ids, retries, comments and line ends are the client's to read.
#[tokio::test]
async fn the_bytes_of_a_stream_are_not_touched() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let text = "\u{feff}id: 1\ndata:\n\n: keep-alive\r\nretry: 500\r\rdata: {\"a\":\ndata: 1}\n\nx";

    let stream = doorman.door().open(doorman.request(&token)).await;
    let (one, two) = text.split_at(20);
    feed.bytes(one.to_owned());
    feed.bytes(two.to_owned());
    feed.end();

    assert_eq!(stream.whole().await.text(), text);
}

/// A GET stream says nothing for long; its head must not wait for the first event.
#[tokio::test]
async fn a_silent_stream_is_open_before_its_first_event() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let get = Request::get("/mcp").header("accept", "text/event-stream").bearer(&token);

    let mut stream = doorman.door().open(get).await;
    feed.event("first");

    assert_eq!(stream.until("\n\n").await, "data: first\n\n");
}

/// MCP "Cancellation": closing the stream is how a client cancels
#[tokio::test]
async fn a_client_that_leaves_a_stream_cancels_the_call() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    feed.event("started");
    stream.until("started").await;

    stream.hang_up();

    doorman.upstream().hang_up().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_call() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    doorman.upstream().never_answers();

    {
        let door = doorman.door();
        let call = door.open(doorman.request(&token));
        tokio::select! {
            answer = call => panic!("answered: {answer:?}"),
            () = doorman.upstream().arrival() => {}
        }
    }

    doorman.upstream().hang_up().await;
}

/// A cut stream must not look complete: the client would take half an answer for the whole.
#[tokio::test]
async fn a_stream_that_breaks_off_is_seen_to_break_off() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    feed.event("half");
    stream.until("half").await;

    feed.break_off();

    let end = stream.next_bytes().await;
    assert!(end.is_some_and(|end| end.is_err()), "it looks complete");
}

#[tokio::test]
async fn one_slow_stream_does_not_hold_up_other_calls() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let feed = doorman.upstream().streams_events();
        streams.push((doorman.door().open(doorman.request(&token)).await, feed));
    }

    for _ in 0..4 {
        doorman.call(&token).await.assert_status(200);
    }

    for (mut stream, feed) in streams {
        feed.event("late");
        stream.until("late").await;
    }
}

/// A request body is not gathered before it is sent on.
#[tokio::test]
async fn a_request_body_streams_up_as_it_comes() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let (pieces, receiver) = mpsc::unbounded_channel::<Bytes>();
    let door: Door = doorman.door();
    let request = doorman.request(&token).into_http(&door.authority, |_| Upload(receiver));
    let server = doorman.upstream();

    let sending = async {
        pieces.send(Bytes::from_static(b"first ")).unwrap();
        assert_eq!(server.next_upload().await, "first ");
        pieces.send(Bytes::from_static(b"second")).unwrap();
        assert_eq!(server.next_upload().await, "second");
        drop(pieces);
    };
    let (answer, ()) = tokio::join!(door.open_body("an upload".to_owned(), request), sending);

    answer.whole().await.assert_status(200);
    assert_eq!(server.only_request().body, "first second");
}

/// A large answer arrives whole.
#[tokio::test]
async fn a_long_stream_loses_nothing() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let piece = "0123456789abcdef".repeat(4096);

    let stream = doorman.door().open(doorman.request(&token)).await;
    for _ in 0..64 {
        feed.bytes(piece.clone());
    }
    feed.end();

    let whole = stream.whole().await;
    assert_eq!(whole.body.len(), 64 * piece.len());
    assert!(whole.body.chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
}

/// A graceful stop lets a running call finish.
#[tokio::test]
async fn stopping_waits_for_a_call_that_is_running() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let (door, request) = (doorman.door(), doorman.request(&token));
    let server = doorman.upstream().clone();
    let feed = server.answers_later();
    let mut answer = door.open(request).await;
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

/// They would take all the time there is: their clients open them anew, elsewhere, and not all at once.
#[tokio::test]
async fn stopping_ends_streams_that_listen_properly_and_after_the_calls() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let door = doorman.door();
    let mut listening = Vec::new();
    for _ in 0..3 {
        let feed = doorman.upstream().streams_events();
        let get = Request::get("/mcp").header("accept", "text/event-stream").bearer(&token);
        listening.push((door.open(get).await, feed));
    }
    let call = doorman.upstream().answers_later();
    let mut answer = door.open(doorman.request(&token)).await;
    call.bytes("{\"half\":");
    answer.until("half").await;

    let finish = async {
        // They go on while the call does.
        for (stream, feed) in &mut listening {
            feed.event("still here");
            stream.until("still here").await;
        }
        call.bytes("true}");
        call.end();
        let rest = answer.whole().await.text();
        for (mut stream, _feed) in listening {
            while let Some(bytes) = stream.next_bytes().await {
                bytes.expect("it was cut");
            }
        }
        rest
    };
    let ((), rest) = tokio::join!(doorman.stop(), finish);

    assert_eq!(rest, "true}");
}

/// RFC 9112 §9.3: such a server says by closing that its answer is whole.
#[tokio::test]
async fn an_http_1_0_server_answers_in_http_1_1() {
    let server = FakeMcpServer::writing("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nwhole");
    let doorman = Doorman::in_front_of(server.await).start().await;
    let token = doorman.log_in().await.tokens.access;

    let answer = doorman.door().open(doorman.request(&token)).await;

    assert_eq!(answer.version, Version::HTTP_11);
    let answer = answer.whole().await;
    assert_eq!(answer.assert_status(200).text(), "whole");
    assert_eq!(answer.header("content-type"), "text/plain");
}

/// RFC 9112 §8: incomplete is not complete
#[tokio::test]
async fn an_answer_shorter_than_it_said_breaks_off() {
    let mut seen = 0;

    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let text = format!("{version} 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        let server = FakeMcpServer::writing(&*text.leak()).await;
        let doorman = Doorman::in_front_of(server).start().await;
        let token = doorman.log_in().await.tokens.access;
        let mut answer = doorman.door().open(doorman.request(&token)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.until("half").await, "half");
        assert!(answer.next_bytes().await.is_some_and(|more| more.is_err()), "ended as if whole");
        seen += 1;
    }

    assert_eq!(seen, 2);
}

/// To a client of HTTP/1.0 an answer that is open-ended ends by closing: the one that broke off must not.
#[tokio::test]
async fn an_open_ended_answer_that_breaks_off_is_reset_for_an_old_client() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    for breaks in [false, true] {
        let feed = doorman.upstream().streams_events();
        let mut client = TcpStream::connect(doorman.door().address).await.unwrap();
        let host = "Host: tools.example.com\r\nAccept: text/event-stream";
        let get = format!("GET /mcp HTTP/1.0\r\n{host}\r\nAuthorization: Bearer {token}\r\n\r\n");
        client.write_all(get.as_bytes()).await.unwrap();
        feed.bytes("data: 1\n\n");
        let mut answer = Vec::new();
        while !answer.ends_with(b"data: 1\n\n") {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "closed too early");
        }

        if breaks {
            feed.break_off();
        } else {
            feed.end();
        }

        let end = client.read_to_end(&mut answer).await;
        assert_eq!(end.is_err(), breaks, "{end:?}");
    }
}

/// Fault 18
#[tokio::test]
async fn a_hundred_thousand_events_arrive_as_they_were_sent() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let ends = ["\n\n", "\r\n\r\n", "\r\r"];
    let event =
        |number: usize| format!("id: {number}\ndata: {{\"n\":{number}}}{}", ends[number % 3]);
    let sent: Bytes = (0..100_000).map(event).collect::<String>().into();

    for size in [7, 1500, 100_003] {
        let feed = doorman.upstream().streams_events();
        let get = Request::get("/mcp").header("accept", "text/event-stream");
        let stream = doorman.door().open(get.bearer(&token)).await;
        for from in (0..sent.len()).step_by(size) {
            feed.bytes(sent.slice(from..sent.len().min(from + size)));
        }
        feed.end();

        assert!(stream.whole().await.body == sent, "in pieces of {size} they are others");
    }
}

/// Fault 19: what its client does not read, the upstream keeps.
#[tokio::test]
async fn one_endless_event_is_passed_on_and_not_kept() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let get = || Request::get("/mcp").header("accept", "text/event-stream").bearer(&token);

    for request in [doorman.request(&token), get()] {
        let flood = doorman.upstream().floods(ENDLESS);
        let mut stream = doorman.door().receiving(64 * 1024).open(request).await;
        let all = async {
            while flood.taken() < ENDLESS {
                tokio::task::yield_now().await;
            }
        };
        let all_taken = tokio::time::timeout(Duration::from_millis(500), all).await;
        assert!(all_taken.is_err(), "all of it was taken, and none of it was read");

        let mut read = 0;
        while let Some(bytes) = stream.next_bytes().await {
            let bytes = bytes.unwrap();
            let is_as_sent = |(at, byte): (usize, &u8)| *byte == Flood::byte_at(read + at, ENDLESS);
            assert!(bytes.iter().enumerate().all(is_as_sent), "other bytes after {read}");
            read += bytes.len();
            assert!(flood.taken() - read < AHEAD, "{} read of {}", read, flood.taken());
        }
        assert_eq!(read, ENDLESS);
    }
}

/// Fault 23: whatever closes what is idle sees that it is not.
#[tokio::test]
async fn a_quiet_stream_gets_comments_between_events() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).workers(1).start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let mut within = doorman.door().open(doorman.request(&token)).await;
    feed.bytes("data: half");
    assert_eq!(within.until("half").await, "data: half");
    let other_feed = doorman.upstream().streams_events();
    let get = Request::get("/mcp").header("accept", "text/event-stream").bearer(&token);
    let mut between = doorman.door().open(get).await;

    for event in ["data: 1\n\n", "id: 2\r\ndata: 2\r\n\r\n"] {
        assert_eq!(in_time(&doorman, &mut between).await, ":\n");
        assert_eq!(in_time(&doorman, &mut between).await, ":\n");
        other_feed.bytes(event);
        let mut read = String::new();
        while !read.ends_with(event) {
            read += &between.until("\n").await;
        }
        assert_eq!(read, event);
    }
    // Looked over as often, and left alone.
    feed.bytes("\n\n");
    assert_eq!(within.until("\n\n").await, "\n\n");
    assert_eq!(in_time(&doorman, &mut within).await, ":\n");
}

/// Its bytes are counted, or are not events; or nobody wants it.
#[tokio::test]
async fn what_is_no_open_stream_gets_no_comment() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).workers(1).start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().answers_later();
    let mut json = doorman.door().open(doorman.request(&token)).await;
    let witness_feed = doorman.upstream().streams_events();
    let mut witness = doorman.door().open(doorman.request(&token)).await;

    assert_eq!(in_time(&doorman, &mut witness).await, ":\n");
    assert_eq!(in_time(&doorman, &mut witness).await, ":\n");
    feed.bytes("{}");
    feed.end();
    assert_eq!(json.until("{}").await, "{}");
    assert!(json.next_bytes().await.is_none());
    drop((witness, witness_feed));

    let doorman = doorman.restarted_with(|config| config.streams.comment_every = None).await;
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    let quiet = tokio::time::timeout(Duration::from_secs(4), in_time(&doorman, &mut stream)).await;
    assert!(quiet.is_err(), "it said {quiet:?}");
    drop(feed);
}

/// What comes next, while half a minute passes each time that it is waited for.
async fn in_time(doorman: &Doorman, stream: &mut Answering) -> Bytes {
    loop {
        doorman.later(Duration::from_secs(26));
        let waited = tokio::time::timeout(Duration::from_millis(1200), stream.next_bytes()).await;
        if let Ok(next) = waited {
            return next.unwrap().unwrap();
        }
    }
}

const ENDLESS: usize = 64 * 1024 * 1024;
/// Nearly all of it stands in the buffer of the socket that the sidecar reads, which the system lets grow.
const AHEAD: usize = 48 * 1024 * 1024;
