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
