//! Our cookies. Their names carry a hash of the issuer, so that two sidecars on one host (or two ports
//! of loopback) don't overwrite each other's.
//!
//! On https they are `__Host-` cookies: set by us alone, for this host alone. On http loopback that
//! prefix is not allowed; nothing there defends against other programs on the same machine.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::browser::person;
use crate::oauth::PublicUrl;
use crate::secret;

/// The names of our cookies.
#[derive(Clone, Debug)]
pub struct Cookies {
    browser: String,
    /// The name begins so; the start of the value ends it.
    login: String,
    person: String,
    attributes: &'static str,
}

/// 128 random bits as 22 characters of base64url.
pub type CookieValue = String;

impl Cookies {
    pub fn of(issuer: &PublicUrl) -> Self {
        let hash = secret::sha256(issuer.as_str().as_bytes());
        let hash = URL_SAFE_NO_PAD.encode(hash.first_chunk::<6>().unwrap_or(&[0; 6]));
        let (prefix, attributes) = if issuer.is_https() {
            ("__Host-doorman", "; Path=/; Secure; HttpOnly; SameSite=Lax")
        } else {
            ("doorman", "; Path=/; HttpOnly; SameSite=Lax")
        };
        Self {
            browser: format!("{prefix}-{hash}-browser"),
            login: format!("{prefix}-{hash}-login-"),
            person: format!("{prefix}-{hash}-person"),
            attributes,
        }
    }

    /// The id that this browser was given when it first saw a consent page.
    pub fn browser(&self, headers: &HeaderMap) -> Option<CookieValue> {
        read(headers, &self.browser).filter(|value| is_value(value))
    }

    pub fn set_browser(&self, value: &str) -> Option<HeaderValue> {
        // Long enough for any login, so that a page left open keeps working.
        let text = format!("{}={value}; Max-Age=86400{}", self.browser, self.attributes);
        HeaderValue::from_str(&text).ok()
    }

    /// The logins that this browser has begun and not finished, oldest first as browsers send them. A cookie
    /// each, so that two that are answered at once don't undo each other.
    pub fn logins(&self, headers: &HeaderMap) -> Vec<CookieValue> {
        let values = pairs(headers).filter_map(|pair| {
            let (_, value) =
                pair.strip_prefix(self.login.as_bytes())?.split_at_checked(MARK + 1)?;
            String::from_utf8(value.to_vec()).ok()
        });
        values.filter(|value| is_value(value)).collect()
    }

    /// One more beside the `others`. Beyond a few, the oldest are forgotten, so that the cookies can't outgrow
    /// what servers accept.
    pub fn begin_login(
        &self,
        value: &str,
        others: &[CookieValue],
        life: Duration,
    ) -> impl Iterator<Item = HeaderValue> {
        let most = MOST_LOGINS - 1;
        let oldest = others.get(..others.len().saturating_sub(most)).unwrap_or_default();
        let begun = self.set_login(value, value, life);
        begun.into_iter().chain(oldest.iter().filter_map(|old| self.end_login(old)))
    }

    pub fn end_login(&self, value: &str) -> Option<HeaderValue> {
        self.set_login(value, "", Duration::ZERO)
    }

    fn set_login(&self, named: &str, value: &str, life: Duration) -> Option<HeaderValue> {
        let (name, mark) = (&self.login, named.get(..MARK)?);
        let text = format!("{name}{mark}={value}; Max-Age={}{}", life.as_secs(), self.attributes);
        HeaderValue::from_str(&text).ok()
    }

    /// Who was here last, sealed.
    pub fn person(&self, headers: &HeaderMap) -> Option<String> {
        read(headers, &self.person)
    }

    pub fn set_person(&self, sealed: &str) -> Option<HeaderValue> {
        let life = person::LIFETIME.as_secs();
        let text = format!("{}={sealed}; Max-Age={life}{}", self.person, self.attributes);
        HeaderValue::from_str(&text).ok()
    }
}

/// Is this the name of a cookie of ours, or of another mcp-doorman on this host?
/// The upstream neither sees nor sets such cookies.
///
/// A nameless cookie (`=doorman-…=x`) comes back from browsers without its `=`, as one of ours.
pub fn is_ours(cookie: &[u8]) -> bool {
    let name = cookie.trim_ascii_start();
    let name = name.strip_prefix(b"=").unwrap_or(name).trim_ascii_start();
    let name = name.strip_prefix(b"__Host-").unwrap_or(name);
    name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

pub fn value_from(random: [u8; 16]) -> CookieValue {
    URL_SAFE_NO_PAD.encode(random)
}

fn is_value(text: &str) -> bool {
    text.len() == 22 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    pairs(headers)
        .filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .find_map(|value| String::from_utf8(value.to_vec()).ok())
}

/// By bytes: other applications on this host may have set cookies that are not ASCII.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(COOKIE).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}

const OURS: &[u8] = b"doorman-";
const MOST_LOGINS: usize = 8;
/// Characters of its value that name the cookie of a login.
const MARK: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(issuer: &str) -> Cookies {
        Cookies::of(&PublicUrl::parse(issuer).unwrap())
    }

    fn sent(cookie: &str) -> HeaderMap {
        let pair = cookie.split(';').next().unwrap();
        // As a browser sends it: in one line, after another application's in whatever bytes.
        let line = [b"x=\xc3\xa9\xff; ", pair.as_bytes()].concat();
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(&line).unwrap())])
    }

    #[test]
    fn on_https_a_cookie_is_for_this_host_alone() {
        let set = names("https://a.example").set_browser(&value_from([7; 16])).unwrap();
        let set = set.to_str().unwrap();

        assert!(set.starts_with("__Host-doorman-"));
        for attribute in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
            assert!(set.contains(attribute), "{set}");
        }
        assert!(!set.contains("Domain"));
    }

    #[test]
    fn what_was_set_is_read_back() {
        let cookies = names("https://a.example");
        let value = value_from([7; 16]);

        let set = cookies.set_browser(&value).unwrap();

        assert_eq!(cookies.browser(&sent(set.to_str().unwrap())), Some(value));
    }

    #[test]
    fn two_issuers_on_one_host_do_not_share_cookies() {
        let set = names("http://127.0.0.1:1").set_browser(&value_from([7; 16])).unwrap();

        assert_eq!(names("http://127.0.0.1:2").browser(&sent(set.to_str().unwrap())), None);
    }

    #[test]
    fn ours_are_known_by_their_names_however_they_are_written() {
        for cookie in [&b"__Host-doorman-x=1"[..], b"doorman-x=1", b" =doorman-x=1", b"Doorman-x=1"]
        {
            assert!(is_ours(cookie), "{}", cookie.escape_ascii());
        }
        for cookie in [&b"session=doorman-x"[..], b"mydoorman-x=1", b"doorman=1", b"\xff=1", b""] {
            assert!(!is_ours(cookie), "{}", cookie.escape_ascii());
        }
    }

    fn of_all(set: &[HeaderValue]) -> HeaderMap {
        let pairs = set.iter().map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap());
        let line = pairs.collect::<Vec<_>>().join("; ");
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&line).unwrap())])
    }

    #[test]
    fn logins_are_begun_and_ended_one_by_one() {
        let cookies = names("https://a.example");
        let [one, other] = [1, 2].map(|n| value_from([n; 16]));
        let life = Duration::from_secs(600);

        let set: Vec<_> = [&one, &other]
            .into_iter()
            .flat_map(|value| cookies.begin_login(value, &[], life).collect::<Vec<_>>())
            .collect();
        let end = cookies.end_login(&one).unwrap();

        assert_eq!(cookies.logins(&of_all(&set)), [one, other]);
        let named = |set: &HeaderValue| set.to_str().unwrap().split('=').next().unwrap().to_owned();
        assert_eq!(named(&end), named(&set[0]));
        assert_ne!(named(&end), named(&set[1]));
        assert!(end.to_str().unwrap().contains("=; Max-Age=0;"));
    }

    /// Each of a hundred tabs.
    #[test]
    fn of_a_hundred_logins_the_newest_few_are_kept() {
        let cookies = names("https://a.example");
        let mut kept: Vec<CookieValue> = Vec::new();

        for n in 0..100 {
            let value = value_from([n; 16]);
            let set: Vec<_> =
                cookies.begin_login(&value, &kept, Duration::from_secs(600)).collect();
            let gone = set.len() - 1;
            kept.drain(..gone);
            kept.push(value);
            assert_eq!(cookies.logins(&of_all(&set)).len(), 1, "what is forgotten is emptied");
        }

        assert_eq!(kept.len(), MOST_LOGINS);
        assert_eq!(kept.last(), Some(&value_from([99; 16])));
    }
}
