//! How streams end: by the client, by a bug of ours, by a drain; and what an answer may look like.

use super::by_hand::{CANCEL, NO_ERROR, RST_STREAM, asking, fields, frame, get, post, reset};
use super::frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS};
use super::*;
use crate::server::drain::{DrainSettings, Drained};

/// MCP 2026-07-28: closing the stream is the client's way to cancel.
#[tokio::test(start_paused = true)]
async fn a_stream_that_its_client_resets_is_cancelled_at_once() {
    let (_drain, stop) = Drain::new();
    for path in ["/never", "/quiet"] {
        let app = App::default();
        let mut client = ByHand::greeting(app.connect(&stop)).await;
        client.send(&[get(1, path), get(3, "/slow")].concat()).await;
        while app.begun() < 2 {
            tokio::task::yield_now().await;
        }
        let begin = Instant::now();

        client.send(&reset(1)).await;
        app.cancelled.notified().await;

        assert_eq!(begin.elapsed(), Duration::ZERO, "{path}");
        while client.next().await.unwrap().frame.stream == 1 {}
        assert_eq!(begin.elapsed().as_secs(), 20, "the other one goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_cancels_all_its_streams() {
    let (_drain, stop) = Drain::new();
    let app = App::default();
    let mut client = ByHand::greeting(app.connect(&stop)).await;
    client.send(&get(1, "/never")).await;
    while app.begun() < 1 {
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();

    drop(client);
    app.cancelled.notified().await;

    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_bug_of_ours_ends_its_own_stream_only() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    client.send(&[get(1, "/slow"), get(3, "/panic")].concat()).await;

    let broken = client.answer(3).await;
    let other = client.answer(1).await;

    assert_eq!(codes(&broken, RST_STREAM), [CANCEL]);
    assert_eq!(body(&other), 4);
}

/// RFC 9110 §6.4.1
#[tokio::test(start_paused = true)]
async fn an_answer_that_has_no_body_has_none() {
    let (_drain, stop) = Drain::new();
    for (method, path, status) in [
        ("HEAD", "/", 200),
        ("HEAD", "/large", 200),
        ("GET", "/empty", 204),
        ("GET", "/unchanged", 304),
    ] {
        let mut client = ByHand::greeting(App::default().connect(&stop)).await;
        let block = fields(&asking(method, path));
        client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;

        let answer = client.answer(1).await;

        assert_eq!(answer[0].status(), status, "{method} {path}");
        assert_eq!(answer.len(), 1, "{method} {path}: {answer:?}");
        assert!(answer[0].ends_stream());
    }
}

/// What is refused before its body has come: the client is told to send no more of it (RFC 9113 §8.1).
#[tokio::test(start_paused = true)]
async fn an_answer_may_come_before_the_body() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    client.send(&post(1, "/")).await;

    assert_eq!(body(&client.answer(1).await), 4);
    let end = client.next().await.unwrap();

    assert_eq!((end.frame.kind, end.code()), (RST_STREAM, NO_ERROR));
}

const SETTINGS: DrainSettings = DrainSettings {
    keep_accepting: Duration::from_secs(5),
    finish_within: Duration::from_secs(25),
};

#[tokio::test(start_paused = true)]
async fn a_drain_lets_streams_finish_and_idle_connections_go() {
    let (drain, stop) = Drain::new();
    let mut idle = ByHand::greeting(App::default().connect(&stop)).await;
    let mut busy = ByHand::greeting(App::default().connect(&stop)).await;
    busy.send(&get(1, "/slow")).await;
    drop(stop);

    let (drained, idle, busy) =
        tokio::join!(drain.drain(SETTINGS), rest(&mut idle), rest(&mut busy));

    assert_eq!(drained, Drained::Everything);
    assert_eq!((codes(&idle.0, GOAWAY), idle.1), (vec![NO_ERROR, NO_ERROR], 5));
    assert_eq!((codes(&busy.0, GOAWAY), busy.1), (vec![NO_ERROR, NO_ERROR], 20));
    assert_eq!(body(&busy.0), 4);
    assert!(codes(&busy.0, RST_STREAM).is_empty());
}

/// As `workers` does, which drops what is left at `Stage::Ended`.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_takes_its_streams_along() {
    let (_drain, stop) = Drain::new();
    let app = App::default();
    let (client, server) = duplex(1024);
    let (of_handler, peer) = (app.clone(), IpAddr::from(Ipv4Addr::LOCALHOST));
    let handler = move |request, _: IpAddr| {
        let app = of_handler.clone();
        async { app.answer(request).await.map(Into::into) }
    };
    let serving = connection::serve(server, peer, handler, stop);
    let mut client = ByHand::greeting(client).await;
    client.send(&get(1, "/never")).await;

    tokio::select! {
        () = serving => panic!("it ended by itself"),
        () = sleep(Duration::from_secs(1)) => {}
    }
    let begin = Instant::now();
    app.cancelled.notified().await;

    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(app.begun(), 1);
}

/// A body that gives one large piece, and then breaks off.
struct Broken(Option<Bytes>);

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        let piece = self.0.take().map(http_body::Frame::data);
        Poll::Ready(Some(piece.ok_or_else(|| std::io::Error::other("broken"))))
    }
}

/// It is given on in pieces, and never ends as if it were whole.
#[tokio::test]
async fn a_body_that_breaks_off_does_not_end() {
    let response = http::Response::new(Broken(Some(Bytes::from(vec![b'x'; 40_000]))));
    let mut answer = Answer::to(&http::Method::GET, response, Streams::default()).into_body();
    let mut lengths = Vec::new();

    let fault = loop {
        match answer.frame().await.expect("it looks whole") {
            Ok(piece) => lengths.push(piece.into_data().unwrap().len()),
            Err(fault) => break fault,
        }
        assert!(!http_body::Body::is_end_stream(&answer));
    };

    assert_eq!(lengths, [16_384, 16_384, 40_000 - 2 * 16_384]);
    // hyper would look for the code of RST_STREAM in it.
    assert!(std::error::Error::source(&fault).is_none());
}
