//! Where an MCP server listens.

use std::fmt;
use std::path::PathBuf;

use http::HeaderValue;
use http::uri::Authority;
use url::{Position, Url};

/// Where a resource's MCP server listens: an `http://` or `https://` URL without query, or a Unix socket and a
/// path there, `unix:/run/mcp/server.sock:/mcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    pub kind: UpstreamKind,
    /// Host and port. Of a socket `localhost:80`, which only the upstream's own links mean.
    pub authority: Authority,
    /// What the upstream reads in `Host`: its own authority, without the port that its scheme implies.
    pub host: HeaderValue,
    /// The path without a slash at its end: empty for the root.
    pub path: String,
}

/// How an MCP server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    Http,
    Https,
    /// At this absolute path.
    Unix(PathBuf),
}

/// What is spoken with an MCP server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    #[default]
    Http1,
    /// Without asking first (RFC 9113 §3.3), or over TLS if the server agrees to it (§3.2).
    Http2,
}

/// Why a text is not an upstream URL. Completes "…: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUpstream {
    #[error("is not an absolute URL")]
    NotAbsolute,
    #[error("is not an http://, https:// or unix: URL")]
    NotHttp,
    #[error("has a user, password, query or fragment, which an upstream URL can't have")]
    TooMuch,
    #[error("does not name a Unix socket and a path there")]
    NotASocket,
    #[error("names a socket whose path is longer than {LONGEST_SOCKET} bytes")]
    LongSocket,
}

impl UpstreamUrl {
    pub fn parse(text: &str) -> Result<Self, NotUpstream> {
        if let Some(socket) = text.strip_prefix("unix:") {
            return Self::of_socket(socket);
        }
        let url = Url::parse(text).map_err(|_| NotUpstream::NotAbsolute)?;
        let kind = match url.scheme() {
            "http" => UpstreamKind::Http,
            "https" => UpstreamKind::Https,
            _ => return Err(NotUpstream::NotHttp),
        };
        Self::new(kind, &url)
    }

    /// `text`: the path of the socket, and after a colon the path there, as nginx has it.
    fn of_socket(text: &str) -> Result<Self, NotUpstream> {
        let (socket, path) = text.split_once(':').unwrap_or((text, "/"));
        let is_file =
            socket.starts_with('/') && !socket.starts_with("//") && !socket.ends_with('/');
        if !is_file || socket.contains('\0') || !path.starts_with('/') {
            return Err(NotUpstream::NotASocket);
        }
        if socket.len() > LONGEST_SOCKET {
            return Err(NotUpstream::LongSocket);
        }
        let url = Url::parse(&format!("http://localhost{path}"));
        Self::new(UpstreamKind::Unix(socket.into()), &url.map_err(|_| NotUpstream::NotASocket)?)
    }

    fn new(kind: UpstreamKind, url: &Url) -> Result<Self, NotUpstream> {
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || url.query().is_some() || url.fragment().is_some() {
            return Err(NotUpstream::TooMuch);
        }
        let host = url.host_str().ok_or(NotUpstream::NotAbsolute)?;
        let text = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
        let authority = text.parse().map_err(|_| NotUpstream::NotAbsolute)?;
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let host = HeaderValue::try_from(host).map_err(|_| NotUpstream::NotAbsolute)?;
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(Self { kind, authority, host, path })
    }

    /// What links of the upstream are relative to.
    pub fn origin(&self) -> String {
        let scheme = match self.kind {
            UpstreamKind::Http | UpstreamKind::Unix(_) => "http",
            UpstreamKind::Https => "https",
        };
        format!("{scheme}://{}", self.authority)
    }

    /// Does `url` name this server, whichever scheme the server believes to be asked in?
    pub fn is_origin_of(&self, url: &Url) -> bool {
        let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
            return false;
        };
        let is_here = |port| self.authority == *format!("{host}:{port}");
        match url.port() {
            Some(port) => is_here(port),
            // It was told of no port either, if it is at a usual one.
            None => is_here(80) || is_here(443),
        }
    }
}

/// As it is typed, for logs and operators.
impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            UpstreamKind::Http | UpstreamKind::Https => {
                write!(f, "{}{}", self.origin(), self.path)
            }
            UpstreamKind::Unix(socket) if self.path.is_empty() => {
                write!(f, "unix:{}", socket.display())
            }
            UpstreamKind::Unix(socket) => write!(f, "unix:{}:{}", socket.display(), self.path),
        }
    }
}

/// Bytes, with a zero after them what an address has room for; some systems have four less.
const LONGEST_SOCKET: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_connect_what_to_say_and_the_path() {
        for (text, authority, host, path) in [
            ("http://server:3000/mcp", "server:3000", "server:3000", "/mcp"),
            ("http://server:3000", "server:3000", "server:3000", ""),
            ("http://server:3000/", "server:3000", "server:3000", ""),
            ("http://server:3000/a/b/", "server:3000", "server:3000", "/a/b"),
            ("http://server/mcp", "server:80", "server", "/mcp"),
            ("http://server:80/mcp", "server:80", "server", "/mcp"),
            ("http://server:443/mcp", "server:443", "server:443", "/mcp"),
            ("http://127.0.0.1:3000/mcp", "127.0.0.1:3000", "127.0.0.1:3000", "/mcp"),
            ("http://[::1]:3000/mcp", "[::1]:3000", "[::1]:3000", "/mcp"),
            ("http://[::1]/mcp", "[::1]:80", "[::1]", "/mcp"),
            ("https://server/mcp", "server:443", "server", "/mcp"),
            ("https://server:443/mcp", "server:443", "server", "/mcp"),
            ("https://server:80/mcp", "server:80", "server:80", "/mcp"),
            ("https://[::1]:8443", "[::1]:8443", "[::1]:8443", ""),
        ] {
            let url = UpstreamUrl::parse(text).unwrap();
            let kind =
                if text.starts_with("https") { UpstreamKind::Https } else { UpstreamKind::Http };
            assert_eq!(url.kind, kind, "{text}");
            assert_eq!(url.authority, authority, "{text}");
            assert_eq!(url.host, host, "{text}");
            assert_eq!(url.path, path, "{text}");
        }
    }

    #[test]
    fn a_socket_is_its_path_and_a_path_there() {
        for (text, socket, path, shown) in [
            ("unix:/run/s.sock:/mcp", "/run/s.sock", "/mcp", "unix:/run/s.sock:/mcp"),
            ("unix:/run/s.sock:/a/b/", "/run/s.sock", "/a/b", "unix:/run/s.sock:/a/b"),
            ("unix:/run/s.sock:/a:b", "/run/s.sock", "/a:b", "unix:/run/s.sock:/a:b"),
            ("unix:/run/s.sock:/", "/run/s.sock", "", "unix:/run/s.sock"),
            ("unix:/run/s.sock", "/run/s.sock", "", "unix:/run/s.sock"),
        ] {
            let url = UpstreamUrl::parse(text).unwrap();
            assert_eq!(url.kind, UpstreamKind::Unix(socket.into()), "{text}");
            assert_eq!(url.host, "localhost", "{text}");
            assert_eq!(url.path, path, "{text}");
            assert_eq!(url.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_link_of_the_upstreams_own_is_known_in_either_scheme() {
        for (upstream, link, is_own) in [
            ("http://server:3000/mcp", "http://server:3000/x", true),
            ("http://server:3000/mcp", "https://server:3000/x", true),
            ("http://server:3000/mcp", "http://server/x", false),
            ("http://server:3000/mcp", "http://other:3000/x", false),
            ("https://server/mcp", "https://server/x", true),
            ("https://server/mcp", "http://server/x", true),
            ("https://server/mcp", "https://server:8443/x", false),
            ("https://server/mcp", "ftp://server/x", false),
            ("unix:/run/s.sock:/mcp", "http://localhost/x", true),
            ("unix:/run/s.sock:/mcp", "http://localhost:3000/x", false),
        ] {
            let (url, link) = (UpstreamUrl::parse(upstream).unwrap(), Url::parse(link).unwrap());
            assert_eq!(url.is_origin_of(&link), is_own, "{upstream} {link}");
        }
    }

    #[test]
    fn what_is_no_upstream_url_is_told_why() {
        let long = format!("unix:/{}:/mcp", "x".repeat(107));
        for (text, reason) in [
            ("", NotUpstream::NotAbsolute),
            ("/mcp", NotUpstream::NotAbsolute),
            ("http://", NotUpstream::NotAbsolute),
            ("http://server:99999/mcp", NotUpstream::NotAbsolute),
            ("ftp://server/mcp", NotUpstream::NotHttp),
            // Without `http://` the host is read as a scheme.
            ("server:3000/mcp", NotUpstream::NotHttp),
            ("http://user@server:3000/mcp", NotUpstream::TooMuch),
            ("http://:password@server:3000/mcp", NotUpstream::TooMuch),
            ("https://server:3000/mcp?x=1", NotUpstream::TooMuch),
            ("http://server:3000/mcp?", NotUpstream::TooMuch),
            ("http://server:3000/mcp#x", NotUpstream::TooMuch),
            ("unix:/run/s.sock:/mcp?x", NotUpstream::TooMuch),
            ("unix:", NotUpstream::NotASocket),
            ("unix:run/s.sock:/mcp", NotUpstream::NotASocket),
            ("unix:///run/s.sock:/mcp", NotUpstream::NotASocket),
            ("unix://run/s.sock", NotUpstream::NotASocket),
            ("unix:/run/:/mcp", NotUpstream::NotASocket),
            ("unix:/run/s.sock:mcp", NotUpstream::NotASocket),
            ("unix:/run/s.sock:", NotUpstream::NotASocket),
            (&long, NotUpstream::LongSocket),
        ] {
            assert_eq!(UpstreamUrl::parse(text), Err(reason), "{text}");
        }
    }
}
