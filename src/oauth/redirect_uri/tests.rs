//! Which redirect URIs are one, and which may be registered.

use proptest::prelude::*;
use url::Position;

use super::*;

fn registered(text: &str) -> RegisteredRedirectUri {
    RegisteredRedirectUri::parse(text, &["cursor".to_owned()]).unwrap()
}

#[test]
fn web_loopback_and_listed_schemes_can_be_registered() {
    for text in [
        "https://claude.ai/api/mcp/auth_callback",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
        "http://[::1]:1234/callback",
        "http://localhost:3334/oauth/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://example.com/cb?tenant=1",
    ] {
        assert_eq!(registered(text).as_str(), text);
    }
}

#[test]
fn what_a_browser_would_mend_or_misread_cannot() {
    for (text, reason) in [
        ("", NotRegistrable::NotAbsolute),
        ("/callback", NotRegistrable::NotAbsolute),
        ("https:example.com/cb", NotRegistrable::NotAbsolute),
        ("http://example.com/cb", NotRegistrable::PlainHttp),
        ("http://127.0.0.1.evil.com/cb", NotRegistrable::PlainHttp),
        ("https://example.com/cb#x", NotRegistrable::Fragment),
        ("https://user@example.com/cb", NotRegistrable::Credentials),
        ("https://@example.com/cb", NotRegistrable::Credentials),
        ("https://example.com\\@evil.com/", NotRegistrable::Characters),
        ("https://exämple.com/cb", NotRegistrable::Characters),
        ("https://%65vil.example/cb", NotRegistrable::Host),
        ("https://%D1%81laude.ai/cb", NotRegistrable::Host),
        ("http://%6cocalhost/cb", NotRegistrable::Host),
        ("https://Example.com/cb", NotRegistrable::Host),
        ("https:///evil.example/cb", NotRegistrable::Host),
        ("https:////evil.example/cb", NotRegistrable::Host),
        ("http:///127.0.0.1/cb", NotRegistrable::Host),
        ("https:/evil.example/cb", NotRegistrable::NotAbsolute),
        ("https:evil.example/cb", NotRegistrable::NotAbsolute),
        ("https:evil.example/cb?://", NotRegistrable::Host),
        ("https://example.com/\tcb", NotRegistrable::Characters),
        ("javascript:alert(1)", NotRegistrable::Scheme),
        ("data:text/html,x", NotRegistrable::Scheme),
        ("file:///etc/passwd", NotRegistrable::Scheme),
        ("vscode://x", NotRegistrable::Scheme),
    ] {
        assert_eq!(
            RegisteredRedirectUri::parse(text, &["cursor".to_owned()]),
            Err(reason),
            "{text}"
        );
    }
}

/// RFC 8252 §7.3
#[test]
fn only_the_port_of_a_loopback_redirect_may_differ() {
    for (registration, presented) in [
        ("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb"),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:65535/cb"),
        ("http://[::1]:1/cb", "http://[::1]:2/cb"),
        ("http://localhost:3334/oauth/callback", "http://localhost:3335/oauth/callback"),
        ("https://example.com/cb", "https://example.com/cb"),
    ] {
        assert!(registered(registration).matches(presented).is_some(), "{presented}");
    }
}

/// OAuth 2.1 §2.3.1; RFC 9700 §4.1.3
#[test]
fn any_other_difference_does_not_match() {
    for (registration, presented) in [
        ("http://127.0.0.1/cb", "http://localhost/cb"),
        ("http://localhost/cb", "http://LOCALHOST/cb"),
        ("http://localhost/cb", "http://localhost./cb"),
        ("http://127.0.0.1/cb", "https://127.0.0.1/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5000/other"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb?x=y"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb#x"),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil.com/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:80@evil.com/cb"),
        ("http://127.0.0.1/cb", "http://127.1/cb"),
        ("http://127.0.0.1/cb", "http://0x7f.1/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:/cb"),
        ("http://[::1]/cb", "http://[::ffff:127.0.0.1]/cb"),
        ("https://example.com/cb", "https://example.com:444/cb"),
        ("https://example.com/cb", "https://example.com/cb/"),
        ("https://example.com/cb", "https://example.com/CB"),
        ("https://example.com/cb", "https://example.com/cb?x"),
        ("https://example.com/cb", "https://example.com.evil.com/cb"),
        ("https://example.com/cb", "https://evil.com/cb"),
        ("cursor://a/cb", "cursor://a:1/cb"),
    ] {
        assert_eq!(registered(registration).matches(presented), None, "{presented}");
    }
}

#[test]
fn an_operator_may_leave_the_last_segment_of_a_path_open() {
    let written = |text: &str| RegisteredRedirectUri::parse_written_by_operator(text, &[]);
    let open = written("https://chat.example/connector/oauth/*").unwrap();

    for presented in [
        "https://chat.example/connector/oauth/eaQ3VyiNzLuI",
        "https://chat.example/connector/oauth/a-b_C",
    ] {
        assert!(open.matches(presented).is_some(), "{presented}");
    }
    for presented in [
        "https://chat.example/connector/oauth/",
        "https://chat.example/connector/oauth",
        "https://chat.example/connector/oauth/a/",
        "https://chat.example/connector/oauth/a/b",
        "https://chat.example/connector/oauth/..",
        "https://chat.example/connector/oauth/../x",
        "https://chat.example/connector/oauth/%2e%2e",
        "https://chat.example/connector/oauth/a%2fb",
        "https://chat.example/connector/oauth/a?x=y",
        "https://chat.example/connector/oauth/a#x",
        "https://chat.example/connector/oauth/a\\b",
        "https://chat.example/connector/oauth/a;b",
        "https://chat.example/connector/oauth/*",
        "https://chat.example/connector/oauth//a",
        "https://chat.example/connector/OAuth/a",
        "https://chat.example:444/connector/oauth/a",
        "https://chat.example.evil.com/connector/oauth/a",
        "https://evil.com/connector/oauth/a",
        "http://chat.example/connector/oauth/a",
    ] {
        assert_eq!(open.matches(presented), None, "{presented}");
    }
    let long = format!("https://chat.example/connector/oauth/{}", "a".repeat(129));
    assert_eq!(open.matches(&long), None);
}

#[test]
fn a_star_stands_for_nothing_else() {
    for text in [
        "https://chat.example/*",
        "https://chat.example*",
        "https://*/oauth/cb",
        "https://*.chat.example/oauth/cb",
        "https://chat.example/*/cb",
        "https://chat.example/oauth/a*",
        "https://chat.example/oauth/**",
        "https://chat.example/oauth/*/*",
        "https://chat.example/oauth/../*",
        "https://chat.example/oauth/%2e%2e/*",
        "https://chat.example//*",
        "https://chat.example:443/oauth/*",
        "https://chat.example/oauth?x=/*",
        "http://127.0.0.1/oauth/*",
        "cursor://host/oauth/*",
    ] {
        let written =
            RegisteredRedirectUri::parse_written_by_operator(text, &["cursor".to_owned()]);
        assert!(written.is_err(), "{text}");
    }
    // A client that registers itself says nothing for other paths than its own.
    let itself = registered("https://chat.example/oauth/*");
    assert_eq!(itself.matches("https://chat.example/oauth/a"), None);
    assert!(itself.matches("https://chat.example/oauth/*").is_some());
}

#[test]
fn parameters_are_added_to_the_query_that_is_there() {
    let plain = registered("https://a.example/cb").matches("https://a.example/cb").unwrap();
    let query = registered("https://a.example/cb?t=1").matches("https://a.example/cb?t=1").unwrap();

    assert_eq!(plain.with(&[("code", "x y"), ("s", "&")]), "https://a.example/cb?code=x+y&s=%26");
    assert_eq!(query.with(&[("code", "x")]), "https://a.example/cb?t=1&code=x");
}

proptest! {
    /// The exception never widens: whatever is accepted has the same origin but for a loopback port.
    #[test]
    fn an_accepted_uri_never_leaves_its_origin(
        host in "(127\\.0\\.0\\.1|localhost|\\[::1\\]|example\\.com)",
        tail in "[a-z0-9.:@/?#\\\\%-]{0,24}",
    ) {
        let registration = if host == "example.com" {
            registered("https://example.com/cb")
        } else {
            registered(&format!("http://{host}/cb"))
        };
        for scheme in ["http", "https"] {
            let presented = format!("{scheme}://{host}{tail}");
            if registration.matches(&presented).is_some() {
                let accepted = Url::parse(&presented).unwrap();
                let own = Url::parse(registration.as_str()).unwrap();
                prop_assert_eq!(accepted.host_str(), own.host_str());
                prop_assert_eq!(accepted.scheme(), own.scheme());
                prop_assert_eq!(accepted.path(), own.path());
                prop_assert_eq!(accepted.username(), "");
                prop_assert!(accepted.port() == own.port() || accepted.scheme() == "http");
            }
        }
    }

    /// OAuth 2.1 §2.3.1, RFC 8252 §7.3: the same bytes, or another port of the same loopback host; and all
    /// of that.
    #[test]
    fn what_matches_is_the_same_but_for_a_loopback_port(
        (registration, presented) in registered_and_presented(),
    ) {
        let registration = registered(&registration);
        let is_same = registration.as_str() == presented
            || matches!(
                (around_port(registration.as_str()), around_port(&presented)),
                (Some(own), Some(presented)) if own == presented
            );

        let accepted = registration.matches(&presented);

        prop_assert_eq!(accepted.is_some(), is_same, "{} {}", registration.as_str(), presented);
        if let Some(accepted) = accepted {
            let own = Url::parse(registration.as_str()).unwrap();
            let url = Url::parse(accepted.as_str()).unwrap();
            prop_assert_eq!(url.username().len() + url.password().map_or(0, str::len), 0);
            prop_assert_eq!(url.fragment(), None);
            prop_assert_eq!(url.host_str(), own.host_str());
            prop_assert_eq!((url.path(), url.query()), (own.path(), own.query()));
            if own.scheme() == "http" {
                prop_assert_eq!(url.scheme(), "http");
            } else {
                prop_assert_eq!(url[..Position::BeforePath].to_owned(), &own[..Position::BeforePath]);
            }
        }
    }

    /// docs/decisions/0010: one segment of letters, digits, dash and underscore.
    #[test]
    fn a_star_is_one_plain_segment_for_another_parser_too(
        start in "https://(chat|a\\.b)\\.example(:8443)?/[a-z]{1,8}/([a-z0-9]{1,4}/)?",
        ending in prop_oneof!["[A-Za-z0-9_-]{0,130}", "[a-z0-9./?#;:@%*&=\\\\ -]{0,8}", any::<String>()],
        is_bent in prop::bool::weighted(0.2),
        bend in bending(),
    ) {
        let open =
            RegisteredRedirectUri::parse_written_by_operator(&format!("{start}*"), &[]).unwrap();
        let presented = format!("{start}{ending}");
        let presented = if is_bent { bent(&presented, &bend) } else { presented };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let segment = presented.strip_prefix(&start).filter(|segment| segment.chars().all(plain));
        let is_covered = segment.is_some_and(|segment| (1..=128).contains(&segment.len()));

        let accepted = open.matches(&presented);

        prop_assert_eq!(accepted.is_some(), is_covered, "{} {}", start, presented);
        if let Some(accepted) = accepted {
            let url = Url::parse(accepted.as_str()).unwrap();
            prop_assert_eq!(url.as_str(), presented.as_str(), "mended");
            prop_assert_eq!(url.origin(), Url::parse(&start).unwrap().origin());
            prop_assert_eq!(url.path_segments().unwrap().next_back(), segment);
            prop_assert_eq!((url.query(), url.fragment()), (None, None));
        }
    }
}

/// A change of one place: there, that many characters make way for this.
type Bend = (prop::sample::Index, usize, String);

fn bending() -> impl Strategy<Value = Bend> {
    let text = prop_oneof![
        "[a-z0-9.:@/?#%\\\\_-]{0,3}",
        Just(":80".to_owned()),
        Just(".evil.com".to_owned()),
        Just("localhost".to_owned()),
        Just("\t".to_owned()),
    ];
    (any::<prop::sample::Index>(), 0..4_usize, text)
}

/// Of ASCII, or not at all.
fn bent(text: &str, (at, removed, put): &Bend) -> String {
    let start = at.index(text.len() + 1);
    let end = (start + removed).min(text.len());
    match (text.get(..start), text.get(end..)) {
        (Some(before), Some(after)) => format!("{before}{put}{after}"),
        (None, _) | (_, None) => text.to_owned(),
    }
}

/// What may be registered, and that with another port, perhaps bent in one place or two.
fn registered_and_presented() -> impl Strategy<Value = (String, String)> {
    let port = || prop_oneof![Just(String::new()), (0..70_000_u32).prop_map(|n| format!(":{n}"))];
    let before = prop_oneof![
        Just("http://127.0.0.1"),
        Just("http://[::1]"),
        Just("http://localhost"),
        Just("https://localhost"),
        Just("https://client.example"),
        Just("cursor://client.example"),
    ];
    let after = "(/[a-z0-9]{0,6}){0,3}(\\?[a-z]{1,3}=[0-9:]{0,3})?";
    let bends = prop::collection::vec(bending(), 0..3);
    (before, port(), port(), any::<bool>(), after, bends)
        .prop_map(|(before, own, other, is_moved, after, bends)| {
            let registration = format!("{before}{own}{after}");
            let moved =
                if is_moved { format!("{before}{other}{after}") } else { registration.clone() };
            (registration, bends.iter().fold(moved, |text, bend| bent(&text, bend)))
        })
        .prop_filter("can't be registered", |(registration, _)| {
            RegisteredRedirectUri::parse(registration, &["cursor".to_owned()]).is_ok()
        })
}

/// What stands before and after the port of `http` on loopback; RFC 3986 §3, by hand.
fn around_port(text: &str) -> Option<(&str, &str)> {
    let authority = text.strip_prefix("http://")?;
    let length = authority.find(['/', '?']).unwrap_or(authority.len());
    let (authority, rest) = authority.split_at(length);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    let is_port = |port: &str| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    };
    let is_loopback = ["127.0.0.1", "[::1]", "localhost"].contains(&host);
    (is_loopback && port.is_none_or(is_port)).then_some((host, rest))
}
