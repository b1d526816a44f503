//! Between a client, over in-memory pipes in HTTP/1.1 and in HTTP/2, and an upstream.

use std::convert::Infallible;
use std::error::Error as _;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::proxy::Body;

const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];
const GRANT: [u8; 16] = [1; 16];
const MIB: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// An answer under way, seen from all sides.
struct Answering {
    list: OpenAnswers,
    upstream: mpsc::Sender<Bytes>,
    client: Incoming,
}

impl Answering {
    async fn over(protocol: Protocol) -> Self {
        let list = OpenAnswers::default();
        Self::in_list(&list, protocol, GRANT).await
    }

    async fn in_list(list: &OpenAnswers, protocol: Protocol, grant: [u8; 16]) -> Self {
        let (upstream, pieces) = mpsc::channel(1);
        let lease = Lease {
            grant,
            issued: Timestamp::from_seconds(0),
            until: Timestamp::from_seconds(100),
            then: End::Cut,
        };
        let awaited = list.await_answer(lease);
        let open = awaited.begin(arriving(pieces).await, lease.until, lease.then).with_comments();
        let client = received(protocol, Body::Upstream(open)).await;
        Self { list: list.clone(), upstream, client }
    }

    async fn say(&mut self, text: &'static str) {
        self.upstream.send(Bytes::from_static(text.as_bytes())).await.unwrap();
        assert_eq!(self.next().await.unwrap().unwrap(), text);
    }

    async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            let frame = soon("a frame", self.client.frame()).await?;
            let bytes = frame.map(|frame| frame.into_data().unwrap());
            // HTTP/2 may end with a frame that has nothing in it.
            if bytes.as_ref().map_or(true, |bytes| !bytes.is_empty()) {
                return Some(bytes);
            }
        }
    }

    fn end(&self, end: End) -> usize {
        self.list.end_those(|_| Some(end)).len()
    }

    async fn upstream_hears_of_it(&self) {
        soon("the upstream to hear of it", self.upstream.closed()).await;
    }
}

/// A body that arrives from an upstream, piece by piece. It ends when the sender is dropped, and the receiver is
/// dropped when nobody reads it any more.
async fn arriving(mut pieces: mpsc::Receiver<Bytes>) -> UpstreamBody {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    tokio::spawn(async move {
        let (mut reader, mut writer) = far.split();
        let mut byte = [0];
        let write = async {
            while let Some(piece) = pieces.recv().await {
                writer.write_all(&piece).await.unwrap();
            }
        };
        tokio::select! {
            _ = reader.read(&mut byte) => {}
            () = write => {}
        }
    });
    UpstreamBody::until_close(near)
}

/// `body` after a connection of its own.
async fn received(protocol: Protocol, body: Body) -> Incoming {
    // Small, so that a client that reads nothing is soon felt.
    let (near, far) = duplex(1024);
    let (near, far) = (TokioIo::new(near), TokioIo::new(far));
    let body = Mutex::new(Some(body));
    let service = service_fn(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let request = Request::get("http://a/mcp").body(Empty::<Bytes>::new()).unwrap();
    let answer = match protocol {
        Protocol::Http1 => {
            tokio::spawn(server::conn::http1::Builder::new().serve_connection(far, service));
            let (mut sender, connection) = client::conn::http1::handshake(near).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        }
        Protocol::Http2 => {
            let executor = TokioExecutor::new();
            let server = server::conn::http2::Builder::new(executor.clone());
            tokio::spawn(server.serve_connection(far, service));
            let handshake = client::conn::http2::handshake(executor, near).await;
            let (mut sender, connection) = handshake.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        }
    };
    answer.unwrap().into_body()
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = timeout(Duration::from_secs(20), future).await;
    result.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn until_empty(list: &OpenAnswers) {
    let empty = async {
        while list.count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("an empty list", empty).await;
}

#[tokio::test]
async fn a_silent_answer_that_is_cut_does_not_look_complete() {
    for protocol in PROTOCOLS {
        let mut answer = Answering::over(protocol).await;
        answer.say("first").await;

        assert_eq!(answer.end(End::Cut), 1);

        let error = answer.next().await.expect("it looks complete").unwrap_err();
        let expected = match protocol {
            Protocol::Http1 => "unexpected EOF during chunk size line",
            // RFC 9113 §6.4: RST_STREAM
            Protocol::Http2 => "stream error received: unexpected internal error encountered",
        };
        assert_eq!(error.source().unwrap().to_string(), expected);
        answer.upstream_hears_of_it().await;
        until_empty(&answer.list).await;
    }
}

#[tokio::test]
async fn a_silent_answer_can_be_ended_as_if_it_were_whole() {
    for protocol in PROTOCOLS {
        let mut answer = Answering::over(protocol).await;
        answer.say("first").await;

        assert_eq!(answer.end(End::Clean), 1);

        assert!(answer.next().await.is_none(), "{protocol:?}: not a proper end");
        answer.upstream_hears_of_it().await;
        until_empty(&answer.list).await;
    }
}

/// What was written and not yet read could keep a call running for as long as its client likes.
#[tokio::test]
async fn the_upstream_of_a_client_that_reads_nothing_hears_of_the_end_too() {
    for protocol in PROTOCOLS {
        let answer = Answering::over(protocol).await;
        let piece = Bytes::from_static(&[b'x'; 16 * 1024]);
        // Until nothing moves any more.
        let full = async { while answer.upstream.send(piece.clone()).await.is_ok() {} };
        assert!(timeout(Duration::from_millis(300), full).await.is_err(), "it takes everything");

        assert_eq!(answer.end(End::Cut), 1);

        answer.upstream_hears_of_it().await;
    }
}

/// Fault 19: of an event without end, or of many.
#[tokio::test]
async fn what_a_client_does_not_read_stays_with_the_upstream() {
    for protocol in PROTOCOLS {
        let answer = Answering::over(protocol).await;
        let piece = Bytes::from_static(&[b'x'; 16 * 1024]);
        let mut taken = 0;

        let all = async {
            while taken < 64 * MIB && answer.upstream.send(piece.clone()).await.is_ok() {
                taken += piece.len();
            }
        };
        let all = timeout(Duration::from_millis(500), all).await;

        // Nearly all of this is in the socket between us and the upstream.
        assert!(all.is_err() && taken < 8 * MIB, "{protocol:?}: {taken} bytes were taken");
    }
}

#[tokio::test]
async fn an_answer_that_is_over_leaves_the_list() {
    for protocol in PROTOCOLS {
        let mut whole = Answering::over(protocol).await;
        whole.say("all").await;
        let left = Answering::over(protocol).await;
        assert_eq!((whole.list.count(), left.list.count()), (1, 1));

        drop(std::mem::replace(&mut whole.upstream, mpsc::channel(1).0));
        assert!(whole.next().await.is_none());
        let Answering { list: left_list, client, upstream } = left;
        drop(client);

        until_empty(&whole.list).await;
        until_empty(&left_list).await;
        soon("the upstream to hear of it", upstream.closed()).await;
    }
}

#[tokio::test]
async fn only_those_that_are_meant_end_and_each_once() {
    for protocol in PROTOCOLS {
        let list = OpenAnswers::default();
        let meant = Answering::in_list(&list, protocol, GRANT).await;
        let mut other = Answering::in_list(&list, protocol, [2; 16]).await;
        let end = |lease: &Lease| (lease.grant == GRANT).then_some(End::Cut);

        let ended = list.end_those(end);

        assert_eq!(ended.len(), 1);
        assert_eq!((ended[0].0.grant, ended[0].1), (GRANT, End::Cut));
        assert!(list.end_those(end).is_empty());
        meant.upstream_hears_of_it().await;
        other.say("still there").await;
        assert_eq!(other.list.count(), 1);
    }
}

#[tokio::test]
async fn a_request_that_is_not_answered_yet_can_be_ended() {
    let list = OpenAnswers::default();
    let lease = Lease {
        grant: GRANT,
        issued: Timestamp::from_seconds(0),
        until: Timestamp::from_seconds(100),
        then: End::Cut,
    };
    let awaited = list.await_answer(lease);
    let (waiting, ended) = {
        let awaited = Arc::new(awaited);
        (awaited.clone(), tokio::spawn(async move { awaited.ended().await }))
    };
    // So that it waits, and has to be woken.
    tokio::task::yield_now().await;

    list.end_those(|_| Some(End::Cut));

    soon("the end", ended).await.unwrap();
    let waiting = Arc::into_inner(waiting).unwrap();
    // An answer that came in the same moment is not given.
    let (_upstream, pieces) = mpsc::channel(1);
    let late = arriving(pieces).await;
    let late = waiting.begin(late, lease.until, lease.then).frame().await;
    assert!(matches!(late, Some(Err(BodyFault::Cut))), "{late:?}");
    assert_eq!(list.count(), 0);
}

/// Fault 23
#[tokio::test]
async fn a_quiet_stream_gets_a_comment_between_two_events() {
    let at = Timestamp::from_seconds;
    for protocol in PROTOCOLS {
        let mut answer = Answering::over(protocol).await;
        let looked_at = |list: &OpenAnswers, now: u64| {
            list.comment(at(now), |since| since.after(Duration::from_secs(25)) <= at(now));
        };

        // From the beginning, and again.
        for now in [0, 24, 25, 26, 50, 51] {
            looked_at(&answer.list, now);
            if matches!(now, 25 | 51) {
                assert_eq!(answer.next().await.unwrap().unwrap(), ":\n", "{protocol:?} at {now}");
            }
        }
        answer.say("data: 1\n").await;
        for now in [60, 100, 200] {
            looked_at(&answer.list, now);
        }
        // Not within an event, nor because of what was before it.
        answer.say("\n").await;
        for now in [210, 234] {
            looked_at(&answer.list, now);
        }
        answer.say("data: 2\n\n").await;
        for now in [235, 260] {
            looked_at(&answer.list, now);
        }
        assert_eq!(answer.next().await.unwrap().unwrap(), ":\n");
        answer.say("data: 3\n\n").await;
    }
}

/// G9: what the upstream says goes first, and is all there is.
#[tokio::test]
async fn a_comment_that_is_due_gives_way_to_what_comes() {
    let mut answer = Answering::over(Protocol::Http1).await;
    let now = Timestamp::from_seconds(100);
    answer.say("data: 1\n\n").await;
    // Both at once: the client has not been asked for more in between.
    answer.list.comment(now, |_| true);
    let mut read = Vec::new();
    answer.upstream.send(Bytes::from_static(b"data: 2\n")).await.unwrap();
    while !read.ends_with(b"data: 2\n") {
        read.extend_from_slice(&answer.next().await.unwrap().unwrap());
    }
    answer.list.comment(now, |_| true);
    answer.say("\n").await;

    let read = String::from_utf8(read).unwrap();
    assert!(["data: 2\n", ":\ndata: 2\n"].contains(&read.as_str()), "{read:?}");
}
