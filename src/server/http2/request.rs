//! What came as an HTTP/2 request becomes what HTTP/1.1 would have made of it, so that nobody further in
//! has two ways to ask for one thing. Next: `entry` judges it by the same rules.
//!
//! h2 has refused what RFC 9113 §8 calls malformed: upper case, fields of the connection (§8.2.2), pseudo
//! fields that are unknown, repeated or late, extended CONNECT, lengths that are wrong. That is answered
//! with `RST_STREAM`, what is refused here with a status.

use http::header::{COOKIE, HOST, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Uri, Version};

use crate::server::entry;
use crate::server::framing::{MAX_FIELDS, MAX_TARGET, is_target};
use crate::server::refusal::Refusal;

pub fn admit<B>(request: Request<B>) -> Result<Request<B>, Refusal> {
    let (mut parts, body) = request.into_parts();
    name_host(&mut parts)?;
    plain_target(&mut parts)?;
    join_cookies(&mut parts.headers)?;
    if parts.headers.len() > MAX_FIELDS {
        return Err(Refusal::HeadTooLarge);
    }
    if parts.headers.values().any(is_padded) {
        return Err(Refusal::Field);
    }
    parts.version = Version::HTTP_11;
    let mut request = Request::from_parts(parts, body);
    entry::admit(&mut request)?;
    Ok(request)
}

/// RFC 9113 §8.3.1: `:authority` stands for `Host`, which may be there too and then is the same.
fn name_host(parts: &mut Parts) -> Result<(), Refusal> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(Refusal::HostCount);
    }
    let Some(authority) = parts.uri.authority() else {
        return if host.is_some() { Ok(()) } else { Err(Refusal::HostCount) };
    };
    let authority = authority.as_str();
    match host {
        Some(host) if authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {}
        Some(_) => return Err(Refusal::OtherHost),
        None => {
            let host = HeaderValue::from_str(authority).map_err(|_| Refusal::Host)?;
            parts.headers.insert(HOST, host);
        }
    }
    Ok(())
}

/// Leave path and query alone, as a target of HTTP/1.1 has them, and no byte in it that `framing` would
/// refuse. `:scheme` is the client's word about the connection to somebody in front of us: nothing hangs on
/// it. Without a path it is CONNECT, or `entry` refuses it.
fn plain_target(parts: &mut Parts) -> Result<(), Refusal> {
    let Some(target) = parts.uri.path_and_query() else { return Ok(()) };
    if target.as_str().len() > MAX_TARGET {
        return Err(Refusal::TargetTooLong);
    }
    if !is_target(target.as_str().as_bytes()) {
        return Err(Refusal::Target);
    }
    parts.uri = Uri::from(target.clone());
    Ok(())
}

/// RFC 9113 §8.2.3: cookies may come in several fields, and MUST be joined before they leave HTTP/2.
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut crumbs = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return Ok(()) };
    let mut joined = first.to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb);
    }
    let joined = HeaderValue::from_bytes(&joined).map_err(|_| Refusal::Field)?;
    headers.insert(COOKIE, joined);
    Ok(())
}

/// RFC 9113 §8.2.1: white space around a value is malformed. Others would trim it.
fn is_padded(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method("POST").uri(target).version(Version::HTTP_2);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn verdict(target: &str, fields: &[(&str, &str)]) -> Result<(), Refusal> {
        admit(asked(target, fields)).map(|_| ())
    }

    /// RFC 9113 §8.3.1
    #[test]
    fn after_admission_it_looks_like_http_1_1() {
        let fields = [("x", "1"), ("host", "A.example:8443")];
        for (target, fields) in [
            ("https://A.example:8443/mcp?x=1", &fields[..1]),
            ("http://a.example:8443/mcp?x=1", &fields),
            ("/mcp?x=1", &fields),
        ] {
            let admitted = admit(asked(target, fields)).unwrap();
            assert_eq!(admitted.uri(), "/mcp?x=1", "{target}");
            assert_eq!(admitted.uri().authority(), None, "{target}");
            assert_eq!(admitted.headers()[HOST], "A.example:8443", "{target}");
            assert_eq!(admitted.version(), Version::HTTP_11, "{target}");
        }
    }

    #[test]
    fn there_is_exactly_one_name_of_the_host() {
        let a = ("host", "a.example");
        for (target, fields, refusal) in [
            ("/mcp", &[][..], Refusal::HostCount),
            ("/mcp", &[a, a], Refusal::HostCount),
            ("https://a.example/mcp", &[a, a], Refusal::HostCount),
            ("https://b.example/mcp", &[a], Refusal::OtherHost),
            ("https://a.example:443/mcp", &[a], Refusal::OtherHost),
            ("https://u@a.example/mcp", &[], Refusal::Host),
            ("https://u@a.example/mcp", &[("host", "u@a.example")], Refusal::Host),
        ] {
            assert_eq!(verdict(target, fields), Err(refusal), "{target} {fields:?}");
        }
    }

    #[test]
    fn a_target_that_http_1_1_would_not_have_is_refused() {
        let long = |length: usize| format!("https://a/{}", "x".repeat(length - 1));

        assert_eq!(verdict(&long(MAX_TARGET), &[]), Ok(()));
        assert_eq!(verdict(&long(MAX_TARGET + 1), &[]), Err(Refusal::TargetTooLong));
        assert_eq!(verdict("https://a/mcp?\u{e9}", &[]), Err(Refusal::Target));
        assert_eq!(verdict("https://a/mcp/../admin", &[]), Err(Refusal::Path));
        assert_eq!(verdict("https://a/mcp%2e", &[]), Err(Refusal::Path));
    }

    /// RFC 9113 §8.2.3
    #[test]
    fn cookies_in_pieces_are_one() {
        let crumbs = [("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];

        let admitted = admit(asked("https://a/", &crumbs)).unwrap();

        let cookies: Vec<_> = admitted.headers().get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
    }

    /// `Host` counts among the fields, whichever way it came.
    #[test]
    fn there_are_at_most_as_many_fields_as_in_http_1_1() {
        let fields = vec![("x", "1"); MAX_FIELDS];

        assert_eq!(verdict("https://a/", &fields[1..]), Ok(()));
        assert_eq!(verdict("https://a/", &fields), Err(Refusal::HeadTooLarge));
    }

    #[test]
    fn values_are_not_padded() {
        for value in [" x", "x ", "\tx", " "] {
            let fields = [("mcp-method", value)];
            assert_eq!(verdict("https://a/", &fields), Err(Refusal::Field), "{value:?}");
        }
        assert_eq!(verdict("https://a/", &[("x", ""), ("y", "a b")]), Ok(()));
    }

    #[test]
    fn what_entry_refuses_is_refused() {
        for (fields, refusal) in [
            (&[("authorization", "a"), ("authorization", "a")][..], Refusal::Repeated),
            (&[("content-length", "0"), ("content-length", "0")], Refusal::Repeated),
            (&[("x_forwarded_user", "root")], Refusal::Underscore),
            (&[("expect", "200-maybe")], Refusal::Expectation),
        ] {
            assert_eq!(verdict("https://a/", fields), Err(refusal), "{fields:?}");
        }
    }
}
