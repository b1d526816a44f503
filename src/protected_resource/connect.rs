//! The connect page: what a person sees who opens an MCP URL in a browser (R8). It says what the address
//! is for, with the same status and challenge that a client gets.

use bytes::Bytes;
use http::header::{ACCEPT, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::wire::{Response, answer};

/// Does a browser's address bar ask? Clients name what MCP speaks; a browser names HTML and neither.
pub fn is_for_a_person(method: &Method, headers: &HeaderMap) -> bool {
    let accepted = |media_type: &str| {
        let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|range| {
            range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
        })
    };
    method == Method::GET
        && accepted("text/html")
        && !accepted("application/json")
        && !accepted("text/event-stream")
}

/// `html` as the answer, with `challenge`.
pub fn page(html: Bytes, challenge: &HeaderValue) -> Response {
    let mut response = answer::page(StatusCode::UNAUTHORIZED, html);
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, challenge.clone());
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_browser_is_taken_for_a_person() {
        for (method, accept, expected) in [
            (Method::GET, "text/html,application/xhtml+xml,*/*;q=0.8", true),
            (Method::GET, "Text/HTML;q=0.9", true),
            (Method::GET, "text/html, text/event-stream", false),
            (Method::GET, "application/json, text/html", false),
            (Method::GET, "text/event-stream", false),
            (Method::GET, "*/*", false),
            (Method::GET, "", false),
            (Method::POST, "text/html", false),
            (Method::HEAD, "text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).unwrap())]);
            assert_eq!(is_for_a_person(&method, &headers), expected, "{method} {accept}");
        }
    }
}
