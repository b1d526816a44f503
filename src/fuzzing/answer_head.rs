//! The head of an upstream's answer (`proxy::upstream::http1::answer_head`): never more than one reading of it,
//! however it comes, and that is RFC 9112 §6.3's.

use bytes::Bytes;
use http::Method;

use crate::proxy::fed::Framing;
use crate::proxy::fed::answer_head::{AnswerHead, BadHead, Parsed, Reuse, parse};
use crate::proxy::fed::chunked::Chunked;

pub fn answer_head(data: &[u8]) {
    let input = Bytes::copy_from_slice(data);
    for method in [Method::POST, Method::HEAD] {
        let parsed = parse(&input, &method);
        assert_prefixes_agree(&input, &method, &parsed);
        match parsed {
            Ok(Parsed::Whole(head, length)) => {
                let read = Naive::of(data.get(..length).unwrap_or_default());
                read.assert_is(&head, &method);
            }
            Ok(Parsed::Interim(length)) => {
                let read = Naive::of(data.get(..length).unwrap_or_default());
                assert!((100..200).contains(&read.status) && read.status != 101);
            }
            Ok(Parsed::Partial) => {
                assert!(!has_end(data), "a whole head is not enough");
                // RFC 9112 §4. Nothing that could come would make a status line of it.
                assert!(!data.starts_with(b"\r") && !data.starts_with(b"\n"), "more is waited for");
            }
            Err(_) => {}
        }
    }
}

/// A head is read anew with each piece that comes. A shorter piece is part of the same head, or as bad.
fn assert_prefixes_agree(input: &Bytes, method: &Method, whole: &Result<Parsed, BadHead>) {
    let length = match whole {
        Ok(Parsed::Whole(_, length) | Parsed::Interim(length)) => *length,
        Ok(Parsed::Partial) | Err(_) => input.len(),
    };
    // Each byte would take the square of the time.
    let step = (length / 64).max(1);
    for end in (0..length).rev().step_by(step) {
        match (parse(&input.slice(..end), method), whole) {
            (Ok(Parsed::Partial), _) | (Err(_), Err(_)) => {}
            (early, _) => panic!("after {end} bytes {early:?}, after all {whole:?}"),
        }
    }
}

fn has_end(data: &[u8]) -> bool {
    data.windows(4).any(|four| four == b"\r\n\r\n")
}

/// What a simple reader makes of lines that end in CRLF.
struct Naive {
    is_1_1: bool,
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
}

impl Naive {
    fn of(head: &[u8]) -> Self {
        let text = head.strip_suffix(b"\r\n\r\n").expect("a head without an empty line at its end");
        let mut lines = split_lines(text).into_iter();
        let first = lines.next().unwrap_or_default();
        let status = first.get(9..12).and_then(|digits| str::from_utf8(digits).ok());
        let status = status.and_then(|digits| digits.parse().ok()).expect("a status");
        let fields = lines.map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            (String::from_utf8_lossy(name).to_lowercase(), trimmed(value).to_vec())
        });
        Self { is_1_1: first.starts_with(b"HTTP/1.1"), status, fields: fields.collect() }
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter().filter(|(own, _)| own == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }

    fn assert_is(&self, head: &AnswerHead, method: &Method) {
        assert_eq!(head.status.as_u16(), self.status);
        assert!((200..600).contains(&self.status));
        let lengths = self.values("content-length");
        let codings = self.values("transfer-encoding");
        assert!(lengths.is_empty() || codings.is_empty(), "its length is told in two ways");
        let mut numbers = lengths.iter().map(|text| {
            assert!(!text.is_empty() && text.iter().all(u8::is_ascii_digit), "a length {text:?}");
            str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok()).expect("a number")
        });
        let length = numbers.next();
        assert!(numbers.all(|other| Some(other) == length), "several lengths");
        // RFC 9112 §6.3, rule by rule.
        let expected = if *method == Method::HEAD || matches!(self.status, 204 | 304) {
            Framing::Length(0)
        } else if let Some(coding) = codings.first() {
            assert!(codings.len() == 1 && coding.eq_ignore_ascii_case(b"chunked") && self.is_1_1);
            Framing::Chunked(Chunked::default())
        } else {
            length.map_or(Framing::UntilClose, Framing::Length)
        };
        assert_eq!(head.framing, expected);
        self.assert_fields(head);
        if head.reuse != Reuse::No {
            let options = self.values("connection").concat().to_ascii_lowercase();
            let closes = options.windows(5).any(|five| five == b"close");
            assert!(self.is_1_1 && expected != Framing::UntilClose);
            // `close` may be part of another word.
            assert!(!closes || options != b"close", "it is kept though it closes");
        }
    }

    /// What goes on is what came, less what speaks of the connection.
    fn assert_fields(&self, head: &AnswerHead) {
        for (name, value) in &head.headers {
            if name == "content-length" {
                continue;
            }
            let came = self.values(name.as_str());
            assert!(came.contains(&value.as_bytes()), "{name} came from nowhere");
            let of_the_connection = ["connection", "keep-alive", "transfer-encoding", "upgrade"];
            assert!(!of_the_connection.contains(&name.as_str()), "{name} is of the connection");
            assert_eq!(head.headers.get_all(name).iter().count(), came.len(), "{name} lost some");
        }
        let nominated: Vec<u8> = self.values("connection").join(&b',').to_ascii_lowercase();
        for (name, _) in &self.fields {
            let is_named = nominated
                .split(|byte| *byte == b',')
                .any(|option| option.trim_ascii() == name.as_bytes());
            let is_read =
                ["connection", "keep-alive", "transfer-encoding", "upgrade", "content-length"];
            if !is_read.contains(&name.as_str()) {
                let goes_on = head.headers.contains_key(name.as_str());
                assert_eq!(goes_on, !is_named, "{name}");
            }
        }
    }
}

fn split_lines(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = text.windows(2).position(|two| two == b"\r\n") {
        let (line, rest) = text.split_at(end);
        lines.push(line);
        text = rest.get(2..).unwrap_or_default();
    }
    lines.push(text);
    lines
}

/// Without optional white space (RFC 9110 §5.6.3).
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
