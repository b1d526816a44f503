//! The client of the IdP: sends the person to log in and learns who they are.

pub mod profile;

pub use profile::{ClientAuthentication, IdpSettings};
