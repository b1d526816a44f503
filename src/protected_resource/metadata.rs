//! Protected resource metadata (RFC 9728 §2), a document that stands as long as the config.

use bytes::Bytes;
use serde::Serialize;

use crate::oauth::PublicUrl;
use crate::policy::Resource;

/// Members without a value are left out (RFC 9728 §3.2); `null` breaks clients.
#[derive(Serialize)]
struct Metadata<'a> {
    resource: &'a str,
    authorization_servers: [&'a str; 1],
    bearer_methods_supported: [&'a str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'a str>,
}

/// The document for `resource`, whose tokens `issuer` issues.
pub fn document(resource: &Resource, issuer: &str) -> Bytes {
    let metadata = Metadata {
        resource: resource.url.as_str(),
        authorization_servers: [issuer],
        bearer_methods_supported: ["header"],
        scopes_supported: resource.scopes.names().collect(),
        resource_name: resource.name.as_deref(),
    };
    serde_json::to_vec(&metadata).unwrap_or_default().into()
}

/// The path of the document (RFC 9728 §3.1): the well-known name stands before the resource's path.
pub fn path(resource: &PublicUrl) -> String {
    format!("{WELL_KNOWN}{}", resource.path())
}

/// And where some clients look before: below the resource.
pub fn paths(resource: &PublicUrl) -> Vec<String> {
    vec![path(resource), format!("{}{WELL_KNOWN}", resource.path())]
}

/// Where a client that knows only the origin looks.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
