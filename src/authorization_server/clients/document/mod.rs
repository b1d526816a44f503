//! Clients whose id is the URL of a document that says who they are
//! (draft-ietf-oauth-client-id-metadata-document): pinned by the operator, or fetched from whoever
//! publishes it, and kept for a while.

mod lifetime;
mod metadata;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::authorization_server::clients::document::lifetime::lifetime;
use crate::authorization_server::clients::{Authentication, Client, KnownBy};
use crate::clock::{Clock, Timestamp};
use crate::oauth::{ClientDigest, ClientIdUrl, NotAClientIdUrl};
use crate::outbound::{NamedBy, StrangerConnection, Unfetched};

pub use metadata::{Document, Invalid};

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

/// Every document that is known here.
#[derive(Debug)]
pub struct Documents {
    settings: DocumentSettings,
    redirect_schemes: Vec<String>,
    strangers: StrangerConnection,
    clock: Clock,
    known: Cache<String, Known>,
    is_advertised: AtomicBool,
}

/// What came of fetching a document. A failure is kept for seconds, so that the same question is not
/// carried to a stranger again and again; it is no verdict on the document.
#[derive(Clone, Debug)]
struct Known {
    outcome: Result<Arc<Document>, DocumentFault>,
    until: Timestamp,
}

impl Documents {
    pub fn new(
        settings: DocumentSettings,
        redirect_schemes: Vec<String>,
        strangers: StrangerConnection,
        clock: Clock,
    ) -> Self {
        let is_advertised = AtomicBool::new(settings.support == Support::Always);
        let known = Cache::new(MOST_KNOWN);
        Self { settings, redirect_schemes, strangers, clock, known, is_advertised }
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
            self.known.insert(url.as_str().to_owned(), known);
        }
        Ok(())
    }

    /// The client with this id, by its document.
    pub async fn find(&self, client_id: &str) -> Result<Client, DocumentFault> {
        let url = self.acceptable(client_id)?;
        let document = match self.pinned(&url) {
            Some(pinned) => Arc::new(pinned.clone()),
            None => self.fetched(&url).await?,
        };
        Ok(Client {
            digest: ClientDigest::of(client_id),
            name: document.name.clone(),
            redirect_uris: document.redirect_uris.clone(),
            authentication: Authentication::None,
            scopes: None,
            refreshes: document.refreshes,
            known_by: KnownBy::Document(url.host().to_owned()),
        })
    }

    /// The client with this id, to whom a code was issued: what it may do stands in the code and in the
    /// refresh token, which name it. Its document is not asked for, so that a login outlives an outage of
    /// whoever publishes it. It has no redirect URIs, so nothing can begin with it.
    pub fn recognize(&self, client_id: &str) -> Option<Client> {
        let url = self.acceptable(client_id).ok()?;
        Some(Client {
            digest: ClientDigest::of(client_id),
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

    /// The document at `url`. Who asks while it is being fetched waits for the same answer.
    async fn fetched(&self, url: &ClientIdUrl) -> Result<Arc<Document>, DocumentFault> {
        let now = self.clock.now();
        let entry = self.known.entry_async(url.as_str(), |_, known| {
            if known.until > now {
                EntryAction::Retain(known.outcome.clone())
            } else {
                EntryAction::ReplaceWithGuard
            }
        });
        let place = match entry.await {
            EntryResult::Retained(outcome) => return outcome,
            EntryResult::Vacant(place) | EntryResult::Replaced(place, _) => place,
            EntryResult::Removed(..) | EntryResult::Timeout => return Err(Unfetched::Busy.into()),
        };
        let known = self.fetch(url, NamedBy::Stranger).await;
        if let Err(DocumentFault::Unfetched(unfetched)) = &known.outcome
            && unfetched.is_ours()
        {
            return known.outcome;
        }
        // The place is gone only if somebody forgot the entry meanwhile: then nothing is kept.
        let _ = place.insert(known.clone());
        known.outcome
    }

    async fn fetch(&self, url: &ClientIdUrl, named_by: NamedBy) -> Known {
        match self.strangers.get(url.url(), named_by).await {
            Err(unfetched) => self.failed(unfetched.into()),
            Ok(answer) => match Document::parse(url, &answer.body, &self.redirect_schemes) {
                Err(invalid) => self.failed(invalid.into()),
                Ok(document) => Known {
                    outcome: Ok(Arc::new(document)),
                    until: self.clock.now().after(lifetime(&answer.headers)),
                },
            },
        }
    }

    fn failed(&self, fault: DocumentFault) -> Known {
        Known { outcome: Err(fault), until: self.clock.now().after(FAILURE_KEPT) }
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

const MOST_KNOWN: usize = 1000;
/// The draft forbids to cache failures (§4.3): this limits how often one can be caused.
const FAILURE_KEPT: Duration = Duration::from_secs(30);
