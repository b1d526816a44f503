//! One protected resource, as everything that judges or carries a request needs to know it.

use std::sync::Arc;

use http::HeaderValue;

use crate::oauth::{PublicUrl, Scopes};
use crate::policy::{Access, UpstreamServer};
use crate::secret;
use crate::token::Audience;
#[cfg(any(test, fuzzing))]
use crate::wire::UpstreamUrl;

/// A public MCP URL, who may use it, and the server behind it.
#[derive(Debug)]
pub struct Resource {
    pub url: PublicUrl,
    pub name: Option<String>,
    /// Shared, so that connections to it can be told from others.
    pub upstream: Arc<UpstreamServer>,
    pub access: Access,
    /// Ids of the service accounts that may use it, whatever `access` says of people.
    pub service_accounts: Vec<String>,
    /// What a token must hold; may be empty.
    pub scopes: Scopes,
    /// The public host, as the upstream is told.
    pub public_host: HeaderValue,
    /// What a token for this resource says it is for.
    pub digest: [u8; 16],
    /// The same for tokens of the IdP.
    pub audience: Audience,
    /// Digest of `access`.
    pub rules: [u8; 8],
}

impl Resource {
    /// For tests: anyone's, between these two.
    #[cfg(any(test, fuzzing))]
    #[expect(clippy::unwrap_used, reason = "a test says what is good")]
    pub fn between(public: &str, upstream: &str) -> Self {
        Self::new(
            PublicUrl::parse(public).unwrap(),
            None,
            Arc::new(UpstreamServer::at(UpstreamUrl::parse(upstream).unwrap())),
            Access::Anyone,
            Vec::new(),
            Scopes::default(),
        )
    }

    pub fn new(
        url: PublicUrl,
        name: Option<String>,
        upstream: Arc<UpstreamServer>,
        access: Access,
        service_accounts: Vec<String>,
        scopes: Scopes,
    ) -> Self {
        // The authority of a parsed URL has no character that a header can't.
        let public_host = HeaderValue::from_str(url.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        let digest = secret::short_hash(url.as_str().as_bytes());
        let rules = access.digest();
        let audience = Audience {
            resource: digest,
            name: url.as_str().to_owned(),
            allowed_clients: Vec::new(),
        };
        Self {
            url,
            name,
            upstream,
            access,
            service_accounts,
            scopes,
            public_host,
            digest,
            audience,
            rules,
        }
    }
}
