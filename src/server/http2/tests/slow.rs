//! Clients that say nothing, say it slowly, read nothing, or are no longer there.

use tokio::io::AsyncReadExt as _;

use super::by_hand::{
    ACK, CANCEL, ENHANCE_YOUR_CALM, NO_ERROR, PING, RST_STREAM, SETTINGS, frame, get, window_update,
};
use super::frames::{CONTINUATION, END_STREAM, GOAWAY, HEADERS};
use super::*;
use crate::server::http2::PREFACE;

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_however_its_bytes_are_cut() {
    let (_drain, stop) = Drain::new();
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, b""), &get(1, "/")].concat();

    for size in [1, 2, 23, 24, 25, 40, bytes.len()] {
        let mut client = ByHand::silent(App::default().connect(&stop));
        for piece in bytes.chunks(size) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        let answer = client.answer(1).await;
        assert_eq!(answer[0].status(), 200, "in pieces of {size}");
        assert_eq!(body(&answer), 4, "in pieces of {size}");
    }
}

/// What only begins as the preface does is HTTP/1, and none of it is lost.
#[tokio::test(start_paused = true)]
async fn what_is_not_the_preface_is_http_1() {
    let (_drain, stop) = Drain::new();
    for (request, status) in [
        (&b""[..], ""),
        (b"P", ""),
        (b"PRI * HT", ""),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200"),
        (b"PRI / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 405"),
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "HTTP/1.1 400"),
        (b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/1.1 400"),
    ] {
        for size in [1, 50] {
            let mut client = App::default().connect(&stop);
            for piece in request.chunks(size) {
                let _ = client.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            // Half-closing is the client's going, once its request has been taken.
            if status.is_empty() {
                client.shutdown().await.unwrap();
            }
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            let request = request.escape_ascii();
            assert!(answer.starts_with(status), "{request}: {answer}");
            assert_eq!(answer.is_empty(), status.is_empty(), "{request}");
        }
    }
}

/// hyper-util's own detection would wait for ever.
#[tokio::test(start_paused = true)]
async fn a_preface_that_stops_is_closed() {
    let (_drain, stop) = Drain::new();

    for begun in [1, 8, 23] {
        let mut client = ByHand::silent(App::default().connect(&stop));
        client.send(&PREFACE[..begun]).await;

        assert_eq!(client.watch().await, (vec![], 10), "after {begun} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_stops_is_closed() {
    let (_drain, stop) = Drain::new();
    let (settings, whole) = (frame(SETTINGS, 0, 0, b""), get(1, "/"));
    let open = frame(HEADERS, END_STREAM, 1, &whole[9..]);

    for begun in [
        vec![],
        settings[..4].to_vec(),
        [&settings, &whole[..5]].concat(),
        [&settings, &whole[..20]].concat(),
        [settings, open].concat(),
    ] {
        let app = App::default();
        let mut client = ByHand::silent(app.connect(&stop));
        client.send(&[PREFACE, &begun].concat()).await;

        let (frames, seconds) = client.watch().await;
        assert_eq!((codes(&frames, GOAWAY), seconds), (vec![ENHANCE_YOUR_CALM], 10), "{begun:?}");
        assert_eq!(app.begun(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_drips_is_closed() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    let begin = Instant::now();

    client.send(&frame(HEADERS, END_STREAM, 1, b"")).await;
    for byte in &get(1, "/")[9..12] {
        sleep(Duration::from_secs(3)).await;
        client.send(&frame(CONTINUATION, 0, 1, &[*byte])).await;
    }
    let (frames, _) = client.watch().await;

    assert_eq!(codes(&frames, GOAWAY), [ENHANCE_YOUR_CALM]);
    assert_eq!(begin.elapsed().as_secs(), 10);
}

/// Each header has its own time: many, one after the other, are no slow one.
#[tokio::test(start_paused = true)]
async fn headers_may_come_one_after_the_other_for_long() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;

    for stream in (1..20).step_by(2) {
        let request = get(stream, "/");
        client.send(&request[..20]).await;
        sleep(Duration::from_secs(8)).await;
        client.send(&request[20..]).await;
        assert_eq!(body(&client.answer(stream).await), 4);
    }
}

/// A client that goes when it is asked to is gone at once. PINGs are no requests.
#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_ends_after_75_seconds() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    client.send(&get(1, "/")).await;
    client.answer(1).await;
    sleep(Duration::from_secs(30)).await;
    client.send(&get(3, "/")).await;
    client.answer(3).await;
    let begin = Instant::now();
    let mut frames = Vec::new();

    loop {
        tokio::select! {
            got = client.next() => match got {
                Some(got) => frames.push(got),
                None => break,
            },
            () = sleep(Duration::from_secs(7)) => {
                client.send(&frame(PING, 0, 0, b"12345678")).await;
                client.send(&window_update(0, 1)).await;
            }
        }
    }

    assert_eq!(codes(&frames, GOAWAY), [NO_ERROR, NO_ERROR]);
    assert_eq!(begin.elapsed().as_secs(), 75);
}

/// One that does not answer the PING that goes with GOAWAY is not asked any other whether it is there.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_go_is_closed() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    let begin = Instant::now();
    let mut told = None;

    while let Some(got) = client.any().await {
        if got.frame.kind == GOAWAY {
            told.get_or_insert(begin.elapsed().as_secs());
        }
        if got.frame.kind == PING && told.is_none_or(|told| told < begin.elapsed().as_secs()) {
            client.send(&frame(PING, ACK, 0, &got.payload)).await;
        }
    }

    assert_eq!(told, Some(75));
    assert_eq!(begin.elapsed().as_secs(), 80 + 20);
}

/// RFC 9113 §6.8: what was sent before the client had heard of it is answered.
#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_goaway_is_answered() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    let ping = loop {
        let got = client.any().await.unwrap();
        match got.frame.kind {
            GOAWAY => break client.any().await.unwrap(),
            PING => client.send(&frame(PING, ACK, 0, &got.payload)).await,
            _ => {}
        }
    };

    client.send(&[get(1, "/slow"), frame(PING, ACK, 0, &ping.payload)].concat()).await;
    let (frames, seconds) = rest(&mut client).await;

    assert_eq!(ping.frame.kind, PING);
    assert_eq!((body(&frames), seconds), (4, 20));
    assert!(codes(&frames, RST_STREAM).is_empty());
}

/// Fault 21: without FIN or RST.
#[tokio::test(start_paused = true)]
async fn a_client_that_vanished_is_noticed_within_a_minute() {
    let (_drain, stop) = Drain::new();
    for path in ["/quiet", "/never"] {
        let app = App::default();
        let mut client = ByHand::greeting(app.connect(&stop)).await;
        client.send(&get(1, path)).await;
        let begin = Instant::now();

        app.cancelled.notified().await;

        assert_eq!(begin.elapsed().as_secs(), 40, "{path}");
    }
}

/// A client that is there may leave a stream quiet for as long as it likes.
#[tokio::test(start_paused = true)]
async fn a_quiet_stream_lasts() {
    let (_drain, stop) = Drain::new();
    let app = App::default();
    let mut client = ByHand::greeting(app.connect(&stop)).await;
    client.send(&get(1, "/quiet")).await;
    while body(&[client.next().await.unwrap()]) == 0 {}

    let reading = tokio::time::timeout(Duration::from_hours(3), client.next()).await;

    assert!(reading.is_err(), "{reading:?}");
}

/// It does not read the socket.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut() {
    let (_drain, stop) = Drain::new();
    let app = App::default();
    let mut client = ByHand::greeting(app.connect_within(&stop, 4096)).await;
    client.send(&[window_update(0, 1 << 20), get(1, "/large"), get(3, "/never")].concat()).await;
    let begin = Instant::now();

    // What it sends meanwhile does not help it.
    let sending = async {
        for stream in (5..).step_by(2) {
            sleep(Duration::from_secs(9)).await;
            client.send(&get(stream, "/never")).await;
        }
    };
    tokio::select! {
        () = sending => {}
        () = app.cancelled.notified() => {}
    }

    assert_eq!(begin.elapsed().as_secs(), 60);
}

/// It reads the socket and takes nothing of one answer (RFC 9113 §5.2).
#[tokio::test(start_paused = true)]
async fn an_answer_that_its_client_does_not_take_is_reset() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    client.send(&[window_update(0, 1 << 20), get(1, "/large")].concat()).await;
    let begin = Instant::now();

    let answer = client.answer(1).await;

    assert_eq!(begin.elapsed().as_secs(), 60);
    assert_eq!(codes(&answer, RST_STREAM), [CANCEL]);
    assert_eq!(body(&answer), 65_535);
    client.send(&get(3, "/")).await;
    assert_eq!(body(&client.answer(3).await), 4);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_client_takes_slowly_is_not_reset() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    client.send(&[window_update(0, 1 << 20), get(1, "/large")].concat()).await;
    let mut answer = Vec::new();

    while !answer.last().is_some_and(Got::ends_stream) {
        tokio::select! {
            got = client.next() => answer.push(got.unwrap()),
            () = sleep(Duration::from_secs(50)) => {
                client.send(&window_update(1, 16 * 1024)).await;
            }
        }
    }

    assert_eq!(body(&answer), LARGE);
    assert!(codes(&answer, RST_STREAM).is_empty());
}

/// The whole answer is h2's by then, no stream is under way, and yet nothing of it is taken.
#[tokio::test(start_paused = true)]
async fn the_rest_of_an_answer_is_not_kept_for_ever() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::silent(App::default().connect(&stop));
    let no_window = [&4_u16.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &no_window), &get(1, "/")].concat()).await;

    let (frames, seconds) = rest(&mut client).await;

    assert_eq!(body(&frames), 0);
    assert_eq!(seconds, 75 + 60);
}
