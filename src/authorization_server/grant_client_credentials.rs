//! `grant_type=client_credentials`: a service account gets a token for itself (RFC 6749 §4.4). No person is
//! asked, nothing is stored, and there is no refresh token: it can come again.

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::clients::Client;
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::authorization_server::resource_indicator;
use crate::authorization_server::token_response::{self, Issued};
use crate::grants::GrantId;
use crate::oauth::{ErrorCode, Scopes};
use crate::wire::{Arrival, Form};

pub fn issue(
    server: &AuthorizationServer,
    client: &Client,
    form: &Form,
    arrival: Arrival,
) -> Result<Issued, Refused> {
    let accounts = server.service_accounts.iter();
    let account = accounts
        .map(|account| (account, Client::from(&account.client).digest))
        .find(|(_, digest)| *digest == client.digest)
        .map(|(account, _)| account)
        .ok_or(NOT_A_SERVICE_ACCOUNT)?;
    let usable: Vec<_> = server
        .resources
        .iter()
        .filter(|resource| account.may_use(resource.url.as_str()))
        .cloned()
        .collect();
    let resource =
        resource_indicator::named(&usable, form.all("resource")).map_err(|_| NO_RESOURCE)?;
    let scopes = granted(client, &resource.scopes, form.one("scope")?)?;
    let grant = GrantId::new(server.chance.bytes().map_err(|_| UNAVAILABLE)?);
    let id = account.client.id.clone();
    let issued = token_response::for_service_account(server, id, grant, &resource, &scopes)?;
    tracing::info!(
        request_id = %arrival.id,
        client_id = %client.digest,
        grant_id = %grant,
        service_account = account.client.id,
        resource = %resource.url,
        "token issued to a service account",
    );
    Ok(issued)
}

/// RFC 6749 §3.3: all that it may have, or what it asks for of that.
fn granted(client: &Client, offered: &Scopes, asked: Option<&str>) -> Result<Scopes, Refused> {
    let allowed = client.allowed(offered);
    let Some(asked) = asked.map(Scopes::parse).filter(|asked| !asked.is_empty()) else {
        return Ok(allowed);
    };
    if asked.missing_from(&allowed).is_empty() { Ok(asked) } else { Err(TOO_MUCH) }
}

const NOT_A_SERVICE_ACCOUNT: Refused = Refused::new(
    ErrorCode::UnauthorizedClient,
    "this client is no service account: it needs a person who signs in",
);
const NO_RESOURCE: Refused = Refused::new(
    ErrorCode::InvalidTarget,
    "resource must name one server that this service account may use",
);
const TOO_MUCH: Refused =
    Refused::new(ErrorCode::InvalidScope, "scope exceeds what this service account may have");
