//! A header that `framing` let through, as a request. Nothing is judged here, nor copied.

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};

use crate::server::framing::trim;
use crate::server::refusal::Refusal;

/// What of a request its answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub for_head: bool,
    pub version: Version,
    /// Whether its sender would send another one on the same connection (RFC 9112 §9.3).
    pub persists: bool,
    /// It waits to be told that its body is wanted (RFC 9110 §10.1.1).
    pub expects_continue: bool,
}

/// Make a request of `head`, which has so many fields. Errors: the `http` crate is stricter than we are.
pub fn parse(head: &Bytes, fields: usize) -> Result<Request<()>, Refusal> {
    let mut rest = head.as_ref();
    let mut line = next_line(&mut rest);
    while line.is_empty() && !rest.is_empty() {
        line = next_line(&mut rest);
    }
    let (method, line) = cut(line, b' ');
    let (target, version) = cut(line, b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method).map_err(|_| Refusal::Method)?;
    *request.uri_mut() =
        Uri::from_maybe_shared(head.slice_ref(target)).map_err(|_| Refusal::Target)?;
    *request.version_mut() =
        if version == b"HTTP/1.0" { Version::HTTP_10 } else { Version::HTTP_11 };
    let headers = request.headers_mut();
    headers.reserve(fields);
    loop {
        let line = next_line(&mut rest);
        if line.is_empty() {
            return Ok(request);
        }
        let (name, value) = cut(line, b':');
        let name = HeaderName::from_bytes(name).map_err(|_| Refusal::Field)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(trim(value)));
        headers.append(name, value.map_err(|_| Refusal::Field)?);
    }
}

impl Asked {
    /// Nothing is known of the request.
    pub const UNKNOWN: Self = Self {
        for_head: false,
        version: Version::HTTP_11,
        persists: false,
        expects_continue: false,
    };

    pub fn by<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let version = request.version();
        let persists = if version == Version::HTTP_10 {
            says(headers, b"keep-alive")
        } else {
            !says(headers, b"close")
        };
        Self {
            for_head: request.method() == Method::HEAD,
            version,
            persists,
            // RFC 9110 §10.1.1: not from HTTP/1.0. `entry` saw to it that nothing else is expected.
            expects_continue: version == Version::HTTP_11 && headers.contains_key(EXPECT),
        }
    }
}

/// Whether `Connection` names `option`.
fn says(headers: &HeaderMap, option: &[u8]) -> bool {
    headers.get_all(CONNECTION).iter().any(|line| {
        let mut options = line.as_bytes().split(|byte| *byte == b',');
        options.any(|own| trim(own).eq_ignore_ascii_case(option))
    })
}

/// Take the next line out of `rest`; without its CRLF.
fn next_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (line, after) = cut(rest, b'\n');
    *rest = after;
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What stands before `mark`, and what behind it.
fn cut(bytes: &[u8], mark: u8) -> (&[u8], &[u8]) {
    let at = memchr::memchr(mark, bytes).unwrap_or(bytes.len());
    (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default())
}
