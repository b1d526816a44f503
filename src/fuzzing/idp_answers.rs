//! What the IdP answers: its token endpoint, introspection, tokeninfo, and claims about a person. Whatever it
//! says, nobody is more than was said of them. The first line is the status, the rest the body.

use http::{Response, StatusCode};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::idp::fed::{introspected, read_tokens, told_of};
use crate::idp::introspection::Introspected;
use crate::idp::{Identity, IdpSettings, LoginFault};
use crate::jose::json;

pub fn idp_answers(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (status, body) = data.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let status = StatusCode::from_bytes(status).unwrap_or(StatusCode::OK);
    let mut answer = Response::new(body.to_vec());
    *answer.status_mut() = status;
    // As anybody reads it; a reader that is stricter may refuse it. What is no UTF-8 may stand in a member that nobody
    // reads, as the text of an error.
    let text = String::from_utf8_lossy(body);
    let json = serde_json::from_str::<Value>(&text).unwrap_or_default();

    check_tokens(&answer, &json);
    check_introspected(&answer, &json);
    check_told_of(&answer, &json);
    check_person(body, &json);
}

fn text<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    json.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn check_tokens(answer: &Response<Vec<u8>>, json: &Value) {
    let read = read_tokens(answer);
    match read.tokens {
        Ok(tokens) => {
            assert!(answer.status().is_success());
            assert_eq!(text(json, "error"), None, "an error passed for tokens");
            assert_eq!(Some(tokens.access.as_str()), text(json, "access_token"));
            assert_eq!(tokens.id.as_deref(), text(json, "id_token"));
        }
        Err(LoginFault::Refused { error, .. }) => {
            let is_code = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            assert!(error.len() <= 64 && error.bytes().all(is_code), "a code that lies: {error:?}");
        }
        Err(LoginFault::Garbled(_)) => {}
        Err(fault) => panic!("{fault}"),
    }
    if let Some(token) = read.refresh_token {
        assert_eq!(Some(token.expose()), text(json, "refresh_token"));
    }
}

fn check_introspected(answer: &Response<Vec<u8>>, json: &Value) {
    match introspected(answer, Timestamp::from_seconds(1_000_000)) {
        Ok(Introspected::Active(claims)) => {
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(json.get("active"), Some(&Value::Bool(true)));
            assert!(claims.all().iter().all(|(name, value)| json.get(name) == Some(value)));
        }
        Ok(Introspected::Inactive) => assert_eq!(json.get("active"), Some(&Value::Bool(false))),
        Err(_) => {}
    }
}

fn check_told_of(answer: &Response<Vec<u8>>, json: &Value) {
    match told_of(answer, Timestamp::from_seconds(1_000_000)) {
        Ok(Introspected::Active(claims)) => {
            assert_eq!(answer.status(), StatusCode::OK);
            let is_no = |name| json.get(name).is_some_and(|said| !said.is_null());
            assert!(!is_no("error") && !is_no("error_description"), "an error passed for a yes");
            assert_ne!(json.get("active"), Some(&Value::Bool(false)));
            // The IdP's own word about times is never replaced.
            for name in ["exp", "iat", "nbf"] {
                let said = json.get(name).and_then(Value::as_u64);
                let kept = claims.all().get(name).and_then(Value::as_u64);
                assert!(said.is_none() || kept == said, "another {name}: {kept:?}, {said:?}");
            }
        }
        Ok(Introspected::Inactive) => {
            assert!(matches!(answer.status().as_u16(), 400 | 401));
            assert!(json.get("error").or(json.get("error_description")).is_some());
        }
        Err(_) => {}
    }
}

fn check_person(body: &[u8], json: &Value) {
    let strict = json::parse(body);
    let Ok(Value::Object(claims)) = &strict else { return };
    assert_eq!(strict.as_ref().ok(), Some(json), "two readers, two readings");
    let mut settings =
        IdpSettings::openid_provider("https://idp.example".to_owned(), String::new());
    for user_key in [&["sub"][..], &["tid", "/a/b"]] {
        settings.user_key = user_key.iter().map(|&name| name.to_owned()).collect();
        let Ok(person) = Identity::from_claims(claims, &settings) else { continue };
        let parts = person.key.split('/').count();
        assert!(!person.key.is_empty() && (user_key.len() == 1 || parts == 2), "two keys in one");
        if let Some(email) = &person.email {
            assert_eq!(json.get("email_verified"), Some(&Value::Bool(true)), "nobody verified it");
            let is_plain = email.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
            assert!(is_plain && email.matches('@').count() == 1 && !email.starts_with('@'));
            assert_eq!(text(json, "email").map(str::to_ascii_lowercase).as_ref(), Some(email));
        }
        let said = json.get("groups").cloned().unwrap_or_default();
        // A single name is a list of one.
        let said = said.as_array().cloned().unwrap_or_else(|| vec![said]);
        for group in &person.groups {
            assert!(said.contains(&Value::String(group.clone())), "{group:?} was not said");
        }
        assert!(!person.groups.iter().any(String::is_empty));
    }
}
