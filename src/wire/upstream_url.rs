//! Where an MCP server listens.

use http::HeaderValue;
use http::uri::Authority;
use url::Url;

/// Where a resource's MCP server listens: an `http://` URL without query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    pub authority: Authority,
    /// What the upstream reads in `Host`: its own authority.
    pub host: HeaderValue,
    /// The path without a slash at its end: empty for the root.
    pub path: String,
}

/// Why a text is not an upstream URL. Completes "…: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUpstream {
    #[error("is not an absolute URL")]
    NotAbsolute,
    #[error("is not an http:// URL")]
    NotHttp,
    #[error("has a user, password, query or fragment, which an upstream URL can't have")]
    TooMuch,
}

impl UpstreamUrl {
    pub fn parse(text: &str) -> Result<Self, NotUpstream> {
        let url = Url::parse(text).map_err(|_| NotUpstream::NotAbsolute)?;
        if url.scheme() != "http" {
            return Err(NotUpstream::NotHttp);
        }
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || url.query().is_some() || url.fragment().is_some() {
            return Err(NotUpstream::TooMuch);
        }
        let host = url.host_str().ok_or(NotUpstream::NotAbsolute)?;
        let text = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
        let authority = text.parse().map_err(|_| NotUpstream::NotAbsolute)?;
        let host = HeaderValue::try_from(text).map_err(|_| NotUpstream::NotAbsolute)?;
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(Self { authority, host, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_connect_what_to_say_and_the_path() {
        for (text, authority, path) in [
            ("http://server:3000/mcp", "server:3000", "/mcp"),
            ("http://server:3000", "server:3000", ""),
            ("http://server:3000/", "server:3000", ""),
            ("http://server:3000/a/b/", "server:3000", "/a/b"),
            ("http://server/mcp", "server:80", "/mcp"),
            ("http://server:80/mcp", "server:80", "/mcp"),
            ("http://127.0.0.1:3000/mcp", "127.0.0.1:3000", "/mcp"),
            ("http://[::1]:3000/mcp", "[::1]:3000", "/mcp"),
            ("http://[::1]/mcp", "[::1]:80", "/mcp"),
        ] {
            let url = UpstreamUrl::parse(text).unwrap();
            assert_eq!(url.authority, authority, "{text}");
            assert_eq!(url.host, authority, "{text}");
            assert_eq!(url.path, path, "{text}");
        }
    }

    #[test]
    fn what_is_no_upstream_url_is_told_why() {
        for (text, reason) in [
            ("", NotUpstream::NotAbsolute),
            ("/mcp", NotUpstream::NotAbsolute),
            ("http://", NotUpstream::NotAbsolute),
            ("http://server:99999/mcp", NotUpstream::NotAbsolute),
            ("https://server:3000/mcp", NotUpstream::NotHttp),
            ("unix:/run/server.sock", NotUpstream::NotHttp),
            // Without `http://` the host is read as a scheme.
            ("server:3000/mcp", NotUpstream::NotHttp),
            ("http://user@server:3000/mcp", NotUpstream::TooMuch),
            ("http://:password@server:3000/mcp", NotUpstream::TooMuch),
            ("http://server:3000/mcp?x=1", NotUpstream::TooMuch),
            ("http://server:3000/mcp?", NotUpstream::TooMuch),
            ("http://server:3000/mcp#x", NotUpstream::TooMuch),
        ] {
            assert_eq!(UpstreamUrl::parse(text), Err(reason), "{text}");
        }
    }
}
