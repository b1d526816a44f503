//! HTTP/1.1 as RFC 9112 has it and no laxer, read here by hand: the product's reader is not its own judge.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::soon;

/// A request or an answer, or as much of it as there is.
#[derive(Clone)]
pub struct Message {
    /// The words of the first line: of a request its method, target and version.
    pub line: [String; 3],
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: usize,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// There is more to come.
    Open,
    /// What follows the header can't be read.
    Malformed,
}

/// No header can be read there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Message {
    pub fn method(&self) -> &str {
        &self.line[0]
    }

    pub fn target(&self) -> &str {
        &self.line[1]
    }

    pub fn status(&self) -> u16 {
        self.line[1].parse().unwrap()
    }

    pub fn is_whole(&self) -> bool {
        self.end == End::Whole
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The only value of that field.
    pub fn value(&self, name: &'static str) -> Option<&str> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// RFC 9112 §9.3: nothing is read after it.
    pub fn is_last(&self) -> bool {
        let mut options =
            self.values("connection").flat_map(|line| line.split(',')).map(str::trim_ascii);
        let version = if self.line[0].starts_with("HTTP") { &self.line[0] } else { &self.line[2] };
        if version == "HTTP/1.0" {
            return !options.any(|option| option.eq_ignore_ascii_case("keep-alive"));
        }
        options.any(|option| option.eq_ignore_ascii_case("close"))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, fields, body, trailers, end } = self;
        let (length, begin) = (body.len(), body[..body.len().min(300)].escape_ascii());
        write!(f, "{line:?} {fields:?}, {length} bytes {begin}, {trailers} trailers, {end:?}")
    }
}

/// The request at the beginning of `bytes`, and how long it is. `None`: its header has not come to its end.
pub fn request(bytes: &[u8]) -> Result<Option<(Message, usize)>, Malformed> {
    // RFC 9112 §2.2: a server SHOULD ignore an empty line before it.
    let mut before = 0;
    while bytes[before..].starts_with(b"\r\n") {
        before += 2;
    }
    let Some((line, fields, head)) = head(&bytes[before..])? else { return Ok(None) };
    let [method, target, version] = &line;
    let is_graphic =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method.as_bytes()) || !is_graphic(target) {
        return Err(Malformed);
    }
    if !["HTTP/1.0", "HTTP/1.1"].contains(&version.as_str()) {
        return Err(Malformed);
    }
    if fields.iter().filter(|(name, _)| name == "host").count() != 1 {
        return Err(Malformed);
    }
    let is_old = version == "HTTP/1.0";
    let mut message = Message { line, fields, body: Vec::new(), trailers: 0, end: End::Whole };
    let used = before + head;
    let length = match length(&message)? {
        Length::Chunked if is_old => return Err(Malformed),
        Length::Untold => Length::Sized(0),
        length @ (Length::Sized(_) | Length::Chunked) => length,
    };
    let body = take_body(&mut message, &bytes[used..], &length);
    Ok(Some((message, used + body)))
}

/// The same for the answer to a request with `method`.
pub fn answer(bytes: &[u8], method: &str) -> Result<Option<(Message, usize)>, Malformed> {
    let Some((line, fields, head)) = head(bytes)? else { return Ok(None) };
    let mut message = Message { line, fields, body: Vec::new(), trailers: 0, end: End::Whole };
    if !["HTTP/1.0", "HTTP/1.1"].contains(&message.line[0].as_str())
        || message.line[1].parse::<u16>().is_err()
    {
        return Err(Malformed);
    }
    let status = message.status();
    let length = length(&message)?;
    let has_none = method == "HEAD" || status < 200 || [204, 304].contains(&status);
    let length = if has_none { Length::Sized(0) } else { length };
    let body = take_body(&mut message, &bytes[head..], &length);
    Ok(Some((message, head + body)))
}

enum Length {
    Untold,
    Sized(u64),
    Chunked,
}

/// Three words, the fields, and how long it is.
type Head = ([String; 3], Vec<(String, String)>, usize);

fn head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let mut lines = split_lines(&bytes[..end]);
    let words: Vec<String> =
        lines.next().unwrap_or_default().splitn(3, |byte| *byte == b' ').map(lossless).collect();
    let line: [String; 3] = words.try_into().map_err(|_| Malformed)?;
    // An answer's reason may hold spaces.
    if line[0].is_empty() || line.concat().contains(['\r', '\n', '\0']) {
        return Err(Malformed);
    }
    let fields = lines.map(field).collect::<Result<_, _>>()?;
    Ok(Some((line, fields, end + 4)))
}

fn split_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let all = rest?;
        let Some(at) = all.windows(2).position(|two| two == b"\r\n") else { return rest.take() };
        rest = Some(&all[at + 2..]);
        Some(&all[..at])
    })
}

fn field(line: &[u8]) -> Result<(String, String), Malformed> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed)?;
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    let is_text = value.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t');
    if !is_token(name) || !is_text {
        return Err(Malformed);
    }
    Ok((lossless(name).to_ascii_lowercase(), lossless(value)))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// RFC 9112 §6.3, and two lengths are none.
fn length(message: &Message) -> Result<Length, Malformed> {
    let count = |name: &'static str| message.values(name).count();
    let (sized, coded) = (count("content-length"), count("transfer-encoding"));
    if sized + coded > 1 {
        return Err(Malformed);
    }
    if coded == 1 {
        let is_chunked = message
            .value("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        return if is_chunked { Ok(Length::Chunked) } else { Err(Malformed) };
    }
    let Some(length) = message.value("content-length") else { return Ok(Length::Untold) };
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length = length.parse().ok().filter(|_| is_number);
    length.map(Length::Sized).ok_or(Malformed)
}

/// How many bytes of `bytes` belong to the body.
fn take_body(message: &mut Message, bytes: &[u8], length: &Length) -> usize {
    match length {
        Length::Sized(length) => {
            let here = usize::try_from(*length).unwrap_or(usize::MAX).min(bytes.len());
            message.body = bytes[..here].to_vec();
            message.end = if here as u64 == *length { End::Whole } else { End::Open };
            here
        }
        Length::Untold => {
            message.body = bytes.to_vec();
            message.end = End::Open;
            bytes.len()
        }
        Length::Chunked => {
            let mut at = 0;
            message.end = loop {
                match chunk(&bytes[at..]) {
                    Ok(Chunk::Data { from, to, next }) => {
                        message.body.extend_from_slice(&bytes[at + from..at + to]);
                        at += next;
                    }
                    Ok(Chunk::Part { from, to }) => {
                        message.body.extend_from_slice(&bytes[at + from..at + to]);
                        break End::Open;
                    }
                    Ok(Chunk::Last { trailers, next }) => {
                        message.trailers = trailers;
                        at += next;
                        break End::Whole;
                    }
                    Ok(Chunk::BadEnd { from, to }) => {
                        message.body.extend_from_slice(&bytes[at + from..at + to]);
                        break End::Malformed;
                    }
                    Ok(Chunk::None) => break End::Open,
                    Err(Malformed) => break End::Malformed,
                }
            };
            at
        }
    }
}

enum Chunk {
    Data {
        from: usize,
        to: usize,
        next: usize,
    },
    /// Some of its data, or all of it and not its end.
    Part {
        from: usize,
        to: usize,
    },
    /// All of its data, and something else than its end.
    BadEnd {
        from: usize,
        to: usize,
    },
    Last {
        trailers: usize,
        next: usize,
    },
    /// Not to be told yet.
    None,
}

/// RFC 9112 §7.1
fn chunk(bytes: &[u8]) -> Result<Chunk, Malformed> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(Chunk::None) };
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension = &bytes[digits..end.max(digits)];
    let is_text = extension.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t');
    if !(extension.is_empty() || extension.starts_with(b";") && is_text) {
        return Err(Malformed);
    }
    let size = std::str::from_utf8(&bytes[..digits]).unwrap();
    let size = usize::from_str_radix(size, 16).map_err(|_| Malformed)?;
    let from = end + 2;
    if size == 0 {
        let rest = &bytes[from..];
        if rest.starts_with(b"\r\n") {
            return Ok(Chunk::Last { trailers: 0, next: from + 2 });
        }
        let Some(last) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(Chunk::None);
        };
        let trailers = split_lines(&rest[..last]).map(field).collect::<Result<Vec<_>, _>>()?;
        return Ok(Chunk::Last { trailers: trailers.len(), next: from + last + 4 });
    }
    let to = from.saturating_add(size);
    match bytes.get(to..) {
        None => Ok(Chunk::Part { from, to: bytes.len() }),
        Some(b"" | b"\r") => Ok(Chunk::Part { from, to }),
        Some(rest) if rest.starts_with(b"\r\n") => Ok(Chunk::Data { from, to, next: to + 2 }),
        Some(_) => Ok(Chunk::BadEnd { from, to }),
    }
}

/// Each byte a character: what is no UTF-8 stays what it is.
fn lossless(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// One side of a connection.
#[derive(Debug)]
pub struct Wire {
    pub stream: TcpStream,
    pub read: Vec<u8>,
}

impl Wire {
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub async fn connect(address: SocketAddr) -> Self {
        soon("a connection", Self::try_connect(address)).await.unwrap()
    }

    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect(address).await.map(Self::over)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).await.unwrap();
    }

    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// `false`: nothing more comes.
    pub async fn read_more(&mut self) -> bool {
        self.read.reserve(4096);
        self.stream.read_buf(&mut self.read).await.is_ok_and(|count| count > 0)
    }

    /// The next whole request. `None`: the connection ended, in whatever way.
    pub async fn request(&mut self) -> Option<Message> {
        loop {
            match request(&self.read).unwrap() {
                Some((message, used)) if message.is_whole() => {
                    self.read.drain(..used);
                    return Some(message);
                }
                Some(_) | None => {}
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// The next answer, cut if the connection ended in it. `None`: it did not begin.
    pub async fn answer(&mut self, method: &str) -> Option<Message> {
        loop {
            let Ok(answer) = answer(&self.read, method) else {
                panic!("the answer can't be read: {}", self.read.escape_ascii());
            };
            match answer {
                Some((message, used)) if message.is_whole() => {
                    self.read.drain(..used);
                    // RFC 9110 §15.2: the final one is still to come.
                    if message.status() < 200 {
                        continue;
                    }
                    return Some(message);
                }
                Some(_) | None => {}
            }
            if !self.read_more().await {
                return answer.map(|(message, _)| message);
            }
        }
    }

    /// Read on until `text` has come.
    pub async fn until(&mut self, text: &str) {
        let is_here = |read: &[u8]| read.windows(text.len()).any(|some| some == text.as_bytes());
        while !is_here(&self.read) {
            let more = soon(text, self.read_more()).await;
            assert!(more, "ended before {text:?}: {}", self.read.escape_ascii());
        }
    }
}

/// As MCP clients call, with `body`.
pub fn call(token: &str, number: usize, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: tools.example.com\r\nAuthorization: Bearer {token}\r\n\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         X-Number: {number}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The stream on which a client listens.
pub fn listen(token: &str, number: usize) -> String {
    format!(
        "GET /mcp HTTP/1.1\r\nHost: tools.example.com\r\nAuthorization: Bearer {token}\r\n\
         Accept: text/event-stream\r\nX-Number: {number}\r\n\r\n"
    )
}

impl Message {
    /// Of the calls and streams above.
    pub fn number(&self) -> usize {
        self.value("x-number").unwrap().parse().unwrap()
    }
}

/// An answer as JSON.
pub fn whole(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The header of an answer that is a stream of events.
pub const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/// The end of it.
pub const LAST_CHUNK: &str = "0\r\n\r\n";

/// Events as the server sent them: comments between two of them are the program's. One within an event stays.
pub fn without_comments(text: &str) -> String {
    let (mut events, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        let is_between = events.is_empty() || events.ends_with("\n\n");
        if let Some(after) = rest.strip_prefix(":\n").filter(|_| is_between) {
            rest = after;
            continue;
        }
        let (event, after) = rest.split_at(rest.find("\n\n").map_or(rest.len(), |at| at + 2));
        events.push_str(event);
        rest = after;
    }
    events
}

pub fn event(data: &str) -> String {
    format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8)
}

/// Answer each request on `stream` with its number.
pub async fn answer_each(stream: TcpStream) {
    let mut wire = Wire::over(stream);
    while let Some(request) = wire.request().await {
        let answer = whole(&request.number().to_string());
        if wire.try_send(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
