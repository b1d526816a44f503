//! Signs of life, over in-memory pipes, with a clock that only moves when all is idle.

use http::Request;
use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

/// Both ends of a connection; the far one says nothing unless it is polled.
async fn connected()
-> (SendRequest<Bytes>, Begun<DuplexStream>, h2::server::Connection<DuplexStream, Bytes>) {
    let (near, far) = duplex(64 * 1024);
    let (begun, far) = tokio::join!(begin(near), h2::server::handshake(far));
    let (sender, begun) = begun.unwrap();
    (sender, begun, far.unwrap())
}

fn open_streams(count: usize) -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(count))
}

/// Fault 16: packets vanish.
#[tokio::test(start_paused = true)]
async fn who_is_silent_while_streams_are_open_is_given_up_with_them() {
    let (mut sender, begun, _far) = connected().await;
    let (answer, _) = sender.send_request(Request::new(()), true).unwrap();
    let start = Instant::now();

    let end = begun.run(open_streams(1)).await;

    assert!(matches!(end, Err(Lost::Silent)), "{end:?}");
    let asked_and_waited = start.elapsed();
    assert!(asked_and_waited >= QUIET * 2 && asked_and_waited < QUIET * 3, "{asked_and_waited:?}");
    assert!(answer.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_gives_a_sign_of_life_is_kept() {
    let (_sender, begun, mut far) = connected().await;

    let ended = tokio::select! {
        end = timeout(Duration::from_mins(30), begun.run(open_streams(1))) => end.is_ok(),
        _ = far.accept() => true,
    };

    assert!(!ended);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_nothing() {
    let (_sender, begun, _far) = connected().await;

    assert!(timeout(Duration::from_mins(30), begun.run(open_streams(0))).await.is_err());
}

/// Before, it is not known how many streams there may be.
#[tokio::test(start_paused = true)]
async fn a_connection_begins_when_the_other_side_has_said_what_it_takes() {
    let (near, _far) = duplex(64 * 1024);

    assert!(timeout(Duration::from_mins(1), begin(near)).await.is_err());
}
