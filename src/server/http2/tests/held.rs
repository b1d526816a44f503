//! What one client can make us hold (threats F7 to F11), counted in what we take: of its bytes, and of the
//! application's answers. How many requests are answered at the same time, `floods` counts.

use super::by_hand::{RST_STREAM, SETTINGS, WINDOW_UPDATE, data, frame, get, post, window_update};
use super::frames::GOAWAY;
use super::*;
use crate::server::http2::PREFACE;

/// F11: a client that reads what comes, or nothing, and in either case gives back no window.
#[tokio::test(start_paused = true)]
async fn what_a_client_does_not_take_is_not_taken_from_the_application() {
    let no_window = frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0");
    let large_window =
        [frame(SETTINGS, 0, 0, b"\0\x04\x7f\xff\xff\xff"), window_update(0, 1 << 30)];
    for (name, windows, room) in [
        ("no window", no_window, 256 * 1024),
        ("usual windows", frame(SETTINGS, 0, 0, b""), 256 * 1024),
        ("all the window there is, and nothing is read", large_window.concat(), 4096),
    ] {
        let (_drain, stop) = Drain::new();
        let app = App::default();
        let mut client = ByHand::silent(app.connect_within(&stop, room));
        client.send(&[PREFACE, &windows].concat()).await;
        client
            .send(&streams(MAX_STREAMS).flat_map(|id| get(id, "/endless")).collect::<Vec<_>>())
            .await;

        idle().await;

        let (begun, given) = (app.begun(), app.given.load(Ordering::Relaxed));
        assert_eq!(begun, MAX_STREAMS as usize, "{name}");
        assert!(given <= begun * 2 * WINDOW as usize + room, "{name}: {given}");
    }
}

/// RFC 9113 §5.2: as much as a stream may send, and all streams together.
#[tokio::test(start_paused = true)]
async fn what_the_application_does_not_read_is_not_let_in() {
    let (_drain, stop) = Drain::new();
    let mut client = ByHand::greeting(App::default().connect(&stop)).await;
    client.send(&streams(MAX_STREAMS).flat_map(|id| post(id, "/never")).collect::<Vec<_>>()).await;
    let mut came = all_that_came(&mut client).await;
    // Four of them are all but three bytes of a stream's window.
    let piece = [b'x'; 16 * 1024 - 1];
    let pieces = IN_ALL / piece.len();

    for number in 0..pieces {
        let stream = u32::try_from(number / 4 * 2 + 1).unwrap();
        client.send(&data(stream, &piece)).await;
        came.extend(all_that_came(&mut client).await);
    }

    assert_eq!(let_in(&came, 0), IN_ALL);
    assert_eq!(let_in(&came, 1), 65_535);
    assert!(codes(&came, RST_STREAM).is_empty() && codes(&came, GOAWAY).is_empty());
    let one_too_many = vec![b'x'; IN_ALL - pieces * piece.len() + 1];
    client.send(&data(2 * MAX_STREAMS - 1, &one_too_many)).await;
    assert_eq!(codes(&client.rest().await, GOAWAY), [FLOW_CONTROL_ERROR]);
}

fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// Until nobody has anything to do.
async fn idle() {
    sleep(Duration::from_millis(1)).await;
}

async fn all_that_came<S: AsyncRead + AsyncWrite + Unpin>(client: &mut ByHand<S>) -> Vec<Got> {
    let mut came = Vec::new();
    while let Ok(Some(got)) = timeout(Duration::from_millis(1), client.any()).await {
        came.push(got);
    }
    came
}

/// How much window there ever was for `stream`, or for all.
fn let_in(frames: &[Got], stream: u32) -> usize {
    let updates = frames.iter().filter(|got| got.frame.kind == WINDOW_UPDATE);
    let more = updates.filter(|got| got.frame.stream == stream);
    let by = |got: &Got| u32::from_be_bytes(got.payload[..4].try_into().unwrap()) as usize;
    65_535 + more.map(by).sum::<usize>()
}

const IN_ALL: usize = 1024 * 1024;
const FLOW_CONTROL_ERROR: u32 = 3;
