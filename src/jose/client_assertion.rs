//! A client's proof of who it is, signed with its own key: `private_key_jwt` (RFC 7523 §3, OIDC Core §9).
//!
//! A `ClientAssertion` is one that holds but for its single use, which `spend` decides.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::jose::jws::{Jws, NotSigned, brief};
use crate::jose::{KeySet, json};
use crate::secret;
use crate::store::{Created, Key, Store, StoreFault};

/// Signed by the client for us, and not expired.
#[derive(Debug)]
pub struct ClientAssertion {
    /// Names it among all assertions of all clients.
    id: [u8; 16],
    until: Timestamp,
}

/// What an assertion must say to count.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub client_id: &'a str,
    /// Our names, any one of which it may be addressed to.
    pub audiences: &'a [&'a str],
    pub now: Timestamp,
}

/// Why an assertion does not count.
#[derive(Debug, thiserror::Error)]
pub enum AssertionFault {
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    #[error("its claims can't be read: {0}")]
    Claims(String),
    #[error("its iss or sub is not the client's id")]
    AnotherClient,
    #[error("its aud is not one text that names us")]
    Audience,
    #[error("its exp has passed")]
    Expired,
    #[error("its exp is more than ten minutes ahead")]
    TooLong,
    #[error("its nbf or iat is in the future")]
    NotYet,
    #[error("its jti is empty or longer than {LONGEST_ID} bytes")]
    Id,
    #[error("it was used before")]
    Used,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// RFC 7523 §3. A claim of another type, or one that comes twice, is refused by the reader.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Value,
    exp: u64,
    nbf: Option<u64>,
    iat: Option<u64>,
    jti: String,
}

impl ClientAssertion {
    pub fn verify(
        text: &str,
        keys: &KeySet,
        expected: Expected<'_>,
    ) -> Result<Self, AssertionFault> {
        let payload = Jws::parse(text, &TYPES)?.verified_with(keys)?;
        let claims: Claims =
            json::object(&payload).map_err(|error| AssertionFault::Claims(brief(&error)))?;
        if claims.iss != expected.client_id || claims.sub != expected.client_id {
            return Err(AssertionFault::AnotherClient);
        }
        let audience = only_text(&claims.aud).ok_or(AssertionFault::Audience)?;
        if !expected.audiences.contains(&audience) {
            return Err(AssertionFault::Audience);
        }
        let soon = expected.now.after(SKEW);
        let expires = Timestamp::from_seconds(claims.exp);
        if expires.after(SKEW) <= expected.now {
            return Err(AssertionFault::Expired);
        }
        if expires > soon.after(LONGEST_LIFE) {
            return Err(AssertionFault::TooLong);
        }
        let is_ahead = |time: Option<u64>| time.is_some_and(|time| time > soon.seconds());
        if is_ahead(claims.nbf) || is_ahead(claims.iat) {
            return Err(AssertionFault::NotYet);
        }
        if claims.jti.is_empty() || claims.jti.len() > LONGEST_ID {
            return Err(AssertionFault::Id);
        }
        // Two clients may choose the same jti. An id of ours has no line break.
        let name = format!("{}\n{}", expected.client_id, claims.jti);
        Ok(Self { id: secret::short_hash(name.as_bytes()), until: expires.after(SKEW) })
    }

    /// It counts once, for as long as it would count.
    pub async fn spend(self, store: &dyn Store) -> Result<(), AssertionFault> {
        let key = Key::new("assertion", &self.id);
        match store.create(&key, String::new(), self.until).await? {
            Created::New(_) => Ok(()),
            Created::Present => Err(AssertionFault::Used),
        }
    }
}

/// Who an assertion says it is from, to look up whose keys to verify it with. Proves nothing.
pub fn claimed_subject(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Subject {
        sub: String,
    }
    let jws = Jws::parse(text, &TYPES).ok()?;
    json::object(jws.unverified()).ok().map(|Subject { sub }| sub)
}

/// RFC 7523 has a text or a list; one for several servers could be used by each at the others.
fn only_text(audience: &Value) -> Option<&str> {
    match audience.as_array().map(Vec::as_slice) {
        Some([only]) => only.as_str(),
        Some(_) => None,
        None => audience.as_str(),
    }
}

/// The second is of the draft that makes RFC 7523 stricter.
const TYPES: [&str; 2] = ["jwt", "client-authentication+jwt"];

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(30);
const LONGEST_LIFE: Duration = Duration::from_mins(10);
/// Bytes.
const LONGEST_ID: usize = 256;
