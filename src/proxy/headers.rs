//! What changes in the headers on the way to the upstream and back.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName,
    HeaderValue, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};

use crate::browser::cookies;
use crate::policy::Resource;
use crate::token::verified::IdentityValues;
use crate::wire;
use crate::wire::names::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// The names under which the upstream is told who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    pub user: HeaderName,
    pub email: HeaderName,
    pub groups: HeaderName,
}

impl IdentityHeaders {
    /// Would an upstream that reads `-` and `_` alike (as CGI does) take `name` for one of ours?
    pub fn reads_as_ours(&self, name: &str) -> bool {
        [&self.user, &self.email, &self.groups].iter().any(|own| alike(own.as_str(), name))
    }
}

/// What we say of who sent a request, and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    pub names: &'a IdentityHeaders,
    pub identity: &'a IdentityValues,
    pub peer: IpAddr,
}

/// Give to `add` the header of a request from outside as it is fit for the upstream: nothing that speaks of
/// this hop or of our own business, nothing that poses as our word; then our word. How the body is framed is for
/// whoever sends it to say.
pub fn for_upstream(
    sent: &HeaderMap,
    resource: &Resource,
    word: &Word<'_>,
    mut add: impl FnMut(&HeaderName, &[u8]),
) {
    let Word { names, identity, peer } = word;
    add(&HOST, resource.upstream.url.host.as_bytes());
    let nominated = nominated(sent);
    let own = &resource.upstream.headers;
    let is_replaced =
        |name: &HeaderName| own.iter().any(|(own, _)| alike(own.as_str(), name.as_str()));
    for (name, value) in sent {
        if *name == COOKIE && !is_replaced(name) {
            if let Some(kept) = without_own_cookies(value.as_bytes()) {
                add(name, &kept);
            }
        } else if !is_of_this_hop(name)
            && !is_of_the_framing(name)
            && !is_our_business(name)
            && !names.reads_as_ours(name.as_str())
            && !nominated.contains(name)
            && !is_replaced(name)
        {
            add(name, value.as_bytes());
        }
    }
    add(&names.user, identity.user.as_bytes());
    if let Some(email) = &identity.email {
        add(&names.email, email.as_bytes());
    }
    if let Some(groups) = &identity.groups {
        add(&names.groups, groups.as_bytes());
    }
    for (name, value) in own {
        add(name, value.as_bytes());
    }
    // What the upstream may use to write links: from the config, never from what the client claimed.
    add(&X_FORWARDED_FOR, &wire::lines::address(*peer));
    let scheme: &[u8] = if resource.url.is_https() { b"https" } else { b"http" };
    add(&X_FORWARDED_PROTO, scheme);
    add(&X_FORWARDED_HOST, resource.public_host.as_bytes());
}

/// Make the headers of the upstream's answer fit for the client: a hostile upstream shares our origin,
/// so it may not set our cookies, nor send clients to another authorization server.
pub fn from_upstream(headers: &mut HeaderMap) {
    let is_unwanted = |name: &&HeaderName| {
        is_of_this_hop(name)
            || **name == WWW_AUTHENTICATE
            || name.as_str().starts_with("access-control-")
    };
    while let Some(name) = headers.keys().find(is_unwanted).cloned() {
        headers.remove(name);
    }
    let sets_ours = |cookie: &HeaderValue| cookies::is_ours(cookie.as_bytes());
    if headers.get_all(SET_COOKIE).iter().any(sets_ours) {
        let kept: Vec<HeaderValue> = headers
            .get_all(SET_COOKIE)
            .iter()
            .filter(|cookie| !sets_ours(cookie))
            .cloned()
            .collect();
        headers.remove(SET_COOKIE);
        for cookie in kept {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// RFC 9110 §7.6.1.
fn is_of_this_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TE
        || *name == TRAILER
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == PROXY_AUTHENTICATE
        || *name == PROXY_AUTHORIZATION
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// We have answered `Expect` (RFC 9110 §10.1.1) by reading the body.
fn is_of_the_framing(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || *name == EXPECT
}

/// The client's token stops here (MCP "Access Token Privilege Restriction"), and so does what only we
/// may say about where the request came from, and what would make the upstream serve another path or
/// method than the one that was judged.
fn is_our_business(name: &HeaderName) -> bool {
    *name == AUTHORIZATION
        || *name == FORWARDED
        || *name == HOST
        || *name == ORIGIN
        || name == "dpop"
        || starts_alike("x-forwarded-", name.as_str())
        || starts_alike("x-original-", name.as_str())
        || ["x-real-ip", "x-rewrite-url", "x-http-method-override"]
            .iter()
            .any(|own| alike(own, name.as_str()))
}

/// What `Connection` names besides what is removed anyway.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let is_plain = |option: &&[u8]| {
        [&b"close"[..], b"keep-alive", b""].iter().any(|plain| option.eq_ignore_ascii_case(plain))
    };
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !is_plain(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .collect()
}

fn alike(own: &str, other: &str) -> bool {
    own.len() == other.len() && starts_alike(own, other)
}

/// Header names are lower case already; `_` counts as `-`.
fn starts_alike(prefix: &str, name: &str) -> bool {
    name.len() >= prefix.len()
        && prefix
            .bytes()
            .zip(name.bytes())
            .all(|(own, other)| own == other || (own == b'-' && other == b'_'))
}

/// By bytes: other applications' cookies pass as they are.
pub fn without_own_cookies(line: &[u8]) -> Option<Vec<u8>> {
    let kept: Vec<&[u8]> = line
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !cookies::is_ours(pair))
        .collect();
    (!kept.is_empty()).then(|| kept.join(&b"; "[..]))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn resource() -> Resource {
        Resource::between("https://tools.example.com/mcp", "http://server:3000/mcp")
    }

    fn names(user: &'static str) -> IdentityHeaders {
        IdentityHeaders {
            user: HeaderName::from_static(user),
            email: HeaderName::from_static("x-forwarded-email"),
            groups: HeaderName::from_static("x-forwarded-groups"),
        }
    }

    /// One of ours as somebody might write it who hopes that the upstream reads it the same.
    fn spelling_of_ours() -> impl Strategy<Value = String> {
        let own = prop::sample::select(vec![
            "x-forwarded-user",
            "x-auth-user",
            "x-forwarded-email",
            "x-forwarded-groups",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "host",
        ]);
        (own, any::<[bool; 32]>()).prop_map(|(own, bent)| {
            let bend = |(letter, bent): (char, bool)| match (letter, bent) {
                ('-', true) => '_',
                (letter, true) => letter.to_ascii_uppercase(),
                (letter, false) => letter,
            };
            own.chars().zip(bent).map(bend).collect()
        })
    }

    fn sent() -> impl Strategy<Value = Vec<(String, String)>> {
        let name = prop_oneof![
            3 => spelling_of_ours(),
            1 => "[xX][-_](forwarded|auth|real)[-_][a-z_-]{1,8}",
            1 => "[A-Za-z][A-Za-z0-9_-]{0,16}",
        ];
        let pair = (name, "[a-z]{1,8}");
        let nominated = spelling_of_ours().prop_map(|name| ("connection".to_owned(), name));
        prop::collection::vec(prop_oneof![5 => pair, 1 => nominated], 0..24)
    }

    proptest! {
        /// CVE-2025-64484: whatever comes in, what reads as our word is our word.
        #[test]
        fn nobody_speaks_for_us(
            sent in sent(),
            user in prop::sample::select(vec!["x-forwarded-user", "x-auth-user"]),
            has_email in any::<bool>(),
            has_groups in any::<bool>(),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &sent {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            let ours = |value| HeaderValue::from_static(value);
            let identity = IdentityValues {
                user: ours("OURS"),
                email: has_email.then(|| ours("OURS@example.com")),
                groups: has_groups.then(|| ours("OURS,TOO")),
            };

            let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let names = names(user);
            let word = Word { names: &names, identity: &identity, peer };
            let mut told = HeaderMap::new();
            for_upstream(&headers, &resource(), &word, |name, value| {
                told.append(name, HeaderValue::from_bytes(value).unwrap());
            });

            for (name, expected) in [
                (user, Some("OURS")),
                ("x-forwarded-email", has_email.then_some("OURS@example.com")),
                ("x-forwarded-groups", has_groups.then_some("OURS,TOO")),
                ("x-forwarded-for", Some("127.0.0.1")),
                ("x-forwarded-proto", Some("https")),
                ("x-forwarded-host", Some("tools.example.com")),
                ("host", Some("server:3000")),
            ] {
                let values: Vec<_> = told.get_all(name).iter().collect();
                prop_assert_eq!(values, expected.into_iter().collect::<Vec<_>>(), "{}", name);
                let alike = told.keys().filter(|own| own.as_str().replace('_', "-") == name);
                prop_assert_eq!(alike.count(), usize::from(expected.is_some()), "{}", name);
            }
        }
    }
}
