//! Fault 17: an MCP server that stands still for a while and then goes on. What was under way goes on with it.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mcp_doorman::clock::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::program::{Program, eventually, signal_to};
use crate::sized;
use crate::support::fake_idp::FakeIdp;
use crate::wire::{self, Message, Wire};

#[tokio::test]
async fn streams_and_calls_go_on_with_a_server_that_stood_still() {
    if env::var(BE_THE_SERVER).is_ok() {
        serve().await;
    }
    let idp = FakeIdp::start(Clock::System).await;
    let server = Server::start();
    let program = Program::start(&idp, server.address, "streams: { comment_every: 1s }").await;
    let token = program.token().await;
    let mut clients = Vec::new();
    for number in 0..EACH {
        let mut stream = program.connect().await;
        stream.send(wire::listen(&token, number)).await;
        let mut call = program.connect().await;
        call.send(wire::call(&token, number, "{}")).await;
        clients.extend([(stream, events()), (call, json())]);
    }
    for (client, _) in &mut clients {
        client.until("number 3").await;
    }

    server.stop().await;
    let mut late = program.connect().await;
    late.send(wire::call(&token, 999, "{}")).await;
    // That much time must pass, and nothing else.
    let stands_still = Duration::from_secs(sized(8, 70) as u64);
    sleep(stands_still).await;
    assert!(program.is_ready().await);
    server.go_on();

    let mut ends = JoinSet::new();
    for (mut client, expected) in clients {
        ends.spawn(async move {
            let answer = client.answer("GET").await.unwrap();
            (answer, expected)
        });
    }
    let ends = timeout(PATIENCE, ends.join_all()).await.unwrap();
    let mut comments = 0;
    for (answer, expected) in ends {
        assert!(answer.is_whole(), "it was cut: {:?}", answer.line);
        let said = wire::without_comments(answer.text());
        assert!(said == expected, "other bytes: {said:?}");
        comments += (answer.body.len() - said.len()) / 2;
    }
    let late: Message = timeout(PATIENCE, late.answer("POST")).await.unwrap().unwrap();
    // The time until an answer begins is a minute.
    let expected = if stands_still < Duration::from_secs(60) { 200 } else { 504 };
    assert_eq!(late.status(), expected, "{late:?}");
    assert!(comments >= EACH / 2, "only {comments} comments");
    eprintln!("stood still for {stands_still:?}: {} went on, with {comments} comments", 2 * EACH);
}

/// A server in a process of its own. Killed, by its id, when it is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// This program once more.
    fn start() -> Self {
        let test = "stopped_upstream::streams_and_calls_go_on_with_a_server_that_stood_still";
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(BE_THE_SERVER, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut told = lines.map_while(Result::ok);
        let address = told.find_map(|line| line.strip_prefix("listening at ")?.parse().ok());
        Self { process, address: address.unwrap() }
    }

    async fn stop(&self) {
        signal_to(self.process.id(), "-STOP");
        let stat = format!("/proc/{}/stat", self.process.id());
        let is_stopped = || fs::read_to_string(&stat).unwrap().contains(") T ");
        eventually("it to stand still", async || is_stopped()).await;
    }

    fn go_on(&self) {
        signal_to(self.process.id(), "-CONT");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// In the process that stands still.
async fn serve() -> ! {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    eprintln!("listening at {}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(stream));
    }
}

async fn answer(stream: TcpStream) {
    let mut wire = Wire::over(stream);
    while let Some(request) = wire.request().await {
        let is_listening = request.method() == "GET";
        let text = if is_listening { events() } else { json() };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
        wire.send(if is_listening { wire::EVENTS } else { &head }).await;
        // Half of the streams stop in the middle of an event, where no comment may be put.
        let pieces: Vec<&str> = if request.number().is_multiple_of(2) {
            text.split_inclusive("\n\n").collect()
        } else {
            text.as_bytes().chunks(37).map(|piece| str::from_utf8(piece).unwrap()).collect()
        };
        for piece in pieces {
            if is_listening {
                wire.send(format!("{:x}\r\n", piece.len())).await;
                wire.send(format!("{piece}\r\n")).await;
            } else {
                wire.send(piece).await;
            }
            sleep(PACE).await;
        }
        if is_listening {
            wire.send(wire::LAST_CHUNK).await;
        }
    }
}

fn events() -> String {
    numbered(|number| format!("data: number {number}\n\n"))
}

fn json() -> String {
    numbered(|number| format!("\"number {number}\", "))
}

fn numbered(piece: impl Fn(usize) -> String) -> String {
    (0..1000).map(piece).collect::<Vec<_>>().concat()
}

/// Set in the process that is the server.
const BE_THE_SERVER: &str = "MCP_DOORMAN_CROWDS_SERVER";
const EACH: usize = 20;
/// So that an answer takes some seconds.
const PACE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);
