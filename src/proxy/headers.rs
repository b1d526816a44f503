//! What changes in the headers on the way to the upstream and back.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, FORWARDED, HOST, HeaderName, HeaderValue, ORIGIN,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    WWW_AUTHENTICATE,
};

use crate::browser::cookies;
use crate::policy::Resource;
use crate::token::verified::IdentityValues;

/// The names under which the upstream is told who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    pub user: HeaderName,
    pub email: HeaderName,
    pub groups: HeaderName,
}

impl IdentityHeaders {
    /// Would an upstream that reads `-` and `_` alike (as CGI does) take `name` for one of ours?
    fn reads_as_ours(&self, name: &str) -> bool {
        [&self.user, &self.email, &self.groups].iter().any(|own| alike(own.as_str(), name))
    }
}

/// Make the headers of a request from outside fit for the upstream: nothing that speaks of this hop or
/// of our own business, nothing that poses as our word; then our word.
pub fn for_upstream(
    headers: &mut HeaderMap,
    resource: &Resource,
    names: &IdentityHeaders,
    identity: &IdentityValues,
    peer: IpAddr,
) {
    remove(headers, |name| is_our_business(name) || names.reads_as_ours(name.as_str()));
    strip_own_cookies(headers);
    headers.reserve(MOST_OF_OURS);
    headers.insert(HOST, resource.upstream.host.clone());
    headers.insert(names.user.clone(), identity.user.clone());
    if let Some(email) = &identity.email {
        headers.insert(names.email.clone(), email.clone());
    }
    if let Some(groups) = &identity.groups {
        headers.insert(names.groups.clone(), groups.clone());
    }
    // What the upstream may use to write links: from the config, never from what the client claimed.
    if let Ok(peer) = HeaderValue::try_from(peer.to_string()) {
        headers.insert(X_FORWARDED_FOR, peer);
    }
    let scheme = if resource.url.is_https() { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.insert(X_FORWARDED_HOST, resource.public_host.clone());
}

/// Make the headers of the upstream's answer fit for the client: a hostile upstream shares our origin,
/// so it may not set our cookies, nor send clients to another authorization server.
pub fn from_upstream(headers: &mut HeaderMap) {
    remove(headers, |name| {
        *name == WWW_AUTHENTICATE || name.as_str().starts_with("access-control-")
    });
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

/// Remove what belongs to this hop alone, and what is `unwanted` besides.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    for name in nominated(headers) {
        headers.remove(name);
    }
    let is_unwanted = |name: &&HeaderName| is_of_this_hop(name) || unwanted(name);
    while let Some(name) = headers.keys().find(is_unwanted).cloned() {
        headers.remove(name);
    }
}

/// RFC 9110 §7.6.1. Names in `Connection` are removed too, before ours are set.
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

/// The client's token stops here (MCP "Access Token Privilege Restriction"), and so does what only we
/// may say about where the request came from, and what would make the upstream serve another path or
/// method than the one that was judged.
fn is_our_business(name: &HeaderName) -> bool {
    *name == AUTHORIZATION
        || *name == FORWARDED
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
fn strip_own_cookies(headers: &mut HeaderMap) {
    let pairs = |line: &HeaderValue| {
        let kept: Vec<&[u8]> = line
            .as_bytes()
            .split(|byte| *byte == b';')
            .map(<[u8]>::trim_ascii)
            .filter(|pair| !pair.is_empty() && !cookies::is_ours(pair))
            .collect();
        HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok().filter(|line| !line.is_empty())
    };
    if headers.contains_key(COOKIE) {
        let kept: Vec<HeaderValue> = headers.get_all(COOKIE).iter().filter_map(pairs).collect();
        headers.remove(COOKIE);
        for line in kept {
            headers.append(COOKIE, line);
        }
    }
}

/// `Host`, three about the person, three about the client.
const MOST_OF_OURS: usize = 7;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::oauth::{PublicUrl, Scopes};
    use crate::policy::Access;
    use crate::wire::UpstreamUrl;

    fn resource() -> Resource {
        Resource::new(
            PublicUrl::parse("https://tools.example.com/mcp").unwrap(),
            None,
            UpstreamUrl::parse("http://server:3000/mcp").unwrap(),
            Access::Anyone,
            Vec::new(),
            Scopes::default(),
        )
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
            for_upstream(&mut headers, &resource(), &names(user), &identity, peer);

            for (name, expected) in [
                (user, Some("OURS")),
                ("x-forwarded-email", has_email.then_some("OURS@example.com")),
                ("x-forwarded-groups", has_groups.then_some("OURS,TOO")),
                ("x-forwarded-for", Some("127.0.0.1")),
                ("x-forwarded-proto", Some("https")),
                ("x-forwarded-host", Some("tools.example.com")),
                ("host", Some("server:3000")),
            ] {
                let values: Vec<_> = headers.get_all(name).iter().collect();
                prop_assert_eq!(values, expected.into_iter().collect::<Vec<_>>(), "{}", name);
                let alike = headers.keys().filter(|own| own.as_str().replace('_', "-") == name);
                prop_assert_eq!(alike.count(), usize::from(expected.is_some()), "{}", name);
            }
        }
    }
}
