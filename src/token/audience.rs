//! For whom a token must be: what one resource is called in the tokens of the IdP.

/// Of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    /// Digest of the resource's URL, by which our own tokens say what they are for.
    pub resource: [u8; 16],
    /// In `aud` of the IdP's tokens (RFC 9068 §3): the URL, unless the IdP has another name for it.
    pub name: String,
    /// The clients whose tokens are taken, by their ids at the IdP. Empty: any.
    pub allowed_clients: Vec<String>,
}

impl Audience {
    pub fn allows(&self, client: Option<&str>) -> bool {
        self.allowed_clients.is_empty()
            || client.is_some_and(|client| self.allowed_clients.iter().any(|own| own == client))
    }
}
