//! The clients that this authorization server knows: who a `client_id` is, and proof that it is them.

mod assertion;
pub mod credentials;
pub mod declared;
pub mod document;
pub mod registered;

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::clients::credentials::Proof;
use crate::authorization_server::clients::document::DocumentFault;
use crate::authorization_server::error::Refused;
use crate::clock::Timestamp;
use crate::jose::KeySet;
use crate::oauth::redirect_uri::RedirectTarget;
use crate::oauth::{
    ClientDigest, ClientIdUrl, ErrorCode, RedirectUri, RegisteredRedirectUri, Scopes,
};
use crate::secret;
use crate::wire::{Arrival, Form};

/// A client, by whatever way it became known.
#[derive(Clone, Debug)]
pub struct Client {
    pub digest: ClientDigest,
    pub name: String,
    pub redirect_uris: Vec<RegisteredRedirectUri>,
    pub authentication: Authentication,
    /// The most that it may be granted; `None` is all that a resource offers.
    pub scopes: Option<Scopes>,
    /// Whether it gets refresh tokens.
    pub refreshes: bool,
    pub known_by: KnownBy,
}

/// Who says that the client is what its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// The operator, in the configuration.
    Config,
    /// Only itself, when it registered.
    Registration(Timestamp),
    /// A document at this host.
    Document(String),
}

/// Why a `client_id` is nobody's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("the client is not registered here")]
    NotRegistered,
    #[error(transparent)]
    Document(#[from] DocumentFault),
}

/// How a client proves at the token endpoint that it is itself.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// A public client: PKCE is all it has.
    None,
    /// SHA-256 of its secret, sent by Basic or in the form.
    Secret([u8; 32]),
    /// Its public keys, with one of which an assertion is signed.
    Keys(Arc<KeySet>),
}

impl Client {
    /// The permission to redirect to `presented`, if this client registered it.
    pub fn redirect_uri(&self, presented: &str) -> Option<RedirectUri> {
        self.redirect_uris.iter().find_map(|registered| registered.matches(presented))
    }

    /// What of `scopes` it may be granted.
    pub fn allowed(&self, scopes: &Scopes) -> Scopes {
        self.scopes.as_ref().map_or_else(|| scopes.clone(), |most| scopes.intersection(most))
    }

    /// Whether every answer to it goes to the person's own machine, where any program can claim to be it.
    pub fn is_only_local(&self) -> bool {
        self.redirect_uris.iter().all(|registered| registered.target() != RedirectTarget::Web)
    }
}

/// Who is `client_id`, before anything was issued to it? May have to ask whoever publishes its document.
pub async fn ask(server: &AuthorizationServer, client_id: &str) -> Result<Client, Unknown> {
    if ClientIdUrl::is_claimed_by(client_id) {
        return Ok(server.documents.find(client_id).await?);
    }
    find(server, client_id).ok_or(Unknown::NotRegistered)
}

/// Who is `client_id`? `None` if nobody, or nobody any more by today's rules.
fn find(server: &AuthorizationServer, client_id: &str) -> Option<Client> {
    if ClientIdUrl::is_claimed_by(client_id) {
        return server.documents.recognize(client_id);
    }
    declared::find(&server.declared, client_id)
        .or_else(|| server.service_account(client_id).map(|account| Client::from(&account.client)))
        .or_else(|| registered::open(&server.ring, &server.registration, client_id))
}

/// Which client sends this request to the token or revocation endpoint (RFC 6749 §2.3)?
pub async fn authenticate(
    server: &AuthorizationServer,
    headers: &HeaderMap,
    form: &Form,
    arrival: Arrival,
) -> Result<Client, Refused> {
    proved(server, headers, form, arrival).await.map_err(|refused| {
        let by_header = headers.contains_key(AUTHORIZATION);
        if by_header { refused.challenging_basic() } else { refused }
    })
}

async fn proved(
    server: &AuthorizationServer,
    headers: &HeaderMap,
    form: &Form,
    arrival: Arrival,
) -> Result<Client, Refused> {
    let sent = credentials::read(headers, form)?;
    if let Proof::Assertion(text) = &sent.proof
        && ClientIdUrl::is_claimed_by(&sent.client_id)
    {
        assertion::check_published(server, &sent.client_id, text.expose(), arrival).await?;
        return server.documents.recognize_signing(&sent.client_id).ok_or(UNKNOWN_CLIENT);
    }
    let client = find(server, &sent.client_id).ok_or(UNKNOWN_CLIENT)?;
    let proved = match (&client.authentication, &sent.proof) {
        // A public client that sends a secret is not refused for it: some send an empty pair.
        (Authentication::None, Proof::Nothing | Proof::Secret(_)) => true,
        (Authentication::Secret(hash), Proof::Secret(candidates)) => candidates
            .iter()
            .any(|own| secret::same(hash, &secret::sha256(own.expose().as_bytes()))),
        (Authentication::Keys(keys), Proof::Assertion(text)) => {
            assertion::check(server, &sent.client_id, keys, text.expose(), arrival).await?;
            true
        }
        (Authentication::None, Proof::Assertion(_))
        | (Authentication::Secret(_), Proof::Nothing | Proof::Assertion(_))
        | (Authentication::Keys(_), Proof::Nothing | Proof::Secret(_)) => false,
    };
    if proved { Ok(client) } else { Err(NOT_PROVED) }
}

const UNKNOWN_CLIENT: Refused =
    Refused::new(ErrorCode::InvalidClient, "this client is not registered here (any more)");
const NOT_PROVED: Refused = Refused::new(ErrorCode::InvalidClient, "client authentication failed");
