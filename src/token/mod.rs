//! Tokens: what is sealed into ours, and the one place that turns a presented text into a proof.

mod cache;
pub mod caller;
pub mod sealed;
pub mod verified;

pub use caller::Caller;
pub use verified::{TokenFault, VerifiedToken, Verifier};
