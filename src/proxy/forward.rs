//! An admitted request to its upstream, the upstream's answer back. No body is buffered or parsed.

use http::uri::{PathAndQuery, Scheme, Uri};
use http::{StatusCode, Version};

use crate::policy::{Admitted, Resource};
use crate::proxy::headers::{self, IdentityHeaders};
use crate::proxy::upstream::{Upstream, UpstreamFault};
use crate::wire::answer::{BAD_UPSTREAM, INVALID_REQUEST};
use crate::wire::{Arrival, Body, Request, Response, answer};

/// Carry `request` to the upstream of the resource that it was admitted to.
pub async fn forward(
    admitted: Admitted,
    mut request: Request,
    upstream: &Upstream,
    names: &IdentityHeaders,
    arrival: Arrival,
) -> Response {
    let resource = admitted.resource();
    let Some(target) = target(request.uri(), resource) else {
        return answer::json_rpc_error(
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            "the path can't be passed on",
        );
    };
    *request.uri_mut() = target;
    *request.version_mut() = Version::HTTP_11;
    let identity = &admitted.token().facts().headers;
    headers::for_upstream(request.headers_mut(), resource, names, identity, arrival.peer);
    let url = resource.url.clone();
    match upstream.send(admitted, request).await {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => failed(
            &UpstreamFault::Garbled("it switched protocols unasked".to_owned()),
            &url,
            arrival,
        ),
        Ok(answer) => {
            let mut response = answer.map(Body::Upstream);
            headers::from_upstream(response.headers_mut());
            response
        }
        Err(fault) => failed(&fault, &url, arrival),
    }
}

/// The path within the resource, under the upstream's own path, with the same query. The bytes that
/// were judged are the bytes that are sent.
fn target(judged: &Uri, resource: &Resource) -> Option<Uri> {
    let within = judged.path().strip_prefix(resource.url.path())?;
    let upstream = &resource.upstream;
    let path_and_query: PathAndQuery = if upstream.path == resource.url.path() {
        judged.path_and_query()?.clone()
    } else {
        let path = format!("{}{within}", upstream.path);
        let path = if path.is_empty() { "/" } else { &path };
        match judged.query() {
            Some(query) => format!("{path}?{query}").parse().ok()?,
            None => path.parse().ok()?,
        }
    };
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(upstream.authority.clone())
        .path_and_query(path_and_query)
        .build()
        .ok()
}

/// R7. What went wrong goes to the log; the client learns whose fault it was.
fn failed(fault: &UpstreamFault, url: &crate::oauth::PublicUrl, arrival: Arrival) -> Response {
    let (status, code, text) = match fault {
        UpstreamFault::Connect(_) => {
            (StatusCode::BAD_GATEWAY, BAD_UPSTREAM, "the MCP server can't be reached")
        }
        UpstreamFault::Garbled(_) => {
            (StatusCode::BAD_GATEWAY, BAD_UPSTREAM, "the MCP server gave no whole answer")
        }
        UpstreamFault::Slow => (
            StatusCode::GATEWAY_TIMEOUT,
            BAD_UPSTREAM,
            "the MCP server did not begin to answer in time",
        ),
        UpstreamFault::RequestBody(_) => (
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            "the request's body is malformed or broke off",
        ),
    };
    tracing::warn!(
        request_id = %arrival.id,
        resource = %url,
        %fault,
        whose_fault = whose(fault),
        "request not answered",
    );
    answer::json_rpc_error(status, code, text)
}

const fn whose(fault: &UpstreamFault) -> &'static str {
    match fault {
        UpstreamFault::RequestBody(_) => "client",
        UpstreamFault::Connect(_) | UpstreamFault::Slow | UpstreamFault::Garbled(_) => "upstream",
    }
}
