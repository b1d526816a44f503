//! What a parsed request must look like before anybody asks what it wants. What is judged here is what
//! is forwarded, byte for byte: nothing is repaired. Whether `Host` is one that we serve is the router's
//! question. Next: the application.

use std::net::Ipv6Addr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};

use crate::server::refusal::Refusal;

/// Judge the head, then take away what would ask for another protocol (RFC 9110 §7.8 lets a server ignore
/// `Upgrade`), so that nobody further in can answer 101.
pub fn admit<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    check(request)?;
    request.headers_mut().remove(header::UPGRADE);
    request.headers_mut().remove(HTTP2_SETTINGS);
    request.extensions_mut().clear();
    Ok(())
}

/// The rules in order; the first one broken is told.
pub fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    if !is_served(request.method()) {
        return Err(Refusal::Method);
    }
    if !is_normal_path(request.uri().path()) {
        return Err(Refusal::Path);
    }
    check_host(request)?;
    check_single(request.headers())?;
    for (name, value) in request.headers() {
        check_field(name, value)?;
    }
    Ok(())
}

/// Method names are case-sensitive (RFC 9110 §9.1), yet some servers take `get` for GET: one we don't know
/// would be judged as one thing and run as another. CONNECT and TRACE are for proxies of another kind.
fn is_served(method: &Method) -> bool {
    matches!(
        *method,
        Method::POST
            | Method::GET
            | Method::DELETE
            | Method::OPTIONS
            | Method::HEAD
            | Method::PUT
            | Method::PATCH
    )
}

/// RFC 3986 §6.2.2, and nothing that some server takes for a separator: the path is its own normal form,
/// so that no two parties read it as two paths.
fn is_normal_path(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else { return false };
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        // An empty segment may only be the last: `/mcp/`.
        let is_empty = segment.is_empty() && segments.peek().is_some();
        if is_empty || segment == "." || segment == ".." || !is_normal_segment(segment) {
            return false;
        }
    }
    true
}

fn is_normal_segment(segment: &str) -> bool {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let is_normal = match byte {
            b'%' => hex(bytes.next()).zip(hex(bytes.next())).is_some_and(must_be_encoded),
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {
                true
            }
            other => is_unreserved(other),
        };
        if !is_normal {
            return false;
        }
    }
    true
}

/// Not what RFC 3986 §6.2.2.2 writes as itself, and not what means something else once it is decoded:
/// `%2e`, `%2f`, `%5c`, `%3b`, `%00`, and `%25`, behind which all of them hide a second time.
fn must_be_encoded((high, low): (u8, u8)) -> bool {
    let byte = high << 4 | low;
    !is_unreserved(byte) && !byte.is_ascii_control() && !matches!(byte, b'/' | b'\\' | b';' | b'%')
}

fn hex(digit: Option<u8>) -> Option<u8> {
    let value = char::from(digit?).to_digit(16)?;
    u8::try_from(value).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `framing` saw to it that there is exactly one.
fn check_host<B>(request: &Request<B>) -> Result<(), Refusal> {
    let host = request.headers().get(header::HOST).ok_or(Refusal::HostCount)?;
    let host = host.to_str().map_err(|_| Refusal::Host)?;
    if !is_host(host) {
        return Err(Refusal::Host);
    }
    // RFC 9112 §3.2.2: an absolute target outranks Host. Only if they agree is there nothing to outrank.
    match request.uri().authority() {
        Some(target) if !target.as_str().eq_ignore_ascii_case(host) => Err(Refusal::OtherHost),
        Some(_) | None => Ok(()),
    }
}

/// `host [ ":" port ]` (RFC 9110 §7.2) without the escapes that RFC 3986 would still allow in a host.
fn is_host(host: &str) -> bool {
    let (is_good_name, port) = if let Some(literal) = host.strip_prefix('[') {
        let Some((address, port)) = literal.split_once(']') else { return false };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        (!name.is_empty() && name.bytes().all(is_unreserved), port)
    };
    is_good_name && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_port(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
}

/// Two of these would let two readers choose differently.
fn check_single(headers: &HeaderMap) -> Result<(), Refusal> {
    // Nothing repeats in nearly every request.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let repeats = |name: &HeaderName| {
        is_single(name.as_str()) && headers.get_all(name).iter().nth(1).is_some()
    };
    if headers.keys().any(repeats) { Err(Refusal::Repeated) } else { Ok(()) }
}

fn check_field(name: &HeaderName, value: &HeaderValue) -> Result<(), Refusal> {
    let text = name.as_str();
    if text.as_bytes().contains(&b'_') && is_protected(&text.replace('_', "-")) {
        // CGI and WSGI read `X_Forwarded_User` as `X-Forwarded-User`.
        return Err(Refusal::Underscore);
    }
    // A `HeaderValue` holds no control character but the tab.
    // Cookies excepted: browsers send other applications' along, in any bytes.
    if !value.as_bytes().is_ascii()
        && (is_protected(text)
            || (*name != header::COOKIE && std::str::from_utf8(value.as_bytes()).is_err()))
    {
        return Err(Refusal::FieldBytes);
    }
    match *name {
        header::CONNECTION => check_nominations(value),
        header::EXPECT if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Refusal::Expectation)
        }
        _ => Ok(()),
    }
}

/// RFC 9110 §7.6.1 has a proxy drop what `Connection` names, and `proxy` does. A field that a decision
/// hangs on must not be dropped by its sender's word, so it may not be named.
fn check_nominations(value: &HeaderValue) -> Result<(), Refusal> {
    let value = value.to_str().map_err(|_| Refusal::FieldBytes)?;
    let may_be_named = |option: &str| {
        let option = option.trim_matches([' ', '\t']).to_ascii_lowercase().replace('_', "-");
        OF_THIS_HOP.contains(&option.as_str())
            || (option != "cookie" && !option.contains(' ') && !is_protected(&option))
    };
    if value.split(',').all(may_be_named) { Ok(()) } else { Err(Refusal::Nomination) }
}

/// What a decision of ours, or of the upstream's trust in us, may hang on.
fn is_protected(name: &str) -> bool {
    is_single(name)
        || name.starts_with("x-forwarded-")
        || matches!(
            name,
            "accept"
                | "connection"
                | "forwarded"
                | "proxy-authorization"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "x-real-ip"
        )
}

fn is_single(name: &str) -> bool {
    name.starts_with("mcp-")
        || matches!(
            name,
            "authorization" | "content-length" | "content-type" | "expect" | "host" | "origin"
        )
}

/// Protected, and yet rightly named: nobody further in sees them.
const OF_THIS_HOP: [&str; 3] = ["te", "trailer", "upgrade"];
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

#[cfg(test)]
mod tests {
    use super::*;

    type Field = (&'static str, &'static [u8]);

    fn request(target: &str, fields: &[(&str, &[u8])]) -> Request<()> {
        let mut builder = Request::builder().method("POST").uri(target).header("host", "a.example");
        for (name, value) in fields {
            builder = builder.header(*name, HeaderValue::from_bytes(value).unwrap());
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn a_path_that_is_not_in_normal_form_is_refused() {
        for path in [
            "/mcp/../admin",
            "/mcp/..",
            "/mcp/.",
            "/./mcp",
            "//mcp",
            "/mcp//x",
            "/mcp//",
            "/x/..;/mcp",
            "/mcp;v=1",
            "/mcp/%2e%2e/admin",
            "/%2E",
            "/mcp%2fadmin",
            "/mcp%5cadmin",
            "/mcp%00",
            "/mcp%0a",
            "/mcp%3bx",
            "/%6dcp",
            "/mcp%252f",
            "/mcp%2",
            "/mcp%zz",
            "/mcp%",
            "/m^cp",
            "/m|cp",
            "*",
        ] {
            assert_eq!(check(&request(path, &[])), Err(Refusal::Path), "{path}");
        }
    }

    #[test]
    fn a_path_in_normal_form_passes_with_any_query() {
        for target in [
            "/",
            "/mcp",
            "/mcp/",
            "/mcp/a.b..c/~x",
            "/.well-known/oauth-protected-resource/mcp",
            "/caf%C3%A9/a%20b",
            "/mcp/a:b@c,d",
            "/mcp?x=/../%2e%2e//;\\",
            "http://A.example/mcp",
        ] {
            assert_eq!(check(&request(target, &[])), Ok(()), "{target}");
        }
    }

    proptest::proptest! {
        /// Normal means that both repairs of a URL parser leave it alone: dot segments and escapes.
        #[test]
        fn what_passes_is_what_a_url_parser_makes_of_it(path in "/[a-z./%2eEfF5cC;:\\\\~A-]{0,12}") {
            if is_normal_path(&path) {
                let url = url::Url::parse(&format!("http://a{path}")).unwrap();
                proptest::prop_assert_eq!(url.path(), path);
            }
        }
    }

    #[test]
    fn methods_that_a_server_could_read_otherwise_are_refused() {
        for method in ["CONNECT", "TRACE", "get", "Post", "PRI", "PROPFIND"] {
            let mut request = request("/mcp", &[]);
            *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(check(&request), Err(Refusal::Method), "{method}");
        }
    }

    #[test]
    fn host_is_a_name_or_an_address_and_a_port() {
        for (host, verdict_expected) in [
            ("a.example", Ok(())),
            ("a.example:8443", Ok(())),
            ("127.0.0.1:80", Ok(())),
            ("[::1]:80", Ok(())),
            ("[::1]", Ok(())),
            ("", Err(Refusal::Host)),
            ("a@evil", Err(Refusal::Host)),
            ("a.example:", Err(Refusal::Host)),
            ("a.example:x", Err(Refusal::Host)),
            ("a.example:99999", Err(Refusal::Host)),
            ("a.example:80:80", Err(Refusal::Host)),
            ("a example", Err(Refusal::Host)),
            ("a.example/x", Err(Refusal::Host)),
            ("a%2eexample", Err(Refusal::Host)),
            ("a,b", Err(Refusal::Host)),
            ("::1", Err(Refusal::Host)),
            ("[::g]", Err(Refusal::Host)),
            ("[::1]x", Err(Refusal::Host)),
        ] {
            let mut request = request("/mcp", &[]);
            request.headers_mut().insert("host", HeaderValue::from_str(host).unwrap());
            assert_eq!(check(&request), verdict_expected, "{host}");
        }
    }

    /// RFC 9112 §3.2.2
    #[test]
    fn an_absolute_target_names_the_same_host() {
        for target in ["http://evil/mcp", "http://a.example:81/mcp", "http://u@a.example/mcp"] {
            assert_eq!(check(&request(target, &[])), Err(Refusal::OtherHost), "{target}");
        }
    }

    #[test]
    fn connection_can_not_drop_a_field() {
        for value in
            ["X-Forwarded-User", "close, Authorization", "content-length", "mcp_session-id", "x y"]
        {
            let request = request("/mcp", &[("connection", value.as_bytes())]);
            assert_eq!(check(&request), Err(Refusal::Nomination), "{value}");
        }
        for value in ["close", "Keep-Alive, TE", "Upgrade, HTTP2-Settings", "", "close,,", "X-Hop"]
        {
            let request = request("/mcp", &[("connection", value.as_bytes())]);
            assert_eq!(check(&request), Ok(()), "{value}");
        }
    }

    #[test]
    fn fields_that_decide_are_single_and_visible() {
        let cases: [(&[Field], Refusal); 8] = [
            (&[("authorization", b"a"), ("authorization", b"a")], Refusal::Repeated),
            (&[("mcp-session-id", b"a"), ("mcp-session-id", b"b")], Refusal::Repeated),
            (&[("mcp-name", b"caf\xe9")], Refusal::FieldBytes),
            (&[("authorization", b"Bearer \xff\xfe")], Refusal::FieldBytes),
            (&[("x_forwarded_user", b"root")], Refusal::Underscore),
            (&[("transfer_encoding", b"chunked")], Refusal::Underscore),
            (&[("mcp_session-id", b"a")], Refusal::Underscore),
            (&[("expect", b"200-maybe")], Refusal::Expectation),
        ];

        for (fields, refusal) in cases {
            assert_eq!(check(&request("/mcp", fields)), Err(refusal), "{fields:?}");
        }
    }

    #[test]
    fn other_fields_are_the_clients_own() {
        let fields: [(&str, &[u8]); 7] = [
            ("cookie", b"name=\xc3\xa9"),
            ("accept", b"application/json"),
            ("accept", b"text/event-stream"),
            ("x_custom_header", b"1"),
            ("content-encoding", b"gzip"),
            ("expect", b"100-Continue"),
            ("last-event-id", b"\xc3\xa9"),
        ];

        assert_eq!(check(&request("/mcp", &fields)), Ok(()));
    }

    #[test]
    fn an_upgrade_is_not_heard() {
        let asked = [
            ("connection", &b"Upgrade, HTTP2-Settings"[..]),
            ("upgrade", b"h2c"),
            ("http2-settings", b"AAMAAABkAAQAAP__"),
        ];

        let mut admitted = request("/mcp", &asked);
        admit(&mut admitted).unwrap();

        assert!(!admitted.headers().contains_key("upgrade"));
        assert!(!admitted.headers().contains_key("http2-settings"));
    }
}
