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
