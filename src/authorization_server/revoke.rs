//! `POST /revoke`: end a grant (RFC 7009). Any token of it will do; all of them stop working.

use http::StatusCode;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::clients;
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::authorization_server::token::read_form;
use crate::grants::GrantId;
use crate::oauth::{ClientDigest, ErrorCode};
use crate::token::sealed::{ACCESS_TOKEN, REFRESH_TOKEN};
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
    let Some((grant, owner)) = named_by(server, token) else { return Ok(()) };
    if owner != client.digest {
        return Err(ANOTHER_CLIENTS);
    }
    server.grants.end(grant).await.map_err(|_| UNAVAILABLE)?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %client.digest,
        grant_id = %grant,
        "grant revoked by its client",
    );
    Ok(())
}

/// Which grant `token` belongs to. `token_type_hint` is not needed: a token's form says what it is.
fn named_by(server: &AuthorizationServer, token: &str) -> Option<(GrantId, ClientDigest)> {
    if REFRESH_TOKEN.is_claimed_by(token) {
        let token = server.ring.open(&REFRESH_TOKEN, token).ok()?;
        Some((token.grant, token.client))
    } else {
        let token = server.ring.open(&ACCESS_TOKEN, token).ok()?;
        Some((token.grant, token.client))
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
