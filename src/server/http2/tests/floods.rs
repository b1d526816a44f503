//! Floods of frames that are cheap to send (RFC 9113 §10.5). The connection ends, and little was begun.

use std::sync::atomic::AtomicBool;

use tokio::io::{AsyncReadExt as _, ReadHalf, WriteHalf, split};

use super::by_hand::{
    ENHANCE_YOUR_CALM, PING, PRIORITY, PROTOCOL_ERROR, SETTINGS, asking, data, fields, frame, get,
    post, reset, window_update,
};
use super::frames::{CONTINUATION, END_STREAM, GOAWAY, HEADERS};
use super::*;
use crate::server::http2::PREFACE;

/// What became of a flood.
struct Outcome {
    begun: usize,
    /// How many were answered at the same time, and are in the end.
    most_running: usize,
    still_running: usize,
    /// All that the server wrote.
    frames: Vec<Got>,
}

/// Send `flood` after `before`, reading all the while, until GOAWAY says that nobody looks at it any more.
async fn flood(before: &[u8], flood: impl Iterator<Item = Vec<u8>>) -> Outcome {
    let (_drain, stop) = Drain::new();
    let app = App::default();
    let (reading, mut writing): (ReadHalf<_>, WriteHalf<_>) = split(app.connect(&stop));
    let mut reading = ByHand::silent(tokio::io::join(reading, tokio::io::sink()));
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let read = tokio::spawn(async move {
        let mut frames = Vec::new();
        while let Some(got) = reading.any().await {
            over.fetch_or(got.frame.kind == GOAWAY, Ordering::Relaxed);
            frames.push(got);
        }
        frames
    });
    writing.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b""), before].concat()).await.unwrap();
    for piece in flood {
        if is_over.load(Ordering::Relaxed) || writing.write_all(&piece).await.is_err() {
            break;
        }
    }
    // It closes by itself: the client stays.
    let frames = timeout(Duration::from_mins(5), read).await.expect("it stays").unwrap();
    Outcome::of(&app, frames).await
}

impl Outcome {
    async fn of(app: &App, frames: Vec<Got>) -> Self {
        // What was begun hears of the end.
        sleep(Duration::from_millis(1)).await;
        Self {
            begun: app.begun(),
            most_running: app.most_running.load(Ordering::Relaxed),
            still_running: app.running.load(Ordering::Relaxed),
            frames,
        }
    }

    #[track_caller]
    fn assert_ended(&self, name: &str, at_most_begun: usize) {
        let codes = codes(&self.frames, GOAWAY);
        assert!(matches!(*codes, [ENHANCE_YOUR_CALM | PROTOCOL_ERROR | 5]), "{name}: {codes:?}");
        assert!(self.begun <= at_most_begun, "{name}: begun {}", self.begun);
        self.assert_freed();
    }

    /// Never more than a client may have under way, and nothing when it is gone.
    #[track_caller]
    fn assert_freed(&self) {
        assert!(self.most_running <= MAX_STREAMS as usize, "{} at once", self.most_running);
        assert_eq!(self.still_running, 0);
    }

    #[track_caller]
    fn assert_calmed(&self, at_most_begun: usize) {
        let codes = codes(&self.frames, GOAWAY);
        assert_eq!(codes, [ENHANCE_YOUR_CALM]);
        assert!(self.begun <= at_most_begun, "begun {}", self.begun);
        self.assert_freed();
    }
}

fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// F7, CVE-2023-44487
#[tokio::test(start_paused = true)]
async fn rapid_reset() {
    let resets = streams(100_000).map(|stream| [get(stream, "/never"), reset(stream)].concat());

    let outcome = flood(b"", resets).await;

    outcome.assert_calmed(100);
}

/// The same from a client that lets each request begin, which h2 does not count.
#[tokio::test(start_paused = true)]
async fn slower_reset() {
    let outcome = one_by_one(|stream| get(stream, "/never"), reset).await;

    assert_eq!(codes(&outcome.frames, GOAWAY), [ENHANCE_YOUR_CALM]);
    assert!((900..1100).contains(&outcome.begun), "{}", outcome.begun);
    // One is cancelled before the next begins, or just after.
    assert!(outcome.most_running <= 2, "{} at once", outcome.most_running);
    outcome.assert_freed();
}

/// Ask for something, and `end` it as soon as it has begun; again and again.
async fn one_by_one(ask: Variant, end: Variant) -> Outcome {
    let (_drain, stop) = Drain::new();
    let app = App::default();
    let mut client = ByHand::greeting(app.connect(&stop)).await;
    for (number, stream) in (0..).zip(streams(10_000)) {
        client.send(&ask(stream)).await;
        for _ in 0..100 {
            if app.begun() > number {
                break;
            }
            tokio::task::yield_now().await;
        }
        // None begins on a connection that is over.
        if app.begun() <= number {
            break;
        }
        client.send(&end(stream)).await;
    }
    let (frames, _) = rest(&mut client).await;
    Outcome::of(&app, frames).await
}

/// F8, RUSTSEC-2024-0332
#[tokio::test(start_paused = true)]
async fn continuation_without_end() {
    let block = fields(&[("x", "y".repeat(100))]);
    for pieces in [block, vec![]] {
        let before = frame(HEADERS, END_STREAM, 1, &fields(&asking("GET", "/")));
        let flood = flood(&before, (0..10_000).map(|_| frame(CONTINUATION, 0, 1, &pieces))).await;

        flood.assert_calmed(0);
    }
}

/// F8: a small block that stands for a large header.
#[tokio::test(start_paused = true)]
async fn a_header_that_grows_when_it_is_unpacked() {
    // One field of 4,000 bytes is remembered (RFC 7541 §6.2.1), and then meant again and again (§6.1).
    let mut block = fields(&asking("GET", "/"));
    let remembered = fields(&[("x", "y".repeat(4000))]);
    block.push(0x40);
    block.extend_from_slice(&remembered[1..]);
    block.extend(std::iter::repeat_n(0xbe, 16_000 - block.len()));
    let bombs = streams(1000).map(|stream| frame(HEADERS, 5, stream, &block));

    let outcome = flood(b"", bombs).await;

    outcome.assert_calmed(0);
}

type Variant = fn(u32) -> Vec<u8>;

/// Requests, and errors for which the server resets their streams.
const OFFENCES: [(&str, Variant, Variant); 5] = [
    ("no increment", |stream| post(stream, "/never"), |stream| window_update(stream, 0)),
    (
        "too large a window",
        |stream| post(stream, "/never"),
        |stream| window_update(stream, u32::MAX >> 1),
    ),
    ("data after the end", |stream| get(stream, "/never"), |stream| data(stream, b"x")),
    ("header after the end", |stream| get(stream, "/never"), |stream| get(stream, "/never")),
    (
        "depends on itself",
        |stream| post(stream, "/never"),
        |stream| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[1]].concat()),
    ),
];

/// F9, CVE-2025-8671: errors for which the server resets the stream, while the request goes on.
#[tokio::test(start_paused = true)]
async fn made_you_reset() {
    for (name, ask, offend) in OFFENCES {
        let pieces = streams(100_000).map(|stream| [ask(stream), offend(stream)].concat());

        let outcome = flood(b"", pieces).await;

        outcome.assert_ended(name, 100);
    }
}

/// The same from a client that lets each request begin: it ends with its stream.
#[tokio::test(start_paused = true)]
async fn slower_made_you_reset() {
    for (name, ask, offend) in OFFENCES {
        let outcome = one_by_one(ask, offend).await;

        outcome.assert_ended(name, 110);
        assert!(outcome.most_running <= 2, "{name}: {} at once", outcome.most_running);
    }
}

/// Requests that are malformed before anybody could begin them count too.
#[tokio::test(start_paused = true)]
async fn malformed_requests() {
    let mut block = fields(&asking("GET", "/"));
    block.extend(fields(&[("connection", "close")]));
    let malformed = streams(1000).map(|stream| frame(HEADERS, 5, stream, &block));

    flood(b"", malformed).await.assert_calmed(0);
}

/// More at once than we said that we take (RFC 9113 §5.1.2).
#[tokio::test(start_paused = true)]
async fn more_streams_than_allowed() {
    let outcome = flood(b"", streams(10_000).map(|stream| get(stream, "/never"))).await;

    outcome.assert_calmed(100);
    assert!(outcome.begun > 90, "begun {}", outcome.begun);
}

/// F10, RUSTSEC-2026-0258
#[tokio::test(start_paused = true)]
async fn empty_and_tiny_data() {
    let unread = post(1, "/never");

    let empty = flood(&unread, (0..1_000_000).map(|_| data(1, b""))).await;
    let tiny = flood(&unread, (0..1_000_000).map(|_| data(1, b"x"))).await;

    empty.assert_calmed(1);
    tiny.assert_calmed(1);
}

/// F11: each costs us an answer, a change of all streams, or nothing but the reading.
#[tokio::test(start_paused = true)]
async fn frames_that_ask_for_nothing() {
    let floods = [
        ("PING", frame(PING, 0, 0, b"12345678")),
        ("PING, answered", frame(PING, 1, 0, b"12345678")),
        ("SETTINGS", frame(SETTINGS, 0, 0, b"")),
        ("SETTINGS, window", frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff")),
        ("PRIORITY", frame(PRIORITY, 0, 3, b"\0\0\0\0\x10")),
        ("WINDOW_UPDATE", window_update(0, 1)),
        ("unknown", frame(0x42, 0, 0, b"")),
    ];

    for (name, piece) in floods {
        let outcome = flood(&get(1, "/never"), (0..1_000_000).map(|_| piece.clone())).await;
        let codes = codes(&outcome.frames, GOAWAY);
        assert_eq!(codes, [ENHANCE_YOUR_CALM], "{name}");
        let written = outcome.frames.len();
        assert!(written < 2500, "{name}: {written} frames written");
        outcome.assert_freed();
    }
}

/// The other way round: a client that takes an answer byte by byte (CVE-2019-9511).
#[tokio::test(start_paused = true)]
async fn an_answer_byte_by_byte() {
    let no_window = frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0");
    let asked = [no_window, get(1, "/large")].concat();

    let outcome = flood(&asked, (0..100_000).map(|_| window_update(1, 1))).await;

    outcome.assert_calmed(1);
    assert!(body(&outcome.frames) < 5000, "{}", body(&outcome.frames));
}

/// An honest client that downloads much, and gives the window back frame by frame.
#[tokio::test(start_paused = true)]
async fn a_download_is_no_flood() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;

    for stream in streams(100) {
        client.send(&get(stream, "/large")).await;
        let mut came = 0;
        while came < LARGE {
            let got = client.next().await.expect("it was cut");
            let here = body(std::slice::from_ref(&got));
            came += here;
            if let Some(by) = u32::try_from(here).ok().filter(|by| *by > 0) {
                client.send(&[window_update(0, by), window_update(stream, by)].concat()).await;
            }
        }
    }
    let mut end = [0; 0];
    assert_eq!(client.stream.read(&mut end).await.unwrap(), 0);
}

/// An upload of many small pieces that are read as they come.
#[tokio::test(start_paused = true)]
async fn an_upload_in_small_pieces_is_no_flood() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    client.send(&post(1, "/upload")).await;

    for _ in 0..5000 {
        client.send(&data(1, b"0123456789")).await;
        tokio::task::yield_now().await;
    }
    client.send(&frame(frames::DATA, END_STREAM, 1, b"")).await;
    let answer = client.answer(1).await;

    assert_eq!(answer[0].status(), 200);
    assert_eq!(answer[1].payload, b"50000");
}
