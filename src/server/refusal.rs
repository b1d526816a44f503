//! Why a request is refused before anybody looks at what it asks for, and what the client is told.

use std::net::IpAddr;

use http::StatusCode;
use http::header::{ALLOW, CONNECTION, HeaderValue};

use crate::wire::Response;
use crate::wire::answer::{INVALID_REQUEST, json_rpc_error};

/// The client's fault, every one of them. The text is what the client is told: it names the rule, and
/// repeats nothing that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    // Seen in the bytes, by `framing`.
    #[error("a line does not end in CRLF")]
    LineEnd,
    #[error("the request line is malformed")]
    RequestLine,
    #[error("only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here")]
    Version,
    #[error("the request target holds a byte that must be percent-encoded")]
    Target,
    #[error("the request target is longer than 8 KiB")]
    TargetTooLong,
    #[error("the header is longer than 16 KiB or has more than 64 fields")]
    HeadTooLarge,
    #[error("a header field is malformed")]
    Field,
    #[error("a request needs exactly one Host")]
    HostCount,
    #[error("Content-Length must come once and be a plain number")]
    ContentLength,
    #[error("Transfer-Encoding must be exactly one `chunked`, in HTTP/1.1")]
    TransferEncoding,
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    TwoLengths,
    #[error("the chunked body is malformed")]
    Chunk,

    // Seen in the parsed request, by `entry`.
    #[error("this method is not served")]
    Method,
    #[error("the path is not in normal form")]
    Path,
    #[error("Host is malformed")]
    Host,
    #[error("the request target names another host than Host does")]
    OtherHost,
    #[error("Connection names a field that must not be dropped")]
    Nomination,
    #[error("a header field that may come once came twice")]
    Repeated,
    #[error("a header field holds bytes that are no text")]
    FieldBytes,
    #[error("a header name imitates another one with underscores")]
    Underscore,
    #[error("Expect may be 100-continue only")]
    Expectation,

    // Seen where TLS is spoken.
    #[error("this port speaks TLS: use https")]
    NoTls,
    #[error("HTTP/2 has to be agreed on over TLS (ALPN)")]
    NotAgreed,

    // Seen on the clock, by `connection`.
    #[error("the header did not arrive in time")]
    TooSlow,
}

impl Refusal {
    pub fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::LineEnd
            | Self::RequestLine
            | Self::Version
            | Self::Target
            | Self::Field
            | Self::HostCount
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::TwoLengths
            | Self::Chunk
            | Self::Path
            | Self::Host
            | Self::OtherHost
            | Self::Nomination
            | Self::Repeated
            | Self::FieldBytes
            | Self::Underscore
            | Self::Expectation
            | Self::NoTls
            | Self::NotAgreed => StatusCode::BAD_REQUEST,
        }
    }

    pub fn log(self, peer: IpAddr) {
        tracing::info!(
            fault = %self,
            whose_fault = "client",
            status = self.status().as_u16(),
            %peer,
            "request refused"
        );
    }

    /// An HTTP/1 connection ends with it: after a malformed request nobody can say where the next one begins.
    pub fn to_response(self) -> Response {
        let mut response = json_rpc_error(self.status(), INVALID_REQUEST, &self.to_string());
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if self == Self::Method {
            // RFC 9110 §15.5.6: a 405 MUST list the methods.
            headers.insert(ALLOW, HeaderValue::from_static(SERVED_METHODS));
        }
        response
    }
}

const SERVED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
