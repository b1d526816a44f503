//! The head of an answer (RFC 9112 §4 to §6). What could be framed in two ways is refused.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode};
use httparse::{ParserConfig, Status};

use crate::proxy::upstream::http1::body::Framing;
use crate::proxy::upstream::http1::chunked::Chunked;
use crate::wire::names::field_name;
use crate::wire::plain_number;

/// What an answer says before its body. Fields of the connection (RFC 9110 §7.6.1) are read here and are
/// not among its headers.
#[derive(Debug)]
pub struct AnswerHead {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub framing: Framing,
    pub reuse: Reuse,
}

/// Whether another request may be sent over the same connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    No,
    Yes,
    /// The other side says after how long it closes (`Keep-Alive: timeout=…`).
    Within(Duration),
}

/// How far a head has come. `usize`: its length in bytes.
#[derive(Debug)]
pub enum Parsed {
    Partial,
    /// 1xx: another one follows.
    Interim(usize),
    Whole(AnswerHead, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    #[error("it begins with an empty line in place of a status line")]
    NoStatusLine,
    #[error("it is not HTTP/1: {0}")]
    Syntax(httparse::Error),
    #[error("a line of its header ends in LF without CR")]
    BareLf,
    #[error("it switched protocols unasked")]
    SwitchedProtocols,
    #[error("its Content-Length is no number, or there are several")]
    ContentLength,
    #[error("its Transfer-Encoding is not chunked alone")]
    TransferEncoding,
    #[error("it has Content-Length and Transfer-Encoding")]
    TwoLengths,
    #[error("its status is not one that HTTP has")]
    Status,
    #[error("a name or value of its header can't be passed on")]
    Field,
}

/// Read the head of the answer to a request made with `method` from the beginning of `input`, whose bytes
/// the values share.
pub fn parse(input: &Bytes, method: &Method) -> Result<Parsed, BadHead> {
    // §4. The parser would pass over empty lines, and wait for more.
    if let Some(b'\r' | b'\n') = input.first() {
        return Err(BadHead::NoStatusLine);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut head, input, &mut fields)
        .map_err(BadHead::Syntax)?;
    let Status::Complete(length) = parsed else { return Ok(Parsed::Partial) };
    if has_bare_lf(input.get(..length).unwrap_or_default()) {
        return Err(BadHead::BareLf);
    }
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| status.as_u16() < 600).ok_or(BadHead::Status)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(BadHead::SwitchedProtocols);
    }
    if status.is_informational() {
        return Ok(Parsed::Interim(length));
    }
    let mut said = Said::default();
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for field in head.headers.iter() {
        let name = field_name(field.name.as_bytes()).map_err(|_| BadHead::Field)?;
        if said.takes(&name, field.value)? {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(input.slice_ref(field.value));
        headers.append(name, value.map_err(|_| BadHead::Field)?);
    }
    for name in said.nominated {
        headers.remove(name);
    }
    let is_1_1 = head.version == Some(1);
    let framing =
        framing(status, method, is_1_1, said.length.map(|(length, _)| length), said.chunked)?;
    if let (Framing::Length(_), Some((_, text))) = (framing, said.length)
        && status != StatusCode::NO_CONTENT
    {
        // The client may want to know it, of HEAD too.
        let length = HeaderValue::from_maybe_shared(input.slice_ref(text));
        headers.insert(CONTENT_LENGTH, length.map_err(|_| BadHead::ContentLength)?);
    }
    let reuse = if !is_1_1 || said.closes || framing == Framing::UntilClose {
        Reuse::No
    } else {
        said.timeout.map_or(Reuse::Yes, Reuse::Within)
    };
    Ok(Parsed::Whole(AnswerHead { status, headers, framing, reuse }, length))
}

/// What the fields say of the connection and of the body's framing.
#[derive(Debug, Default)]
struct Said<'a> {
    /// And as it was written.
    length: Option<(u64, &'a [u8])>,
    chunked: bool,
    closes: bool,
    timeout: Option<Duration>,
    nominated: Vec<HeaderName>,
}

impl<'a> Said<'a> {
    /// `true`: it is not for the client.
    fn takes(&mut self, name: &HeaderName, value: &'a [u8]) -> Result<bool, BadHead> {
        match *name {
            CONTENT_LENGTH => {
                let length = plain_number(value).ok_or(BadHead::ContentLength)?;
                // Twice the same is one length (RFC 9110 §8.6).
                let before = self.length.replace((length, value));
                if before.is_some_and(|(other, _)| other != length) {
                    return Err(BadHead::ContentLength);
                }
            }
            TRANSFER_ENCODING => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(BadHead::TransferEncoding);
                }
                self.chunked = true;
            }
            CONNECTION => self.connection(value),
            UPGRADE => {}
            _ if name.as_str() == "keep-alive" => self.timeout = keep_alive_timeout(value),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if !option.eq_ignore_ascii_case(b"keep-alive")
                && let Ok(name) = HeaderName::from_bytes(option)
            {
                self.nominated.push(name);
            }
        }
    }
}

/// RFC 9112 §6.3.
fn framing(
    status: StatusCode,
    method: &Method,
    is_1_1: bool,
    length: Option<u64>,
    is_chunked: bool,
) -> Result<Framing, BadHead> {
    if is_chunked && length.is_some() {
        return Err(BadHead::TwoLengths);
    }
    if is_chunked && !is_1_1 {
        return Err(BadHead::TransferEncoding);
    }
    let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_none || *method == Method::HEAD {
        return Ok(Framing::Length(0));
    }
    Ok(match length {
        _ if is_chunked => Framing::Chunked(Chunked::default()),
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    })
}

fn has_bare_lf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head)
        .any(|at| at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r'))
}

fn keep_alive_timeout(value: &[u8]) -> Option<Duration> {
    let mut parameters = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let seconds = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"timeout=".len())?;
        name.eq_ignore_ascii_case(b"timeout=").then(|| plain_number(value))?
    })?;
    Some(Duration::from_secs(seconds))
}

const MOST_FIELDS: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Result<Option<AnswerHead>, BadHead> {
        head_for(&Method::POST, text)
    }

    fn head_for(method: &Method, text: &str) -> Result<Option<AnswerHead>, BadHead> {
        let input = Bytes::copy_from_slice(text.as_bytes());
        Ok(match parse(&input, method)? {
            Parsed::Whole(head, _) => Some(head),
            Parsed::Partial | Parsed::Interim(_) => None,
        })
    }

    fn framing(method: &Method, text: &str) -> (Framing, Reuse) {
        let head = head_for(method, text).unwrap().unwrap();
        (head.framing, head.reuse)
    }

    const CHUNKED: fn() -> Framing = || Framing::Chunked(Chunked::default());

    /// RFC 9112 §6.3
    #[test]
    fn the_length_of_a_body_is_told_in_one_of_four_ways() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Framing::Length(0)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED()),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", CHUNKED()),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose),
            ("HTTP/1.0 200 OK\r\n\r\n", Framing::UntilClose),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::Length(0)),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Framing::Length(0)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Framing::Length(0)),
            ("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n", Framing::Length(1)),
        ] {
            assert_eq!(framing(&Method::POST, text).0, expected, "{text:?}");
        }
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(framing(&Method::HEAD, text).0, Framing::Length(0));
    }

    /// RFC 9112 §6.3, §11.2: not read in one of several ways.
    #[test]
    fn what_is_framed_in_two_ways_is_no_answer() {
        for (fields, expected) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", BadHead::TwoLengths),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", BadHead::TwoLengths),
            ("Content-Length: 5\r\nContent-Length: 6", BadHead::ContentLength),
            ("Content-Length: 5, 5", BadHead::ContentLength),
            ("Content-Length: +5", BadHead::ContentLength),
            ("Content-Length: -1", BadHead::ContentLength),
            ("Content-Length: 0x5", BadHead::ContentLength),
            ("Content-Length: 5a", BadHead::ContentLength),
            ("Content-Length:", BadHead::ContentLength),
            ("Content-Length: 99999999999999999999", BadHead::ContentLength),
            ("Transfer-Encoding: gzip, chunked", BadHead::TransferEncoding),
            ("Transfer-Encoding: gzip", BadHead::TransferEncoding),
            ("Transfer-Encoding: identity", BadHead::TransferEncoding),
            ("Transfer-Encoding: xchunked", BadHead::TransferEncoding),
            ("Transfer-Encoding: chunked, chunked", BadHead::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", BadHead::TransferEncoding),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert_eq!(head(&text).unwrap_err(), expected, "{fields:?}");
        }
        let chunked_in_1_0 = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(head(chunked_in_1_0).unwrap_err(), BadHead::TransferEncoding);
    }

    #[test]
    fn what_is_no_head_is_told_apart() {
        for (text, expected) in [
            ("\r\n\r\n", BadHead::NoStatusLine),
            ("\r", BadHead::NoStatusLine),
            ("\n", BadHead::NoStatusLine),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", BadHead::NoStatusLine),
            ("HTTP/1.1 200 OK\r\nA: b\n\r\n", BadHead::BareLf),
            ("HTTP/1.1 200 OK\nA: b\r\n\r\n", BadHead::BareLf),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", BadHead::SwitchedProtocols),
            ("HTTP/1.1 600 What\r\n\r\n", BadHead::Status),
            ("HTTP/1.1 099 What\r\n\r\n", BadHead::Status),
            ("HTTP/2.0 200 OK\r\n\r\n", BadHead::Syntax(httparse::Error::Version)),
            ("SSH-2.0-OpenSSH_9.9\r\n", BadHead::Syntax(httparse::Error::Version)),
            ("HTTP/1.1 2x0 OK\r\n\r\n", BadHead::Syntax(httparse::Error::Status)),
            ("HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", BadHead::Syntax(httparse::Error::HeaderName)),
            ("HTTP/1.1 200 OK\r\nA : c\r\n\r\n", BadHead::Syntax(httparse::Error::HeaderName)),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", BadHead::Syntax(httparse::Error::HeaderName)),
            ("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", BadHead::Syntax(httparse::Error::HeaderValue)),
            ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", BadHead::Syntax(httparse::Error::HeaderValue)),
        ] {
            assert_eq!(head(text).unwrap_err(), expected, "{text:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MOST_FIELDS + 1));
        assert_eq!(head(&many).unwrap_err(), BadHead::Syntax(httparse::Error::TooManyHeaders));
    }

    /// RFC 9112 §9.3
    #[test]
    fn a_connection_is_used_again_only_if_both_sides_keep_it() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 1", Reuse::Yes),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive", Reuse::Yes),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Close", Reuse::No),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, close", Reuse::No),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive", Reuse::No),
            ("HTTP/1.1 200 OK", Reuse::No),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nKeep-Alive: timeout=5, max=100",
                Reuse::Within(Duration::from_secs(5)),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nKeep-Alive: max=1, Timeout=72",
                Reuse::Within(Duration::from_secs(72)),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nKeep-Alive: timeout=x", Reuse::Yes),
        ] {
            assert_eq!(framing(&Method::POST, &format!("{head}\r\n\r\n")).1, expected, "{head:?}");
        }
    }

    /// RFC 9110 §7.6.1
    #[test]
    fn what_speaks_of_the_connection_stays_there() {
        let text = "HTTP/1.1 200 OK\r\nConnection: X-Own, keep-alive\r\nX-Own: 1\r\nx-other: 2\r\n\
            Keep-Alive: timeout=5\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\nX-OTHER: 3\r\n\r\n";

        let head = head(text).unwrap().unwrap();

        let left: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
        assert_eq!(
            left,
            [
                ("x-other", &HeaderValue::from_static("2")),
                ("x-other", &HeaderValue::from_static("3"))
            ]
        );
    }

    /// What the body would have been long is told to HEAD, and for 304; for 204 there is no such thing.
    #[test]
    fn the_length_is_told_on() {
        let told = |method: &Method, status: &str| {
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
            let head = head_for(method, &text).unwrap().unwrap();
            head.headers.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(told(&Method::POST, "200").as_deref(), Some("5"));
        assert_eq!(told(&Method::HEAD, "200").as_deref(), Some("5"));
        assert_eq!(told(&Method::GET, "304").as_deref(), Some("5"));
        assert_eq!(told(&Method::POST, "204"), None);
    }

    #[test]
    fn interim_answers_are_passed_over() {
        for status in ["100 Continue", "103 Early Hints", "199 X"] {
            let text = format!("HTTP/1.1 {status}\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
            let input = Bytes::from(text.clone());
            let parsed = parse(&input, &Method::POST).unwrap();
            let expected = text.find("HTTP/1.1 200").unwrap();
            assert!(matches!(parsed, Parsed::Interim(length) if length == expected), "{parsed:?}");
        }
    }

    proptest! {
        /// However a head is cut, it is whole only with its last byte, and then says the same.
        #[test]
        fn a_head_is_whole_with_its_last_byte(
            fields in prop::collection::vec("[A-Za-z-]{1,10}: [ -~]{0,20}", 0..8),
        ) {
            let text = fields.join("\r\n") + if fields.is_empty() { "" } else { "\r\n" };
            let text = Bytes::from(format!("HTTP/1.1 200 OK\r\n{text}\r\n"));
            for end in 0..text.len() {
                let begun = parse(&text.slice(..end), &Method::POST);
                prop_assert!(matches!(begun, Ok(Parsed::Partial)), "{:?} after {}", begun, end);
            }
            if let Ok(parsed) = parse(&text, &Method::POST) {
                prop_assert!(matches!(parsed, Parsed::Whole(_, length) if length == text.len()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&Bytes::from(bytes), &Method::POST);
        }
    }
}
