//! How answers are written.

use http::Method;
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use tokio::sync::mpsc;

use super::*;

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
