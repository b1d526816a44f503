//! Redirect URIs (`oauth::redirect_uri`): one line that is registered, one that is presented. What is accepted is
//! what the `url` crate, as browsers, makes of it; what matches differs in nothing but a loopback port, or in the
//! one segment that an operator left open.

use url::{Host, Url};

use crate::oauth::redirect_uri::{RedirectTarget, RedirectUri, RegisteredRedirectUri};

pub fn redirect_uri(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (registered, presented) = text.split_once('\n').unwrap_or((text, ""));
    let schemes = ["cursor".to_owned(), "com.example.app".to_owned()];
    if let Ok(uri) = RegisteredRedirectUri::parse(registered, &schemes) {
        let read = assert_safe(registered);
        assert_eq!(uri.target(), kind_of(&read));
        let same = uri.matches(registered).expect("it does not match itself");
        assert_leads_where_it_says(&same, &read);
        if let Some(matched) = uri.matches(presented) {
            assert_same_but_for_port(&read, &assert_safe(presented));
            assert!(presented == registered || is_loopback(&read), "it was to be the same text");
            assert_leads_where_it_says(&matched, &assert_safe(presented));
        }
    }
    if let Some(start) = registered.strip_suffix('*')
        && let Ok(uri) = RegisteredRedirectUri::parse_written_by_operator(registered, &schemes)
        && let Some(matched) = uri.matches(presented)
    {
        let (open, read) = (assert_safe(start), assert_safe(presented));
        assert_eq!(read.scheme(), "https");
        assert_eq!(read.origin(), open.origin());
        assert_eq!((read.query(), read.fragment()), (None, None));
        let segment = read.path().strip_prefix(open.path()).expect("another path");
        assert!(!segment.is_empty() && !segment.contains(['/', '.', '%']), "{segment:?}");
        assert_leads_where_it_says(&matched, &read);
    }
}

/// As browsers read it, it has nothing of what must never be registered.
fn assert_safe(text: &str) -> Url {
    let url = Url::parse(text).expect("no URL");
    assert!(url.username().is_empty() && url.password().is_none(), "it has a user");
    assert_eq!(url.fragment(), None);
    match url.scheme() {
        "https" => {
            let host = url.host_str().expect("a host");
            let authority = text.strip_prefix("https://").expect("another spelling");
            assert!(authority.starts_with(host), "who reads it sees another host than {host}");
        }
        "http" => assert!(is_loopback(&url), "plain http to {:?}", url.host_str()),
        "cursor" | "com.example.app" => {}
        other => panic!("the scheme {other}"),
    }
    url
}

fn is_loopback(url: &Url) -> bool {
    url.scheme() == "http"
        && match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

fn kind_of(url: &Url) -> RedirectTarget {
    match url.scheme() {
        "https" => RedirectTarget::Web,
        "http" => RedirectTarget::Loopback,
        _ => RedirectTarget::CustomScheme,
    }
}

/// RFC 8252 §7.3
fn assert_same_but_for_port(registered: &Url, presented: &Url) {
    assert_eq!(registered.scheme(), presented.scheme());
    assert_eq!(registered.host(), presented.host());
    assert_eq!(registered.path(), presented.path());
    assert_eq!(registered.query(), presented.query());
    let same_port = registered.port_or_known_default() == presented.port_or_known_default();
    let takes_any_port =
        ["127.0.0.1", "[::1]", "localhost"].map(Some).contains(&registered.host_str());
    assert!(same_port || (registered.scheme() == "http" && takes_any_port), "another port");
}

/// The answer goes to the same place, and what it says is the last of the query.
fn assert_leads_where_it_says(uri: &RedirectUri, read: &Url) {
    let location = uri.with(&[("code", "a&b=c#d"), ("state", "s")]);
    let url = Url::parse(&location).expect("no URL to redirect to");
    assert_eq!((url.scheme(), url.host(), url.port()), (read.scheme(), read.host(), read.port()));
    assert_eq!((url.path(), url.fragment()), (read.path(), None));
    let mut last: Vec<_> = url.query_pairs().collect();
    let last = last.split_off(last.len() - 2);
    assert_eq!(last[0], ("code".into(), "a&b=c#d".into()));
    assert_eq!(last[1], ("state".into(), "s".into()));
    let before = read.query().unwrap_or_default();
    assert!(url.query().unwrap_or_default().starts_with(before), "its own query is gone");
    if let Some(host) = read.host_str() {
        let is_shown = uri.destination().starts_with(host);
        assert!(is_shown || uri.target() == RedirectTarget::CustomScheme, "another host is shown");
    }
}
