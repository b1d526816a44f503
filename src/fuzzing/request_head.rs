//! Requests over HTTP/1 (`server::framing`): four readers of the same bytes. What `framing` lets through whole,
//! httparse, a naive reader that is written here, and the whole of `server::connection` must read as the same
//! requests.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::fuzzing::chunked_coding::{self, Body};
use crate::fuzzing::cut::cut;
use crate::server::fed::{Drain, Framing, Refusal, Stream, serve};
use crate::wire::{Request, answer};

pub fn request_head(data: &[u8]) {
    let judged = Judged::of(data);
    let mut pieces = Framing::default();
    let last = cut(data).into_iter().map(|piece| pieces.observe(piece)).last();
    assert_eq!(last.unwrap_or(Ok(())), judged.verdict, "it matters how the bytes are cut");
    assert_eq!(Framing::default().observe(data), judged.verdict, "in one piece it is another");
    if data.starts_with(b"PRI") {
        // HTTP/2 begins so.
        return;
    }

    let expected = judged.requests(data);
    let served = Served::of(data);

    assert!(served.requests.len() <= judged.heads, "what was refused reached the application");
    for (seen, expected) in served.requests.iter().zip(&expected) {
        assert_eq!(seen, expected, "the server reads another request");
    }
    let mut whole = served.requests.iter().filter(|request| request.body.is_some());
    assert!(whole.by_ref().count() <= expected.len(), "half a body passed for a whole one");
    if served.requests.len() < expected.len() {
        let was_the_last = served.requests.last().is_some_and(Read::may_be_the_last);
        assert!(was_the_last || served.has_refused(), "a request was lost: {}", served.text());
    }
}

/// What `framing` makes of the bytes, one by one.
struct Judged {
    verdict: Result<(), Refusal>,
    /// How many headers it has seen the end of.
    heads: usize,
    /// Where requests end.
    ends: Vec<usize>,
}

impl Judged {
    fn of(data: &[u8]) -> Self {
        let mut framing = Framing::default();
        let mut judged = Self { verdict: Ok(()), heads: 0, ends: Vec::new() };
        for (place, byte) in data.iter().enumerate() {
            let was_in_head = framing.in_head() || framing.at_rest();
            judged.verdict = framing.observe(&[*byte]);
            if judged.verdict.is_err() {
                return judged;
            }
            judged.heads += usize::from(was_in_head && (!framing.in_head() || framing.at_rest()));
            if framing.at_rest() {
                judged.ends.push(place + 1);
            }
        }
        judged
    }

    /// The requests that it let through whole, as a naive reader and httparse read them.
    fn requests(&self, data: &[u8]) -> Vec<Read> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let read = |(begin, end)| {
            let bytes = data.get(begin..end).unwrap_or_default();
            let request = Read::naively(bytes);
            request.assert_httparse_agrees(bytes);
            request.admitted()
        };
        begins.zip(self.ends.iter().copied()).map(read).collect()
    }
}

/// A request, as somebody reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    method: String,
    target: String,
    is_1_1: bool,
    /// By name; those with the same name in their order.
    fields: Vec<(String, Vec<u8>)>,
    /// `None`: it broke off.
    body: Option<Vec<u8>>,
}

impl Read {
    /// All of `bytes` are one request: lines that end in CRLF, an empty one, then what they say is the body.
    fn naively(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let mut next_line = || {
            let end = rest.windows(2).position(|two| two == b"\r\n").expect("a line without end");
            let (line, after) = rest.split_at(end);
            rest = after.get(2..).unwrap_or_default();
            line
        };
        let mut first = next_line();
        while first.is_empty() {
            first = next_line();
        }
        let text = str::from_utf8(first).expect("a request line that is no text");
        let words: Vec<&str> = text.split(' ').collect();
        let [method, target, version] = words[..] else { panic!("a request line of {words:?}") };
        let mut fields = Vec::new();
        loop {
            let line = next_line();
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':').expect("a field without colon");
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            fields.push((String::from_utf8_lossy(name).to_lowercase(), value.to_vec()));
        }
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        let is_1_1 = version == "HTTP/1.1";
        let (method, target) = (method.to_owned(), target.to_owned());
        let mut request = Self { method, target, is_1_1, fields, body: None };
        request.body = Some(request.whole_body(rest));
        request
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter().filter(|(own, _)| own == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }

    /// RFC 9112 §6.3: `rest` is all of it, nothing missing and nothing left over.
    fn whole_body(&self, rest: &[u8]) -> Vec<u8> {
        match (&self.values("transfer-encoding")[..], &self.values("content-length")[..]) {
            ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => {
                match chunked_coding::read(rest) {
                    Body::Whole { data, length } if length == rest.len() => data,
                    other @ (Body::Whole { .. } | Body::Partial { .. } | Body::Wrong) => {
                        panic!("not a chunked body: {other:?}")
                    }
                }
            }
            ([], [length]) => {
                let length = str::from_utf8(length).ok().and_then(|text| text.parse().ok());
                assert_eq!(length, Some(rest.len()), "its length");
                rest.to_vec()
            }
            ([], []) => {
                assert_eq!(rest, b"", "a body that nothing tells of");
                Vec::new()
            }
            other => panic!("its length is told in several ways: {other:?}"),
        }
    }

    fn assert_httparse_agrees(&self, bytes: &[u8]) {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(bytes).expect("httparse refuses what passed");
        assert!(parsed.is_complete(), "httparse wants more");
        assert_eq!(request.method, Some(self.method.as_str()));
        assert_eq!(request.path, Some(self.target.as_str()));
        assert_eq!(request.version, Some(u8::from(self.is_1_1)));
        let mut fields: Vec<_> = request
            .headers
            .iter()
            .map(|field| (field.name.to_lowercase(), field.value.trim_ascii().to_vec()))
            .collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(fields, self.fields, "httparse reads other fields");
    }

    /// Without what `server::entry` takes away, and with the target as `http` writes it, if it is a whole URL.
    fn admitted(mut self) -> Self {
        self.fields.retain(|(name, _)| name != "upgrade" && name != "http2-settings");
        if !self.target.starts_with('/') {
            self.target = self.target.parse().map_or(self.target, |url: http::Uri| url.to_string());
        }
        self
    }

    /// Its sender, or its version, says that no other follows.
    fn may_be_the_last(&self) -> bool {
        let says_close =
            |value: &[u8]| String::from_utf8_lossy(value).to_lowercase().contains("close");
        !self.is_1_1 || self.values("connection").into_iter().any(says_close)
    }
}

/// What the application is given by the whole server, and what goes back.
struct Served {
    requests: Vec<Read>,
    written: Vec<u8>,
}

impl Served {
    fn of(data: &[u8]) -> Self {
        thread_local! {
            // Timers need one to be made. None of them ever rings: nobody drives it.
            static RUNTIME: tokio::runtime::Runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        }
        RUNTIME.with(|runtime| {
            let _entered = runtime.enter();
            let seen = Arc::new(Mutex::new(Vec::new()));
            let written = Arc::new(Mutex::new(Vec::new()));
            serve_all(data, &seen, &written);
            let requests = std::mem::take(&mut *seen.lock().unwrap());
            let written = std::mem::take(&mut *written.lock().unwrap());
            Self { requests, written }
        })
    }

    fn text(&self) -> String {
        self.written.escape_ascii().to_string()
    }

    /// An answer of the server's own.
    fn has_refused(&self) -> bool {
        let refused = |window: &[u8]| window == b"HTTP/1.1 4" || window == b"HTTP/1.0 4";
        self.written.windows(10).any(refused)
    }
}

/// Until the server says nothing more, then the client goes.
fn serve_all(data: &[u8], seen: &Arc<Mutex<Vec<Read>>>, written: &Arc<Mutex<Vec<u8>>>) {
    let has_gone = Arc::new(AtomicBool::new(false));
    let pieces = cut(data).into_iter().map(<[u8]>::to_vec).collect();
    let stream = Wire {
        pieces,
        has_gone: Arc::clone(&has_gone),
        written: Arc::clone(written),
        pause: false,
    };
    let (_drain, stop) = Drain::new();
    let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
    let handler = |request: Request, _: IpAddr| record(request, Arc::clone(seen));
    let mut serving = pin!(serve(stream, peer, handler, stop));
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    loop {
        let was_woken = woken.0.swap(false, Ordering::Relaxed);
        let was_gone = !was_woken && has_gone.swap(true, Ordering::Relaxed);
        assert!(!was_gone, "it waits for a client that has gone");
        if serving.as_mut().poll(&mut context).is_ready() {
            return;
        }
    }
}

async fn record(request: Request, seen: Arc<Mutex<Vec<Read>>>) -> crate::proxy::Response {
    let (parts, body) = request.into_parts();
    let mut fields: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    let place = {
        let mut seen = seen.lock().unwrap();
        seen.push(Read {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            is_1_1: parts.version == http::Version::HTTP_11,
            fields,
            body: None,
        });
        seen.len() - 1
    };
    let status = match body.collect().await {
        Ok(body) => {
            seen.lock().unwrap()[place].body = Some(body.to_bytes().to_vec());
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_GATEWAY,
    };
    answer::empty(status).map(Into::into)
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client that sends pieces, one for each read, and then waits until it goes.
struct Wire {
    pieces: VecDeque<Vec<u8>>,
    has_gone: Arc<AtomicBool>,
    written: Arc<Mutex<Vec<u8>>>,
    pause: bool,
}

impl Stream for Wire {
    fn reset_when_dropped(&self, _: bool) {}
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pause = !self.pause;
        if self.pause && !self.pieces.is_empty() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(piece) = self.pieces.pop_front() else {
            let has_gone = self.has_gone.load(Ordering::Relaxed);
            return if has_gone { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let here = piece.len().min(buffer.remaining());
        let (now, later) = piece.split_at(here);
        buffer.put_slice(now);
        if !later.is_empty() {
            self.pieces.push_front(later.to_vec());
        }
        if now.is_empty() {
            // An empty read would be the end.
            self.pause = false;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
