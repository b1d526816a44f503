//! The body of `POST /register` (`authorization_server::register`): what is registered is what was asked for, and
//! what may be is not refused (RFC 7591 §2, §3.2).

use serde_json::Value;

use crate::authorization_server::register::Metadata;
use crate::jose::json;
use crate::oauth::{ErrorCode, RegisteredRedirectUri, Scopes};

pub fn registration(data: &[u8]) {
    let schemes = ["cursor".to_owned()];
    let read = Metadata::parse(data, &schemes);

    if let Err(refused) = &read {
        let codes = [ErrorCode::InvalidClientMetadata, ErrorCode::InvalidRedirectUri];
        assert!(codes.contains(&refused.code));
    }
    // Members that mean nothing here are passed over, even if a string among them is no text.
    let Ok(lax) = serde_json::from_slice::<Value>(data) else { return };
    let expected = Expected::of(&lax, &schemes);
    match (read, expected) {
        (Ok(metadata), Some(expected)) => expected.assert_is(&metadata, &lax),
        (Ok(_), None) => panic!("it may not be registered"),
        (Err(_), None) => {}
        // Of what stands there twice neither counts.
        (Err(refused), Some(_)) => assert!(json::parse(data).is_err(), "{}", refused.description),
    }
}

/// What a simple reader makes of it, if anything.
struct Expected<'a> {
    redirect_uris: Vec<&'a str>,
    method: &'a str,
    refreshes: bool,
}

impl<'a> Expected<'a> {
    fn of(json: &'a Value, schemes: &[String]) -> Option<Self> {
        let of_type = |names: &[&str], is_it: fn(&Value) -> bool| {
            names.iter().filter_map(|name| named(json, name)).all(is_it)
        };
        let is_list =
            |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        let is_readable = json.is_object()
            && of_type(&["client_name", "token_endpoint_auth_method", "scope"], Value::is_string)
            && of_type(&["redirect_uris", "grant_types", "response_types"], is_list);
        let redirect_uris = texts(json, "redirect_uris")?;
        let may_be = |uri: &&str| RegisteredRedirectUri::parse(uri, schemes).is_ok();
        let is_web = redirect_uris.iter().any(|uri| uri.starts_with("https:"));
        let usual = if is_web { "client_secret_basic" } else { "none" };
        let method = text(json, "token_endpoint_auth_method").unwrap_or(usual);
        let has = |name, one| texts(json, name).is_none_or(|types| types.contains(&one));
        let is_possible = is_readable
            && (1..=10).contains(&redirect_uris.len())
            && redirect_uris.iter().all(may_be)
            && ["none", "client_secret_basic", "client_secret_post"].contains(&method)
            && has("grant_types", "authorization_code")
            && has("response_types", "code");
        let refreshes = has("grant_types", "refresh_token");
        is_possible.then_some(Self { redirect_uris, method, refreshes })
    }

    fn assert_is(&self, metadata: &Metadata, json: &Value) {
        let registered: Vec<_> =
            metadata.redirect_uris.iter().map(RegisteredRedirectUri::as_str).collect();
        assert_eq!(registered, self.redirect_uris);
        assert_eq!(metadata.method, self.method);
        assert_eq!(metadata.refreshes, self.refreshes);
        let said = text(json, "client_name").unwrap_or_default();
        match &metadata.name {
            Some(name) => assert_readable(name, said),
            None => assert!(!said.chars().any(|c| c.is_ascii_graphic()), "{said:?} is no name"),
        }
        let scopes = text(json, "scope").unwrap_or_default();
        assert_eq!(metadata.scopes, Scopes::parse(scopes));
        assert!(metadata.scopes.names().all(|name| scopes.split(' ').any(|said| said == name)));
        assert_eq!(metadata.client_uri.as_deref(), json["client_uri"].as_str());
        assert_eq!(metadata.application_type.as_deref(), json["application_type"].as_str());
    }
}

/// A person reads it, on a page that asks whether they trust it.
fn assert_readable(name: &str, said: &str) {
    assert!(!name.trim().is_empty() && name.chars().count() <= 65, "{name:?}");
    assert!(!name.chars().any(char::is_control), "{name:?}");
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!name.chars().any(turns), "it turns what is around it: {name:?}");
    let mut said = said.chars();
    let start = name.strip_suffix('…').unwrap_or(name);
    assert!(start.chars().all(|c| said.any(|other| other == c)), "{name:?} was not said");
}

/// `null` is as good as absent.
fn named<'a>(json: &'a Value, name: &str) -> Option<&'a Value> {
    json.get(name).filter(|value| !value.is_null())
}

fn text<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    named(json, name).and_then(Value::as_str)
}

fn texts<'a>(json: &'a Value, name: &str) -> Option<Vec<&'a str>> {
    named(json, name)?.as_array()?.iter().map(Value::as_str).collect()
}
