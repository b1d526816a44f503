//! `grant_type=authorization_code`: a code for tokens (RFC 6749 §4.1.3, RFC 7636 §4.6).
//!
//! Every other check comes before the code is spent, so that a wrong request burns nothing.

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::clients::Client;
use crate::authorization_server::error::{ELSEWHERE, Refused, UNAVAILABLE};
use crate::authorization_server::resource_indicator;
use crate::authorization_server::token_response::{self, Issued};
use crate::grants::{Grant, RedeemFault};
use crate::oauth::ErrorCode;
use crate::secret;
use crate::store::epoch::Missing;
use crate::token::sealed::{CODE, Code};
use crate::wire::{Arrival, Form};

pub async fn redeem(
    server: &AuthorizationServer,
    client: &Client,
    form: &Form,
    arrival: Arrival,
) -> Result<Issued, Refused> {
    let code = form.one("code")?.ok_or(NO_CODE)?;
    let code = server.ring.open(&CODE, code).map_err(|_| BAD_CODE)?;
    check(client, form, &code, arrival)?;
    let grant = unspent(server, &code).await?;
    let resource = resource_indicator::granted(server, form, &grant)?;
    // What the answer needs is had before anything is spent.
    server.grants.epoch().await.map_err(|_| UNAVAILABLE)?;
    let grant = server.grants.redeem(code.grant).await.map_err(|fault| match fault {
        RedeemFault::Unknown => BAD_CODE,
        RedeemFault::Reused => {
            tracing::warn!(
                request_id = %arrival.id,
                client_id = %client.digest,
                grant_id = %code.grant,
                "code used twice, grant ended",
            );
            BAD_CODE
        }
        RedeemFault::Store(_) => UNAVAILABLE,
    })?;
    let issued = token_response::tokens(server, client, &grant, &resource, &grant.scopes).await?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %client.digest,
        grant_id = %grant.id,
        user = grant.person.key,
        "code redeemed, tokens issued",
    );
    Ok(if code.refreshes { issued } else { issued.without_refresh_token() })
}

fn check(client: &Client, form: &Form, code: &Code, arrival: Arrival) -> Result<(), Refused> {
    if code.client != client.digest || code.expires <= arrival.at {
        return Err(BAD_CODE);
    }
    // OAuth 2.1 leaves the parameter out; OAuth 2.0 clients send it, and then it must be the same.
    if let Some(presented) = form.one("redirect_uri")?
        && !secret::same(&code.redirect_uri, &secret::short_hash(presented.as_bytes()))
    {
        return Err(ANOTHER_REDIRECT_URI);
    }
    let verifier = form.one("code_verifier")?.ok_or(NO_VERIFIER)?;
    if code.challenge.is_met_by(verifier) { Ok(()) } else { Err(WRONG_VERIFIER) }
}

/// The grant, to check the rest of the request by. Whether the code may still be spent is decided when
/// it is.
async fn unspent(server: &AuthorizationServer, code: &Code) -> Result<Grant, Refused> {
    if let Some(read) = server.grants.read(code.grant).await.map_err(|_| UNAVAILABLE)? {
        let is_cut_off = server.grants.is_cut_off(read.grant.began);
        return if is_cut_off { Err(BAD_CODE) } else { Ok(read.grant) };
    }
    match server.grants.why_missing(code.epoch, code.expires).await.map_err(|_| UNAVAILABLE)? {
        Missing::Over | Missing::Lost => Err(BAD_CODE),
        Missing::Elsewhere => Err(ELSEWHERE),
    }
}

const NO_CODE: Refused = Refused::new(ErrorCode::InvalidRequest, "code is missing");
const BAD_CODE: Refused = Refused::new(
    ErrorCode::InvalidGrant,
    "the code is not valid: expired, used, or issued to another client",
);
const ANOTHER_REDIRECT_URI: Refused =
    Refused::new(ErrorCode::InvalidGrant, "redirect_uri differs from the authorization request");
const NO_VERIFIER: Refused = Refused::new(ErrorCode::InvalidRequest, "code_verifier is missing");
const WRONG_VERIFIER: Refused =
    Refused::new(ErrorCode::InvalidGrant, "code_verifier does not match the code_challenge");
