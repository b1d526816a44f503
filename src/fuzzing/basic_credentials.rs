//! `Authorization: Basic` at the token endpoint (`authorization_server::clients::credentials`), beside a slow reader
//! (RFC 7617 §2, RFC 6749 §2.3.1). The first line is the header, or the pair in it that has yet to be encoded, so
//! that it can be read here; the rest is the form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use url::form_urlencoded;

use crate::authorization_server::clients::credentials::{Proof, Sent, read};
use crate::fuzzing::form::decoded;
use crate::wire::Form;

pub fn basic_credentials(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, form) = data.split_at(end);
    let form = Form::parse(form.get(1..).unwrap_or_default());

    check(line, &form);
    check(basic(line).as_bytes(), &form);
    if let Some((id, secret)) = str::from_utf8(line).ok().and_then(|pair| pair.split_once(':')) {
        assert_known_again(id, secret);
    }
}

fn check(line: &[u8], form: &Form) {
    let Ok(line) = HeaderValue::from_bytes(line) else { return };
    let mut headers = HeaderMap::from_iter([(AUTHORIZATION, line.clone())]);
    let pair = pair(line.as_bytes());
    let others = ["client_secret", "client_assertion", "client_assertion_type"];
    let has_another = others.iter().any(|name| form.all(name).next().is_some());
    let mut ids = form.all("client_id");
    match (read(&headers, form), pair) {
        (Ok(sent), Some((id, secret))) => {
            assert!(!has_another, "two methods");
            assert_eq!(sent.client_id, decoded(id.as_bytes()));
            assert!(ids.all(|other| other == sent.client_id), "two clients");
            assert_eq!(secrets(&sent), if secret.is_empty() { vec![] } else { both(&secret) });
        }
        (Err(_), Some((id, _))) => {
            let is_another = ids.next().is_some_and(|one| one != decoded(id.as_bytes()));
            assert!(has_another || is_another || ids.next().is_some(), "refused for nothing");
        }
        (Ok(_), None) => panic!("these are no credentials"),
        (Err(_), None) => {}
    }
    headers.append(AUTHORIZATION, line);
    assert!(read(&headers, form).is_err(), "which of two?");
}

/// By whichever of the two ways its client sends them.
fn assert_known_again(id: &str, secret: &str) {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let by_the_book = format!("{}:{}", encoded(id), encoded(secret));
    let raw = is_plain.then(|| format!("{id}:{secret}"));
    for pair in [Some(by_the_book), raw].into_iter().flatten() {
        let line = HeaderValue::try_from(basic(pair.as_bytes())).expect("no header");
        let sent = read(&HeaderMap::from_iter([(AUTHORIZATION, line)]), &Form::default());
        let sent = sent.expect("refused");
        assert_eq!(sent.client_id, id);
        assert!(secret.is_empty() || secrets(&sent).contains(&secret.to_owned()), "another secret");
    }
}

fn basic(pair: &[u8]) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn secrets(sent: &Sent) -> Vec<String> {
    match &sent.proof {
        Proof::Nothing => vec![],
        Proof::Secret(candidates) => candidates.iter().map(|one| one.expose().to_owned()).collect(),
        Proof::Assertion(_) => panic!("an assertion"),
    }
}

fn both(secret: &str) -> Vec<String> {
    vec![secret.to_owned(), decoded(secret.as_bytes())]
}

fn pair(line: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = line.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = String::from_utf8(from_base64(encoded.trim_ascii())?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// RFC 4648 §4, with all of its padding and no bits that count for nothing (§3.5).
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bits = Vec::new();
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let (bytes, rest) = bits.as_chunks::<8>();
    let byte = |bits: &[u8; 8]| bits.iter().fold(0, |byte, bit| byte << 1 | bit);
    rest.iter().all(|bit| *bit == 0).then(|| bytes.iter().map(byte).collect())
}
