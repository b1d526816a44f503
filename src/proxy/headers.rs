//! What changes in the headers on the way to the upstream and back.

use http::HeaderName;

/// The names under which the upstream is told who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    pub user: HeaderName,
    pub email: HeaderName,
    pub groups: HeaderName,
}
