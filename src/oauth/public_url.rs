//! A URL by which the world knows us: an issuer (RFC 8414 §2) or a resource (RFC 9728 §1.2).
//!
//! The text is kept byte for byte as configured: clients compare issuer and resource as strings.

use std::fmt;

use url::{Host, Url};

/// An absolute `https` URL (or `http` on loopback) without user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicUrl {
    text: String,
    origin: String,
    authority: String,
    authority_with_port: String,
    path: String,
}

/// Why a text is not a `PublicUrl`. Completes "…: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPublic {
    #[error("is not an absolute URL")]
    NotAbsolute,
    #[error("is not https")]
    NotHttps,
    #[error("has a user or password in it")]
    HasCredentials,
    #[error("has a query")]
    HasQuery,
    #[error("has a fragment")]
    HasFragment,
    #[error("is not in normal form")]
    NotNormal,
}

impl PublicUrl {
    /// Accepts `https`, and `http` for loopback hosts. Scheme and host must be typed in lower case and
    /// the path without dot segments, because this text is what clients compare with.
    pub fn parse(text: &str) -> Result<Self, NotPublic> {
        let url = Url::parse(text).map_err(|_| NotPublic::NotAbsolute)?;
        let host = url.host_str().ok_or(NotPublic::NotAbsolute)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(NotPublic::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NotPublic::HasCredentials);
        }
        if url.query().is_some() {
            return Err(NotPublic::HasQuery);
        }
        if url.fragment().is_some() {
            return Err(NotPublic::HasFragment);
        }
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let port = url.port_or_known_default().ok_or(NotPublic::NotAbsolute)?;
        let origin = format!("{}://{authority}", url.scheme());
        // An origin may be typed with or without its final slash; anything else as it will be compared.
        let path = text.strip_prefix(origin.as_str()).ok_or(NotPublic::NotNormal)?;
        if !(path.is_empty() || path == url.path()) || path.contains("//") {
            return Err(NotPublic::NotNormal);
        }
        Ok(Self {
            text: text.to_owned(),
            origin,
            authority,
            authority_with_port: format!("{host}:{port}"),
            path: path.to_owned(),
        })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `https://host[:port]`, without a slash at the end.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// `host[:port]`, the port only if it is not the scheme's own: what a client sends in `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// `host:port`, the port always.
    pub fn authority_with_port(&self) -> &str {
        &self.authority_with_port
    }

    /// The path as typed without a slash at its end: empty for an origin.
    pub fn path(&self) -> &str {
        self.path.trim_end_matches('/')
    }

    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// Does a `resource` parameter (RFC 8707 §2) mean this resource?
    ///
    /// Scheme and host in any case, the default port and a slash at the end make no difference, a query
    /// is left out of it, and a parent on a segment boundary is accepted: clients send what an older
    /// metadata document or the bare origin gave them.
    pub fn is_named_by(&self, presented: &str) -> bool {
        let Ok(url) = Url::parse(presented) else { return false };
        if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return false;
        }
        if url.origin().ascii_serialization() != self.origin {
            return false;
        }
        let parent = url.path().trim_end_matches('/');
        self.path()
            .strip_prefix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Is the host of `url` this machine by name or address (RFC 8252 §7.3)?
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_and_loopback_http_are_accepted() {
        for text in [
            "https://tools.example.com/mcp",
            "https://tools.example.com",
            "https://tools.example.com/",
            "https://tools.example.com:8443/a/b",
            "http://127.0.0.1:8080/mcp",
            "http://localhost:8080/mcp",
            "http://[::1]:8080/mcp",
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        for (text, reason) in [
            ("tools.example.com/mcp", NotPublic::NotAbsolute),
            ("http://tools.example.com/mcp", NotPublic::NotHttps),
            ("https://a:b@tools.example.com/mcp", NotPublic::HasCredentials),
            ("https://tools.example.com/mcp?a=b", NotPublic::HasQuery),
            ("https://tools.example.com/mcp#a", NotPublic::HasFragment),
            ("https://Tools.example.com/mcp", NotPublic::NotNormal),
            ("https://tools.example.com:443/mcp", NotPublic::NotNormal),
            ("https://tools.example.com/a/../mcp", NotPublic::NotNormal),
            ("https://tools.example.com//mcp", NotPublic::NotNormal),
        ] {
            assert_eq!(PublicUrl::parse(text), Err(reason), "{text}");
        }
    }

    /// RFC 8707 §2, and what clients send in its place
    #[test]
    fn a_resource_is_named_by_itself_or_a_parent() {
        let resource = PublicUrl::parse("https://tools.example.com/team/mcp").unwrap();

        for presented in [
            "https://tools.example.com/team/mcp",
            "https://tools.example.com/team/mcp/",
            "https://tools.example.com/team",
            "https://tools.example.com/",
            "https://tools.example.com",
            "HTTPS://Tools.Example.com:443/team/mcp",
            "https://tools.example.com/team/mcp?x=y",
        ] {
            assert!(resource.is_named_by(presented), "{presented}");
        }
        for presented in [
            "https://tools.example.com/team/mcp-evil",
            "https://tools.example.com/te",
            "https://tools.example.com/team/mcp/sub",
            "https://evil.example/team/mcp",
            "http://tools.example.com/team/mcp",
            "https://tools.example.com:8443/team/mcp",
            "https://tools.example.com/team/mcp#frag",
            "tools.example.com/team/mcp",
            "",
        ] {
            assert!(!resource.is_named_by(presented), "{presented}");
        }
    }
}
