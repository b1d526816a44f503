//! The answer of the token endpoint: tokens for a grant as it stands (RFC 6749 §5.1).

use serde::Serialize;

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::clock::Timestamp;
use crate::grants::Grant;
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
    /// For a client that did not ask for refresh tokens.
    pub fn without_refresh_token(self) -> Self {
        Self { refresh_token: None, ..self }
    }
}

/// Tokens of the grant's newest generation, the access token with `scopes`.
pub fn tokens(
    server: &AuthorizationServer,
    grant: &Grant,
    resource: &Resource,
    scopes: &Scopes,
    now: Timestamp,
) -> Result<Issued, Refused> {
    // The rules may have changed since the login.
    if !resource.access.admits(&grant.person) {
        return Err(NOT_ALLOWED);
    }
    let generation = grant.generations.newest();
    let expires = now.after(server.lifetimes.access).min(grant.ends_at);
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
        expires_in: now.until(expires).as_secs(),
        refresh_token: Some(server.ring.seal(&REFRESH_TOKEN, &refresh_token).map_err(seal)?),
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
