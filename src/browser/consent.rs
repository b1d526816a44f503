//! Consent: the person said yes to this client, in this browser, on a form that was made for both.
//!
//! The form holds a sealed ticket; the browser holds a cookie; each is worthless without the other, so a
//! yes given in one browser can't be used in another (the confused deputy of MCP security best practices).
//!
//! Three proofs, made nowhere else. `Consent`: they may be sent to the IdP. It travels there and back as
//! `GivenConsent`. `PersonalConsent`: who came back is covered by it, so a code may be issued. A yes on the
//! full page covers whoever signs in; one on the short page only who was named there, as long as that is
//! remembered. Anybody else is asked on the full page, while their login waits in the store.

use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::browser::memory::{ConsentDigest, Memory};
use crate::browser::person::PersonDigest;
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
    /// `None`: a consent to this is never remembered.
    pub remembered_as: Option<ConsentDigest>,
}

/// What the full page says of the client besides its name, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInWords {
    /// Who says that its name is this.
    pub known_by: String,
    /// The host whose document says so.
    pub document_host: Option<String>,
    /// Whether no answer to this client ever goes anywhere but to the person's own machine.
    pub is_only_local: bool,
}

/// The short page was made for this person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Remembered {
    pub person: PersonDigest,
    /// For the full page, should another come back from the IdP.
    pub client: ClientInWords,
}

/// Which page was shown before the login.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Shown {
    Everything,
    Short(Remembered),
}

/// Proof that a person approved `request` on our page in the browser that now answers. Only
/// `Ticket::spend` makes one, and only with one can a person be sent to the IdP.
#[derive(Debug)]
pub struct Consent(GivenConsent);

/// A consent on its way through the login. It sends nobody anywhere; it waits for who it was. Made of a
/// `Consent`, and read back from what only we can seal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GivenConsent {
    request: AuthorizationRequest,
    shown: Shown,
}

/// Proof that a person who is known consented to a request: what a code is issued on.
#[derive(Debug)]
pub struct PersonalConsent {
    request: AuthorizationRequest,
    person: PersonDigest,
    /// Only what was seen in full is remembered: else it would be remembered for ever.
    saw_everything: bool,
}

/// Why a consent does not cover who came back from the IdP.
#[derive(Debug)]
pub enum NotTheirs<'a> {
    /// The short page was made for another, or what made it short is forgotten.
    AskAgain(&'a ClientInWords),
    Store(StoreFault),
}

/// A submitted form that belongs to this browser and is still good, not yet spent.
#[derive(Debug)]
pub enum Submitted {
    BeforeLogin(Ticket),
    AfterLogin(LateTicket),
}

#[derive(Debug)]
pub struct Ticket {
    id: [u8; 16],
    expires: Timestamp,
    given: GivenConsent,
}

/// Of the full page for somebody who has signed in.
#[derive(Debug)]
pub struct LateTicket {
    id: [u8; 16],
    request: AuthorizationRequest,
    person: PersonDigest,
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
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// Makes the forms that one browser is shown.
#[derive(Clone, Copy, Debug)]
pub struct Forms<'a> {
    pub ring: &'a KeyRing,
    pub store: &'a dyn Store,
    pub chance: Chance,
    /// The value of the browser's cookie.
    pub browser: &'a str,
    pub now: Timestamp,
}

impl Forms<'_> {
    /// The sealed text that goes into the form of a page before the login.
    pub fn before_login(
        self,
        request: &AuthorizationRequest,
        shown: Shown,
    ) -> Result<String, TicketFault> {
        let asked = Asked::BeforeLogin(shown);
        Ok(self.seal(self.chance.bytes()?, request, asked)?)
    }

    /// The same for the full page that `person` gets after their login. `login`, sealed by the caller, waits
    /// for their answer in the store.
    pub async fn after_login(
        self,
        request: &AuthorizationRequest,
        person: PersonDigest,
        login: String,
    ) -> Result<String, TicketFault> {
        let id = self.chance.bytes()?;
        let ticket = self.seal(id, request, Asked::AfterLogin(person))?;
        self.store.put(&waiting(id), login, self.now.after(FORM_LIFETIME)).await?;
        Ok(ticket)
    }

    fn seal(
        self,
        id: [u8; 16],
        request: &AuthorizationRequest,
        asked: Asked,
    ) -> Result<String, SealFault> {
        let sealed = Sealed {
            id,
            browser: secret::short_hash(self.browser.as_bytes()),
            expires: self.now.after(FORM_LIFETIME),
            request: request.clone(),
            asked,
        };
        self.ring.seal(&TICKET, &sealed)
    }
}

impl Submitted {
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
        let Sealed { id, expires, request, asked, .. } = sealed;
        Ok(match asked {
            Asked::BeforeLogin(shown) => {
                Self::BeforeLogin(Ticket { id, expires, given: GivenConsent { request, shown } })
            }
            Asked::AfterLogin(person) => Self::AfterLogin(LateTicket { id, request, person }),
        })
    }

    pub fn request(&self) -> &AuthorizationRequest {
        match self {
            Self::BeforeLogin(ticket) => &ticket.given.request,
            Self::AfterLogin(ticket) => &ticket.request,
        }
    }
}

impl Ticket {
    /// The person said yes. A form counts once.
    pub async fn spend(self, store: &dyn Store) -> Result<Consent, ConsentFault> {
        let key = Key::new("consent", &self.id);
        match store.create(&key, String::new(), self.expires).await? {
            Created::New(_) => Ok(Consent(self.given)),
            Created::Present => Err(ConsentFault::Spent),
        }
    }
}

impl LateTicket {
    /// The person said yes: the proof, and the login that waited for it. Of any number of submissions one
    /// gets it.
    pub async fn spend(self, store: &dyn Store) -> Result<(PersonalConsent, String), ConsentFault> {
        let login = store.take(&waiting(self.id)).await?.ok_or(ConsentFault::Spent)?;
        let (request, person) = (self.request, self.person);
        Ok((PersonalConsent { request, person, saw_everything: true }, login.value))
    }

    /// The person said no: the login is not needed any more.
    pub async fn discard(self, store: &dyn Store) -> Result<(), StoreFault> {
        store.delete(&waiting(self.id)).await
    }
}

impl Consent {
    pub fn request(&self) -> &AuthorizationRequest {
        &self.0.request
    }

    pub fn given(&self) -> &GivenConsent {
        &self.0
    }
}

impl GivenConsent {
    pub fn request(&self) -> &AuthorizationRequest {
        &self.request
    }

    /// `person` has signed in: does this consent cover them?
    pub async fn of(
        &self,
        person: PersonDigest,
        memory: Memory<'_>,
        now: Timestamp,
    ) -> Result<PersonalConsent, NotTheirs<'_>> {
        let proof = |saw_everything| PersonalConsent {
            request: self.request.clone(),
            person,
            saw_everything,
        };
        let named = match &self.shown {
            Shown::Everything => return Ok(proof(true)),
            Shown::Short(named) => named,
        };
        let is_remembered = match self.request.remembered_as {
            Some(what) if named.person == person => memory.has(person, what, now).await,
            Some(_) | None => Ok(false),
        };
        match is_remembered {
            Ok(true) => Ok(proof(false)),
            Ok(false) => Err(NotTheirs::AskAgain(&named.client)),
            Err(fault) => Err(NotTheirs::Store(fault)),
        }
    }
}

impl PersonalConsent {
    /// What `person` consented to; nothing if it was another.
    pub fn request_of(&self, person: PersonDigest) -> Option<&AuthorizationRequest> {
        (self.person == person).then_some(&self.request)
    }

    /// The login has come to its end: next time the page may be short.
    pub async fn remember(&self, memory: Memory<'_>, now: Timestamp) -> Result<(), StoreFault> {
        match self.request.remembered_as {
            Some(what) if self.saw_everything => memory.write(self.person, what, now).await,
            Some(_) | None => Ok(()),
        }
    }
}

/// `Sec-Fetch-Site` says which site submitted the form; browsers without it are covered by the cookie
/// (`SameSite=Lax` is not sent along with another site's POST).
fn is_from_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// Where the login waits that the form with this id is about.
fn waiting(id: [u8; 16]) -> Key {
    Key::new("finished", &id)
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    id: [u8; 16],
    browser: [u8; 16],
    expires: Timestamp,
    request: AuthorizationRequest,
    asked: Asked,
}

#[derive(Serialize, Deserialize)]
enum Asked {
    BeforeLogin(Shown),
    AfterLogin(PersonDigest),
}

const TICKET: Kind<Sealed> = Kind::new("doorman_cf_", 4);
const FORM_LIFETIME: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::RegisteredRedirectUri;

    /// A code is issued for what this returns, so it is the last thing between a person and another's yes.
    #[test]
    fn a_personal_consent_is_no_other_persons() {
        let [alice, bob] = ["alice", "bob"].map(|key| PersonDigest::of("https://idp.example", key));
        let elsewhere = PersonDigest::of("https://other.example", "alice");
        let uri = RegisteredRedirectUri::parse("https://a.example/cb", &[]).unwrap();
        let request = AuthorizationRequest {
            client: ClientDigest::of("client"),
            client_name: "Client".to_owned(),
            redirect_uri: uri.matches("https://a.example/cb").unwrap(),
            challenge: CodeChallenge::parse(&"A".repeat(43)).unwrap(),
            scopes: Scopes::default(),
            resource: String::new(),
            state: None,
            refreshes: false,
            remembered_as: None,
        };
        let consent = PersonalConsent { request, person: alice, saw_everything: true };

        assert!(consent.request_of(alice).is_some());
        assert!(consent.request_of(bob).is_none());
        assert!(consent.request_of(elsewhere).is_none());
    }
}
