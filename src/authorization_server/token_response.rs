//! The answer of the token endpoint: tokens for a grant as it stands (RFC 6749 §5.1).

use serde::Serialize;

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::clients::Client;
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::grants::{AccessTime, Grant};
use crate::oauth::{ErrorCode, Scopes};
use crate::policy::Resource;
use crate::token::sealed::{ACCESS_TOKEN, AccessToken, REFRESH_TOKEN, RefreshToken};

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
pub fn tokens(
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
    let generation = grant.generations.newest();
    let AccessTime { expires, told } = server.grants.access_time(grant);
    let person = &grant.person;
    let access_token = AccessToken {
        grant: grant.id,
        generation,
        client: grant.client,
        resource: resource.digest,
        expires,
        scopes: scopes.clone(),
        key: person.key.clone(),
        email: person.email.clone(),
        groups: fits(&person.groups).then(|| person.groups.clone()),
        rules: resource.rules,
    };
    let refresh_token = RefreshToken { grant: grant.id, client: grant.client, generation };
    let seal = |_| UNAVAILABLE;
    Ok(Issued {
        access_token: server.ring.seal(&ACCESS_TOKEN, &access_token).map_err(seal)?,
        token_type: "Bearer",
        expires_in: told.as_secs(),
        refresh_token: if client.refreshes {
            Some(server.ring.seal(&REFRESH_TOKEN, &refresh_token).map_err(seal)?)
        } else {
            None
        },
        scope: (!scopes.is_empty()).then(|| scopes.to_string()),
    })
}

/// Do the groups fit into a token? Some people have hundreds; then the grant's row has them.
fn fits(groups: &[String]) -> bool {
    groups.iter().map(|group| group.len() + 1).sum::<usize>() <= MOST_GROUP_BYTES
}

const MOST_GROUP_BYTES: usize = 120;
const NOT_ALLOWED: Refused =
    Refused::new(ErrorCode::InvalidGrant, "the person may no longer use this resource");
