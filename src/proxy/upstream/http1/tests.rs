//! Deadlines, each for its phase and with its own fault. Short ones, that cannot be met.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;
use crate::proxy::upstream::intake::Intake;
use crate::proxy::upstream::socket::Stream;
use crate::wire::RequestBody;

const UPLOAD: Deadlines = Deadlines {
    connect: Duration::from_secs(20),
    first_byte: Duration::from_secs(20),
    upload: Duration::from_millis(20),
    slowest_upload: 1024,
};
const FIRST_BYTE: Deadlines =
    Deadlines { upload: Duration::from_secs(20), first_byte: Duration::from_millis(20), ..UPLOAD };

/// The body of a request of `length` bytes, of which so much has come. Its client goes when the stream is dropped.
async fn body(length: usize, sent: &str) -> (DuplexStream, RequestBody) {
    let (mut client, server) = duplex(1024);
    let (give, taken) = oneshot::channel();
    let give = Mutex::new(Some(give));
    let service = service_fn(move |request: http::Request<Incoming>| {
        let _ = give.lock().unwrap().take().unwrap().send(request.into_body());
        std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    });
    tokio::spawn(Builder::new().serve_connection(TokioIo::new(server), service));
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{sent}");
    client.write_all(request.as_bytes()).await.unwrap();
    (client, RequestBody::alone(taken.await.unwrap()))
}

/// How an exchange ends with an upstream that reads everything and says nothing, and whether it was reached.
async fn fault(sent: &str, deadlines: Deadlines) -> (UpstreamFault, bool) {
    let (_client, body) = body(5, sent).await;
    fault_of(body, Far::Reads, deadlines).await
}

/// What an upstream does besides saying nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Far {
    Reads,
    Rests,
}

async fn fault_of(body: RequestBody, far: Far, deadlines: Deadlines) -> (UpstreamFault, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut is_reached = false;
    let connect = async || {
        is_reached = true;
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            while far == Far::Reads && socket.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
            std::future::pending::<()>().await;
            drop(socket);
        });
        Ok(Socket::new(Stream::Tcp(stream)))
    };
    let intake = Intake::begin(None, u64::MAX).unwrap();
    let upload = Upload::new(b"POST / HTTP/1.1\r\n\r\n".to_vec(), body, intake);
    let answer = exchange(&Pool::default(), connect, upload, &Method::POST, deadlines).await;
    (answer.unwrap_err(), is_reached)
}

#[tokio::test]
async fn a_body_that_does_not_begin_reaches_nobody() {
    let (fault, is_reached) = fault("", UPLOAD).await;

    assert!(matches!(fault, UpstreamFault::Stalled(_)), "{fault}");
    assert!(!is_reached, "it holds a connection to the upstream");
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_the_clients_fault() {
    let (fault, is_reached) = fault("ab", UPLOAD).await;

    assert!(matches!(fault, UpstreamFault::Stalled(_)), "{fault}");
    assert!(is_reached);
}

#[tokio::test]
async fn an_upstream_that_does_not_begin_to_answer_is_too_slow() {
    let (fault, _) = fault("abcde", FIRST_BYTE).await;

    assert!(matches!(fault, UpstreamFault::Slow(_)), "{fault}");
}

/// Fault 27 of the design: each byte comes in time, and the body never ends.
#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let deadlines =
        Deadlines { first_byte: Duration::from_secs(2), upload: Duration::from_secs(1), ..UPLOAD };
    let (mut client, body) = body(10_000, "a").await;
    tokio::spawn(async move {
        let mut each = tokio::time::interval(Duration::from_millis(20));
        while client.write_all(b"a").await.is_ok() {
            each.tick().await;
        }
    });
    let begin = Instant::now();

    let (fault, is_reached) = fault_of(body, Far::Reads, deadlines).await;

    assert!(matches!(fault, UpstreamFault::Trickling(1024)), "{fault}");
    assert!(is_reached);
    assert!(begin.elapsed() >= deadlines.upload);
}

/// The same client is not to blame while the upstream takes nothing.
#[tokio::test]
async fn an_upstream_that_takes_no_more_is_too_slow() {
    let deadlines = Deadlines {
        first_byte: Duration::from_millis(500),
        upload: Duration::from_millis(100),
        slowest_upload: u64::MAX,
        ..UPLOAD
    };
    let length = 64 * 1024 * 1024;
    let (mut client, body) = body(length, "a").await;
    tokio::spawn(async move { client.write_all(&vec![b'a'; length - 1]).await });
    let begin = Instant::now();

    let (fault, _) = fault_of(body, Far::Rests, deadlines).await;

    assert!(matches!(fault, UpstreamFault::Slow(_)), "{fault}");
    assert!(begin.elapsed() >= deadlines.first_byte);
}
