//! `grant_type=refresh_token`: new tokens for a grant (RFC 6749 §6), by the rules of `grants::generations`.

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::clients::Client;
use crate::authorization_server::error::{ELSEWHERE, Refused, UNAVAILABLE};
use crate::authorization_server::resource_indicator;
use crate::authorization_server::token_response::{self, Issued};
use crate::grants::{AdvanceFault, Orphan, ReadGrant};
use crate::oauth::{ErrorCode, Scopes};
use crate::store::epoch::Missing;
use crate::token::sealed::{REFRESH_TOKEN, RefreshToken};
use crate::wire::{Arrival, Form};

pub async fn refresh(
    server: &AuthorizationServer,
    client: &Client,
    form: &Form,
    arrival: Arrival,
) -> Result<Issued, Refused> {
    let token = form.one("refresh_token")?.ok_or(NO_TOKEN)?;
    let token = server.ring.open(&REFRESH_TOKEN, token).map_err(|_| BAD_TOKEN)?;
    if token.client != client.digest {
        return Err(BAD_TOKEN);
    }
    if server.grants.is_cut_off(token.issued) {
        return Err(BAD_TOKEN);
    }
    let (id, generation) = (token.grant, token.generation);
    let read = match server.grants.read(id).await.map_err(|_| UNAVAILABLE)? {
        Some(read) => read,
        None => missing(server, client, token).await?,
    };
    let resource = resource_indicator::granted(server, form, &read.grant)?;
    let scopes = narrowed(&read.grant.scopes, &resource.scopes, form.one("scope")?)?;
    let advanced = server.grants.advance(read, generation).await;
    let grant = advanced.map_err(|fault| {
        if fault == AdvanceFault::Theft {
            tracing::warn!(
                request_id = %arrival.id,
                client_id = %client.digest,
                grant_id = %id,
                generation,
                "replaced refresh token presented, grant ended",
            );
        }
        refusal(fault)
    })?;
    let issued = token_response::tokens(server, client, &grant, &resource, &scopes).await?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %client.digest,
        grant_id = %grant.id,
        user = grant.person.key,
        generation = grant.generations.newest(),
        "tokens refreshed",
    );
    Ok(issued)
}

/// The grant of a token that has no row: over, with another instance, or lost and perhaps not for good.
async fn missing(
    server: &AuthorizationServer,
    client: &Client,
    token: RefreshToken,
) -> Result<ReadGrant, Refused> {
    let why = server.grants.why_missing(token.epoch, token.issued).await;
    match why.map_err(|_| UNAVAILABLE)? {
        Missing::Over => Err(BAD_TOKEN),
        Missing::Elsewhere => Err(ELSEWHERE),
        Missing::Lost => {
            let orphan = orphan(server, client, token).ok_or(BAD_TOKEN)?;
            server.grants.adopt(orphan).await.map_err(refusal)
        }
    }
}

/// `None` if the token has nothing that its grant could be rebuilt from.
pub fn orphan(
    server: &AuthorizationServer,
    client: &Client,
    token: RefreshToken,
) -> Option<Orphan> {
    let keepsake = token.keepsake?;
    let resource = server.resources.iter().find(|own| own.digest == keepsake.resource)?;
    Some(Orphan {
        id: token.grant,
        generation: token.generation,
        issued: token.issued,
        client: token.client,
        client_name: client.name.clone(),
        resource: resource.url.as_str().to_owned(),
        keepsake,
    })
}

fn refusal(fault: AdvanceFault) -> Refused {
    match fault {
        AdvanceFault::Ended | AdvanceFault::Theft => BAD_TOKEN,
        AdvanceFault::Unvouched | AdvanceFault::TookTooLong => IDP_SILENT,
        AdvanceFault::Store(_) => UNAVAILABLE,
    }
}

/// RFC 6749 §6: not more than was granted. What the resource does not offer is left out of it, as it was at
/// the login: clients ask again for what they asked for then, and add `offline_access` unasked.
fn narrowed(granted: &Scopes, offered: &Scopes, asked: Option<&str>) -> Result<Scopes, Refused> {
    let known = offered.intersection(&Scopes::parse(asked.unwrap_or_default()));
    if !known.missing_from(granted).is_empty() {
        return Err(TOO_MUCH);
    }
    Ok(if known.is_empty() { granted.clone() } else { granted.intersection(&known) })
}

const IDP_SILENT: Refused = Refused::unavailable(
    "idp",
    "the identity provider does not answer, try again in a few seconds",
);
const NO_TOKEN: Refused = Refused::new(ErrorCode::InvalidRequest, "refresh_token is missing");
const BAD_TOKEN: Refused = Refused::new(
    ErrorCode::InvalidGrant,
    "the refresh token is not valid: expired, revoked, replaced, or issued to another client",
);
const TOO_MUCH: Refused =
    Refused::new(ErrorCode::InvalidScope, "scope exceeds what was granted at the login");
