//! A grant: one login by one person with one client for one resource.

use std::time::Duration;

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an access token.
    pub access: Duration,
    /// Of a refresh token that is not used.
    pub refresh: Duration,
    /// Of the whole grant while the IdP is not asked again about the person.
    pub grant: Duration,
}
