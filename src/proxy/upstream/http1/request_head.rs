//! The head of a request as the upstream reads it (RFC 9112 §3).

use http::Method;
use http::header::HeaderName;

use crate::proxy::upstream::http1::upload::Coding;
use crate::wire::lines;

/// Written once, from first to last: nothing is copied into another form before.
#[derive(Debug)]
pub struct RequestHead(Vec<u8>);

impl RequestHead {
    /// `target`: parts of one path and query.
    pub fn new(method: &Method, target: &[&str]) -> Self {
        let mut text = Vec::with_capacity(USUAL_LENGTH);
        text.extend_from_slice(method.as_str().as_bytes());
        text.push(b' ');
        for part in target {
            text.extend_from_slice(part.as_bytes());
        }
        text.extend_from_slice(b" HTTP/1.1\r\n");
        Self(text)
    }

    pub fn field(&mut self, name: &HeaderName, value: &[u8]) {
        lines::field(&mut self.0, name.as_str(), value);
    }

    /// Say where the body ends, and end.
    pub fn end(mut self, method: &Method, coding: Coding) -> Vec<u8> {
        // RFC 9110 §8.6: only some methods expect a body, so that its absence has to be told.
        let expects_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        match coding {
            Coding::Length(0) if !expects_body => {}
            Coding::Length(length) => {
                lines::number_field(&mut self.0, "content-length", length);
            }
            Coding::Chunked => lines::field(&mut self.0, "transfer-encoding", b"chunked"),
        }
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

const USUAL_LENGTH: usize = 1024;
