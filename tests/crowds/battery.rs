//! Whatever clients send, the MCP server sees requests that were sent whole, with a good token, once, byte for
//! byte; and nothing else. Judged by two readers that are not the product's: of what is sent, and of what comes.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mcp_doorman::chance::Chance;
use mcp_doorman::clock::Clock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use crate::malformed::{self, Input};
use crate::program::{Program, USER, eventually};
use crate::sized;
use crate::support::doorman::HOST;
use crate::support::fake_idp::FakeIdp;
use crate::wire::{self, End, Message, Wire};

#[tokio::test]
async fn the_mcp_server_sees_what_was_asked_for_and_nothing_else() {
    let seed = env::var("MCP_DOORMAN_SEED").ok().map(|seed| seed.parse().unwrap());
    let chosen = u64::from_be_bytes(Chance::system().bytes().unwrap());
    let seed = seed.unwrap_or(if sized(1, 2) == 1 { 1 } else { chosen });
    eprintln!("MCP_DOORMAN_SEED={seed}");
    let idp = FakeIdp::start(Clock::System).await;
    let recorder = Recorder::start().await;
    let mut program = Program::start(&idp, recorder.address, "").await;
    let token = program.token().await;
    let mut judge = Judge::new(&token, recorder.address);
    let mut patient = JoinSet::new();
    let mut number = 0;

    for _ in 0..sized(20, 1000) {
        let begun = number;
        let mut clients = JoinSet::new();
        while number < begun + BATCH || !clients.is_empty() {
            while number < begun + BATCH && clients.len() < AT_ONCE {
                let input = malformed::input(seed, number, &token);
                let client = Client::new(number, input, program.address);
                judge.expect(&client);
                if client.waits_in_vain() {
                    patient.spawn(client.play());
                } else {
                    clients.spawn(client.play());
                }
                number += 1;
            }
            if let Some(played) = clients.join_next().await {
                judge.judge_answers(&played.unwrap());
            }
        }
        eventually("the MCP server to have read all", async || recorder.is_at_rest()).await;
        judge.judge_requests(recorder.take());
        judge.tell_faults(seed);
        judge.forget_before(begun);
        let mut good = program.connect().await;
        good.send(wire::call(&token, 0, "{}").replace("X-Number", "X-Input")).await;
        let answer = good.answer("POST").await.expect("it answers who means well");
        assert!(answer.status() == 200 && answer.text() == "0", "{answer:?}");
        recorder.take();
        program.assert_well();
        if number.is_multiple_of(100 * BATCH) {
            eprintln!("{number} so far");
        }
    }

    for played in patient.join_all().await {
        judge.judge_answers(&played);
    }
    judge.tell_faults(seed);
    assert!(judge.seen > number / 4 && judge.refused > number / 4, "nothing was tried");
    eprintln!(
        "{number} inputs with {} requests: {} reached the server, {} inputs were refused: {:?}",
        judge.asked, judge.seen, judge.refused, judge.statuses,
    );
}

/// One connection, and what its reader makes of what it sends.
struct Client {
    number: usize,
    input: Input,
    address: SocketAddr,
    requests: Vec<Message>,
    rest: Rest,
}

/// What is behind the last request that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// A beginning. The last request may be one.
    Open,
    Malformed,
    /// Whatever: nobody reads it.
    Unread,
}

struct Played {
    client: Client,
    answers: Vec<Message>,
    took: Duration,
    is_closed: bool,
}

impl Client {
    fn new(number: usize, input: Input, address: SocketAddr) -> Self {
        let (mut requests, mut at) = (Vec::new(), 0);
        let rest = loop {
            if at == input.bytes.len() {
                break Rest::Nothing;
            }
            match wire::request(&input.bytes[at..]) {
                Err(wire::Malformed) => break Rest::Malformed,
                Ok(None) => break Rest::Open,
                Ok(Some((request, used))) => {
                    at += used;
                    let (end, is_last) = (request.end, request.is_last());
                    requests.push(request);
                    match end {
                        End::Whole if is_last => break Rest::Unread,
                        End::Whole => {}
                        End::Open => break Rest::Open,
                        End::Malformed => break Rest::Malformed,
                    }
                }
            }
        };
        Self { number, input, address, requests, rest }
    }

    fn whole(&self) -> usize {
        self.requests.iter().filter(|request| request.is_whole()).count()
    }

    /// Until a deadline of the program's ends it. Few, and the first ones, because that takes its time.
    fn waits_in_vain(&self) -> bool {
        self.rest == Rest::Open && self.number.is_multiple_of(10) && self.number < 5 * BATCH
    }

    async fn play(self) -> Played {
        let begun = Instant::now();
        let patience = if self.waits_in_vain() { LONGEST_DEADLINE } else { PATIENCE };
        let mut answers = Vec::new();
        let closed = timeout(patience, self.talk(&mut answers)).await;
        Played { client: self, answers, took: begun.elapsed(), is_closed: closed.is_ok() }
    }

    /// Until it is over for the program, or, if nothing is wrong, for us.
    async fn talk(&self, answers: &mut Vec<Message>) {
        let mut wire = Wire::connect(self.address).await;
        let mut from = 0;
        for to in self.input.cuts.iter().copied().chain([self.input.bytes.len()]) {
            // Refused already, perhaps.
            drop(wire.try_send(&self.input.bytes[from..to]).await);
            from = to;
            yield_now().await;
        }
        let mut has_hung_up = false;
        loop {
            let method = self.requests.get(answers.len()).map_or("GET", Message::method);
            if answers.len() >= self.whole() {
                match self.rest {
                    Rest::Nothing => return,
                    Rest::Open if !has_hung_up && !self.waits_in_vain() => {
                        drop(wire.stream.shutdown().await);
                        has_hung_up = true;
                    }
                    Rest::Open | Rest::Malformed | Rest::Unread => {}
                }
            }
            let Some(answer) = wire.answer(method).await else { return };
            answers.push(answer);
        }
    }
}

struct Judge {
    token: String,
    upstream: String,
    /// What may reach the server, by its mark.
    expected: HashMap<String, Vec<Expected>>,
    inputs: BTreeMap<usize, Input>,
    faults: Vec<(Option<usize>, String)>,
    asked: usize,
    seen: usize,
    refused: usize,
    statuses: BTreeMap<u16, usize>,
}

struct Expected {
    number: usize,
    request: Message,
    target: String,
}

impl Judge {
    fn new(token: &str, upstream: SocketAddr) -> Self {
        Self {
            token: token.to_owned(),
            upstream: upstream.to_string(),
            expected: HashMap::new(),
            inputs: BTreeMap::new(),
            faults: Vec::new(),
            asked: 0,
            seen: 0,
            refused: 0,
            statuses: BTreeMap::new(),
        }
    }

    fn expect(&mut self, client: &Client) {
        self.asked += client.requests.len();
        self.inputs.insert(client.number, client.input.clone());
        for request in &client.requests {
            let Some(target) = self.admits(request) else { continue };
            let expected = Expected { number: client.number, request: request.clone(), target };
            self.expected.entry(mark(request).to_owned()).or_default().push(expected);
        }
    }

    /// What the server is asked for, if this request may reach it.
    fn admits(&self, request: &Message) -> Option<String> {
        let host = request.value("host")?;
        let is_ours =
            |host: &str| host.strip_suffix(":443").unwrap_or(host).eq_ignore_ascii_case(HOST);
        let mut target = request.target();
        if let Some((scheme, rest)) = target.split_once("://") {
            let at = rest.find(['/', '?'])?;
            if !["http", "https"].contains(&scheme) || !is_ours(&rest[..at]) {
                return None;
            }
            target = &rest[at..];
        }
        let path = target.split('?').next()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let is_in = path == "/mcp" || path.starts_with("/mcp/");
        let is_normal = path.bytes().all(is_plain) && !path.contains("//") && !path.contains("/.");
        let is_served = ["GET", "HEAD", "POST", "DELETE"];
        let may_pass = is_ours(host)
            && is_in
            && is_normal
            && !target.contains('#')
            && is_served.contains(&request.method())
            && self.is_signed_in(request);
        may_pass.then(|| target.to_owned())
    }

    fn is_signed_in(&self, request: &Message) -> bool {
        let credentials = request.value("authorization").and_then(|value| value.split_once(' '));
        credentials.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && token.trim_start_matches(' ') == self.token
        })
    }

    fn judge_answers(&mut self, played: &Played) {
        let Played { client, answers, took, is_closed } = played;
        let mut faults = Vec::new();
        let mut fault = |text: String| faults.push((Some(client.number), text));
        if !is_closed {
            fault(format!("it hung: {:?} after {took:?}, {answers:?}", client.rest));
        }
        // One for what is not whole, at most.
        if answers.len() > client.whole() + 1 {
            fault(format!("answered too often: {answers:?}"));
        }
        if answers.iter().any(|answer| !answer.is_whole()) {
            fault(format!("an answer was cut: {answers:?}"));
        }
        for (answer, request) in answers.iter().zip(&client.requests) {
            let is_ours = answer.value("x-recorded").is_none();
            if !is_ours && Some(mark(request)) != answer.value("x-recorded") {
                fault(format!("{request:?} has the answer of another: {answer:?}"));
            }
        }
        if client.input.is_plain {
            // Who is refused before a long body was read finds the connection closed.
            let is_over = answers.last().is_some_and(|last| last.status() != 200 || last.is_last());
            if answers.len() != client.requests.len() && !is_over {
                fault(format!("not all were answered: {answers:?}"));
            }
            for (answer, request) in answers.iter().zip(&client.requests) {
                let expected: &[u16] =
                    if self.is_signed_in(request) { &[200] } else { &[401, 429] };
                if !expected.contains(&answer.status()) {
                    fault(format!("{request:?}: {answer:?}"));
                }
            }
        }
        self.faults.append(&mut faults);
        if answers.iter().any(|answer| answer.value("x-recorded").is_none()) {
            self.refused += 1;
        }
        for answer in answers {
            *self.statuses.entry(answer.status()).or_default() += 1;
        }
    }

    fn judge_requests(&mut self, came: Vec<Came>) {
        for came in came {
            match came {
                Came::Garbage(bytes) => {
                    self.faults.push((None, format!("no request: {}", bytes.escape_ascii())));
                }
                Came::Request(request) => self.judge_request(&request),
            }
        }
    }

    fn judge_request(&mut self, came: &Message) {
        self.seen += 1;
        let mark = mark(came);
        let expected = self.expected.get_mut(mark).map(Vec::as_mut_slice).unwrap_or_default();
        let is_it = |expected: &Expected| {
            let asked = &expected.request;
            let is_body = if came.is_whole() {
                asked.is_whole() && asked.body == came.body
            } else {
                asked.body.starts_with(&came.body)
            };
            asked.method() == came.method() && expected.target == came.target() && is_body
        };
        let Some(at) = expected.iter().position(is_it) else {
            let number = mark.split('-').next().and_then(|number| number.parse().ok());
            self.faults.push((number, format!("nobody asked for {came:?}")));
            return;
        };
        let number = expected[at].number;
        // Once: who comes again finds nothing.
        self.expected.get_mut(mark).unwrap().swap_remove(at);
        if let Some(fault) = self.fault_of(came) {
            self.faults.push((Some(number), format!("{fault}: {came:?}")));
        }
    }

    /// What is wrong with a request that was asked for.
    fn fault_of(&self, came: &Message) -> Option<&'static str> {
        if came.line[2] != "HTTP/1.1" || came.value("host") != Some(&self.upstream) {
            return Some("not ours by its first lines");
        }
        if came.trailers > 0 {
            return Some("it has trailers");
        }
        if came.value("x-forwarded-user") != Some(USER) {
            return Some("not told, or told twice, who it is");
        }
        let poses = |(name, value): &(String, String)| {
            let name = name.replace('_', "-");
            let is_ours =
                ["x-forwarded-user", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
            let is_about_it = name.starts_with("x-forwarded") || name == "forwarded";
            value.contains("root") || is_about_it && !is_ours.contains(&name.as_str())
        };
        if came.fields.iter().any(poses) {
            return Some("somebody poses as us");
        }
        let of_the_hop = ["authorization", "upgrade", "http2-settings", "te", "trailer", "expect"];
        if of_the_hop.iter().any(|name| came.values(name).next().is_some()) {
            return Some("not for the server");
        }
        None
    }

    fn tell_faults(&self, seed: u64) {
        for (number, fault) in self.faults.iter().take(5) {
            let input = number.and_then(|number| self.inputs.get(&number));
            let sent = input.map(|input| input.bytes.escape_ascii().to_string());
            let (bent, sent) = (input.map(|input| &input.bent), sent.unwrap_or_default());
            eprintln!("input {number:?} of seed {seed}, {bent:?}: {fault}\n  sent: {sent}\n");
        }
        assert!(
            self.faults.is_empty(),
            "{} faults, with MCP_DOORMAN_SEED={seed}",
            self.faults.len()
        );
    }

    /// What was sent a batch ago is over.
    fn forget_before(&mut self, number: usize) {
        self.inputs = self.inputs.split_off(&number);
        self.expected.retain(|_, expected| {
            expected.retain(|expected| expected.number >= number);
            !expected.is_empty()
        });
    }
}

/// By which a request is known again, and its answer. What was bent may have none.
fn mark(request: &Message) -> &str {
    request.value("x-input").unwrap_or("none")
}

/// A server that keeps what comes, and answers what it can read.
struct Recorder {
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    came: Vec<Came>,
    /// Connections on which a request has begun and not ended.
    amid: usize,
}

enum Came {
    Request(Message),
    /// What can't be read, or did not come to the end of its header.
    Garbage(Vec<u8>),
}

impl Recorder {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Mutex::new(Record::default()));
        let kept = Arc::clone(&record);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(keep(stream, Arc::clone(&kept)));
            }
        });
        Self { address, record }
    }

    fn is_at_rest(&self) -> bool {
        self.record.lock().unwrap().amid == 0
    }

    fn take(&self) -> Vec<Came> {
        std::mem::take(&mut self.record.lock().unwrap().came)
    }
}

async fn keep(stream: TcpStream, record: Arc<Mutex<Record>>) {
    let mut wire = Wire::over(stream);
    while wire.read_more().await {
        record.lock().unwrap().amid += 1;
        loop {
            match wire::request(&wire.read) {
                Ok(Some((request, used))) if request.is_whole() => {
                    wire.read.drain(..used);
                    let mark = mark(&request).to_owned();
                    let body = if request.method() == "HEAD" { "" } else { &mark };
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nX-Recorded: {mark}\r\nContent-Length: {}\r\n\r\n{body}",
                        mark.len()
                    );
                    record.lock().unwrap().came.push(Came::Request(request));
                    drop(wire.try_send(answer.as_bytes()).await);
                    if wire.read.is_empty() {
                        break;
                    }
                }
                Ok(Some((request, _))) if request.end == End::Open => {
                    if !wire.read_more().await {
                        record.lock().unwrap().came.push(Came::Request(request));
                        wire.read.clear();
                        break;
                    }
                }
                Ok(None) if wire.read_more().await => {}
                Ok(_) | Err(wire::Malformed) => {
                    record.lock().unwrap().came.push(Came::Garbage(std::mem::take(&mut wire.read)));
                    break;
                }
            }
        }
        record.lock().unwrap().amid -= 1;
    }
}

const BATCH: usize = 1000;
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);
/// For a request's body, and some time for a noisy machine.
const LONGEST_DEADLINE: Duration = Duration::from_secs(30 + 20);
