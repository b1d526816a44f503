//! Whole answers of our own: JSON, redirects, small texts, and the headers that go with each.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    PRAGMA, REFERRER_POLICY,
};
use http::{Response as HttpResponse, StatusCode};
use serde::Serialize;

use crate::wire::{Body, Response};

/// JSON that must not be stored: everything from the token, registration and revocation endpoints.
/// Open to every origin: no cookie is read there (OAuth 2.1 §3.2).
pub fn private_json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut response = json(status, value);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

/// JSON as it is, without a word about caching.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // Serialising our own structs to memory can't fail: no map has a key that is not a string.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    with_type(status, HeaderValue::from_static("application/json"), bytes)
}

/// A document that changes seldom, and then may be known late: metadata. Open to every origin.
pub fn public_document(bytes: Bytes) -> Response {
    let mut response =
        with_type(StatusCode::OK, HeaderValue::from_static("application/json"), bytes);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

/// An error on an MCP path: a JSON-RPC error object without an id, because the body was not read.
/// `code` lies outside -32020…-32099, which MCP clients take for a word of the upstream's.
pub fn json_rpc_error(status: StatusCode, code: i32, message: &str) -> Response {
    let mut response = json(
        status,
        &JsonRpcError { jsonrpc: "2.0", id: None, error: JsonRpcFault { code, message } },
    );
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// An error as JSON that is neither OAuth's nor JSON-RPC's: `{"error": …, "error_description": …}`.
pub fn not_found() -> Response {
    let mut response = json(
        StatusCode::NOT_FOUND,
        &PlainError { error: "not_found", error_description: "there is nothing at this path" },
    );
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

pub fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = json(
        StatusCode::METHOD_NOT_ALLOWED,
        &PlainError { error: "method_not_allowed", error_description: "see the Allow header" },
    );
    let headers = response.headers_mut();
    headers.insert(http::header::ALLOW, HeaderValue::from_static(allowed));
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

/// 303, so that no browser ever repeats a POST to the next address (RFC 9700 §4.12).
/// `None` if `location` can't stand in a header.
pub fn see_other(location: &str) -> Option<Response> {
    let mut response = HttpResponse::new(Body::Empty);
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(location).ok()?);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

/// An HTML page for a person: never stored, never framed, no script, nothing loaded from elsewhere.
///
/// No `form-action` in the policy: Chromium applies it along the whole redirect chain, which ends at the
/// client's redirect URI, so that any value would block the sign-in.
pub fn page(status: StatusCode, html: impl Into<Bytes>) -> Response {
    let mut response =
        with_type(status, HeaderValue::from_static("text/html; charset=utf-8"), html);
    let headers = response.headers_mut();
    for (name, value) in PAGE_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `status` with `text`.
pub fn plain(status: StatusCode, text: &'static str) -> Response {
    with_type(status, HeaderValue::from_static("text/plain; charset=utf-8"), text)
}

pub fn empty(status: StatusCode) -> Response {
    let mut response = HttpResponse::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn with_type(status: StatusCode, content_type: HeaderValue, bytes: impl Into<Bytes>) -> Response {
    let mut response = HttpResponse::new(Body::full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[derive(Serialize)]
struct JsonRpcError<'a> {
    jsonrpc: &'static str,
    id: Option<u8>,
    error: JsonRpcFault<'a>,
}

#[derive(Serialize)]
struct JsonRpcFault<'a> {
    code: i32,
    message: &'a str,
}

#[derive(Serialize)]
struct PlainError {
    error: &'static str,
    error_description: &'static str,
}

/// JSON-RPC 2.0 §5.1: what was sent is not a valid request.
pub const INVALID_REQUEST: i32 = -32600;
/// No good token.
pub const UNAUTHORIZED: i32 = -32001;
/// No such session, in the words of the SDKs' servers: by these some clients know to begin a new one.
pub const NO_SESSION: i32 = -32001;
/// A good token, or page, that may not do this.
pub const FORBIDDEN: i32 = -32003;
/// The MCP server did not answer, or not well.
pub const BAD_UPSTREAM: i32 = -32004;
/// We could not judge the request now.
pub const UNAVAILABLE: i32 = -32005;

/// Whether an answer with `status` has a body at all (RFC 9110 §6.4.1), if it is not to HEAD.
pub fn may_have_body(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
pub const ANY: HeaderValue = HeaderValue::from_static("*");

const PAGE_HEADERS: [(HeaderName, &str); 7] = [
    (CACHE_CONTROL, "no-store"),
    (
        http::header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (http::header::X_FRAME_OPTIONS, "DENY"),
    (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (PRAGMA, "no-cache"),
];
