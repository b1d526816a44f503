//! Requests that are under way: at a server that answers them when the test says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::program::{Program, eventually};
use crate::wire::{self, Message, Wire};

pub type Ends = JoinSet<(usize, Message, Instant)>;

/// So many requests, under way at the server; each is read to its end.
pub async fn open(
    program: &Program,
    upstream: &Upstream,
    numbers: std::ops::Range<usize>,
    request: impl Fn(usize) -> String,
) -> Ends {
    let mut ends = JoinSet::new();
    let until = upstream.arrived() + numbers.len();
    for number in numbers {
        let (mut client, request) = (program.connect().await, request(number));
        client.send(&request).await;
        ends.spawn(async move {
            let answer = client.answer(request.split(' ').next().unwrap()).await;
            let when = Instant::now();
            (number, answer.unwrap_or_else(nothing), when)
        });
    }
    eventually("all to be under way", async || upstream.arrived() == until).await;
    ends
}

/// Of an answer that did not begin.
fn nothing() -> Message {
    let line = ["", "0", ""].map(str::to_owned);
    Message { line, fields: Vec::new(), body: Vec::new(), trailers: 0, end: wire::End::Open }
}

/// Answers calls when it is told to, each after a while of its own; streams never end by themselves.
pub struct Upstream {
    pub address: std::net::SocketAddr,
    arrived: watch::Receiver<usize>,
    finish: watch::Sender<bool>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, arrived) = watch::channel(0);
        let (finish, told) = watch::channel(false);
        let count = Arc::new(count);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&count), told.clone()));
            }
        });
        Self { address, arrived, finish }
    }

    pub fn arrived(&self) -> usize {
        *self.arrived.borrow()
    }

    pub fn finish(&self) {
        self.finish.send_replace(true);
    }
}

async fn serve(
    stream: TcpStream,
    count: Arc<watch::Sender<usize>>,
    mut told: watch::Receiver<bool>,
) {
    let mut wire = Wire::over(stream);
    while let Some(request) = wire.request().await {
        let number = request.number();
        if request.method() == "GET" {
            wire.send(format!("{}{}", wire::EVENTS, wire::event(&number.to_string()))).await;
            count.send_modify(|count| *count += 1);
            while wire.read_more().await {}
            return;
        }
        let answer = answer_to(number);
        if number == AT_ONCE {
            wire.send(wire::whole(&answer)).await;
            continue;
        }
        count.send_modify(|count| *count += 1);
        tokio::select! {
            told = told.wait_for(|told| *told) => drop(told.unwrap()),
            _ = wire.read_more() => return,
        }
        // Its work: some of it before the answer begins, some while it goes on.
        let work = Dice::seeded(number as u64).pause(LONGEST_CALL);
        let first = number.is_multiple_of(2);
        sleep(if first { work / 2 } else { work }).await;
        let (begin, rest) = answer.split_at(answer.len() / 2);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
        wire.send(head + begin).await;
        sleep(if first { work / 2 } else { Duration::ZERO }).await;
        wire.send(rest).await;
    }
}

/// Longer than a packet, so that a cut is seen.
pub fn answer_to(number: usize) -> String {
    format!("{{\"number\":{number},\"text\":\"{}\"}}", "x".repeat(number % 50 * 1000))
}

/// A call that is answered whatever was told.
pub const AT_ONCE: usize = 9999;

const LONGEST_CALL: Duration = Duration::from_secs(5);
