//! Who was here last: a sealed cookie, set when a sign-in has succeeded in this browser. It signs nobody
//! in; it says whose remembered consents may shorten the next page.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::seal::{KeyRing, Kind, SealFault};
use crate::secret;

/// Which person, without their key: a hash of who says so and of the key there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonDigest([u8; 16]);

impl PersonDigest {
    /// `key` is unique and never reassigned at the IdP `issuer`.
    pub fn of(issuer: &str, key: &str) -> Self {
        // Neither is empty, and an issuer is a URL: no two pairs read the same.
        Self(secret::short_hash(format!("{issuer}\n{key}").as_bytes()))
    }

    pub(super) const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What the cookie says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPerson {
    pub digest: PersonDigest,
    /// To greet them with: at most 65 characters.
    pub name: String,
    expires: Timestamp,
}

impl LastPerson {
    pub fn new(digest: PersonDigest, name: String, now: Timestamp) -> Self {
        Self { digest, name, expires: now.after(LIFETIME) }
    }

    /// As the value of a cookie.
    pub fn seal(&self, ring: &KeyRing) -> Result<String, SealFault> {
        ring.seal(&PERSON, self)
    }

    /// `None` if it is not ours, or too old.
    pub fn open(ring: &KeyRing, cookie: &str, now: Timestamp) -> Option<Self> {
        ring.open(&PERSON, cookie).ok().filter(|last: &Self| last.expires > now)
    }
}

/// Of the cookie, and of what is remembered.
pub const LIFETIME: Duration = Duration::from_hours(30 * 24);
const PERSON: Kind<LastPerson> = Kind::new("doorman_lp_", 1);
