//! A client id that is the URL of a client ID metadata document
//! (draft-ietf-oauth-client-id-metadata-document §3). Judged as the text that was sent: the document has
//! to name exactly that.

use std::fmt;

use url::{Host, Url};

use crate::oauth::public_url::is_loopback;

/// An `https` URL (or `http` on loopback) with a path, in normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientIdUrl(Url);

/// Why a text is not one. Completes "…: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAClientIdUrl {
    #[error("is not an absolute URL")]
    NotAbsolute,
    #[error("is not https")]
    NotHttps,
    #[error("has a user or password in it")]
    Credentials,
    #[error("has a fragment")]
    Fragment,
    #[error("has no path")]
    NoPath,
    #[error("has an IP address as its host")]
    AddressAsHost,
    #[error(
        "is not in normal form: lower case, no default port, no dot segments, nothing that a browser would mend"
    )]
    NotNormal,
    #[error("is longer than {LONGEST} bytes")]
    TooLong,
}

impl ClientIdUrl {
    /// Does `client_id` claim to be a URL? Ids of any other kind have no `://` in them.
    pub fn is_claimed_by(client_id: &str) -> bool {
        client_id.contains("://")
    }

    pub fn parse(text: &str) -> Result<Self, NotAClientIdUrl> {
        if text.len() > LONGEST {
            return Err(NotAClientIdUrl::TooLong);
        }
        let url = Url::parse(text).map_err(|_| NotAClientIdUrl::NotAbsolute)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(NotAClientIdUrl::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NotAClientIdUrl::Credentials);
        }
        if text.contains('#') {
            return Err(NotAClientIdUrl::Fragment);
        }
        if url.path() == "/" {
            return Err(NotAClientIdUrl::NoPath);
        }
        match url.host() {
            // A final dot would be a second name for the same host.
            Some(Host::Domain(name)) if name.ends_with('.') => {
                return Err(NotAClientIdUrl::NotNormal);
            }
            Some(Host::Domain(_)) => {}
            Some(Host::Ipv4(_) | Host::Ipv6(_)) if url.scheme() == "http" => {}
            Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => {
                return Err(NotAClientIdUrl::AddressAsHost);
            }
        }
        // The parser takes out dot segments, encoded ones too, default ports, tabs and capitals, and
        // turns backslashes: who sent any of these sent another text than the document's `client_id`.
        if url.as_str() != text {
            return Err(NotAClientIdUrl::NotNormal);
        }
        Ok(Self(url))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The host, for a person to read: international names stay in their ASCII form.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl fmt::Display for ClientIdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes. The longest that a known client uses is an eighth of it.
const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_with_a_path_is_a_client_id() {
        for text in [
            "https://claude.ai/oauth/claude-code-client-metadata",
            "https://vscode.dev/oauth/client-metadata.json",
            "https://client.example:8443/c",
            "https://client.example/c/",
            "https://client.example/c?v=1",
            "https://client.example/%7Ec",
            "https://client.example/a..b/.c/..d",
            "https://xn--bcher-kva.example/c",
            "http://localhost:8080/c",
            "http://127.0.0.1:8080/c",
            "http://[::1]:8080/c",
        ] {
            assert_eq!(ClientIdUrl::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        for (text, reason) in [
            ("client.example/c", NotAClientIdUrl::NotAbsolute),
            ("://client.example/c", NotAClientIdUrl::NotAbsolute),
            ("https://", NotAClientIdUrl::NotAbsolute),
            ("https://client.example:99999/c", NotAClientIdUrl::NotAbsolute),
            ("https://%63lient.example:x/c", NotAClientIdUrl::NotAbsolute),
            ("http://client.example/c", NotAClientIdUrl::NotHttps),
            ("http://127.0.0.1.client.example/c", NotAClientIdUrl::NotHttps),
            ("ftp://client.example/c", NotAClientIdUrl::NotHttps),
            ("file:///etc/passwd", NotAClientIdUrl::NotHttps),
            ("gopher://client.example/c", NotAClientIdUrl::NotHttps),
            ("https://a@client.example/c", NotAClientIdUrl::Credentials),
            ("https://a:b@client.example/c", NotAClientIdUrl::Credentials),
            ("https://:b@client.example/c", NotAClientIdUrl::Credentials),
            ("https://claude.ai%2f@client.example/c", NotAClientIdUrl::Credentials),
            ("https://claude.ai\\@client.example/c", NotAClientIdUrl::NotNormal),
            ("https://@client.example/c", NotAClientIdUrl::NotNormal),
            ("https://client.example/c#", NotAClientIdUrl::Fragment),
            ("https://client.example/c#x", NotAClientIdUrl::Fragment),
            ("https://client.example", NotAClientIdUrl::NoPath),
            ("https://client.example/", NotAClientIdUrl::NoPath),
            ("https://client.example/?c", NotAClientIdUrl::NoPath),
            ("https://client.example?/c", NotAClientIdUrl::NoPath),
            ("https://client.example/c/..", NotAClientIdUrl::NoPath),
            ("https://client.example/.", NotAClientIdUrl::NoPath),
            ("https://client.example/a/../c", NotAClientIdUrl::NotNormal),
            ("https://client.example/./c", NotAClientIdUrl::NotNormal),
            ("https://client.example/c/.", NotAClientIdUrl::NotNormal),
            ("https://client.example/a/%2e%2e/c", NotAClientIdUrl::NotNormal),
            ("https://client.example/a/%2E./c", NotAClientIdUrl::NotNormal),
            ("https://client.example/a/.%2e/c", NotAClientIdUrl::NotNormal),
            ("https://client.example/%2e/c", NotAClientIdUrl::NotNormal),
            ("https://client.example\\c", NotAClientIdUrl::NotNormal),
            ("https:\\\\client.example\\c", NotAClientIdUrl::NotNormal),
            ("https:///client.example/c", NotAClientIdUrl::NotNormal),
            ("HTTPS://client.example/c", NotAClientIdUrl::NotNormal),
            ("https://CLIENT.example/c", NotAClientIdUrl::NotNormal),
            ("https://%63lient.example/c", NotAClientIdUrl::NotNormal),
            ("https://client.example:443/c", NotAClientIdUrl::NotNormal),
            ("https://client.example:/c", NotAClientIdUrl::NotNormal),
            ("https://client.example:08443/c", NotAClientIdUrl::NotNormal),
            ("https://client.example./c", NotAClientIdUrl::NotNormal),
            ("https://client.exa\u{ad}mple/c", NotAClientIdUrl::NotNormal),
            ("https://bücher.example/c", NotAClientIdUrl::NotNormal),
            ("https://client.example/ü", NotAClientIdUrl::NotNormal),
            ("https://client.example/a b", NotAClientIdUrl::NotNormal),
            ("https://client.example/a\tb", NotAClientIdUrl::NotNormal),
            (" https://client.example/c", NotAClientIdUrl::NotNormal),
            ("https://client.example/c\n", NotAClientIdUrl::NotNormal),
            ("https://127.0.0.1/c", NotAClientIdUrl::AddressAsHost),
            ("https://8.8.8.8/c", NotAClientIdUrl::AddressAsHost),
            ("https://2130706433/c", NotAClientIdUrl::AddressAsHost),
            ("https://0x7f.1/c", NotAClientIdUrl::AddressAsHost),
            ("https://0177.0.0.1/c", NotAClientIdUrl::AddressAsHost),
            ("https://127.1/c", NotAClientIdUrl::AddressAsHost),
            ("https://[::1]/c", NotAClientIdUrl::AddressAsHost),
            ("https://[::ffff:10.0.0.1]/c", NotAClientIdUrl::AddressAsHost),
            ("https://[2606:4700::1]/c", NotAClientIdUrl::AddressAsHost),
            ("https://①②⑦.0.0.1/c", NotAClientIdUrl::AddressAsHost),
        ] {
            assert_eq!(ClientIdUrl::parse(text), Err(reason), "{text}");
        }
        let long = format!("https://client.example/{}", "c".repeat(LONGEST));
        assert_eq!(ClientIdUrl::parse(&long), Err(NotAClientIdUrl::TooLong));
    }

    proptest! {
        /// What is accepted is what is fetched, and has no second reading.
        #[test]
        fn an_accepted_text_is_its_own_normal_form(text in "https://[a-zA-Z0-9.:@/?#\\\\%_-]{0,32}") {
            if let Ok(accepted) = ClientIdUrl::parse(&text) {
                prop_assert_eq!(accepted.as_str(), &text);
                let host = text.trim_start_matches("https://").split(['/', '?', ':']).next().unwrap();
                prop_assert_eq!(accepted.host(), host);
                prop_assert!(!text.contains("/../") && !text.contains("/./") && !text.contains('#'));
            }
        }
    }
}
