//! An admitted request to its upstream, the upstream's answer back. No body is buffered or parsed.

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use crate::policy::{Admitted, Resource};
use crate::proxy::headers::{self, IdentityHeaders};
use crate::proxy::legacy_sse::{self, Endpoint, EndpointStream};
use crate::proxy::odd_answers::Asked;
use crate::proxy::sessions::{Holder, Known, NotGivenOut, NotTheirs, Sessions};
use crate::proxy::upstream::{self, Upstream, UpstreamFault};
use crate::proxy::{Body, Response, redirects, streams};
use crate::wire::answer::{BAD_UPSTREAM, FORBIDDEN, INVALID_REQUEST, NO_SESSION, UNAVAILABLE};
use crate::wire::{Arrival, Request, answer};

/// Carry `request` to the upstream of the resource that it was admitted to, which uses it up.
pub async fn forward(
    admitted: Admitted,
    request: &mut Request,
    upstream: &Upstream,
    names: &IdentityHeaders,
    sessions: &Arc<Sessions>,
    arrival: Arrival,
) -> Response {
    let resource = Arc::clone(admitted.resource());
    // The log tells when this begins and ends, not of each request.
    if let Err(why) = upstream.check_room_for(request) {
        return unavailable(why);
    }
    if is_encoded(request.headers()) {
        return encoded(&resource, arrival);
    }
    let holder = sessions.holder(&admitted);
    let InSession { known, target } = match session(request, sessions, holder, &admitted) {
        Ok(session) => session,
        Err(fault) => return no_session(fault, &resource, arrival),
    };
    let endpoint = match *request.method() {
        Method::GET => upstream::target(request.uri(), &resource)
            .map(|at| Endpoint::new(sessions, holder, &resource, at.concat(), arrival)),
        _ => None,
    };
    if endpoint.is_some() {
        // What it says of sessions is read here.
        request.headers_mut().insert(ACCEPT_ENCODING, IDENTITY);
    }
    let asked = Asked::by(request, target.is_some());
    let awaited = upstream.streams.await_answer(admitted.token(), request);
    let answer = tokio::select! {
        biased;
        answer = upstream.send(admitted, target, request, names, arrival.peer) => answer,
        () = awaited.ended() => return ended(),
    };
    match answer {
        Ok(answer) => {
            upstream.odd_answers.note(&asked, &answer, &resource, arrival);
            let (mut head, body) = answer.into_parts();
            if endpoint.is_some() && streams::is_encoded_event_stream(&head.headers) {
                return failed(&UpstreamFault::EncodedStream, &resource, arrival);
            }
            if let Err(fault) = redirects::make_public(head.status, &mut head.headers, &resource) {
                return failed(&fault.into(), &resource, arrival);
            }
            if let Err(fault) = sessions.from_upstream(holder, known, &mut head.headers) {
                return not_given_out(fault, &resource, arrival);
            }
            let body = match (upstream.streams.carry(awaited, &head.headers, body), endpoint) {
                (Body::Upstream(answer), Some(endpoint))
                    if streams::is_open_event_stream(&head.headers) =>
                {
                    Body::Listening(Box::new(EndpointStream::new(answer, endpoint)))
                }
                (body, _) => body,
            };
            headers::from_upstream(&mut head.headers);
            Response::from_parts(head, body)
        }
        Err(fault) => failed(&fault, &resource, arrival),
    }
}

/// What a request says of the session that it is in, once it is known to be its caller's.
struct InSession {
    known: Option<Arc<Known>>,
    /// Where the upstream wants messages, in the old transport.
    target: Option<PathAndQuery>,
}

fn session(
    request: &mut Request,
    sessions: &Sessions,
    holder: Holder,
    admitted: &Admitted,
) -> Result<InSession, NotTheirs> {
    let target = match *request.method() {
        Method::POST => legacy_sse::target(sessions, holder, admitted.resource(), request.uri())?,
        _ => None,
    };
    Ok(InSession { known: sessions.to_upstream(holder, request.headers_mut())?, target })
}

/// R4. Not now, but soon.
fn unavailable(why: &str) -> Response {
    let mut response = answer::json_rpc_error(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, why);
    response.headers_mut().insert(RETRY_AFTER, SOON);
    response.map(Into::into)
}

/// Whether the body is packed in any way (RFC 9110 §8.4).
fn is_encoded(headers: &HeaderMap) -> bool {
    let codings = |line: &HeaderValue| {
        let mut codings = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
    };
    !headers.get_all(CONTENT_ENCODING).iter().all(codings)
}

/// How large it is once it is unpacked, nobody has bounded.
fn encoded(resource: &Resource, arrival: Arrival) -> Response {
    tracing::info!(
        request_id = %arrival.id,
        resource = %resource.url,
        fault = "its body has a Content-Encoding",
        whose_fault = "client",
        "request refused",
    );
    let text = "the request's body must come without Content-Encoding";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let mut response = answer::json_rpc_error(status, INVALID_REQUEST, text);
    // RFC 9110 §12.5.3: says which codings would have been taken.
    response.headers_mut().insert(ACCEPT_ENCODING, IDENTITY);
    response.map(Into::into)
}

/// MCP 2025-11-25 "Session Management" 3: by 404 clients know that they must begin a new one.
fn no_session(fault: NotTheirs, resource: &Resource, arrival: Arrival) -> Response {
    tracing::info!(
        request_id = %arrival.id,
        resource = %resource.url,
        %fault,
        whose_fault = "client",
        "session refused",
    );
    let text = "Session not found: it has ended, or is not yours. Initialize a new one.";
    answer::json_rpc_error(StatusCode::NOT_FOUND, NO_SESSION, text).map(Into::into)
}

fn not_given_out(fault: NotGivenOut, resource: &Resource, arrival: Arrival) -> Response {
    let NotGivenOut::Seal(fault) = fault else {
        return failed(&fault.into(), resource, arrival);
    };
    tracing::error!(request_id = %arrival.id, %fault, whose_fault = "us", "session not given out");
    let text = "a session can't be begun now";
    answer::json_rpc_error(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, text).map(Into::into)
}

/// Not 401, though the token is no longer good: clients that are sent to log in then send the same request
/// again, and the call may have done its work.
fn ended() -> Response {
    let text = "the login ended before the MCP server answered";
    answer::json_rpc_error(StatusCode::FORBIDDEN, FORBIDDEN, text).map(Into::into)
}

/// R7. What went wrong goes to the log; the client learns whose fault it was.
fn failed(fault: &UpstreamFault, resource: &Resource, arrival: Arrival) -> Response {
    let (status, code, text) = match fault {
        UpstreamFault::Connect(_) => {
            (StatusCode::BAD_GATEWAY, BAD_UPSTREAM, "the MCP server can't be reached")
        }
        UpstreamFault::NoRoom(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "there is no room for the call now")
        }
        UpstreamFault::Full => {
            (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, "the MCP server takes no more calls now")
        }
        UpstreamFault::Garbled(_)
        | UpstreamFault::NoAnswer(_)
        | UpstreamFault::Session(_)
        | UpstreamFault::EncodedStream => {
            (StatusCode::BAD_GATEWAY, BAD_UPSTREAM, "the MCP server gave no whole answer")
        }
        UpstreamFault::Redirect(_) => {
            (StatusCode::BAD_GATEWAY, BAD_UPSTREAM, "the MCP server sends the client elsewhere")
        }
        UpstreamFault::Slow(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            BAD_UPSTREAM,
            "the MCP server did not begin to answer in time",
        ),
        UpstreamFault::Stalled(_) | UpstreamFault::Trickling(_) => (
            StatusCode::REQUEST_TIMEOUT,
            INVALID_REQUEST,
            "the request's body did not come in time",
        ),
        UpstreamFault::TooLarge(_) => {
            (StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, "the request's body is too large")
        }
        UpstreamFault::Target => {
            (StatusCode::BAD_REQUEST, INVALID_REQUEST, "the path can't be passed on")
        }
        UpstreamFault::RequestBody(_) => (
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            "the request's body is malformed or broke off",
        ),
    };
    tracing::warn!(
        request_id = %arrival.id,
        resource = %resource.url,
        upstream = %resource.upstream.url,
        %fault,
        whose_fault = whose(fault),
        "request not answered",
    );
    let mut response = answer::json_rpc_error(status, code, text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, SOON);
    }
    response.map(Into::into)
}

const fn whose(fault: &UpstreamFault) -> &'static str {
    match fault {
        UpstreamFault::Target
        | UpstreamFault::RequestBody(_)
        | UpstreamFault::Stalled(_)
        | UpstreamFault::Trickling(_)
        | UpstreamFault::TooLarge(_) => "client",
        UpstreamFault::NoRoom(_) => "us",
        UpstreamFault::Connect(_)
        | UpstreamFault::Slow(_)
        | UpstreamFault::Full
        | UpstreamFault::Garbled(_)
        | UpstreamFault::NoAnswer(_)
        | UpstreamFault::Session(_)
        | UpstreamFault::Redirect(_)
        | UpstreamFault::EncodedStream => "upstream",
    }
}

const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
/// Seconds.
const SOON: HeaderValue = HeaderValue::from_static("5");

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110 §8.4.1
    #[test]
    fn only_identity_is_no_encoding() {
        for (lines, expected) in [
            (&[][..], false),
            (&["identity"], false),
            (&["Identity, identity"], false),
            (&["identity", ""], false),
            (&["gzip"], true),
            (&["identity, gzip"], true),
            (&["identity", "br"], true),
            (&["identity;q=1"], true),
            (&["\u{e9}"], true),
        ] {
            let values = lines.iter().map(|line| HeaderValue::from_bytes(line.as_bytes()).unwrap());
            let headers = values.map(|value| (CONTENT_ENCODING, value)).collect();
            assert_eq!(is_encoded(&headers), expected, "{lines:?}");
        }
    }
}
