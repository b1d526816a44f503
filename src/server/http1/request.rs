//! A header that `framing` let through, as a request. Nothing is judged here, nor copied.

use std::ops::Range;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderMap, HeaderValue};
use http::{Method, Request, Uri, Version};

use crate::server::framing::{Field, WholeHead, trim};
use crate::server::refusal::Refusal;
use crate::wire::names::field_name;

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

/// Make a request of `head`, which stands in `text`. Errors: the `http` crate is stricter than we are.
pub fn parse(text: &Bytes, head: &WholeHead) -> Result<Request<()>, Refusal> {
    let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    let shared = |range: &Range<usize>| text.slice_ref(part(range));
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(part(&head.line.method)).map_err(|_| Refusal::Method)?;
    *request.uri_mut() =
        Uri::from_maybe_shared(shared(&head.line.target)).map_err(|_| Refusal::Target)?;
    *request.version_mut() = head.line.version;
    let headers = request.headers_mut();
    headers.reserve(head.fields.len());
    for Field { name, value } in &head.fields {
        let name = field_name(part(name)).map_err(|_| Refusal::Field)?;
        let value = HeaderValue::from_maybe_shared(shared(value)).map_err(|_| Refusal::Field)?;
        headers.append(name, value);
    }
    Ok(request)
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
        let is_old = version == Version::HTTP_10;
        let persists = !says(headers, b"close") && (!is_old || says(headers, b"keep-alive"));
        Self {
            for_head: request.method() == Method::HEAD,
            version,
            persists,
            // RFC 9110 §10.1.1: not from HTTP/1.0. `entry` saw to it that nothing else is expected.
            expects_continue: !is_old && headers.contains_key(EXPECT),
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
