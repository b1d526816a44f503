//! Cookies (`browser::cookies`): what we read as ours never goes on to the upstream, and what is not ours goes
//! on as it came. Each line is a `Cookie` header.

use http::header::{COOKIE, HeaderMap, HeaderValue};

use crate::browser::{Cookies, cookies};
use crate::oauth::PublicUrl;
use crate::proxy::fed::without_own_cookies;

pub fn cookies(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = HeaderValue::from_bytes(line);
        line.ok()
    });
    let sent: HeaderMap = lines.map(|line| (COOKIE, line)).collect();
    let sent = &sent;
    let mut passed = HeaderMap::new();
    for line in sent.get_all(COOKIE) {
        if let Some(kept) = without_own_cookies(line.as_bytes()) {
            passed.append(COOKIE, HeaderValue::from_bytes(&kept).expect("no header"));
        }
        assert_others_pass(line.as_bytes());
    }

    for issuer in ["https://tools.example.com", "http://localhost:8080"] {
        let names = Cookies::of(&PublicUrl::parse(issuer).expect("an issuer"));
        for value in names.browser(sent).into_iter().chain(names.logins(sent)) {
            let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert!(value.len() == 22 && value.bytes().all(is_letter), "{value:?}");
            let mine = [names.set_browser(&value), names.end_login(&value)];
            assert!(mine.iter().flatten().all(|cookie| cookies::is_ours(cookie.as_bytes())));
            assert!(mine.iter().all(Option::is_some), "a cookie that can't be set");
        }
        assert_eq!(names.browser(&passed), None, "ours goes to the upstream");
        assert_eq!(names.logins(&passed), Vec::<String>::new(), "ours goes to the upstream");
        assert_eq!(names.person(&passed), None, "ours goes to the upstream");
    }
}

fn assert_others_pass(line: &[u8]) {
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let others = pairs.filter(|pair| !pair.is_empty() && !pair.windows(8).any(looks_like_ours));
    let kept = without_own_cookies(line).unwrap_or_default();
    let kept: Vec<&[u8]> = kept.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).collect();
    for other in others {
        assert!(kept.contains(&other), "lost: {}", other.escape_ascii());
    }
}

fn looks_like_ours(window: &[u8]) -> bool {
    window.eq_ignore_ascii_case(b"doorman-")
}
