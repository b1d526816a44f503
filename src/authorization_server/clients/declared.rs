//! Clients that the operator wrote into the configuration. Their ids are short and chosen, so they fit
//! wherever a client asks a person for one; what is said of them was not said by themselves.

use crate::authorization_server::clients::{Authentication, Client, KnownBy};
use crate::oauth::{ClientDigest, RegisteredRedirectUri, Scopes};

#[derive(Clone, Debug)]
pub struct DeclaredClient {
    /// Like no id that we issue, and no URL.
    pub id: String,
    pub name: String,
    /// Never empty but for a service account.
    pub redirect_uris: Vec<RegisteredRedirectUri>,
    pub authentication: Authentication,
    /// The most that it may be granted; `None` is all that a resource offers.
    pub scopes: Option<Scopes>,
    pub refreshes: bool,
}

/// A machine that gets tokens for itself, as no person (RFC 6749 §4.4).
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// With a secret or keys, and nowhere to redirect to: as anything but itself it is refused.
    pub client: DeclaredClient,
    /// URLs of what it may use; `None` is every resource.
    pub resources: Option<Vec<String>>,
}

impl ServiceAccount {
    pub fn may_use(&self, resource: &str) -> bool {
        self.resources.as_ref().is_none_or(|own| own.iter().any(|url| url == resource))
    }
}

/// The client with this id.
pub fn find(declared: &[DeclaredClient], client_id: &str) -> Option<Client> {
    declared.iter().find(|client| client.id == client_id).map(Client::from)
}

impl From<&DeclaredClient> for Client {
    fn from(declared: &DeclaredClient) -> Self {
        Self {
            digest: ClientDigest::of(&declared.id),
            name: declared.name.clone(),
            redirect_uris: declared.redirect_uris.clone(),
            authentication: declared.authentication.clone(),
            scopes: declared.scopes.clone(),
            refreshes: declared.refreshes,
            known_by: KnownBy::Config,
        }
    }
}

/// Is there one that signs? Then metadata has to say so.
pub fn some_sign<'a>(declared: impl IntoIterator<Item = &'a DeclaredClient>) -> bool {
    declared.into_iter().any(|client| matches!(client.authentication, Authentication::Keys(_)))
}
