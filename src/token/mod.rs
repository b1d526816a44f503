//! Tokens: what is sealed into ours, and the one place that turns a presented text into a proof.

pub mod audience;
mod cache;
pub mod caller;
pub mod introspected;
pub mod jwt;
pub mod machines;
pub mod rules;
pub mod sealed;
pub mod verified;

pub use audience::Audience;
pub use caller::Caller;
pub use machines::MachineSettings;
pub use rules::People;
pub use verified::{TokenFault, VerifiedToken, Verifier};
