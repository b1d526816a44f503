//! Authorization server metadata (RFC 8414 §2), the same document for OIDC Discovery.

use bytes::Bytes;
use serde::Serialize;

use crate::authorization_server::clients::declared::{self, DeclaredClient, ServiceAccount};
use crate::authorization_server::clients::document::Documents;
use crate::authorization_server::{
    AUTHORIZE, JWKS, REGISTER, REVOKE, RegistrationSettings, TOKEN, endpoint,
};
use crate::jose::key_set::ALGORITHMS;
use crate::oauth::PublicUrl;

/// Members without a value are left out (RFC 8414 §3.2).
///
/// No `scopes_supported`: clients that find it ask for all of it, and `offline_access` in it would make
/// them force a consent page at every login. The challenge names the scopes that are needed.
#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    revocation_endpoint: String,
    jwks_uri: String,
    response_types_supported: [&'a str; 1],
    response_modes_supported: [&'a str; 1],
    grant_types_supported: &'a [&'a str],
    token_endpoint_auth_methods_supported: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_signing_alg_values_supported: Option<&'a [&'a str]>,
    revocation_endpoint_auth_methods_supported: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_endpoint_auth_signing_alg_values_supported: Option<&'a [&'a str]>,
    code_challenge_methods_supported: [&'a str; 1],
    authorization_response_iss_parameter_supported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id_metadata_document_supported: Option<bool>,
    // OIDC Discovery §3 requires the next two. No ID token is ever issued.
    subject_types_supported: [&'a str; 1],
    id_token_signing_alg_values_supported: [&'a str; 1],
}

/// The document as it stands while client ID metadata documents are supported, and while they are not.
#[derive(Clone, Debug)]
pub struct MetadataDocuments {
    pub with_client_documents: Bytes,
    pub without: Bytes,
}

impl MetadataDocuments {
    /// The one that stands now.
    pub fn now(&self, documents: &Documents) -> Bytes {
        if documents.is_advertised() {
            self.with_client_documents.clone()
        } else {
            self.without.clone()
        }
    }
}

pub fn documents(
    issuer: &PublicUrl,
    registration: &RegistrationSettings,
    clients: (&[DeclaredClient], &[ServiceAccount]),
) -> MetadataDocuments {
    MetadataDocuments {
        with_client_documents: document(issuer, registration, clients, Some(true)),
        without: document(issuer, registration, clients, None),
    }
}

fn document(
    issuer: &PublicUrl,
    registration: &RegistrationSettings,
    (declared, service_accounts): (&[DeclaredClient], &[ServiceAccount]),
    client_id_metadata_document_supported: Option<bool>,
) -> Bytes {
    let at = |path| endpoint(issuer, path);
    // Only where a client has keys: others that find it here would come with an assertion.
    let accounts = service_accounts.iter().map(|account| &account.client);
    let (methods, algorithms) = if declared::some_sign(declared.iter().chain(accounts)) {
        (&WITH_ASSERTIONS[..], Some(&ALGORITHMS[..]))
    } else {
        (&CLIENT_AUTHENTICATION[..], None)
    };
    let metadata = Metadata {
        issuer: issuer.as_str(),
        authorization_endpoint: at(AUTHORIZE),
        token_endpoint: at(TOKEN),
        registration_endpoint: registration.dynamic.then(|| at(REGISTER)),
        revocation_endpoint: at(REVOKE),
        jwks_uri: at(JWKS),
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: if service_accounts.is_empty() {
            &FOR_PEOPLE
        } else {
            &FOR_MACHINES_TOO
        },
        token_endpoint_auth_methods_supported: methods,
        token_endpoint_auth_signing_alg_values_supported: algorithms,
        revocation_endpoint_auth_methods_supported: methods,
        revocation_endpoint_auth_signing_alg_values_supported: algorithms,
        code_challenge_methods_supported: ["S256"],
        authorization_response_iss_parameter_supported: true,
        client_id_metadata_document_supported,
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["RS256"],
    };
    serde_json::to_vec(&metadata).unwrap_or_default().into()
}

/// Every path at which clients look for the document of `issuer`, on the issuer's own host: RFC 8414
/// §3.1 puts the well-known name before the path, OIDC Discovery §4 after it, and older clients know
/// the root alone.
pub fn paths(issuer: &PublicUrl) -> Vec<String> {
    variants(issuer.path())
}

/// And where clients guess that took the MCP URL for the issuer, on the host of a resource.
pub fn guesses(resource: &PublicUrl) -> Vec<String> {
    variants(resource.path())
}

fn variants(path: &str) -> Vec<String> {
    let mut paths = Vec::with_capacity(6);
    for name in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        paths.push(name.to_owned());
        if !path.is_empty() {
            paths.push(format!("{name}{path}"));
            paths.push(format!("{path}{name}"));
        }
    }
    paths
}

const FOR_PEOPLE: [&str; 2] = ["authorization_code", "refresh_token"];
const FOR_MACHINES_TOO: [&str; 3] = ["authorization_code", "refresh_token", "client_credentials"];
/// `none` first: some clients take a public registration only if they find it here.
const CLIENT_AUTHENTICATION: [&str; 3] = ["none", "client_secret_post", "client_secret_basic"];
const WITH_ASSERTIONS: [&str; 4] =
    ["none", "client_secret_post", "client_secret_basic", "private_key_jwt"];
