//! Clients whose id is the URL of a document that says who they are
//! (draft-ietf-oauth-client-id-metadata-document): pinned by the operator, or fetched from whoever
//! publishes it, and kept for a while.

mod kept;
mod lifetime;
mod metadata;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::authorization_server::clients::document::kept::{Kept, Known};
use crate::authorization_server::clients::document::lifetime::lifetime;
use crate::authorization_server::clients::{Authentication, Client, KnownBy};
use crate::clock::Clock;
use crate::jose::KeySet;
use crate::oauth::{ClientDigest, ClientIdUrl, NotAClientIdUrl};
use crate::outbound::{NamedBy, StrangerConnection, Unfetched};

pub use kept::Age;
pub use metadata::{ClientKeys, Document, Invalid};

/// Whether clients may be known by documents, and by which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentSettings {
    pub support: Support,
    /// Hosts, or `*.` and a domain for every host below it. `None`: any.
    pub allowed_domains: Option<Vec<String>>,
    pub allows_private_hosts: bool,
    /// Used as they are, and never fetched.
    pub pinned: Vec<(ClientIdUrl, Document)>,
    /// What must be within reach for `Support::WithinReach`.
    pub probed: Vec<ClientIdUrl>,
    /// From one look at `probed` to the next.
    pub probe_pause: Duration,
}

/// When the authorization server metadata says that documents are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As long as documents can be fetched from here. Clients that use them don't fall back to
    /// registering when that fails, so whoever can't fetch must not promise to.
    WithinReach,
    Always,
    /// And no such client is let in.
    Never,
}

/// Why a client id that is a URL is nobody's. Completes "…: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentFault {
    #[error("registration.metadata_documents is false")]
    Off,
    #[error("the client id {0}")]
    NotAClientId(#[from] NotAClientIdUrl),
    #[error("{0} is not among registration.allowed_metadata_domains")]
    NotAllowed(String),
    #[error("the document can't be fetched: {0}")]
    Unfetched(#[from] Unfetched),
    #[error("the document {0}")]
    Invalid(#[from] Invalid),
}

/// Every document that is known here, and the keys of clients that sign.
#[derive(Debug)]
pub struct Documents {
    settings: DocumentSettings,
    redirect_schemes: Vec<String>,
    strangers: StrangerConnection,
    clock: Clock,
    known: Kept<Document>,
    key_sets: Kept<KeySet>,
    is_advertised: AtomicBool,
}

impl Documents {
    pub fn new(
        settings: DocumentSettings,
        redirect_schemes: Vec<String>,
        strangers: StrangerConnection,
        clock: Clock,
    ) -> Self {
        let is_advertised = AtomicBool::new(settings.support == Support::Always);
        let (known, key_sets) = (Kept::new(), Kept::new());
        Self { settings, redirect_schemes, strangers, clock, known, key_sets, is_advertised }
    }

    pub fn is_advertised(&self) -> bool {
        self.is_advertised.load(Ordering::Relaxed)
    }

    pub fn advertise(&self, is_advertised: bool) {
        self.is_advertised.store(is_advertised, Ordering::Relaxed);
    }

    pub fn settings(&self) -> &DocumentSettings {
        &self.settings
    }

    /// Fetch every document that is to be probed, whatever is known of it: so those are always known. The
    /// first that can't be used, and why.
    pub async fn probe(&self) -> Result<(), (ClientIdUrl, DocumentFault)> {
        for url in self.settings.probed.iter().filter(|url| self.pinned(url).is_none()) {
            let known = self.fetch(url, NamedBy::Operator).await;
            if let Err(fault) = known.outcome {
                return Err((url.clone(), fault));
            }
            self.known.insert(url.as_str(), known);
        }
        Ok(())
    }

    /// The client with this id, by its document.
    pub async fn find(&self, client_id: &str) -> Result<Client, DocumentFault> {
        let url = self.acceptable(client_id)?;
        let document = self.document(&url, Age::Usual).await?;
        let digest = match document.keys {
            ClientKeys::None => ClientDigest::of(client_id),
            ClientKeys::Inline(_) | ClientKeys::At(_) => ClientDigest::of_signing(client_id),
        };
        Ok(Client {
            digest,
            name: document.name.clone(),
            redirect_uris: document.redirect_uris.clone(),
            authentication: Authentication::None,
            scopes: None,
            refreshes: document.refreshes,
            known_by: KnownBy::Document(url.host().to_owned()),
        })
    }

    /// The client with this id, to whom a code was issued while its document wanted no proof: what it may do
    /// stands in the code and in the refresh token, which name it. Its document is not asked for, so that a
    /// login outlives an outage of whoever publishes it. It has no redirect URIs, so nothing can begin with
    /// it.
    pub fn recognize(&self, client_id: &str) -> Option<Client> {
        self.holder(client_id, ClientDigest::of(client_id))
    }

    /// The same for one that has proved who it is, as its document wanted. Nothing that was issued to it is
    /// of use to who comes without a proof (§6.2): by its digest that is somebody else.
    pub fn recognize_signing(&self, client_id: &str) -> Option<Client> {
        self.holder(client_id, ClientDigest::of_signing(client_id))
    }

    /// What the client with this id signs with; `None` if its document says that it is public.
    pub async fn keys(
        &self,
        client_id: &str,
        age: Age,
    ) -> Result<Option<Arc<KeySet>>, DocumentFault> {
        let url = self.acceptable(client_id)?;
        let mut document = self.document(&url, Age::Usual).await?;
        if let ClientKeys::Inline(_) = document.keys {
            document = self.document(&url, age).await?;
        }
        match &document.keys {
            ClientKeys::None => Ok(None),
            ClientKeys::Inline(text) => Ok(KeySet::published(text.as_bytes()).map(Arc::new)),
            ClientKeys::At(keys) => {
                let fetch = self.fetch_keys(keys);
                self.key_sets.get(keys.as_str(), age, self.clock.now(), fetch).await.map(Some)
            }
        }
    }

    fn holder(&self, client_id: &str, digest: ClientDigest) -> Option<Client> {
        let url = self.acceptable(client_id).ok()?;
        Some(Client {
            digest,
            name: url.host().to_owned(),
            redirect_uris: Vec::new(),
            authentication: Authentication::None,
            scopes: None,
            refreshes: true,
            known_by: KnownBy::Document(url.host().to_owned()),
        })
    }

    /// Judged by today's rules, before anybody is asked.
    fn acceptable(&self, client_id: &str) -> Result<ClientIdUrl, DocumentFault> {
        if self.settings.support == Support::Never {
            return Err(DocumentFault::Off);
        }
        let url = ClientIdUrl::parse(client_id)?;
        if !url.is_https() && !self.strangers.allows_loopback_http() {
            return Err(NotAClientIdUrl::NotHttps.into());
        }
        let allowed = self.settings.allowed_domains.as_deref();
        if is_allowed(&url, allowed) || self.pinned(&url).is_some() {
            Ok(url)
        } else {
            Err(DocumentFault::NotAllowed(url.host().to_owned()))
        }
    }

    fn pinned(&self, url: &ClientIdUrl) -> Option<&Document> {
        let mut pinned = self.settings.pinned.iter();
        pinned.find(|(own, _)| own == url).map(|(_, document)| document)
    }

    async fn document(&self, url: &ClientIdUrl, age: Age) -> Result<Arc<Document>, DocumentFault> {
        if let Some(pinned) = self.pinned(url) {
            return Ok(Arc::new(pinned.clone()));
        }
        let fetch = self.fetch(url, NamedBy::Stranger);
        self.known.get(url.as_str(), age, self.clock.now(), fetch).await
    }

    async fn fetch(&self, url: &ClientIdUrl, named_by: NamedBy) -> Known<Document> {
        let fetched = async {
            let answer = self.strangers.get(url.url(), named_by).await?;
            let document = Document::parse(url, &answer.body, &self.redirect_schemes)?;
            let allowed = self.settings.allowed_domains.as_deref();
            match &document.keys {
                // Whoever may be asked for documents, and nobody else, may be asked for their keys.
                ClientKeys::At(keys) if !is_allowed(keys, allowed) => {
                    Err(DocumentFault::NotAllowed(keys.host().to_owned()))
                }
                ClientKeys::At(_) | ClientKeys::Inline(_) | ClientKeys::None => {
                    Ok((document, lifetime(&answer.headers)))
                }
            }
        };
        self.known_as(fetched.await)
    }

    async fn fetch_keys(&self, url: &ClientIdUrl) -> Known<KeySet> {
        let fetched = async {
            let answer = self.strangers.get(url.url(), NamedBy::Stranger).await?;
            let keys = KeySet::published(&answer.body).ok_or(Invalid::NoKeys)?;
            Ok((keys, lifetime(&answer.headers)))
        };
        self.known_as(fetched.await)
    }

    fn known_as<T>(&self, fetched: Result<(T, Duration), DocumentFault>) -> Known<T> {
        let now = self.clock.now();
        match fetched {
            Ok((thing, lifetime)) => Known::good(thing, now, lifetime),
            Err(fault) => Known::failed(fault, now),
        }
    }
}

/// May the document at `url` be fetched? A list that does not name its host does not allow it.
pub fn is_allowed(url: &ClientIdUrl, allowed: Option<&[String]>) -> bool {
    allowed.is_none_or(|domains| domains.iter().any(|domain| is_of(url.host(), domain)))
}

/// Is `host` the host `domain`, or below it if that is written `*.`?
fn is_of(host: &str, domain: &str) -> bool {
    match domain.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => host == domain,
    }
}
