//! THE table: (host, method, path) → endpoint; everything else → guard → proxy.
//!
//! Order of every request: wire form (`server`), `Host`, `Origin`, preflight, credentials, policy.

mod budgets;
mod routes;

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{ALLOW, AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::authorization_server::error::{self, OVERLOADED};
use crate::authorization_server::{
    authorize, backchannel_logout, callback, consent, problem_pages, register, revoke, token,
};
use crate::budget::Exhausted;
use crate::chance::{Chance, NoEntropy};
use crate::clock::Clock;
use crate::protected_resource::{ProtectedResource, challenge, guard, origin};
use crate::proxy::{self, Upstream};
use crate::wire::request::RequestIds;
use crate::wire::{Arrival, Request, Response, answer};

use budgets::{Budgets, Spending};
pub use routes::{Endpoint, Found, Routes, TokenIssuer};

/// What answers every request, whichever worker has the connection.
#[derive(Debug)]
pub struct Front {
    routes: ArcSwap<Routes>,
    budgets: Budgets,
    clock: Clock,
    ids: RequestIds,
}

impl Front {
    pub fn new(routes: Routes, clock: Clock, chance: Chance) -> Result<Self, NoEntropy> {
        let (routes, budgets) = (ArcSwap::from_pointee(routes), Budgets::new());
        Ok(Self { routes, budgets, clock, ids: RequestIds::new(chance)? })
    }

    /// Answer by `routes` from now on. What was asked before is answered by those that were there then.
    pub fn replace(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// Answer `request`, whose connection comes from `peer`; `upstream` is the worker's own.
    ///
    /// Lent, though it is used up: by value each step on its way would hold room for it, and copy it.
    pub async fn answer(
        &self,
        upstream: &Upstream,
        request: &mut Request,
        peer: IpAddr,
    ) -> proxy::Response {
        let arrival = Arrival { id: self.ids.next(), peer, at: self.clock.now() };
        // A whole `Arc`, because the request may outlive many reloads.
        let routes = self.routes.load_full();
        let named = request.headers().get(HOST);
        let Some(host) = named.and_then(|host| routes.host(host)) else {
            tracing::warn!(
                request_id = %arrival.id,
                host = named.map(short),
                known = routes.hosts().collect::<Vec<_>>().join(" "),
                whose_fault = "client",
                "Host is not ours: resources[].url and issuer say what is, the ingress must keep it"
            );
            return misdirected().map(Into::into);
        };
        match host.find(request.uri().path()) {
            Found::Resource(protected) => {
                self.call(&routes, protected, upstream, request, arrival).await
            }
            // Boxed: a login's future is large, and every connection would hold room for it.
            Found::Endpoint(endpoint) => {
                Box::pin(self.at_endpoint(&routes, endpoint, mem::take(request), arrival))
                    .await
                    .map(Into::into)
            }
            Found::Nothing => answer::not_found().map(Into::into),
        }
    }

    /// A request to a resource.
    async fn call(
        &self,
        routes: &Routes,
        protected: &ProtectedResource,
        upstream: &Upstream,
        request: &mut Request,
        arrival: Arrival,
    ) -> proxy::Response {
        let Ok(page) = protected.origins.check(request.headers()) else {
            tracing::warn!(
                request_id = %arrival.id,
                origin = request.headers().get(ORIGIN).map(short),
                whose_fault = "client",
                "Origin may not call: allowed_origins names those that may"
            );
            return origin::refused().map(Into::into);
        };
        let page = page.cloned();
        // Asks what may be sent, not for anything of the upstream's: answered here, with or without a token.
        if request.method() == Method::OPTIONS {
            let allowed = "GET, POST, DELETE, OPTIONS";
            return origin::preflight(request.headers(), allowed).map(Into::into);
        }
        let admitted =
            guard::admit(&routes.verifier, protected, request.method(), request.headers(), arrival)
                .await;
        let mut response = match admitted {
            // Only after the credentials: clients probe with any method and wait for the challenge.
            Ok(_) if !METHODS.contains(request.method()) => no_such_method().map(Into::into),
            Ok(admitted) => {
                let (names, sessions) = (&routes.identity_headers, &routes.sessions);
                let mut answer =
                    proxy::forward(admitted, request, upstream, names, sessions, arrival).await;
                protected.challenges.complete(&mut answer);
                answer
            }
            Err(refused)
                if is_failure(&refused) && request.headers().contains_key(AUTHORIZATION) =>
            {
                match self.spend(Spending::Failure, routes, request.headers(), arrival) {
                    Ok(()) => refused,
                    Err(exhausted) => budgets::retry_after(challenge::too_many(), exhausted),
                }
                .map(Into::into)
            }
            Err(refused) => refused.map(Into::into),
        };
        tracing::debug!(
            request_id = %arrival.id,
            resource = %protected.resource.url,
            status = response.status().as_u16(),
            "answered"
        );
        if let Some(page) = page {
            origin::expose(&mut response, page);
        }
        response
    }

    /// A request to one of our own endpoints.
    async fn at_endpoint(
        &self,
        routes: &Routes,
        endpoint: &Endpoint,
        request: Request,
        arrival: Arrival,
    ) -> Response {
        let server = &routes.authorization_server;
        if let Some(refused) = wrong_method(endpoint, request.method(), request.headers()) {
            return refused;
        }
        // A document is no work: clients find out about us however much is under way.
        let under_way = self.budgets.under_way.try_acquire();
        if under_way.is_err() && !endpoint.is_document() {
            return OVERLOADED.answer("request", arrival);
        }
        // The request itself goes to the endpoint; its headers are asked again after a failure.
        let headers = request.headers().clone();
        match endpoint {
            Endpoint::Document(bytes) => answer::public_document(bytes.clone()),
            Endpoint::ServerMetadata(documents) => {
                answer::public_document(documents.now(&server.documents))
            }
            Endpoint::Authorize => {
                if let Err(exhausted) =
                    self.spend(Spending::Authorization, routes, &headers, arrival)
                {
                    let page = server.pages.problem(&problem_pages::too_many(), arrival.id);
                    return budgets::retry_after(page, exhausted);
                }
                let query = request.uri().query().unwrap_or_default();
                authorize::handle(server, query, &headers, arrival).await
            }
            Endpoint::Callback => {
                let query = request.uri().query().unwrap_or_default();
                callback::handle(server, query, &headers, arrival).await
            }
            Endpoint::Consent => consent::handle(server, request, arrival).await,
            Endpoint::Register => {
                match self.spend(Spending::Registration, routes, &headers, arrival) {
                    Ok(()) => register::handle(server, request, arrival).await,
                    Err(exhausted) => budgets::retry_after(error::too_many(), exhausted),
                }
            }
            Endpoint::Token => {
                let response = token::handle(server, request, arrival).await;
                self.counting_failures(response, routes, &headers, arrival)
            }
            // It verifies signatures for whoever comes, so who comes with bad ones is stopped.
            Endpoint::BackchannelLogout => {
                let response = backchannel_logout::handle(server, request, arrival).await;
                self.counting_failures(response, routes, &headers, arrival)
            }
            Endpoint::Revoke => {
                let response = revoke::handle(server, request, arrival).await;
                self.counting_failures(response, routes, &headers, arrival)
            }
        }
    }

    fn counting_failures(
        &self,
        response: Response,
        routes: &Routes,
        headers: &HeaderMap,
        arrival: Arrival,
    ) -> Response {
        if !is_failure(&response) {
            return response;
        }
        match self.spend(Spending::Failure, routes, headers, arrival) {
            Ok(()) => response,
            Err(exhausted) => budgets::retry_after(error::too_many(), exhausted),
        }
    }

    fn spend(
        &self,
        spending: Spending,
        routes: &Routes,
        headers: &HeaderMap,
        arrival: Arrival,
    ) -> Result<(), Exhausted> {
        self.budgets.spend(spending, &routes.trusted_proxies, headers, arrival)
    }
}

/// Bad credentials, of whatever kind.
fn is_failure(response: &Response) -> bool {
    matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED)
}

/// What browsers visit is not open to other sites' pages (OAuth 2.1 §3.1); what clients call is.
fn wrong_method(endpoint: &Endpoint, method: &Method, headers: &HeaderMap) -> Option<Response> {
    let (allowed, is_open): (&'static str, bool) = match endpoint {
        Endpoint::Document(_) | Endpoint::ServerMetadata(_) => ("GET, HEAD, OPTIONS", true),
        Endpoint::Authorize | Endpoint::Callback => ("GET, HEAD", false),
        Endpoint::Consent | Endpoint::BackchannelLogout => ("POST", false),
        Endpoint::Token | Endpoint::Register | Endpoint::Revoke => ("POST, OPTIONS", true),
    };
    if is_open && origin::is_preflight(method, headers) {
        return Some(origin::preflight(headers, allowed));
    }
    let is_allowed =
        allowed.split(", ").any(|own| own == method.as_str()) && method != Method::OPTIONS;
    (!is_allowed).then(|| answer::method_not_allowed(allowed))
}

/// For the log: of a header from outside, not more than says what it was.
fn short(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect()
}

/// What MCP uses (streamable HTTP, all revisions), and HEAD for those who probe.
const METHODS: [Method; 4] = [Method::POST, Method::GET, Method::DELETE, Method::HEAD];

fn no_such_method() -> Response {
    let text = "MCP uses POST, GET and DELETE";
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut refused = answer::json_rpc_error(status, answer::INVALID_REQUEST, text);
    let allowed = HeaderValue::from_static("POST, GET, DELETE, OPTIONS");
    refused.headers_mut().insert(ALLOW, allowed);
    refused
}

/// RFC 9110 §15.5.20. Answering for any name would let another site's name be pointed here.
fn misdirected() -> Response {
    let text = "this server is not known by the name in the Host header";
    let mut response =
        answer::json_rpc_error(StatusCode::MISDIRECTED_REQUEST, answer::INVALID_REQUEST, text);
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}
