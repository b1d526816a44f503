//! What becomes of a connection from one request to the next.

use std::sync::Mutex;
use std::task::Waker;

use http::header::{CONNECTION, HeaderValue};

use super::*;
use crate::wire::woken::Woken;

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
