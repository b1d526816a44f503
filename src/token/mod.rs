//! Tokens: what is sealed into ours, and the one place that turns a presented text into a proof.

mod cache;
pub mod sealed;
pub mod verified;

pub use verified::{TokenFault, VerifiedToken, Verifier};
