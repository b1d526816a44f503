//! Over in-memory pipes, with a clock that only moves when all is idle.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::*;
use crate::server::drain::{Drain, DrainSettings, Drained};
use crate::server::http2::PREFACE;
use crate::telemetry::{LogFormat, LogLevel, LogSettings, log_to};
use crate::tls::trial::{Client, Shown};
use crate::wire::{self, answer};

const GET: &[u8] = b"GET /mcp HTTP/1.1\r\nHost: a\r\n\r\n";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server with one worker.
struct Server {
    handshakes: Arc<Handshakes>,
    shown: Shown,
}

impl Server {
    fn new() -> Self {
        let shown = Shown::make();
        let tls = Acceptor::new(shown.identity()).unwrap();
        Self { handshakes: Arc::new(Handshakes::new(tls, Arc::default())), shown }
    }

    fn client(&self, protocols: &[&str]) -> Client {
        Client::of(&[&self.shown], protocols)
    }

    /// A client's end of a connection on which everything is answered with "done".
    fn connect(&self, stop: Stop) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = duplex(64 * 1024);
        let handshakes = Arc::clone(&self.handshakes);
        let reply =
            async |_: Request, _: IpAddr| answer::plain(StatusCode::OK, "done").map(Into::into);
        let serving = async move { handshakes.serve(server, PEER, reply, stop).await };
        (client, tokio::spawn(serving))
    }
}

/// A hello, as it goes over the wire.
async fn hello(client: &Client) -> Vec<u8> {
    let (near, mut far) = duplex(64 * 1024);
    let mut hello = vec![0; 5];
    let read = async {
        far.read_exact(&mut hello).await.unwrap();
        let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        hello.resize(5 + length, 0);
        far.read_exact(&mut hello[5..]).await.unwrap();
        drop(far);
    };
    let (connected, ()) = tokio::join!(client.connect(near), read);
    connected.unwrap_err();
    hello
}

/// What comes until the server closes, and after how many seconds it does.
async fn read_to_end(client: &mut DuplexStream) -> (Vec<u8>, u64) {
    let begin = Instant::now();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    (answer, begin.elapsed().as_secs())
}

/// Threat F12
#[tokio::test(start_paused = true)]
async fn who_does_not_shake_hands_is_closed_after_ten_seconds_in_all() {
    let server = Server::new();
    let (_drain, stop) = Drain::new();
    let hello = hello(&server.client(&[])).await;
    for begun in [0, 1, 5, hello.len() - 1] {
        let (mut client, _) = server.connect(stop.clone());
        client.write_all(&hello[..begun]).await.unwrap();
        assert_eq!(read_to_end(&mut client).await, (Vec::new(), 10), "{begun} bytes");
    }

    // Nor does a drop now and then help, nor to be answered.
    let (mut client, _) = server.connect(stop.clone());
    for byte in &hello[..9] {
        client.write_all(&[*byte]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(read_to_end(&mut client).await, (Vec::new(), 1));
    let (mut client, _) = server.connect(stop);
    sleep(Duration::from_secs(4)).await;
    client.write_all(&hello).await.unwrap();
    let (answer, seconds) = read_to_end(&mut client).await;
    assert_eq!((answer.first(), seconds), (Some(&22), 6));
}

/// Whatever a piece begins with.
#[tokio::test(start_paused = true)]
async fn a_hello_may_come_in_pieces() {
    let server = Server::new();
    let (_drain, stop) = Drain::new();
    let hello = hello(&server.client(&[])).await;
    let letters = (1..hello.len()).filter(|at| hello[*at].is_ascii_uppercase());
    let mut tried = 0;
    for at in letters.chain([1, 5]) {
        let (mut client, _) = server.connect(stop.clone());
        client.write_all(&hello[..at]).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        client.write_all(&hello[at..]).await.unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        // A handshake record with a hello of the server's.
        assert_eq!((answer[0], answer[5]), (22, 2), "in two at {at}");
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_holds_no_drain_up() {
    let server = Server::new();
    let (drain, stop) = Drain::new();
    let hello = hello(&server.client(&[])).await;
    let (_silent, _) = server.connect(stop.clone());
    let (mut in_hello, _) = server.connect(stop.clone());
    in_hello.write_all(&hello[..20]).await.unwrap();
    let (mut answered, _) = server.connect(stop.clone());
    answered.write_all(&hello).await.unwrap();
    // Shaken, and nothing asked.
    let (idle, _) = server.connect(stop);
    let _idle = server.client(&["h2"]).connect(idle).await.unwrap();
    let begin = Instant::now();
    let settings =
        DrainSettings { keep_accepting: Duration::ZERO, finish_within: Duration::from_secs(25) };

    let drained = drain.drain(settings).await;

    assert_eq!((drained, begin.elapsed().as_secs()), (Drained::Everything, 1));
}

/// Who has just connected has one request left.
#[tokio::test(start_paused = true)]
async fn a_handshake_under_way_ends_while_all_is_stopping() {
    let server = Server::new();
    let (drain, mut stop) = Drain::new();
    let (client, _) = server.connect(stop.clone());
    let late = async {
        stop.reached(Stage::Finishing).await;
        drop(stop);
        sleep(Duration::from_millis(900)).await;
        let mut client = server.client(&[]).connect(client).await.unwrap();
        client.write_all(GET).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let settings =
        DrainSettings { keep_accepting: Duration::ZERO, finish_within: Duration::from_secs(25) };

    let (drained, answer) = tokio::join!(drain.drain(settings), late);

    assert_eq!(drained, Drained::Everything);
    assert!(answer.ends_with("done") && answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_speaks_plain_http_is_told_and_closed() {
    let server = Server::new();
    let (_drain, stop) = Drain::new();
    for plain in [GET, PREFACE, b"G"] {
        let (mut client, _) = server.connect(stop.clone());
        client.write_all(plain).await.unwrap();
        let (answer, _) = read_to_end(&mut client).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.contains("this port speaks TLS: use https"), "{answer}");
    }
}

/// RFC 9113 §3.3
#[tokio::test(start_paused = true)]
async fn what_is_spoken_is_what_was_agreed_on() {
    let server = Server::new();
    let (_drain, stop) = Drain::new();
    for protocols in [&["http/1.1"][..], &[]] {
        let (client, _) = server.connect(stop.clone());
        let mut client = server.client(protocols).connect(client).await.unwrap();
        client.write_all(PREFACE).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("ALPN"), "{answer}");
    }

    let (client, _) = server.connect(stop);
    let mut client = server.client(&["h2"]).connect(client).await.unwrap();
    client.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    // It may or may not say goodbye.
    let _ = client.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"));
}

/// RFC 8446 §6.1: so that nobody can cut what looks whole then.
#[tokio::test(start_paused = true)]
async fn a_proper_end_is_said_to_be_one() {
    let server = Server::new();
    let (_drain, stop) = Drain::new();
    let close = b"GET /mcp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (request, seconds) in [(&close[..], 0), (GET, 75), (b"", 10), (b"GET\r\n", 0)] {
        let begin = Instant::now();
        let (client, _) = server.connect(stop.clone());
        let mut client = server.client(&["http/1.1"]).connect(client).await.unwrap();
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), seconds, "{answer}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_no_proper_end() {
    let server = Server::new();
    let (_drain, stop) = Drain::new();
    let (client, far) = duplex(64 * 1024);
    let broken = async |_: Request, _: IpAddr| {
        let mut response = http::Response::new(wire::Body::full("begun").into());
        response.headers_mut().insert(http::header::CONTENT_LENGTH, 100.into());
        response
    };
    let ask = async {
        let mut client = server.client(&["http/1.1"]).connect(client).await.unwrap();
        client.write_all(GET).await.unwrap();
        let mut answer = Vec::new();
        let end = client.read_to_end(&mut answer).await.unwrap_err();
        (String::from_utf8(answer).unwrap(), end.kind())
    };

    let ((), (answer, end)) = tokio::join!(server.handshakes.serve(far, PEER, broken, stop), ask);

    assert!(answer.ends_with("begun"), "{answer}");
    assert_eq!(end, io::ErrorKind::UnexpectedEof);
}

/// What TLS holds back of an answer is not sent.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut() {
    let server = Server::new();
    let (_drain, stop) = Drain::new();
    for size in [2_000, 100_000] {
        let (client, far) = duplex(1024);
        let large = move |_: Request, _: IpAddr| async move {
            http::Response::new(wire::Body::full(vec![b'x'; size]).into())
        };
        let serving = async {
            server.handshakes.serve(far, PEER, large, stop.clone()).await;
            Instant::now()
        };
        let ask = async {
            let mut client = server.client(&["http/1.1"]).connect(client).await.unwrap();
            client.write_all(GET).await.unwrap();
            (client, Instant::now())
        };
        let (ended, (_client, asked)) = tokio::join!(serving, ask);
        assert_eq!((ended - asked).as_secs(), 60, "{size} bytes");
    }
}

/// Threat F12: however many come at once.
#[tokio::test]
async fn between_two_costly_steps_everybody_has_a_turn() {
    let server = Server::new();
    let (turns, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let mut crowd = JoinSet::new();
    for _ in 0..50 {
        let (handshakes, turns, seen) = (server.handshakes.clone(), turns.clone(), seen.clone());
        crowd.spawn(async move {
            let costly = async { seen.lock().unwrap().push(turns.load(Ordering::Relaxed)) };
            handshakes.in_turn(Box::pin(costly)).await;
        });
    }
    let live = tokio::spawn(async move {
        loop {
            turns.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    });

    crowd.join_all().await;

    live.abort();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 50);
    assert!(seen[49] - seen[0] >= 48, "{seen:?}");
}

/// It may not be its turn while it waits, or one that never goes on would hold up all others.
#[tokio::test]
async fn who_waits_for_its_client_is_in_nobodys_way() {
    let server = Server::new();
    let stuck = server.handshakes.in_turn(Box::pin(std::future::pending::<()>()));

    tokio::select! {
        biased;
        () = stuck => {}
        () = server.handshakes.in_turn(Box::pin(yield_now())) => {}
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Only what an operator can mend is told without being asked.
#[tokio::test(start_paused = true)]
async fn faults_of_one_kind_are_counted_and_told_each_ten_seconds() {
    let lines = Lines::default();
    let sink = lines.clone();
    let settings = LogSettings { format: LogFormat::Json, level: LogLevel::Info };
    let _log = tracing::dispatcher::set_default(&log_to(&settings, move || sink.clone()));
    let server = Server::new();
    let (_drain, stop) = Drain::new();
    let stranger = Client::of(&[], &[]);

    for _ in 0..25 {
        let (mut client, serving) = server.connect(stop.clone());
        client.write_all(GET).await.unwrap();
        drop(client);
        serving.await.unwrap();
        let (client, serving) = server.connect(stop.clone());
        stranger.connect(client).await.unwrap_err();
        serving.await.unwrap();
        let (mut client, serving) = server.connect(stop.clone());
        client.write_all(b"\x16\x03\x01garbage").await.unwrap();
        drop(client);
        serving.await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }

    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (fault, fix) in [("speaks no TLS", "ingress"), ("does not believe", "tls.cert")] {
        let of_it = lines.iter().filter(|line| line["fault"].as_str().unwrap().contains(fault));
        let counts: Vec<_> = of_it
            .map(|line| {
                assert_eq!((&line["level"], &line["peer"]), (&"WARN".into(), &"127.0.0.1".into()));
                assert!(line["fix"].as_str().unwrap().contains(fix), "{line}");
                line["count"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(counts, [1, 10, 10], "{fault}");
    }
    assert_eq!(lines.len(), 6, "{lines:?}");
}
