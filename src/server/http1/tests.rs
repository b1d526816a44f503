//! What a client sees of an exchange, byte for byte, over an in-memory pipe.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::*;
use crate::server::connection::serve;
use crate::server::drain::Drain;
use crate::wire::{self, answer};

/// A client's end of a connection whose requests `handler` answers.
fn connect<H, F>(handler: H) -> DuplexStream
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let (client, server) = duplex(64 * 1024);
    let (drain, stop) = Drain::new();
    tokio::spawn(async move {
        let _drain = drain;
        let handler = move |request, _| handler(request);
        serve(server, Ipv4Addr::LOCALHOST.into(), handler, stop).await;
    });
    client
}

/// Send `requests` and read until the server closes, without the dates.
async fn exchange<H, F>(handler: H, requests: &str) -> String
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let mut client = connect(handler);
    client.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    without_dates(&answers)
}

fn without_dates(answers: &str) -> String {
    answers.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

fn of(body: wire::Body) -> Response {
    http::Response::new(body.into())
}

async fn echo(request: Request) -> Response {
    match request.into_body().collect().await {
        Ok(body) => of(wire::Body::full(body.to_bytes())),
        Err(_) => answer::empty(StatusCode::BAD_GATEWAY).map(Into::into),
    }
}

async fn in_pieces(_: Request) -> Response {
    let (send, pieces) = mpsc::channel(2);
    send.try_send(Bytes::from_static(b"one")).unwrap();
    send.try_send(Bytes::from_static(b"three")).unwrap();
    of(wire::Body::Pieces(pieces))
}

/// RFC 9112 §6.3, §7.1
#[tokio::test]
async fn the_end_of_a_body_is_told_as_the_client_can_read_it() {
    let close = "Host: a\r\nConnection: close\r\n\r\n";
    for (request, expected) in [
        (
            format!("GET / HTTP/1.1\r\n{close}"),
            "connection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n",
        ),
        (format!("GET / HTTP/1.0\r\n{close}"), "connection: close\r\n\r\nonethree"),
        // It can't be kept: closing it is what ends the body.
        (
            String::from("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"),
            "connection: close\r\n\r\nonethree",
        ),
        (format!("HEAD / HTTP/1.1\r\n{close}"), "connection: close\r\n\r\n"),
    ] {
        let expected = format!("HTTP/1.1 200 OK\r\n{expected}");
        assert_eq!(exchange(in_pieces, &request).await, expected, "{request}");
    }
}

/// RFC 9112 §9.3
#[tokio::test]
async fn a_connection_is_kept_if_its_client_would_have_it_so() {
    let post = "Host: a\r\nContent-Length: 1\r\n\r\nx";
    let kept = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
    let closed = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx";
    let kept_1_0 = "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\nx";
    let last = format!("POST / HTTP/1.1\r\nConnection: x , Close\r\n{post}");
    for (first, expected) in [
        (format!("POST / HTTP/1.1\r\n{post}"), [kept, closed].concat()),
        (format!("POST / HTTP/1.1\r\nConnection: keep-alive\r\n{post}"), [kept, closed].concat()),
        (
            format!("POST / HTTP/1.0\r\nConnection: Keep-Alive\r\n{post}"),
            [kept_1_0, closed].concat(),
        ),
        (format!("POST / HTTP/1.0\r\n{post}"), closed.to_owned()),
        (last.clone(), closed.to_owned()),
    ] {
        assert_eq!(exchange(echo, &(first.clone() + &last)).await, expected, "{first}");
    }
}

/// RFC 9112 §9.3: `close` comes first, and whoever answers may end the connection too.
#[tokio::test]
async fn one_word_is_enough_to_close() {
    let closed = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let closing = async |_: Request| {
        let mut response = of(wire::Body::Empty);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    };
    let both = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n";
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    assert_eq!(exchange(echo, &both.repeat(2)).await, closed);
    assert_eq!(exchange(closing, &get.repeat(2)).await, closed);
}

/// RFC 9110 §9.3.2
#[tokio::test]
async fn a_refusal_of_head_has_no_body() {
    let refused = exchange(echo, "HEAD /a//b HTTP/1.1\r\nHost: a\r\n\r\n").await;

    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(refused.ends_with("content-length: 94\r\n\r\n"), "{refused}");
}

/// RFC 9110 §6.4.1, §8.6
#[tokio::test]
async fn what_has_no_body_gets_none() {
    let with = |status: StatusCode, length: Option<&'static str>| {
        move |_: Request| async move {
            let mut response = of(wire::Body::full("four"));
            *response.status_mut() = status;
            if let Some(length) = length {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            response
        }
    };
    let request =
        |method: Method| format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    for (method, status, told, expected) in [
        (
            Method::HEAD,
            StatusCode::OK,
            None,
            "200 OK\r\nconnection: close\r\ncontent-length: 4\r\n",
        ),
        (
            Method::HEAD,
            StatusCode::OK,
            Some("9"),
            "200 OK\r\nconnection: close\r\ncontent-length: 9\r\n",
        ),
        (Method::GET, StatusCode::NO_CONTENT, Some("4"), "204 No Content\r\nconnection: close\r\n"),
        (
            Method::GET,
            StatusCode::NOT_MODIFIED,
            Some("9"),
            "304 Not Modified\r\nconnection: close\r\ncontent-length: 9\r\n",
        ),
    ] {
        let answer = exchange(with(status, told), &request(method.clone())).await;
        assert_eq!(answer, format!("HTTP/1.1 {expected}\r\n"), "{method} {told:?}");
    }
    let empty = async |_: Request| answer::empty(StatusCode::ACCEPTED).map(Into::into);
    let answer = exchange(empty, &request(Method::POST)).await;
    assert_eq!(answer, "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
}

/// RFC 9112 §6.3: the client must not take what is left for another answer, nor this one for whole.
#[tokio::test]
async fn a_body_of_another_length_than_told_is_cut() {
    let telling = |length: &'static str| {
        move |_: Request| async move {
            let mut response = in_pieces(Request::default()).await;
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            response
        }
    };
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    for (length, sent) in [("4", "one"), ("9", "onethree")] {
        let answer = exchange(telling(length), &request.repeat(2)).await;
        let expected = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{sent}");
        assert_eq!(answer, expected);
    }
}

/// How a body is coded is for the connection to say.
#[tokio::test]
async fn a_coding_that_somebody_else_told_does_not_pass() {
    let handler = async |_: Request| {
        let mut response = of(wire::Body::full("four"));
        response.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        response
    };

    let answer = exchange(handler, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;

    assert_eq!(answer, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfour");
}

/// RFC 9110 §10.1.1: who reads the body makes it come, and once it is coming nothing need be said.
#[tokio::test]
async fn a_client_is_told_to_go_on_if_its_body_is_wanted() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let mut client = connect(echo);
    client.write_all(format!("{head}Content-Length: 4\r\n\r\n").as_bytes()).await.unwrap();
    let mut told = vec![0; go_on.len()];
    client.read_exact(&mut told).await.unwrap();
    client.write_all(b"four").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(told).unwrap(), go_on);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nfour"),
        "{answer}"
    );

    let here = exchange(echo, &format!("{head}Content-Length: 4\r\n\r\nfour")).await;
    assert!(here.starts_with("HTTP/1.1 200 OK\r\n"), "{here}");

    let mut client = connect(echo);
    client.write_all(format!("{head}Content-Length: 4\r\n\r\nfo").as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    client.write_all(b"ur").await.unwrap();
    let mut begun = String::new();
    client.read_to_string(&mut begun).await.unwrap();
    assert!(begun.starts_with("HTTP/1.1 200 OK\r\n"), "{begun}");

    let mut client = connect(echo);
    let old = head.replace("HTTP/1.1", "HTTP/1.0");
    client.write_all(format!("{old}Content-Length: 4\r\n\r\n").as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    client.write_all(b"four").await.unwrap();
    let mut plain = String::new();
    client.read_to_string(&mut plain).await.unwrap();
    assert!(plain.starts_with("HTTP/1.1 200 OK\r\n"), "{plain}");

    let unread = async |_: Request| answer::empty(StatusCode::UNAUTHORIZED).map(Into::into);
    let mut client = connect(unread);
    client.write_all(format!("{head}Content-Length: 4\r\n\r\n").as_bytes()).await.unwrap();
    let mut refused = vec![0; 12];
    client.read_exact(&mut refused).await.unwrap();
    assert_eq!(refused, b"HTTP/1.1 401");
}

/// However it comes, and whatever comes with it.
#[tokio::test]
async fn a_body_is_what_was_sent() {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\none\r\n5;x=y\r\nthree\r\n0\r\nDigest: z\r\n\r\n";
    let sized =
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\nonethree";
    let all = [chunked, sized].concat();
    let answered =
        |head: &str| format!("HTTP/1.1 200 OK\r\n{head}content-length: 8\r\n\r\nonethree");
    let expected = [answered(""), answered("connection: close\r\n")].concat();

    assert_eq!(exchange(echo, &all).await, expected);
    let mut client = connect(echo);
    for byte in all.as_bytes() {
        client.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert_eq!(without_dates(&answers), expected);
}

#[tokio::test]
async fn a_body_that_is_malformed_from_the_start_reaches_nobody() {
    let handler = async |_: Request| panic!("it was handed out");
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    for body in ["x\r\n", "1\r\na\r\nx\r\n", "1\r\nab"] {
        let refused = exchange(handler, &format!("{head}{body}")).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{body:?}: {refused}");
    }
}

/// What was whole before is answered before.
#[tokio::test]
async fn a_good_request_is_answered_though_what_follows_is_malformed() {
    let answers =
        exchange(echo, "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\nHost: a\r\n\r\n").await;

    assert!(
        answers.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 400 "),
        "{answers}"
    );
}

/// Each would be a write to the upstream, of one byte.
#[tokio::test]
async fn small_chunks_are_joined() {
    let (tell, mut told) = mpsc::channel(100);
    let handler = move |request: Request| {
        let tell = tell.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                tell.send(frame.into_data().unwrap().len()).await.unwrap();
            }
            answer::empty(StatusCode::OK).map(Into::into)
        }
    };
    let mut client = connect(handler);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(told.recv().await, Some(1));

    client.write_all(&b"1\r\na\r\n".repeat(1000)).await.unwrap();

    assert_eq!(told.recv().await, Some(1000));
}

/// MCP 2026-07-28: it cancels. Whatever came after the request that nobody has read yet does not hide it.
#[tokio::test]
async fn a_client_is_seen_to_go_whatever_it_has_sent() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";
    for sent in [get.to_owned(), format!("{get}\r\n"), format!("{get}GET /"), format!("{post}ab")] {
        let dropped = Arc::new(());
        let held = Arc::clone(&dropped);
        let handler = move |_: Request| {
            let held = Arc::clone(&held);
            async move {
                let response = std::future::pending::<Response>().await;
                drop(held);
                response
            }
        };
        let mut client = connect(handler);
        client.write_all(sent.as_bytes()).await.unwrap();
        while Arc::strong_count(&dropped) < 3 {
            tokio::task::yield_now().await;
        }

        drop(client);

        let cancelled = async {
            while Arc::strong_count(&dropped) > 1 {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), cancelled).await;
        assert!(in_time.is_ok(), "after {sent:?} it is not seen to go");
    }
}

/// RFC 9112 §2.2: so that none is waited for, or said to be late.
#[tokio::test(start_paused = true)]
async fn an_empty_line_after_a_request_begins_no_other() {
    let mut idle = connect(echo);
    let begin = tokio::time::Instant::now();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    idle.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert_eq!(begin.elapsed().as_secs(), 75);
}

/// However many requests somebody sends at once.
#[tokio::test]
async fn others_have_their_turn_in_between() {
    let answered = Mutex::new(0);
    let handler = |_: Request, _| {
        *answered.lock().unwrap() += 1;
        std::future::ready(answer::empty(StatusCode::OK).map(Into::into))
    };
    let (mut client, server) = duplex(64 * 1024);
    client.write_all(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50)).await.unwrap();
    let mut connection = Connection::new(server, Ipv4Addr::LOCALHOST.into());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));

    assert!(connection.poll(&mut Context::from_waker(&waker), &handler).is_pending());

    assert!((1..50).contains(&*answered.lock().unwrap()), "{answered:?}");
    assert!(woken.take() > 0, "it must go on");
}

/// The client need not wait for that word, nor read it before it sends.
#[tokio::test(start_paused = true)]
async fn the_word_to_go_on_arrives_even_if_nothing_more_is_wanted() {
    let (mut client, server) = duplex(16);
    let (_drain, stop) = Drain::new();
    let handler = async |request: Request, _| {
        request.into_body().collect().await.unwrap();
        std::future::pending().await
    };
    let talk = async move {
        let head =
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
        client.write_all(head).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.write_all(b"four").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut told = [0; 25];
        client.read_exact(&mut told).await.unwrap();
        assert_eq!(told, *b"HTTP/1.1 100 Continue\r\n\r\n");
    };
    tokio::join!(serve(server, Ipv4Addr::LOCALHOST.into(), handler, stop), talk);
}

/// What is silent holds no buffer.
#[test]
fn nothing_of_a_chunked_body_stays_behind() {
    let text =
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let read = Bytes::from(text.to_vec());
    let (mut framing, mut input) = (Framing::default(), read.clone());

    let head = framing.head(&input).unwrap().unwrap();
    drop(input.split_to(head.end));
    assert_eq!(framing.data(&mut input), Ok(Some(Bytes::from_static(b"a"))));

    assert!(framing.at_rest());
    assert!(input.is_empty() && read.is_unique(), "it is still held");
}

/// What nobody asks for stays with the client.
#[tokio::test]
async fn a_body_comes_when_it_is_asked_for() {
    let (give, mut taken) = mpsc::channel(1);
    let handler = move |request: Request| {
        give.try_send(request.into_body()).unwrap();
        std::future::pending::<Response>()
    };
    let mut client = connect(handler);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    client.write_all(head).await.unwrap();
    let mut body = taken.recv().await.unwrap();
    let sent = tokio::spawn(async move {
        let sent = client.write_all(&vec![b'x'; 1_000_000]).await;
        (client, sent)
    });
    tokio::task::yield_now().await;
    assert!(!sent.is_finished(), "more was read than anybody asked for");

    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }

    assert_eq!(read, 1_000_000);
    sent.await.unwrap().1.unwrap();
}

#[tokio::test]
async fn who_reads_a_body_is_told_how_it_broke_off() {
    let faults = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&faults);
    let handler = move |request: Request| {
        let noted = Arc::clone(&noted);
        async move {
            if let Err(fault) = request.into_body().collect().await {
                noted.lock().unwrap().push(fault.to_string());
            }
            answer::empty(StatusCode::BAD_GATEWAY).map(Into::into)
        }
    };
    let mut client = connect(handler);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    client.write_all(b"x\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(*faults.lock().unwrap(), ["the chunked body is malformed"]);
}

/// One task for both ends must not be needed: a body may be read in another one.
#[test]
fn whoever_waits_is_woken() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let context = Context::from_waker(&waker);
    let (feed, body) = feed(Some(3), Bytes::new());

    assert_eq!(feed.wanted(&context), Wanted::NothingYet);
    assert!(body.poll_piece(&context).is_pending());
    assert_eq!(woken.take(), 1, "the connection, to read");
    assert_eq!(feed.wanted(&context), Wanted::More);
    feed.put(Bytes::from_static(b"abc"));
    assert_eq!(woken.take(), 1, "the reader, to take it");
    assert_eq!(feed.wanted(&context), Wanted::NothingYet);
    assert_eq!(body.poll_piece(&context), Poll::Ready(Some(Ok(Bytes::from_static(b"abc")))));
    assert_eq!(body.left(), Some(0));
    drop(body);
    assert_eq!(woken.take(), 1, "the connection, to read no more");
    assert_eq!(feed.wanted(&context), Wanted::NothingEver);
}

#[derive(Default)]
struct Woken(Mutex<usize>);

impl Woken {
    fn take(&self) -> usize {
        mem::take(&mut *self.0.lock().unwrap())
    }
}

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}
