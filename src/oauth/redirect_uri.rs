//! Redirect URIs: what may be registered (RFC 8252 §7, §8.4) and what matches (OAuth 2.1 §2.3.1).

use serde::{Deserialize, Serialize};
use url::{Url, form_urlencoded};

use crate::oauth::public_url::is_loopback;

/// A redirect URI that may be registered. Kept as the client wrote it: matching is by bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredRedirectUri {
    text: String,
    last_segment: LastSegment,
}

/// What the path of a redirect URI may end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastSegment {
    AsWritten,
    /// The text ends before it.
    Any,
}

/// A redirect URI that one client has registered. Only a match makes one, so holding it is the
/// permission to send the browser there. It is read back from payloads that only we can seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectUri(String);

/// What kind of place a redirect URI leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectTarget {
    /// `https`: a web server answers for its host name.
    Web,
    /// `http` on loopback: any program on the person's machine may be listening.
    Loopback,
    /// A private-use scheme: any program on the person's machine may have claimed it.
    CustomScheme,
}

/// Why a redirect URI can't be registered. Completes "…: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRegistrable {
    #[error("is not an absolute URI")]
    NotAbsolute,
    #[error("has characters that a URI can't have")]
    Characters,
    #[error("has a fragment")]
    Fragment,
    #[error("has a user or password in it")]
    Credentials,
    #[error("is plain http to a host that is not 127.0.0.1, [::1] or localhost")]
    PlainHttp,
    #[error("has a scheme that is not allowed here")]
    Scheme,
    #[error("has a host that is not written as it is")]
    Host,
    #[error("has a * that is not the whole last segment of an https URI's path")]
    Star,
    #[error("is too long")]
    TooLong,
}

impl RegisteredRedirectUri {
    /// Accepts `https`, `http` on loopback, and the private-use schemes in `allowed_schemes`.
    pub fn parse(text: &str, allowed_schemes: &[String]) -> Result<Self, NotRegistrable> {
        if text.len() > LONGEST {
            return Err(NotRegistrable::TooLong);
        }
        // The URL parser mends what browsers mend (backslashes, tabs, Unicode hosts); what needs
        // mending could be read in two ways, so it is refused before parsing.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte)) {
            return Err(NotRegistrable::Characters);
        }
        let url = Url::parse(text).map_err(|_| NotRegistrable::NotAbsolute)?;
        if text.contains('#') {
            return Err(NotRegistrable::Fragment);
        }
        if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
            return Err(NotRegistrable::Credentials);
        }
        match url.scheme() {
            "https" | "http" if !says_its_host(text, &url) => Err(NotRegistrable::Host),
            "https" if text.starts_with("https://") => Ok(Self::as_written(text)),
            "http" if text.starts_with("http://") && is_loopback(&url) => {
                Ok(Self::as_written(text))
            }
            "https" => Err(NotRegistrable::NotAbsolute),
            "http" => Err(NotRegistrable::PlainHttp),
            scheme if allowed_schemes.iter().any(|allowed| allowed == scheme) => {
                Ok(Self::as_written(text))
            }
            _ => Err(NotRegistrable::Scheme),
        }
    }

    /// The same for a URI that the operator wrote, whose path may end in `/*`: any one segment there.
    ///
    /// OAuth 2.1 §2.3.1 wants a whole URI. Some web clients have one for each of their users' connections,
    /// known only once it is made; the operator who vouches for all of that path may say so.
    pub fn parse_written_by_operator(
        text: &str,
        allowed_schemes: &[String],
    ) -> Result<Self, NotRegistrable> {
        let start = text.strip_suffix('*');
        if start.unwrap_or(text).contains('*') {
            return Err(NotRegistrable::Star);
        }
        let uri = Self::parse(start.unwrap_or(text), allowed_schemes)?;
        match start {
            None => Ok(uri),
            Some(start) if may_be_followed_by_any(start) => {
                Ok(Self { last_segment: LastSegment::Any, ..uri })
            }
            Some(_) => Err(NotRegistrable::Star),
        }
    }

    fn as_written(text: &str) -> Self {
        Self { text: text.to_owned(), last_segment: LastSegment::AsWritten }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The permission to redirect to `presented`, if this registration covers it.
    ///
    /// OAuth 2.1 §2.3.1: simple string comparison, except for the port of a loopback redirect
    /// (RFC 8252 §7.3: "MUST allow any port"). `localhost` gets the same exception, because the
    /// clients in use listen there on a port that they can't know when they register.
    pub fn matches(&self, presented: &str) -> Option<RedirectUri> {
        let same = match self.last_segment {
            LastSegment::AsWritten => {
                self.text == presented || same_but_for_port(&self.text, presented)
            }
            LastSegment::Any => presented.strip_prefix(&self.text).is_some_and(is_plain_segment),
        };
        (same && presented.len() <= LONGEST).then(|| RedirectUri(presented.to_owned()))
    }

    pub fn target(&self) -> RedirectTarget {
        target(&self.text)
    }
}

impl RedirectUri {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn target(&self) -> RedirectTarget {
        target(&self.0)
    }

    /// The host that the answer goes to, for a person to read; the scheme where there is no host.
    pub fn destination(&self) -> &str {
        match self.target() {
            RedirectTarget::Web | RedirectTarget::Loopback => authority(&self.0),
            RedirectTarget::CustomScheme => {
                self.0.split_once(':').map_or(self.0.as_str(), |(scheme, _)| scheme)
            }
        }
    }

    /// The URI with `parameters` added to whatever query it has (OAuth 2.1 §2.3: retained).
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        let separator = if self.0.contains('?') { '&' } else { '?' };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        format!("{}{separator}{}", self.0, query.finish())
    }
}

/// Is the host that a person reads the host that a browser goes to? `https://%65vil.example` is not, and
/// neither is one in capitals, nor that of `https:///evil.example`: what is shown is the raw text.
fn says_its_host(text: &str, url: &Url) -> bool {
    let raw = authority(text);
    let raw = match url.port() {
        Some(port) => raw.strip_suffix(&format!(":{port}")).unwrap_or(raw),
        None => raw,
    };
    let raw = raw.strip_suffix(if url.scheme() == "https" { ":443" } else { ":80" }).unwrap_or(raw);
    !text.contains("://") || url.host_str() == Some(raw)
}

fn target(text: &str) -> RedirectTarget {
    if text.starts_with("https:") {
        RedirectTarget::Web
    } else if text.starts_with("http:") {
        RedirectTarget::Loopback
    } else {
        RedirectTarget::CustomScheme
    }
}

/// What stands between `//` and the path, raw.
fn authority(text: &str) -> &str {
    let after = text.split_once("://").map_or("", |(_, rest)| rest);
    after.split(['/', '?', '#']).next().unwrap_or("")
}

/// A path that stays what it is when a segment is added: as it is typed, and not all of a host.
fn may_be_followed_by_any(start: &str) -> bool {
    Url::parse(start).is_ok_and(|url| {
        let path = url.path();
        let is_below_root = path.ends_with('/') && path.len() > 1 && !path.contains("//");
        url.scheme() == "https" && url.as_str() == start && url.query().is_none() && is_below_root
    })
}

/// One whole segment, in which nothing can be read as something else: no `/`, `?`, `%`, no dots.
fn is_plain_segment(text: &str) -> bool {
    (1..=LONGEST_SEGMENT).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn same_but_for_port(registered: &str, presented: &str) -> bool {
    match (without_loopback_port(registered), without_loopback_port(presented)) {
        (Some(registered), Some(presented)) => registered == presented,
        (None, _) | (_, None) => false,
    }
}

/// `http://127.0.0.1:8765/cb?x` → (`127.0.0.1`, `/cb?x`); `None` if the raw text is not `http` on one
/// of the three loopback hosts, written exactly so.
fn without_loopback_port(text: &str) -> Option<(&'static str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let (host, rest) =
        LOOPBACK_HOSTS.iter().find_map(|host| rest.strip_prefix(host).map(|rest| (*host, rest)))?;
    let rest = match rest.strip_prefix(':') {
        Some(after) => {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (port, rest) = after.split_at(end);
            port.parse::<u16>().ok()?;
            rest
        }
        None => rest,
    };
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// Bytes. The longest that a known client uses is a quarter of it.
const LONGEST: usize = 512;

/// Bytes.
const LONGEST_SEGMENT: usize = 128;

#[cfg(test)]
mod tests;
