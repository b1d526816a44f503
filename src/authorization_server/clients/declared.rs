//! Clients that the operator wrote into the configuration. Their ids are short and chosen, so they fit
//! wherever a client asks a person for one; what is said of them was not said by themselves.

use crate::authorization_server::clients::{Authentication, Client, KnownBy};
use crate::oauth::{ClientDigest, RegisteredRedirectUri, Scopes};

#[derive(Clone, Debug)]
pub struct DeclaredClient {
    /// Like no id that we issue, and no URL.
    pub id: String,
    pub name: String,
    /// Never empty.
    pub redirect_uris: Vec<RegisteredRedirectUri>,
    pub authentication: Authentication,
    /// The most that it may be granted; `None` is all that a resource offers.
    pub scopes: Option<Scopes>,
    pub refreshes: bool,
}

/// The client with this id.
pub fn find(declared: &[DeclaredClient], client_id: &str) -> Option<Client> {
    let found = declared.iter().find(|client| client.id == client_id)?;
    Some(Client {
        digest: ClientDigest::of(client_id),
        name: found.name.clone(),
        redirect_uris: found.redirect_uris.clone(),
        authentication: found.authentication.clone(),
        scopes: found.scopes.clone(),
        refreshes: found.refreshes,
        known_by: KnownBy::Config,
    })
}

/// Is there one that signs? Then metadata has to say so.
pub fn some_sign(declared: &[DeclaredClient]) -> bool {
    declared.iter().any(|client| matches!(client.authentication, Authentication::Keys(_)))
}
