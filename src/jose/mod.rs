//! Texts that others have signed (RFC 7515): whose keys count, which algorithms fit them, what a client
//! that authenticates by one must have said (RFC 7523).
//!
//! Only the signature itself is checked by a library. What a header and claims say is read here, because
//! libraries accept too much of it: no audience, `crit`, any `typ`.

pub mod claims;
pub mod client_assertion;
pub mod json;
pub mod jws;
pub mod key_set;
#[cfg(test)]
mod wycheproof;

pub use claims::Claims;
pub use client_assertion::ClientAssertion;
pub use key_set::KeySet;
