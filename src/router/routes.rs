//! Everything derived from the config, as one value that is swapped whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use percent_encoding::percent_decode_str;

use crate::authorization_server::metadata::MetadataDocuments;
use crate::authorization_server::{self, AuthorizationServer};
use crate::oauth::PublicUrl;
use crate::policy::Resource;
use crate::protected_resource::{self, NotReady, ProtectedResource};
use crate::proxy::{IdentityHeaders, Sessions};
use crate::token::Verifier;
use crate::wire::TrustedProxies;

/// The table of one config.
#[derive(Debug)]
pub struct Routes {
    /// They are few: found sooner than hashed.
    hosts: BTreeMap<String, HostRoutes>,
    pub authorization_server: AuthorizationServer,
    token_issuer: TokenIssuer,
    pub verifier: Arc<Verifier>,
    pub identity_headers: IdentityHeaders,
    pub sessions: Arc<Sessions>,
    pub trusted_proxies: TrustedProxies,
}

/// Whom protected resource metadata names as the authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenIssuer {
    Ourselves,
    /// The IdP, by its issuer, byte for byte. Then no endpoint of ours issues anything.
    Idp(String),
}

/// What one host name serves.
#[derive(Debug, Default)]
pub struct HostRoutes {
    endpoints: HashMap<String, Endpoint>,
    /// Longest path first.
    resources: Vec<Arc<ProtectedResource>>,
}

/// An endpoint of our own.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// A document that stands as long as the config.
    Document(Bytes),
    /// Authorization server metadata: what it says of metadata documents changes with what is in reach.
    ServerMetadata(MetadataDocuments),
    Authorize,
    Consent,
    Callback,
    BackchannelLogout,
    Token,
    Register,
    Revoke,
}

impl Endpoint {
    /// Whether it only shows what is ready.
    pub fn is_document(&self) -> bool {
        matches!(self, Self::Document(_) | Self::ServerMetadata(_))
    }
}

impl Routes {
    pub fn new(
        authorization_server: AuthorizationServer,
        token_issuer: TokenIssuer,
        verifier: Arc<Verifier>,
        identity_headers: IdentityHeaders,
        sessions: Arc<Sessions>,
        trusted_proxies: TrustedProxies,
        allowed_origins: &[HeaderValue],
    ) -> Result<Self, NotReady> {
        let hosts = BTreeMap::new();
        let mut routes = Self {
            hosts,
            authorization_server,
            token_issuer,
            verifier,
            identity_headers,
            sessions,
            trusted_proxies,
        };
        if routes.token_issuer == TokenIssuer::Ourselves {
            routes.add_authorization_server();
        }
        for resource in routes.authorization_server.resources.clone() {
            routes.add_resource(resource, allowed_origins)?;
        }
        routes.add_lone_metadata();
        routes.add_default_ports();
        Ok(routes)
    }

    /// The routes of a `Host` header; names are compared in any case.
    pub fn host(&self, host: &HeaderValue) -> Option<&HostRoutes> {
        let host = host.to_str().ok()?;
        match self.hosts.get(host) {
            Some(found) => Some(found),
            None => self.hosts.get(&host.to_ascii_lowercase()),
        }
    }

    /// Every host name that is served here.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }

    fn add_authorization_server(&mut self) {
        let server = &self.authorization_server;
        let issuer = &server.issuer;
        let metadata = authorization_server::metadata::documents(
            issuer,
            &server.registration,
            (&server.declared, &server.service_accounts),
        );
        let no_keys = Bytes::from_static(br#"{"keys":[]}"#);
        let mut endpoints = vec![
            (authorization_server::AUTHORIZE, Endpoint::Authorize),
            (authorization_server::CONSENT, Endpoint::Consent),
            (authorization_server::CALLBACK, Endpoint::Callback),
            (authorization_server::BACKCHANNEL_LOGOUT, Endpoint::BackchannelLogout),
            (authorization_server::TOKEN, Endpoint::Token),
            (authorization_server::REVOKE, Endpoint::Revoke),
            (authorization_server::JWKS, Endpoint::Document(no_keys)),
        ];
        if server.registration.dynamic {
            endpoints.push((authorization_server::REGISTER, Endpoint::Register));
        }
        let mut paths: Vec<(PublicUrl, String)> = Vec::new();
        for path in authorization_server::metadata::paths(issuer) {
            paths.push((issuer.clone(), path));
        }
        for resource in &server.resources {
            for path in authorization_server::metadata::guesses(&resource.url) {
                paths.push((resource.url.clone(), path));
            }
        }
        let issuer = issuer.clone();
        for (path, endpoint) in endpoints {
            self.add(&issuer, format!("{}{path}", issuer.path()), endpoint);
        }
        for (url, path) in paths {
            self.add(&url, path, Endpoint::ServerMetadata(metadata.clone()));
        }
    }

    fn add_resource(
        &mut self,
        resource: Arc<Resource>,
        allowed_origins: &[HeaderValue],
    ) -> Result<(), NotReady> {
        let issuer = self.issuer().to_owned();
        let document = protected_resource::metadata::document(&resource, &issuer);
        let url = resource.url.clone();
        for path in protected_resource::metadata::paths(&url) {
            self.add(&url, path, Endpoint::Document(document.clone()));
        }
        let pages = Arc::clone(&self.authorization_server.pages);
        let protected = ProtectedResource::new(resource, allowed_origins, &pages)?;
        let resources = &mut self.hosts.entry(url.authority().to_owned()).or_default().resources;
        resources.push(Arc::new(protected));
        resources.sort_by_key(|route| std::cmp::Reverse(route.resource.url.path().len()));
        Ok(())
    }

    /// The root document of a host tells of its one resource; with several it would be a guess, so
    /// there is none.
    fn add_lone_metadata(&mut self) {
        let issuer = self.issuer().to_owned();
        for host in self.hosts.values_mut() {
            if let [only] = host.resources.as_slice() {
                let document = protected_resource::metadata::document(&only.resource, &issuer);
                let root = protected_resource::metadata::WELL_KNOWN.to_owned();
                host.endpoints.entry(root).or_insert(Endpoint::Document(document));
            }
        }
    }

    fn issuer(&self) -> &str {
        match &self.token_issuer {
            TokenIssuer::Ourselves => self.authorization_server.issuer.as_str(),
            TokenIssuer::Idp(issuer) => issuer,
        }
    }

    /// `host:443` is the same host on https.
    fn add_default_ports(&mut self) {
        let server = &self.authorization_server;
        let urls = server.resources.iter().map(|resource| &resource.url).chain([&server.issuer]);
        let mut same = Vec::new();
        for url in urls {
            let with_port = url.authority_with_port();
            if with_port != url.authority() {
                same.push((url.authority().to_owned(), with_port.to_owned()));
            }
        }
        for (authority, with_port) in same {
            if let Some(host) = self.hosts.get(&authority) {
                let copy = HostRoutes {
                    endpoints: host.endpoints.clone(),
                    resources: host.resources.clone(),
                };
                self.hosts.insert(with_port, copy);
            }
        }
    }

    fn add(&mut self, url: &PublicUrl, path: String, endpoint: Endpoint) {
        let host = self.hosts.entry(url.authority().to_owned()).or_default();
        host.endpoints.entry(path).or_insert(endpoint);
    }
}

/// What stands at a path.
#[derive(Debug)]
pub enum Found<'a> {
    Resource(&'a ProtectedResource),
    Endpoint(&'a Endpoint),
    Nothing,
}

impl HostRoutes {
    /// Our own endpoints, then the resource that `path` is or is below.
    pub fn find(&self, path: &str) -> Found<'_> {
        if let Some(endpoint) = self.endpoints.get(path) {
            return Found::Endpoint(endpoint);
        }
        for route in &self.resources {
            // Longest first: what only looks like a more special resource must not fall to a more
            // general one, because the upstream may read both as the same.
            if looks_below(path, route.resource.url.path()) {
                return Found::Nothing;
            }
            match path.strip_prefix(route.resource.url.path()) {
                // What clients probe for and is not there is a plain 404, whatever stands around it.
                Some(rest) if rest.starts_with("/.well-known/") => return Found::Nothing,
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    return Found::Resource(route);
                }
                Some(_) | None => {}
            }
        }
        Found::Nothing
    }
}

/// Is `path` below `own` for a server that reads paths in any case and decodes them, and not for us?
fn looks_below(path: &str, own: &str) -> bool {
    let is_below = |path: &str| {
        path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if is_below(path) || own.is_empty() {
        return false;
    }
    let looks_alike = |start: &str| {
        if start.contains('%') || own.contains('%') {
            let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().to_lowercase();
            decoded(start) == decoded(own)
        } else {
            start.eq_ignore_ascii_case(own)
        }
    };
    // Every start that ends where a segment does: encoding changes the length.
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(|end| path.get(..end)).any(looks_alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_careless_server_takes_for_below_is_seen() {
        for path in ["/team/Admin", "/TEAM/admin/x", "/t%65am/admin", "/team/%41dmin/x"] {
            assert!(looks_below(path, "/team/admin"), "{path}");
        }
        for path in
            ["/team", "/team/administrator", "/team/admin", "/team/admin/x", "/x/Team/Admin"]
        {
            assert!(!looks_below(path, "/team/admin"), "{path}");
        }
    }
}
