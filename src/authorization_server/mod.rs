//! The authorization server: issues tokens to MCP clients after a login at the IdP.
//!
//! A login passes through the files in this order: `metadata`, `register`, `authorize`, `consent`, the
//! IdP, `callback`, `token` → `grant_authorization_code`, later `grant_refresh_token`, in the end `revoke` or
//! `backchannel_logout`. A machine has only `token` → `grant_client_credentials`.

pub mod authorization_response;
pub mod authorize;
pub mod backchannel_logout;
pub mod callback;
pub mod clients;
pub mod consent;
pub mod error;
pub mod grant_authorization_code;
pub mod grant_client_credentials;
pub mod grant_refresh_token;

pub mod login;
pub mod metadata;
pub mod pending;
pub mod problem_pages;

pub mod register;
pub mod resource_indicator;

pub mod revoke;
pub mod token;
pub mod token_response;

use std::sync::Arc;

use crate::authorization_server::clients::declared::{DeclaredClient, ServiceAccount};
use crate::authorization_server::clients::document::{DocumentSettings, Documents};
use crate::browser::Cookies;
use crate::chance::Chance;
use crate::grants::Grants;
use crate::idp::Idp;
use crate::oauth::PublicUrl;
use crate::pages::Pages;
use crate::policy::Resource;
use crate::seal::KeyRing;
use crate::store::Store;

/// Which clients may become known here, and with which redirect URIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationSettings {
    /// Dynamic client registration (RFC 7591).
    pub dynamic: bool,
    /// Private-use schemes that a redirect URI may have.
    pub redirect_schemes: Vec<String>,
    /// Client ID metadata documents.
    pub documents: DocumentSettings,
}

/// What the endpoints work with.
#[derive(Debug)]
pub struct AuthorizationServer {
    pub issuer: PublicUrl,
    pub resources: Vec<Arc<Resource>>,
    pub registration: RegistrationSettings,
    pub documents: Arc<Documents>,
    pub declared: Vec<DeclaredClient>,
    pub service_accounts: Vec<ServiceAccount>,
    pub cookies: Cookies,
    pub ring: Arc<KeyRing>,
    pub grants: Grants,
    pub store: Arc<dyn Store>,
    pub idp: Arc<Idp>,
    pub pages: Arc<Pages>,
    pub chance: Chance,
}

impl AuthorizationServer {
    /// The service account with this id.
    pub fn service_account(&self, client_id: &str) -> Option<&ServiceAccount> {
        self.service_accounts.iter().find(|account| account.client.id == client_id)
    }
}

/// The address of an endpoint: they stand directly under the issuer, where older clients guess them.
pub fn endpoint(issuer: &PublicUrl, path: &str) -> String {
    format!("{}{}{path}", issuer.origin(), issuer.path())
}

/// Bytes of a body that one of our endpoints reads.
pub const LARGEST_BODY: usize = 16 * 1024;

pub const AUTHORIZE: &str = "/authorize";
pub const TOKEN: &str = "/token";
pub const REGISTER: &str = "/register";
pub const REVOKE: &str = "/revoke";
pub const CONSENT: &str = "/oauth/consent";
pub const CALLBACK: &str = "/oauth/callback";
pub const BACKCHANNEL_LOGOUT: &str = "/oauth/backchannel-logout";
pub const JWKS: &str = "/oauth/jwks";
