//! Threat F12: a crowd shakes hands at once, and who has a stream gets its events meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use mcp_doorman::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;

use crate::program::Program;
use crate::support::doorman::{HOST, RESOURCE, mcp_request};
use crate::support::fake_idp::FakeIdp;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::tls_authority::TlsAuthority;
use crate::{distribution, sized};

#[tokio::test]
async fn a_stream_has_its_events_while_a_crowd_shakes_hands() {
    let idp = FakeIdp::start(Clock::System).await;
    let server = FakeMcpServer::start().await;
    let authority = TlsAuthority::new();
    let signed = authority.signs(HOST);
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&cert, signed.certificate_pem()).unwrap();
    fs::write(&key, signed.key_pem()).unwrap();
    let more = format!(
        "tls: {{ cert: {}, key: {{ file: {} }} }}\nworkers: 1",
        cert.display(),
        key.display()
    );
    let upstream = Url::parse(&server.url("/mcp")).unwrap().socket_addrs(|| None).unwrap()[0];
    let mut program = Program::start(&idp, upstream, &more).await;
    let door = program.door().over_tls(authority.client_of(HOST));
    let token = program.token_through(&door).await;
    let feed = server.streams_events();
    let mut live = door.open(mcp_request(RESOURCE).bearer(&token)).await;
    feed.event("begun");
    live.until("begun\n\n").await;

    let hello = authority.client_of(HOST).hello().await;
    let mut crowd = JoinSet::new();
    let mut streams = Vec::new();
    for _ in 0..sized(500, 2000) {
        streams.push(TcpStream::connect(program.address).await.unwrap());
    }
    let begun = Instant::now();
    for mut stream in streams {
        let hello = hello.clone();
        crowd.spawn(async move {
            stream.write_all(&hello).await.unwrap();
            let mut answer = [0; 1024];
            timeout(LONGEST, stream.read(&mut answer)).await.unwrap().unwrap();
            // The server's hello.
            assert_eq!((answer[0], answer[5]), (22, 2));
            (begun.elapsed(), stream)
        });
    }
    let (mut answered, mut events) = (Vec::new(), Vec::new());
    while !crowd.is_empty() {
        let sent = Instant::now();
        feed.event("still here");
        live.until("still here\n\n").await;
        events.push(sent.elapsed());
        while let Some(one) = crowd.try_join_next() {
            answered.push(one.unwrap());
        }
    }

    assert!(events.len() >= 10, "while all were answered: {} events", events.len());
    eprintln!("{} events: {}", events.len(), distribution(events));
    let times: Vec<_> = answered.iter().map(|(time, _)| *time).collect();
    eprintln!("{} hellos answered: {}", times.len(), distribution(times));
    program.assert_well();
}

const LONGEST: Duration = Duration::from_secs(60);
