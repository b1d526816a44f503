//! Threat G6: many people over few connections, with the same JSON-RPC ids, and some go in the middle of what they say
//! or hear. Nobody hears what another was told, and the MCP server hears nobody under the name of another.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_doorman::clock::Clock;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::program::Program;
use crate::sized;
use crate::support::access_token::{IDP_KEY, of, set_of};
use crate::support::doorman::RESOURCE;
use crate::support::exchange::Upload;
use crate::support::fake_idp::{self, FakeIdp};
use crate::support::soon;
use crate::wire::{self, Message, Wire};

#[tokio::test]
async fn nobody_hears_another_with_tokens_of_ours() {
    let idp = FakeIdp::start(Clock::System).await;
    let echo = Echo::start().await;
    let program = Program::start(&idp, echo.address, "").await;
    let mut people = Vec::new();
    for number in 0..sized(100, 1000) {
        let name = name_of(number);
        idp.sign_in(fake_idp::Person { sub: name, ..fake_idp::Person::alice() });
        people.push(Person { name, token: program.log_in(&idp).await });
    }

    all_talk(program, &echo, people).await;
}

#[tokio::test]
async fn nobody_hears_another_with_tokens_of_the_idp() {
    let idp = FakeIdp::start(Clock::System).await;
    idp.publish_keys(200, set_of(&[&IDP_KEY]));
    let echo = Echo::start().await;
    let program = Program::start(&idp, echo.address, "tokens: { issued_by: idp }").await;
    let now = Clock::System.now().seconds();
    let person = |number: usize| {
        let name = name_of(number);
        Person { name, token: of(&idp, name, now).signed_by(&IDP_KEY) }
    };
    let people = (0..sized(100, 1000)).map(person).collect();

    all_talk(program, &echo, people).await;
}

fn name_of(number: usize) -> &'static str {
    format!("person-{number}").leak()
}

/// One half over HTTP/1.1, one over HTTP/2.
async fn all_talk(mut program: Program, echo: &Echo, people: Vec<Person>) {
    let calls = sized(4000, 500_000);
    let people = Arc::new(people);
    let mut talking = JoinSet::new();
    for number in 0..CONNECTIONS {
        let dice = Dice::seeded(number as u64);
        let talker = Talker { people: Arc::clone(&people), dice, tally: Tally::default() };
        talking.spawn(over_http1(program.address, talker, calls / 2 / CONNECTIONS));
    }
    for number in 0..CONNECTIONS {
        let shared = Shared::to(program.address).await;
        for stream in 0..STREAMS {
            let dice = Dice::seeded((CONNECTIONS + number * STREAMS + stream) as u64);
            let talker = Talker { people: Arc::clone(&people), dice, tally: Tally::default() };
            talking.spawn(over_http2(
                Arc::clone(&shared),
                talker,
                calls / 2 / CONNECTIONS / STREAMS,
            ));
        }
    }
    let mut tally = Tally::default();
    while let Some(talked) = talking.join_next().await {
        tally.add(talked.unwrap());
    }

    let wrong = echo.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "the server heard {}: {:?}", wrong.len(), wrong.first());
    assert!(tally.wrong.is_empty(), "{}: {:?}", tally.wrong.len(), tally.wrong.first());
    let Tally { answered, half_said, half_heard, put_off, .. } = tally;
    assert!(half_said > calls / 20 && half_heard > calls / 20, "{half_said}, {half_heard}");
    assert!(answered > calls / 2 && put_off < calls / 20, "{answered}, {put_off}");
    program.assert_well();
    eprintln!(
        "{} people, {answered} answered, {half_said} left while they spoke, {half_heard} while they were answered, {put_off} put off; the server heard {}",
        people.len(),
        echo.heard.load(Ordering::Relaxed),
    );
}

#[derive(Debug)]
struct Person {
    /// As the server is told.
    name: &'static str,
    token: String,
}

/// Who speaks for whom, in turn.
struct Talker {
    people: Arc<Vec<Person>>,
    dice: Dice,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    half_said: usize,
    half_heard: usize,
    /// By the program, or with the connection.
    put_off: usize,
    wrong: Vec<String>,
}

/// Something that somebody says.
struct Call {
    name: &'static str,
    token: String,
    id: usize,
    text: String,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Heard,
    /// Left when so much of the body was sent.
    HalfSaid(usize),
    /// Left when so much of the answer had come.
    HalfHeard(usize),
}

impl Talker {
    fn next_call(&mut self) -> Call {
        let Person { name, token } = &self.people[self.dice.below(self.people.len())];
        let id = self.dice.below(IDS);
        let text = message(name, id, "params", self.dice.below(LONGEST));
        let end = match self.dice.below(8) {
            0 => End::HalfSaid(self.dice.below(text.len())),
            1 => End::HalfHeard(self.dice.below(10_000)),
            _ => End::Heard,
        };
        Call { name, token: token.clone(), id, text, end }
    }

    /// What came of `call` is `text`.
    fn judge(&mut self, call: &Call, status: u16, text: &str) {
        let is_right = match (status, call.end) {
            (503, _) => {
                self.tally.put_off += 1;
                canaries(text).is_empty()
            }
            (200, End::Heard) => {
                self.tally.answered += 1;
                is_of(text, call.name) && messages(text).iter().all(|id| *id == call.id)
            }
            (200, _) => is_of(text, call.name) || canaries(text).is_empty(),
            _ => false,
        };
        if !is_right {
            let begin: String = text.chars().take(200).collect();
            self.tally.wrong.push(format!("{} {} heard {status} {begin}", call.name, call.id));
        }
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.half_said += other.half_said;
        self.half_heard += other.half_heard;
        self.put_off += other.put_off;
        self.wrong.extend(other.wrong);
    }
}

/// One connection after the other, each for many people.
async fn over_http1(address: SocketAddr, mut talker: Talker, calls: usize) -> Tally {
    let mut wire = Wire::connect(address).await;
    let mut left = calls;
    while left > 0 {
        // Now and then a second one is asked before the first is answered.
        let count = left.min(1 + talker.dice.below(8) / 7);
        left -= count;
        let together: Vec<Call> = (0..count).map(|_| talker.next_call()).collect();
        say(&mut wire, &together).await;
        let mut goes_on = true;
        for call in &together {
            goes_on = goes_on && talker.hear(&mut wire, call).await;
        }
        if !goes_on {
            if talker.dice.one_in(2) {
                wire.stream.set_zero_linger().unwrap();
            }
            wire = Wire::connect(address).await;
        }
    }
    talker.tally
}

/// One after the other, up to where somebody leaves.
async fn say(wire: &mut Wire, calls: &[Call]) {
    for call in calls {
        let request = wire::call(&call.token, call.id, &call.text);
        let unsaid = match call.end {
            End::HalfSaid(much) => call.text.len() - much,
            End::Heard | End::HalfHeard(_) => 0,
        };
        // It may be closed already.
        let _ = wire.try_send(&request.as_bytes()[..request.len() - unsaid]).await;
        if unsaid > 0 {
            return;
        }
    }
}

impl Talker {
    /// What `call` is answered with. Whether the connection can be gone on with.
    async fn hear(&mut self, wire: &mut Wire, call: &Call) -> bool {
        let much = match call.end {
            End::HalfSaid(_) => {
                self.tally.half_said += 1;
                return false;
            }
            End::HalfHeard(much) => {
                self.tally.half_heard += 1;
                much
            }
            End::Heard => usize::MAX,
        };
        let Some(answer) = soon("an answer", part(wire, much)).await else {
            self.tally.put_off += usize::from(call.end == End::Heard);
            return false;
        };
        self.judge(call, answer.status(), &String::from_utf8_lossy(&answer.body));
        if call.end != End::Heard || !answer.is_whole() || answer.is_last() {
            return false;
        }
        true
    }
}

/// The next answer when so many bytes of it have come, or all of it.
async fn part(wire: &mut Wire, much: usize) -> Option<Message> {
    loop {
        let answer = wire::answer(&wire.read, "POST").unwrap();
        match answer {
            Some((answer, used)) if answer.is_whole() => {
                wire.read.drain(..used);
                return Some(answer);
            }
            _ if wire.read.len() >= much => return answer.map(|(answer, _)| answer),
            _ => {}
        }
        if !wire.read_more().await {
            return answer.map(|(answer, _)| answer);
        }
    }
}

/// One HTTP/2 connection, made anew when it is closed.
struct Shared {
    address: SocketAddr,
    sender: tokio::sync::Mutex<Sender>,
}

type Sender = SendRequest<BoxBody<Bytes, Infallible>>;

impl Shared {
    async fn to(address: SocketAddr) -> Arc<Self> {
        let sender = tokio::sync::Mutex::new(Self::connect(address).await);
        Arc::new(Self { address, sender })
    }

    async fn sender(&self) -> Sender {
        let mut sender = self.sender.lock().await;
        if sender.is_closed() {
            *sender = Self::connect(self.address).await;
        }
        sender.clone()
    }

    async fn connect(address: SocketAddr) -> Sender {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// One call after the other, beside those of others.
async fn over_http2(shared: Arc<Shared>, mut talker: Talker, calls: usize) -> Tally {
    for _ in 0..calls {
        let call = talker.next_call();
        let mut sender = shared.sender().await;
        if let End::HalfSaid(much) = call.end {
            let (pieces, body) = mpsc::unbounded_channel();
            pieces.send(Bytes::copy_from_slice(&call.text.as_bytes()[..much])).unwrap();
            let sending = sender.send_request(request(&call, Upload(body).boxed()));
            // Dropped, it resets its stream.
            tokio::select! {
                _ = sending => {}
                () = sleep(talker.dice.pause(LONGEST_PAUSE)) => {}
            }
            talker.tally.half_said += 1;
            drop(pieces);
            continue;
        }
        let whole = Full::new(Bytes::copy_from_slice(call.text.as_bytes())).boxed();
        let Ok(answer) = soon("an answer", sender.send_request(request(&call, whole))).await else {
            talker.tally.put_off += 1;
            continue;
        };
        let (status, mut body) = (answer.status().as_u16(), answer.into_body());
        let most = match call.end {
            End::HalfHeard(much) => {
                talker.tally.half_heard += 1;
                much
            }
            End::Heard | End::HalfSaid(_) => usize::MAX,
        };
        match soon("an answer", read(&mut body, most)).await {
            Ok(text) => talker.judge(&call, status, &text),
            Err(_) => talker.tally.put_off += 1,
        }
    }
    talker.tally
}

fn request(
    call: &Call,
    body: BoxBody<Bytes, Infallible>,
) -> http::Request<BoxBody<Bytes, Infallible>> {
    let request = http::Request::post(RESOURCE)
        .header("authorization", format!("Bearer {}", call.token))
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json");
    request.body(body).unwrap()
}

/// Until so many bytes have come.
async fn read(body: &mut Incoming, most: usize) -> Result<String, hyper::Error> {
    let mut read = Vec::new();
    while read.len() < most {
        let Some(frame) = body.frame().await else { break };
        read.extend_from_slice(&frame?.into_data().unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

/// The MCP server: tells who it believes to be asking, over and over.
struct Echo {
    address: SocketAddr,
    heard: AtomicUsize,
    /// What somebody said under the name of another.
    wrong: Mutex<Vec<String>>,
}

impl Echo {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, wrong) = (AtomicUsize::new(0), Mutex::default());
        let echo = Arc::new(Self { address, heard, wrong });
        let server = Arc::clone(&echo);
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                number += 1;
                let (server, dice) = (Arc::clone(&server), Dice::seeded(number));
                tokio::spawn(async move {
                    let talking = tokio::spawn(Arc::clone(&server).talk(stream, dice));
                    if let Err(fault) = talking.await {
                        server.wrong.lock().unwrap().push(format!("what can't be read: {fault}"));
                    }
                });
            }
        });
        echo
    }

    async fn talk(self: Arc<Self>, stream: TcpStream, mut dice: Dice) {
        let mut wire = Wire::over(stream);
        while let Some(request) = wire.request().await {
            let name = request.value("x-forwarded-user").unwrap_or_default();
            let ids = messages(request.text());
            if !is_of(request.text(), name) || ids.len() != 1 {
                self.wrong.lock().unwrap().push(format!("{name:?} said {request:?}"));
            }
            self.heard.fetch_add(1, Ordering::Relaxed);
            let answer = message(name, ids[0], "result", dice.below(LONGEST));
            let answer = match dice.below(3) {
                0 => {
                    let event = wire::event(&answer);
                    [wire::EVENTS, &event, &event, wire::LAST_CHUNK].concat()
                }
                _ => wire::whole(&answer),
            };
            // In two pieces: who goes meanwhile leaves a rest.
            let (first, rest) = answer.as_bytes().split_at(dice.below(answer.len()));
            if wire.try_send(first).await.is_err() {
                return;
            }
            sleep(dice.pause(LONGEST_PAUSE)).await;
            if wire.try_send(rest).await.is_err() {
                return;
            }
        }
    }
}

/// What `name` says or is told: full of whose it is.
fn message(name: &str, id: usize, what: &str, times: usize) -> String {
    let canaries = canary(name).repeat(1 + times);
    json!({ "jsonrpc": "2.0", "id": id, what: { "of": canaries } }).to_string()
}

fn canary(name: &str) -> String {
    format!("<canary {name}>")
}

/// Whose are in `text`, of those that are there to their end.
fn canaries(text: &str) -> BTreeSet<&str> {
    let begun = text.split("<canary ").skip(1);
    begun.filter_map(|rest| rest.split_once('>')).map(|(name, _)| name).collect()
}

fn is_of(text: &str, name: &str) -> bool {
    canaries(text) == BTreeSet::from([name])
}

/// The ids of the whole messages in `text`, which is one, or a stream of events.
fn messages(text: &str) -> Vec<usize> {
    let whole = |text: &str| serde_json::from_str::<Value>(text).ok();
    let id = |message: Value| message["id"].as_u64().map(|id| usize::try_from(id).unwrap());
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let all = whole(text).into_iter().chain(events.filter_map(whole));
    all.map(|message| id(message).unwrap()).collect()
}

/// Of each kind.
const CONNECTIONS: usize = 8;
const STREAMS: usize = 10;
/// That everybody counts with.
const IDS: usize = 20;
/// How often somebody is named in a message.
const LONGEST: usize = 400;
const LONGEST_PAUSE: Duration = Duration::from_millis(2);
