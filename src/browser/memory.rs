//! Remembered consents: a row for each person and thing that they consented to on the full page.
//!
//! Memory only shortens the next page. What differs in anything that the page says is another thing, and
//! an answer that goes to the person's own machine is never remembered: any program there can ask for it
//! (MCP security best practices, "Localhost Redirect URI Risks").

use serde::{Deserialize, Serialize};

use crate::browser::person::{LIFETIME, PersonDigest};
use crate::clock::Timestamp;
use crate::oauth::redirect_uri::RedirectTarget;
use crate::oauth::{ClientDigest, RedirectUri, Scopes};
use crate::seal::{KeyRing, Kind};
use crate::secret;
use crate::store::{Key, Store, StoreFault};

/// What was consented to, as far as it counts. Both sides of a collision could be chosen, hence all of
/// SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentDigest([u8; 32]);

/// The parts of a consent. `said` is what the client, or whoever vouches for it, says of itself.
#[derive(Debug, Serialize)]
pub struct Parts<'a> {
    pub client: ClientDigest,
    pub redirect_uri: &'a RedirectUri,
    pub scopes: &'a Scopes,
    pub resource: &'a str,
    pub refreshes: bool,
    pub said: &'a [&'a str],
}

impl ConsentDigest {
    /// `None` for what is never remembered.
    pub fn of(parts: &Parts<'_>) -> Option<Self> {
        match parts.redirect_uri.target() {
            RedirectTarget::Web => {}
            RedirectTarget::Loopback | RedirectTarget::CustomScheme => return None,
        }
        // Each part with its length, so that none runs into the next.
        let bytes = postcard::to_allocvec(parts).ok()?;
        Some(Self(secret::sha256(&bytes)))
    }
}

/// The remembered consents.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    pub store: &'a dyn Store,
    pub ring: &'a KeyRing,
}

impl Memory<'_> {
    /// Has `person` consented to `what` on the full page, not long ago?
    pub async fn has(
        self,
        person: PersonDigest,
        what: ConsentDigest,
        now: Timestamp,
    ) -> Result<bool, StoreFault> {
        let Some(record) = self.store.read(&key(person, what)).await? else { return Ok(false) };
        // A row that does not open, or is another's, is as good as none.
        let row = self.ring.open(&ROW, &record.value).ok();
        Ok(row.is_some_and(|row| row.person == person && row.what == what && row.expires > now))
    }

    pub(super) async fn write(
        self,
        person: PersonDigest,
        what: ConsentDigest,
        now: Timestamp,
    ) -> Result<(), StoreFault> {
        let expires = now.after(LIFETIME);
        let row = Row { person, what, expires };
        let sealed = self.ring.seal(&ROW, &row).map_err(|_| StoreFault)?;
        self.store.put(&key(person, what), sealed, expires).await
    }

    /// The person said no: what they once said no longer counts.
    pub async fn forget(self, person: PersonDigest, what: ConsentDigest) -> Result<(), StoreFault> {
        self.store.delete(&key(person, what)).await
    }
}

fn key(person: PersonDigest, what: ConsentDigest) -> Key {
    Key::new("remembered", &secret::short_hash(&[&person.bytes()[..], &what.0].concat()))
}

#[derive(Serialize, Deserialize)]
struct Row {
    person: PersonDigest,
    what: ConsentDigest,
    expires: Timestamp,
}

const ROW: Kind<Row> = Kind::new("doorman_mc_", 1);
