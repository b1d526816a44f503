//! Consent: the person said yes to this client, in this browser, on a form that was made for both.
//!
//! The form holds a sealed ticket; the browser holds a cookie; each is worthless without the other, so a
//! yes given in one browser can't be used in another (the confused deputy of MCP security best practices).

use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::chance::{Chance, NoEntropy};
use crate::clock::Timestamp;
use crate::oauth::{ClientDigest, CodeChallenge, RedirectUri, Scopes};
use crate::seal::{KeyRing, Kind, SealFault};
use crate::secret;
use crate::store::{Created, Key, Store, StoreFault};

/// What a client asked for at the authorization endpoint, every part checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    pub client: ClientDigest,
    /// What the person was told that the client is called.
    pub client_name: String,
    pub redirect_uri: RedirectUri,
    pub challenge: CodeChallenge,
    pub scopes: Scopes,
    /// The resource's own URL, whatever form of it the client sent.
    pub resource: String,
    pub state: Option<String>,
    /// Whether the client wants refresh tokens.
    pub refreshes: bool,
}

/// Proof that a person approved `request` on our page in the browser that now answers. Only
/// `Ticket::spend` makes one, and only with one can a person be sent to the IdP.
#[derive(Debug)]
pub struct Consent {
    request: AuthorizationRequest,
}

impl Consent {
    pub fn request(&self) -> &AuthorizationRequest {
        &self.request
    }
}

/// A submitted form that belongs to this browser and is still good, not yet spent.
#[derive(Debug)]
pub struct Ticket {
    id: [u8; 16],
    expires: Timestamp,
    request: AuthorizationRequest,
}

/// Why a submitted consent form does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsentFault {
    #[error("the form is not one of ours")]
    NotOurs,
    #[error("the form is too old")]
    Expired,
    #[error("the form was made for another browser")]
    AnotherBrowser,
    #[error("the form was submitted by another site")]
    AnotherSite,
    #[error("the form was submitted before")]
    Spent,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

#[derive(Debug, thiserror::Error)]
pub enum TicketFault {
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    #[error(transparent)]
    Seal(#[from] SealFault),
}

/// Make the sealed text that goes into the form shown to `browser`.
pub fn issue_ticket(
    ring: &KeyRing,
    chance: Chance,
    browser: &str,
    request: &AuthorizationRequest,
    now: Timestamp,
) -> Result<String, TicketFault> {
    let sealed = Sealed {
        id: chance.bytes()?,
        browser: secret::short_hash(browser.as_bytes()),
        expires: now.after(FORM_LIFETIME),
        request: request.clone(),
    };
    Ok(ring.seal(&TICKET, &sealed)?)
}

impl Ticket {
    /// Read the submitted `text` for the browser whose cookie came along. Spends nothing.
    pub fn read(
        ring: &KeyRing,
        text: &str,
        browser: Option<&str>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Self, ConsentFault> {
        if is_from_another_site(headers) {
            return Err(ConsentFault::AnotherSite);
        }
        let sealed = ring.open(&TICKET, text).map_err(|_| ConsentFault::NotOurs)?;
        if sealed.expires <= now {
            return Err(ConsentFault::Expired);
        }
        let browser = browser.ok_or(ConsentFault::AnotherBrowser)?;
        if !secret::same(&sealed.browser, &secret::short_hash(browser.as_bytes())) {
            return Err(ConsentFault::AnotherBrowser);
        }
        Ok(Self { id: sealed.id, expires: sealed.expires, request: sealed.request })
    }

    pub fn request(&self) -> &AuthorizationRequest {
        &self.request
    }

    /// The person said yes. A form counts once.
    pub async fn spend(self, store: &dyn Store) -> Result<Consent, ConsentFault> {
        let key = Key::new("consent", &self.id);
        match store.create(&key, String::new(), self.expires).await? {
            Created::New(_) => Ok(Consent { request: self.request }),
            Created::Present => Err(ConsentFault::Spent),
        }
    }
}

/// `Sec-Fetch-Site` says which site submitted the form; browsers without it are covered by the cookie
/// (`SameSite=Lax` is not sent along with another site's POST).
fn is_from_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    id: [u8; 16],
    browser: [u8; 16],
    expires: Timestamp,
    request: AuthorizationRequest,
}

const TICKET: Kind<Sealed> = Kind::new("doorman_cf_", 3);
const FORM_LIFETIME: Duration = Duration::from_mins(10);
