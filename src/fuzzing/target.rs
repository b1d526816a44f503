//! Request targets (`server::entry`): what is accepted is one path to everybody, whether they decode it, decode
//! it twice, resolve its dots or read it as a browser does.

use http::{Request, Uri};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::server::fed::check;

pub fn target(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    let host = uri.authority().map_or("a.example", |authority| authority.as_str()).to_owned();
    let Ok(request) = Request::get(uri).header("host", host).body(()) else { return };
    if check(&request).is_err() {
        return;
    }
    let path = request.uri().path();
    let decoded: Vec<u8> = percent_decode_str(path).collect();

    assert!(path.starts_with('/'));
    let slashes = |text: &[u8]| memchr::memchr_iter(b'/', text).count();
    assert_eq!(slashes(&decoded), slashes(path.as_bytes()), "a slash was hidden");
    let is_dangerous = |byte: &u8| byte.is_ascii_control() || b"\\;%?#".contains(byte);
    let hidden = decoded.iter().position(is_dangerous);
    let is_said = |at: usize| matches!(decoded.get(at), Some(b'?' | b'#')) && path.contains('%');
    assert!(hidden.is_none_or(is_said), "decoded, it has a byte that means something else");
    let segments: Vec<&[u8]> = decoded.split(|byte| *byte == b'/').collect();
    for (place, segment) in segments.iter().enumerate().skip(1) {
        assert!(![&b"."[..], b".."].contains(segment), "a segment of dots");
        assert!(!segment.is_empty() || place + 1 == segments.len(), "an empty segment");
    }
    // RFC 3986 §6.2.2: no other text that is accepted is the same path, but for the case of hexadecimal digits
    // and for delimiters, which may be themselves or encoded, and are not the same then.
    assert_eq!(normal(path), path.to_ascii_uppercase(), "there is another text for the same path");
    let url = Url::parse(&format!("http://a.example{path}")).expect("no URL");
    assert_eq!(url.path(), path, "a browser makes another of it");
}

/// Every byte that need not be encoded as itself, and all others encoded; in capitals.
fn normal(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let escape = rest.get(..3).filter(|text| text.starts_with('%')).unwrap_or_default();
        let byte = percent_decode_str(escape).next();
        let length = match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte));
                escape.len()
            }
            Some(_) => {
                out.push_str(escape);
                escape.len()
            }
            None => {
                out.push(first);
                first.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    out.to_ascii_uppercase()
}
