//! Dynamically registered clients: the client id is the registration, sealed. Nothing is stored, so a
//! flood of registrations fills nothing, and a restart forgets none.

use serde::{Deserialize, Serialize};

use crate::authorization_server::RegistrationSettings;
use crate::authorization_server::clients::{Authentication, Client, KnownBy};
use crate::clock::Timestamp;
use crate::oauth::{ClientDigest, RegisteredRedirectUri};
use crate::seal::{KeyRing, Kind};

/// What a client id holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registration {
    /// As the client calls itself; nobody has verified it.
    pub name: Option<String>,
    pub redirect_uris: Vec<String>,
    /// SHA-256 of the secret of a confidential client.
    pub secret: Option<[u8; 32]>,
    pub refreshes: bool,
    pub at: Timestamp,
}

/// The client with this id, judged by today's rules: a redirect URI that may no longer be registered no
/// longer counts.
pub fn open(ring: &KeyRing, settings: &RegistrationSettings, client_id: &str) -> Option<Client> {
    if !settings.dynamic {
        return None;
    }
    let registration = ring.open(&CLIENT_ID, client_id).ok()?;
    let schemes = &settings.redirect_schemes;
    let redirect_uris = registration
        .redirect_uris
        .iter()
        .filter_map(|uri| RegisteredRedirectUri::parse(uri, schemes).ok())
        .collect();
    Some(Client {
        digest: ClientDigest::of(client_id),
        name: registration.name.unwrap_or_else(|| "an application without a name".to_owned()),
        redirect_uris,
        authentication: match registration.secret {
            Some(hash) => Authentication::Secret(hash),
            None => Authentication::None,
        },
        scopes: None,
        refreshes: registration.refreshes,
        known_by: KnownBy::Registration(registration.at),
    })
}

/// Only `[A-Za-z0-9_-]`: clients don't agree on how to encode anything else in Basic credentials.
pub const CLIENT_ID: Kind<Registration> = Kind::new("doorman_ci_", 1);
