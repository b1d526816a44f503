//! The answer of the token endpoint: tokens for a grant as it stands (RFC 6749 §5.1).

use serde::Serialize;

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::clients::Client;
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::grants::{AccessTime, Grant, GrantId};
use crate::oauth::{ClientDigest, ErrorCode, Scopes};
use crate::policy::Resource;
use crate::seal::SealFault;
use crate::token::sealed::{ACCESS_TOKEN, AccessToken, Holder, REFRESH_TOKEN, RefreshToken};

/// What the client gets. Clients compare `Bearer` by case and want every member in its place.
#[derive(Debug, Serialize)]
pub struct Issued {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

impl Issued {
    /// For a client that did not want refresh tokens when it asked for the code.
    pub fn without_refresh_token(self) -> Self {
        Self { refresh_token: None, ..self }
    }
}

/// Tokens of the grant's newest generation, the access token with `scopes`.
pub async fn tokens(
    server: &AuthorizationServer,
    client: &Client,
    grant: &Grant,
    resource: &Resource,
    scopes: &Scopes,
) -> Result<Issued, Refused> {
    // The rules may have changed since the login.
    if !resource.access.admits(&grant.person) {
        return Err(NOT_ALLOWED);
    }
    // And what its client may be granted.
    let scopes = client.allowed(scopes);
    let (generation, issued) = (grant.generations.newest(), server.grants.now());
    let AccessTime { expires, told } = server.grants.access_time(grant);
    let person = &grant.person;
    let access_token = AccessToken {
        grant: grant.id,
        generation,
        client: grant.client,
        resource: resource.digest,
        issued,
        expires,
        scopes: scopes.clone(),
        holder: Holder::Person {
            key: person.key.clone(),
            email: person.email.clone(),
            groups: fits(&person.groups).then(|| person.groups.clone()),
        },
        rules: resource.rules,
    };
    let refresh_token = RefreshToken {
        grant: grant.id,
        client: grant.client,
        generation,
        issued,
        epoch: server.grants.epoch().await.map_err(|_| UNAVAILABLE)?,
        keepsake: server.grants.keepsake(grant, resource.digest),
    };
    let seal = |_| UNAVAILABLE;
    Ok(Issued {
        access_token: server.ring.seal(&ACCESS_TOKEN, &access_token).map_err(seal)?,
        token_type: "Bearer",
        expires_in: told.as_secs(),
        refresh_token: if client.refreshes {
            Some(sealed(server, refresh_token).map_err(seal)?)
        } else {
            None
        },
        scope: (!scopes.is_empty()).then(|| scopes.to_string()),
    })
}

/// A token for a machine. `grant` names it in logs, and to whoever revokes it.
pub fn for_service_account(
    server: &AuthorizationServer,
    id: String,
    grant: GrantId,
    resource: &Resource,
    scopes: &Scopes,
) -> Result<Issued, Refused> {
    let AccessTime { expires, told } = server.grants.machine_time();
    let access_token = AccessToken {
        grant,
        generation: 1,
        client: ClientDigest::of(&id),
        resource: resource.digest,
        issued: server.grants.now(),
        expires,
        scopes: scopes.clone(),
        holder: Holder::ServiceAccount(id),
        rules: resource.rules,
    };
    Ok(Issued {
        access_token: server.ring.seal(&ACCESS_TOKEN, &access_token).map_err(|_| UNAVAILABLE)?,
        token_type: "Bearer",
        expires_in: told.as_secs(),
        refresh_token: None,
        scope: (!scopes.is_empty()).then(|| scopes.to_string()),
    })
}

/// With the keepsake if it fits: not every IdP's tokens are short.
fn sealed(server: &AuthorizationServer, mut token: RefreshToken) -> Result<String, SealFault> {
    let whole = server.ring.seal(&REFRESH_TOKEN, &token)?;
    if whole.len() <= LONGEST_REFRESH_TOKEN {
        return Ok(whole);
    }
    token.keepsake = None;
    server.ring.seal(&REFRESH_TOKEN, &token)
}

/// Do the groups fit into a token? Some people have hundreds; then the grant's row has them.
fn fits(groups: &[String]) -> bool {
    groups.iter().map(|group| group.len() + 1).sum::<usize>() <= MOST_GROUP_BYTES
}

/// Windows' credential store has 1,280 characters for all that a client keeps.
const LONGEST_REFRESH_TOKEN: usize = 500;
const MOST_GROUP_BYTES: usize = 120;
const NOT_ALLOWED: Refused =
    Refused::new(ErrorCode::InvalidGrant, "the person may no longer use this resource");
