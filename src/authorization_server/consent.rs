//! `POST /oauth/consent`: the person's answer. Next: yes sends the browser to the IdP, which sends it
//! back to `callback`; no sends it back to the client. Who was asked after the login is there already: yes
//! sends them to the client with a code.

use std::sync::Arc;

use http::HeaderMap;
use http::header::SET_COOKIE;

use crate::authorization_server::LARGEST_BODY;
use crate::authorization_server::authorization_response::{AuthorizationError, Outcome};
use crate::authorization_server::login::{self, NotPossible};
use crate::authorization_server::pending::{FINISHED, LOGIN_LIFETIME};
use crate::authorization_server::{
    AuthorizationServer, authorization_response, callback, problem_pages,
};
use crate::browser::consent::{ConsentFault, LateTicket, Submitted, Ticket};
use crate::browser::cookies::CookieValue;
use crate::browser::memory::Memory;
use crate::browser::person::LastPerson;
use crate::idp::DiscoveryFault;
use crate::idp::login::LoginFor;
use crate::pages::Problem;
use crate::store::StoreFault;
use crate::wire::body::read_whole;
use crate::wire::{Arrival, Form, Request, Response, answer};

/// Why the answer leads nowhere.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the form is not complete")]
    Incomplete,
    #[error(transparent)]
    Consent(#[from] ConsentFault),
    #[error("the IdP can't be used now: {0}")]
    Idp(#[from] Arc<DiscoveryFault>),
    #[error("no random bytes, nothing to seal with, or no store")]
    Unavailable,
}

impl From<NotPossible> for Fault {
    fn from(NotPossible: NotPossible) -> Self {
        Self::Unavailable
    }
}

pub async fn handle(server: &AuthorizationServer, request: Request, arrival: Arrival) -> Response {
    match answered(server, request, arrival).await {
        Ok(response) => response,
        Err(fault) => {
            tracing::warn!(
                request_id = %arrival.id,
                idp = server.idp.issuer(),
                %fault,
                whose_fault = whose(&fault),
                "consent not taken"
            );
            server.pages.problem(&problem(&fault), arrival.id)
        }
    }
}

async fn answered(
    server: &AuthorizationServer,
    request: Request,
    arrival: Arrival,
) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let body = read_whole(body, LARGEST_BODY).await.map_err(|_| Fault::Incomplete)?;
    let form = Form::parse(&body);
    let text = form.one("ticket").ok().flatten().ok_or(Fault::Incomplete)?;
    let browser = server.cookies.browser(&parts.headers);
    let submitted =
        Submitted::read(&server.ring, text, browser.as_deref(), &parts.headers, arrival.at)?;
    match (form.one("decision"), submitted) {
        (Ok(Some("approve")), Submitted::BeforeLogin(ticket)) => {
            approved(server, ticket, &server.cookies.logins(&parts.headers), arrival).await
        }
        (Ok(Some("approve")), Submitted::AfterLogin(ticket)) => {
            approved_late(server, ticket, arrival).await
        }
        (Ok(Some("deny")), submitted) => denied(server, submitted, &parts.headers, arrival).await,
        _ => Err(Fault::Incomplete),
    }
}

/// The IdP is asked for before the form is spent, so that the person can send it again when it is back.
async fn approved(
    server: &AuthorizationServer,
    ticket: Ticket,
    others: &[CookieValue],
    arrival: Arrival,
) -> Result<Response, Fault> {
    let discovered = server.idp.discovered().await?;
    let consent = ticket.spend(&*server.store).await?;
    let begun = login::begin(server, &discovered, LoginFor::Client(&consent), arrival.at).await?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %consent.request().client,
        grant_id = %begun.grant,
        idp = server.idp.issuer(),
        "consent given, sent to the IdP",
    );
    let mut response = answer::see_other(&begun.url).ok_or(Fault::Unavailable)?;
    // MCP security best practices: set only now, after approval.
    for cookie in server.cookies.begin_login(&begun.mark, others, LOGIN_LIFETIME) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// They have signed in, and said yes to everything: nobody need be asked any more.
async fn approved_late(
    server: &AuthorizationServer,
    ticket: LateTicket,
    arrival: Arrival,
) -> Result<Response, Fault> {
    let (consent, kept) = ticket.spend(&*server.store).await?;
    // Sealed with a key that is gone meanwhile.
    let finished = server.ring.open(&FINISHED, &kept).map_err(|_| ConsentFault::NotOurs)?;
    let logged_in = finished.logged_in();
    Ok(callback::conclude(server, &finished.login, &consent, logged_in, arrival).await)
}

async fn denied(
    server: &AuthorizationServer,
    submitted: Submitted,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Result<Response, Fault> {
    let request = submitted.request();
    tracing::info!(request_id = %arrival.id, client_id = %request.client, "consent denied");
    let denied = Outcome::Error(AuthorizationError::AccessDenied, arrival.id);
    let location = authorization_response::location(server, request, denied);
    let forgotten = forget(server, submitted, headers, arrival).await;
    if let Err(fault) = forgotten {
        tracing::warn!(request_id = %arrival.id, %fault, whose_fault = "store", "not forgotten");
    }
    answer::see_other(&location).ok_or(Fault::Unavailable)
}

/// Before the login, a no takes back the yes that is remembered of who was here last. After it, it ends the
/// login that waited.
async fn forget(
    server: &AuthorizationServer,
    submitted: Submitted,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Result<(), StoreFault> {
    let what = submitted.request().remembered_as;
    if let Submitted::AfterLogin(ticket) = submitted {
        return ticket.discard(&*server.store).await;
    }
    let cookie = server.cookies.person(headers);
    let last = cookie.and_then(|text| LastPerson::open(&server.ring, &text, arrival.at));
    let (Some(last), Some(what)) = (last, what) else { return Ok(()) };
    let memory = Memory { store: &*server.store, ring: &server.ring };
    memory.forget(last.digest, what).await
}

fn problem(fault: &Fault) -> Problem {
    match fault {
        Fault::Incomplete => problem_pages::consent(ConsentFault::NotOurs),
        Fault::Consent(fault) => problem_pages::consent(*fault),
        Fault::Idp(fault) if !fault.is_passing() => problem_pages::misconfigured(),
        Fault::Idp(_) | Fault::Unavailable => problem_pages::unavailable(),
    }
}

const fn whose(fault: &Fault) -> &'static str {
    match fault {
        Fault::Consent(ConsentFault::Store(_)) | Fault::Unavailable => "store",
        Fault::Incomplete | Fault::Consent(_) => "client",
        Fault::Idp(_) => "idp",
    }
}
