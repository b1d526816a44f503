//! `POST /oauth/backchannel-logout`: the IdP says that somebody logged out there (OpenID Connect Back-Channel
//! Logout 1.0 §2.5). Next: `grants` ends what they had.

use http::StatusCode;
use http::header::CACHE_CONTROL;

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::authorization_server::token::read_form;
use crate::idp::{LoggedOut, LogoutFault};
use crate::oauth::ErrorCode;
use crate::wire::{Arrival, Request, Response, answer};

pub async fn handle(server: &AuthorizationServer, request: Request, arrival: Arrival) -> Response {
    match log_out(server, request, arrival).await {
        Ok(()) => done(),
        Err(refused) => refused.answer("back-channel logout", arrival),
    }
}

async fn log_out(
    server: &AuthorizationServer,
    request: Request,
    arrival: Arrival,
) -> Result<(), Refused> {
    let (_, form) = read_form(request).await?;
    let text = form.one("logout_token")?.ok_or(NO_TOKEN)?;
    let read = server.idp.read_logout_token(text).await;
    let token = read.map_err(|fault| refused(&fault, arrival))?;
    if token.is_spent(&*server.store).await.map_err(|_| UNAVAILABLE)? {
        return Err(SPENT);
    }
    let (request_id, idp) = (arrival.id, server.idp.issuer());
    let is_of_session = matches!(token.logged_out, LoggedOut::Session { .. });
    if is_of_session && !server.idp.logout_ends_connections() {
        // People sign out of a browser in the evening, and don't mean their editor.
        let why = "idp.logout_ends_connections is false";
        tracing::info!(%request_id, idp, why, "a session ended at the IdP, and no grant");
    } else {
        let ended = server.grants.end_those_of(token.logged_out).await;
        let ended = ended.map_err(|_| UNAVAILABLE)?;
        tracing::info!(%request_id, idp, ended, "somebody logged out at the IdP");
    }
    token.spend(&*server.store).await.map_err(|_| UNAVAILABLE)
}

/// What is wrong with it is for our log: whoever sent it may be anybody.
fn refused(fault: &LogoutFault, arrival: Arrival) -> Refused {
    if let LogoutFault::Discovery(_) = fault {
        return NO_KEYS;
    }
    tracing::info!(request_id = %arrival.id, %fault, "logout token refused");
    BAD_TOKEN
}

/// §2.8
fn done() -> Response {
    let mut response = answer::empty(StatusCode::OK);
    response.headers_mut().insert(CACHE_CONTROL, answer::NO_STORE);
    response
}

const NO_TOKEN: Refused = Refused::new(ErrorCode::InvalidRequest, "logout_token is missing");
const BAD_TOKEN: Refused = Refused::new(ErrorCode::InvalidRequest, "the logout token is not valid");
const SPENT: Refused = Refused::new(ErrorCode::InvalidRequest, "the logout token was used before");
const NO_KEYS: Refused =
    Refused::unavailable("idp", "the keys of the identity provider can't be had now, try again");
