//! `POST /revoke`: end a grant (RFC 7009). Any token of it will do; all of them stop working.

use http::StatusCode;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};

use crate::authorization_server::clients::{self, Client};
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::authorization_server::token::read_form;
use crate::authorization_server::{AuthorizationServer, grant_refresh_token};
use crate::oauth::ErrorCode;
use crate::store::StoreFault;
use crate::store::epoch::Missing;
use crate::token::sealed::{ACCESS_TOKEN, AccessToken, REFRESH_TOKEN, RefreshToken};
use crate::wire::{Arrival, Request, Response, answer};

pub async fn handle(server: &AuthorizationServer, request: Request, arrival: Arrival) -> Response {
    match revoke(server, request, arrival).await {
        Ok(()) => done(),
        Err(refused) => refused.answer("revocation", arrival),
    }
}

async fn revoke(
    server: &AuthorizationServer,
    request: Request,
    arrival: Arrival,
) -> Result<(), Refused> {
    let (headers, form) = read_form(request).await?;
    let client = clients::authenticate(server, &headers, &form, arrival).await?;
    let token = form.one("token")?.ok_or(NO_TOKEN)?;
    // RFC 7009 §2.2: a token that is not valid (any more) is as good as revoked.
    let Some(named) = named_by(server, token) else { return Ok(()) };
    let (grant, owner) = match &named {
        Named::Access(token) => (token.grant, token.client),
        Named::Refresh(token) => (token.grant, token.client),
    };
    if owner != client.digest {
        return Err(ANOTHER_CLIENTS);
    }
    end(server, &client, named).await.map_err(|_| UNAVAILABLE)?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %client.digest,
        grant_id = %grant,
        "grant revoked by its client",
    );
    Ok(())
}

/// A token of the grant that is to end.
enum Named {
    Access(AccessToken),
    Refresh(RefreshToken),
}

/// `token_type_hint` is not needed: a token's form says what it is.
fn named_by(server: &AuthorizationServer, token: &str) -> Option<Named> {
    if REFRESH_TOKEN.is_claimed_by(token) {
        server.ring.open(&REFRESH_TOKEN, token).ok().map(Named::Refresh)
    } else {
        server.ring.open(&ACCESS_TOKEN, token).ok().map(Named::Access)
    }
}

async fn end(
    server: &AuthorizationServer,
    client: &Client,
    named: Named,
) -> Result<(), StoreFault> {
    match named {
        Named::Access(token) => server.grants.end(token.grant).await,
        Named::Refresh(token) => {
            let id = token.grant;
            // A grant that the store lost could be adopted later by whoever has the token.
            let is_lost = server.grants.read(id).await?.is_none()
                && server.grants.why_missing(token.epoch, token.issued).await? == Missing::Lost;
            match grant_refresh_token::orphan(server, client, token) {
                Some(orphan) if is_lost => server.grants.disown(&orphan).await,
                Some(_) | None => server.grants.end(id).await,
            }
        }
    }
}

fn done() -> Response {
    let mut response = answer::empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, answer::NO_STORE);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, answer::ANY);
    response
}

const NO_TOKEN: Refused = Refused::new(ErrorCode::InvalidRequest, "token is missing");
const ANOTHER_CLIENTS: Refused =
    Refused::new(ErrorCode::InvalidGrant, "the token was issued to another client");
