//! A client of HTTP/2 that may misbehave: frames as bytes. It answers PING and SETTINGS when it reads.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::server::http2::PREFACE;
use crate::server::http2::frames::{DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS};

#[derive(Debug)]
pub struct ByHand<S> {
    pub stream: S,
    read: Vec<u8>,
}

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Got {
    pub frame: Frame,
    pub payload: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ByHand<S> {
    pub fn silent(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// One that has sent its preface.
    pub async fn greeting(stream: S) -> Self {
        let mut client = Self::silent(stream);
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await;
        client
    }

    /// What the server no longer reads is lost.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame but PING, SETTINGS and `WINDOW_UPDATE`; `None` when the server has closed.
    pub async fn next(&mut self) -> Option<Got> {
        loop {
            let got = self.any().await?;
            match got.frame {
                Frame { kind: PING, flags: 0, .. } => {
                    self.send(&frame(PING, ACK, 0, &got.payload)).await;
                }
                Frame { kind: SETTINGS, flags: 0, .. } => {
                    self.send(&frame(SETTINGS, ACK, 0, b"")).await;
                }
                Frame { kind: PING | SETTINGS | WINDOW_UPDATE, .. } => {}
                _ => return Some(got),
            }
        }
    }

    /// The next frame, whatever it is.
    pub async fn any(&mut self) -> Option<Got> {
        loop {
            let mut bytes = self.read.as_slice();
            if let Some(frame) = Frames::default().next(&mut bytes)
                && let Some(payload) = bytes.get(..frame.length)
            {
                let got = Got { frame, payload: payload.to_vec() };
                self.read.drain(..HEADER + frame.length);
                return Some(got);
            }
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                assert_eq!(self.read, b"", "half a frame");
                return None;
            }
        }
    }

    /// All that comes until the server closes.
    pub async fn rest(&mut self) -> Vec<Got> {
        let mut rest = Vec::new();
        while let Some(got) = self.next().await {
            rest.push(got);
        }
        rest
    }

    /// The same from a client that answers nothing, and after how many seconds the server closes.
    pub async fn watch(&mut self) -> (Vec<Got>, u64) {
        let (begin, mut rest) = (Instant::now(), Vec::new());
        while let Some(got) = self.any().await {
            rest.push(got);
        }
        (rest, begin.elapsed().as_secs())
    }

    /// The frames of one stream until it ends.
    pub async fn answer(&mut self, stream: u32) -> Vec<Got> {
        let mut answer = Vec::new();
        while !answer.last().is_some_and(Got::ends_stream) {
            let got = self.next().await.expect("the server closed");
            assert_eq!(got.frame.stream, stream, "{got:?}");
            answer.push(got);
        }
        answer
    }
}

impl Got {
    pub fn ends_stream(&self) -> bool {
        self.frame.kind == RST_STREAM
            || (matches!(self.frame.kind, DATA | HEADERS) && self.frame.has(END_STREAM))
    }

    /// Of `RST_STREAM` or GOAWAY.
    pub fn code(&self) -> u32 {
        let code = match self.frame.kind {
            RST_STREAM => &self.payload[..4],
            GOAWAY => &self.payload[4..8],
            other => panic!("frame {other} has no code"),
        };
        u32::from_be_bytes(code.try_into().unwrap())
    }

    /// Of the first answer on a connection: in those after it the status may be one known already.
    pub fn status(&self) -> u16 {
        assert_eq!(self.frame.kind, HEADERS);
        match *self.payload.as_slice() {
            [0x88, ..] => 200,
            [0x89, ..] => 204,
            [0x8b, ..] => 304,
            [0x8c, ..] => 400,
            [0x8d, ..] => 404,
            [0x48, length, ref rest @ ..] => digits(&rest[..usize::from(length & 0x7f)]),
            ref other => panic!("no status: {other:?}"),
        }
    }
}

/// Huffman's code of digits (RFC 7541 appendix B): 0 to 2 have five bits, the others six.
fn digits(code: &[u8]) -> u16 {
    let bits = code.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let (mut left, mut number) = (8 * code.len(), 0);
    while left >= 5 {
        let five = (bits >> (left - 5)) & 0x1f;
        if five <= 2 {
            (number, left) = (number * 10 + five, left - 5);
            continue;
        }
        let Some(rest) = left.checked_sub(6) else { break };
        let six = (bits >> rest) & 0x3f;
        if !(0x19..=0x1f).contains(&six) {
            break;
        }
        (number, left) = (number * 10 + six - 0x19 + 3, rest);
    }
    u16::try_from(number).unwrap()
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn data(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, payload)
}

pub fn last_data(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, payload)
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A whole request without a body.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(&asking("GET", path)))
}

/// One whose body is to come.
pub fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(&asking("POST", path)))
}

pub fn asking<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)]
}

/// A header block (RFC 7541) of literals that nobody remembers.
pub fn fields<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            integer(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// RFC 7541 §5.1, with a prefix of seven bits.
fn integer(block: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        block.push(u8::try_from(number).unwrap());
        return;
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push(u8::try_from(number % 128).unwrap() | 128);
        number /= 128;
    }
    block.push(u8::try_from(number).unwrap());
}

const HEADER: usize = 9;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const ACK: u8 = 1;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;
