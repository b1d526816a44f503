//! An admitted request to its upstream, the upstream's answer back. No body is buffered or parsed.

use std::sync::Arc;

use http::StatusCode;

use crate::policy::{Admitted, Resource};
use crate::proxy::Response;
use crate::proxy::headers::{self, IdentityHeaders};
use crate::proxy::odd_answers::Asked;
use crate::proxy::upstream::{Upstream, UpstreamFault};
use crate::wire::answer::{BAD_UPSTREAM, FORBIDDEN, INVALID_REQUEST};
use crate::wire::{Arrival, Request, answer};

/// Carry `request` to the upstream of the resource that it was admitted to.
pub async fn forward(
    admitted: Admitted,
    request: Request,
    upstream: &Upstream,
    names: &IdentityHeaders,
    arrival: Arrival,
) -> Response {
    let resource = Arc::clone(admitted.resource());
    let asked = Asked::by(&request);
    let awaited = upstream.streams.await_answer(admitted.token(), &request);
    let answer = tokio::select! {
        biased;
        answer = upstream.send(admitted, request, names, arrival.peer) => answer,
        () = awaited.ended() => return ended(),
    };
    match answer {
        Ok(answer) => {
            upstream.odd_answers.note(&asked, &answer, &resource, arrival);
            let (mut head, body) = answer.into_parts();
            let body = upstream.streams.carry(awaited, &head.headers, body);
            headers::from_upstream(&mut head.headers);
            Response::from_parts(head, body)
        }
        Err(fault) => failed(&fault, &resource, arrival),
    }
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
        UpstreamFault::Garbled(_) => {
            (StatusCode::BAD_GATEWAY, BAD_UPSTREAM, "the MCP server gave no whole answer")
        }
        UpstreamFault::Slow(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            BAD_UPSTREAM,
            "the MCP server did not begin to answer in time",
        ),
        UpstreamFault::Stalled(_) => (
            StatusCode::REQUEST_TIMEOUT,
            INVALID_REQUEST,
            "the request's body did not come in time",
        ),
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
        upstream = %resource.upstream.authority,
        %fault,
        whose_fault = whose(fault),
        "request not answered",
    );
    answer::json_rpc_error(status, code, text).map(Into::into)
}

const fn whose(fault: &UpstreamFault) -> &'static str {
    match fault {
        UpstreamFault::Target | UpstreamFault::RequestBody(_) | UpstreamFault::Stalled(_) => {
            "client"
        }
        UpstreamFault::Connect(_) | UpstreamFault::Slow(_) | UpstreamFault::Garbled(_) => {
            "upstream"
        }
    }
}
