//! The only way to the internet.

pub mod idp;

pub use idp::{IdpConnection, Unreachable};
