//! Clients that connect over TLS: all is as it is without, and who does not speak it well is in nobody's way.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Version;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use url::Url;

use crate::support::doorman::{Builder, Doorman, HOST, RESOURCE};
use crate::support::exchange::{Request, Upload};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::http2::Shared;
use crate::support::program::{LOCAL, Program};
use crate::support::soon;
use crate::support::tls_authority::{Signed, TlsAuthority};
use crate::upstream_kinds::carries_calls_and_streams;

/// One worker, so that whoever is there could be in somebody's way.
async fn builder() -> Builder {
    let authority = TlsAuthority::new();
    let signed = authority.signs(HOST);
    Doorman::in_front_of(FakeMcpServer::start().await).workers(1).over_tls(&authority, &signed)
}

#[tokio::test]
async fn calls_and_streams_are_the_same_over_tls() {
    let doorman = builder().await.start().await;
    let url = Url::parse(&doorman.upstream().url("/mcp")).unwrap();

    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    carries_calls_and_streams(doorman, host).await;
}

#[tokio::test]
async fn http2_is_spoken_where_both_sides_know_it() {
    let doorman = builder().await.start().await;
    let token = doorman.log_in().await.tokens.access;
    let shared = Shared::through(doorman.door()).await;

    let answer = shared.open(doorman.request(&token)).await;
    assert_eq!((answer.version, answer.status.as_u16()), (Version::HTTP_2, 200));
    answer.whole().await;
    let flood = 3 * 1024 * 1024;
    doorman.upstream().floods(flood);
    let body: Vec<u8> = (0_u32..500_000).flat_map(u32::to_le_bytes).collect();
    let answer = shared.send(doorman.request(&token).body(body.clone())).await;
    assert_eq!(answer.assert_status(200).text().len(), flood);
    assert!(doorman.upstream().received()[1].body == body, "the request's body changed");

    let feed = doorman.upstream().streams_events();
    let mut stream = shared.open(doorman.request(&token)).await;
    for number in 0..5 {
        feed.event(&format!("event {number}"));
        assert_eq!(stream.until("\n\n").await, format!("data: event {number}\n\n"));
    }
    drop(stream);
    doorman.upstream().hang_up().await;
    let feed = doorman.upstream().streams_events();
    let mut stream = shared.open(doorman.request(&token)).await;
    feed.event("half");
    stream.until("half").await;
    feed.break_off();
    assert!(stream.next_bytes().await.unwrap().is_err(), "it looks whole");
}

#[tokio::test]
async fn a_request_body_streams_up_as_it_comes_over_tls() {
    let doorman = builder().await.start().await;
    let token = doorman.log_in().await.tokens.access;
    let (door, server) = (doorman.door(), doorman.upstream());
    for protocol in [Version::HTTP_11, Version::HTTP_2] {
        let (pieces, receiver) = mpsc::unbounded_channel::<Bytes>();
        let sending = async {
            for piece in ["first", "second"] {
                pieces.send(Bytes::from_static(piece.as_bytes())).unwrap();
                assert_eq!(server.next_upload().await, piece);
            }
            drop(pieces);
        };
        let asking = async {
            if protocol == Version::HTTP_2 {
                let shared = Shared::through(doorman.door()).await;
                let upload = |_| Upload(receiver).boxed();
                return shared.open_with(doorman.request(&token), upload).await.whole().await;
            }
            let request = doorman.request(&token).into_http(&door.authority, |_| Upload(receiver));
            door.open_body("an upload".to_owned(), request).await.whole().await
        };

        let (answer, ()) = tokio::join!(asking, sending);

        answer.assert_status(200);
    }
}

/// RFC 8446 §6.1: what was cut must not look whole. In HTTP/1.0 nothing else says that it is.
#[tokio::test]
async fn an_answer_that_breaks_off_is_not_said_to_have_ended() {
    let doorman = builder().await.start().await;
    let token = doorman.log_in().await.tokens.access;
    for (version, is_cut) in [("1.1", true), ("1.0", true), ("1.0", false)] {
        let feed = doorman.upstream().streams_events();
        let mut stream = doorman.door().connect(b"http/1.1").await;
        let request = format!(
            "GET /mcp HTTP/{version}\r\nHost: {HOST}\r\nAccept: text/event-stream\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        feed.event("half");
        let mut answer = String::new();
        while !answer.contains("half") {
            let mut some = [0; 1024];
            let count = soon("an event", stream.read(&mut some)).await.unwrap();
            assert_ne!(count, 0, "{answer}");
            answer.push_str(str::from_utf8(&some[..count]).unwrap());
        }
        if is_cut {
            feed.break_off();
        } else {
            feed.end();
        }

        let end = soon("an end", stream.read(&mut [0; 1024])).await;

        let kind = end.as_ref().map_err(std::io::Error::kind);
        let cut = [Err(ErrorKind::UnexpectedEof), Err(ErrorKind::ConnectionReset)];
        assert_eq!(cut.contains(&kind.copied()), is_cut, "{end:?}");
    }
}

/// RFC 8996
#[tokio::test]
async fn old_versions_of_tls_are_refused() {
    let doorman = builder().await.start().await;
    // The last one shows that nothing else is wrong with it.
    for (version, refusal) in [([3, 0], true), ([3, 1], true), ([3, 2], true), ([3, 3], false)] {
        // Version, random, no session, a cipher suite, no compression; a group and a way to sign.
        let suites = [0, 2, 0xc0, 0x2b];
        let extensions = [0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
        let hello = [&version[..], &[7; 32], &[0], &suites, &[1, 0], &extensions].concat();
        let length = u8::try_from(hello.len()).unwrap();
        let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
        let mut stream = TcpStream::connect(doorman.door().address).await.unwrap();
        stream.write_all(&record).await.unwrap();

        let mut answer = [0; 7];
        soon("an answer", stream.read_exact(&mut answer)).await.unwrap();

        // A fatal alert, `protocol_version` (RFC 8446 §6.2).
        assert_eq!(matches!(answer, [21, 3, _, 0, 2, 2, 70]), refusal, "{version:?}: {answer:?}");
    }
}

/// Threat F12: a hello that says that it is of 16 MiB is not waited for.
#[tokio::test]
async fn a_huge_hello_is_refused() {
    let doorman = builder().await.start().await;
    let mut stream = TcpStream::connect(doorman.door().address).await.unwrap();
    let record = [&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 0x4000 - 4]].concat();
    stream.write_all(&record).await.unwrap();

    doorman.log().line_with("HandshakePayloadTooLarge").await;
    let mut answer = Vec::new();
    soon("an end", stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn who_speaks_plain_http_to_it_is_told_and_so_is_the_operator() {
    let doorman = builder().await.start().await;
    let mut stream = TcpStream::connect(doorman.door().address).await.unwrap();
    stream.write_all(b"GET /mcp HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();

    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("this port speaks TLS: use https"), "{answer}");
    let line = doorman.log().line_with("speaks no TLS").await;
    assert!(line.contains("WARN") && line.contains("have your ingress speak TLS"), "{line}");
    // Who is not for the world speaks plain HTTP still.
    doorman.until_ready().await;
}

/// Threat F12: 300 are enough to see that none is waited for. More: tests/crowds.
#[tokio::test]
async fn who_never_finishes_a_handshake_is_in_nobodys_way() {
    let doorman = builder().await.start().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let mut live = doorman.door().open(doorman.request(&token)).await;
    let hello = TlsAuthority::new().client_of(HOST).hello().await;
    let mut stalled = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(doorman.door().address).await.unwrap();
        // Nothing, the half of a hello, or one that is answered.
        let said = [0, hello.len() / 2, hello.len()][number % 3];
        stream.write_all(&hello[..said]).await.unwrap();
        stalled.push(stream);
    }

    for number in 0..10 {
        feed.event(&format!("event {number}"));
        assert_eq!(live.until("\n\n").await, format!("data: event {number}\n\n"));
    }
    doorman.call(&token).await.assert_status(200);

    soon("a graceful stop", async {
        feed.end();
        live.whole().await;
        doorman.stop().await;
    })
    .await;
}

/// Whether a new client is shown `signed`.
async fn is_shown(authority: &TlsAuthority, signed: &Signed, address: SocketAddr) -> bool {
    let stream = TcpStream::connect(address).await.unwrap();
    signed.was_shown_on(&authority.client_of(HOST).connect(stream, b"http/1.1").await.unwrap())
}

/// Fault 37
#[tokio::test]
async fn a_renewed_certificate_is_shown_and_streams_go_on() {
    let authority = TlsAuthority::new();
    let (first, second) = (authority.signs(HOST), authority.signs(HOST));
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).over_tls(&authority, &first).start().await;
    let token = doorman.log_in().await.tokens.access;
    let address = doorman.door().address;
    let feed = doorman.upstream().streams_events();
    let mut live = doorman.door().open(doorman.request(&token)).await;
    feed.event("before");
    live.until("before").await;
    assert!(is_shown(&authority, &first, address).await);

    doorman.renew(&second).await;

    assert!(is_shown(&authority, &second, address).await);
    feed.event("after");
    live.until("after\n\n").await;
    feed.end();
    assert!(live.next_bytes().await.is_none(), "a proper end is a proper end");
}

#[tokio::test]
async fn who_runs_it_hears_of_a_certificate_that_ends_soon() {
    let authority = TlsAuthority::new();
    // The clock of these tests stands in September 2026.
    for (until, is_told) in [((2026, 10, 2), true), ((2026, 10, 20), false)] {
        let signed = authority.signs_until(HOST, until);
        let server = FakeMcpServer::start().await;
        let doorman = Doorman::in_front_of(server).over_tls(&authority, &signed).start().await;

        // All that goes on beside has begun by then.
        doorman.log().line_with("the upstream accepts connections").await;
        let log = doorman.log().text();
        let told = log.lines().find(|line| line.contains("the certificate ends soon"));

        assert_eq!(told.is_some(), is_told, "{log}");
        assert!(told.is_none_or(|line| line.contains("\"days_left\":10") && line.contains("fix")));
    }
}

/// Fault 37, with files, as an operator has them: the one is replaced before the other.
#[tokio::test]
async fn a_certificate_without_its_key_is_not_shown() {
    let authority = TlsAuthority::new();
    let (first, second) = (authority.signs(HOST), authority.signs(HOST));
    let old = authority.signed_long_ago(HOST);
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&cert, first.certificate_pem()).unwrap();
    fs::write(&key, first.key_pem()).unwrap();
    let tls = format!("tls: {{ cert: {}, key: {{ file: {} }} }}\n", cert.display(), key.display());
    let mut program = Program::started(&(LOCAL.to_owned() + &tls), &[]).await;
    let address = program.address();
    let door = program.door().over_tls(authority.client_of(HOST));
    door.send(program.request()).await.assert_status(200);
    door.send(Request::post(RESOURCE)).await.assert_status(401);

    fs::write(&cert, second.certificate_pem()).unwrap();
    program.hang_up();
    program.line_with("is not the key of the first certificate").await;
    assert!(is_shown(&authority, &first, address).await);
    fs::write(&key, second.key_pem()).unwrap();
    program.hang_up();
    program.line_with("config reloaded").await;
    assert!(is_shown(&authority, &second, address).await);
    fs::write(&cert, old.certificate_pem()).unwrap();
    fs::write(&key, old.key_pem()).unwrap();
    program.hang_up();
    program.line_with("has a certificate that ended").await;
    assert!(is_shown(&authority, &second, address).await);

    door.send(program.request()).await.assert_status(200);
    assert_eq!(program.stop().await, Some(0));
}
