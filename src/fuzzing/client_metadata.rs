//! A client's metadata document (`authorization_server::clients::document`): what it says of itself, in JSON.

use serde_json::Value;

use crate::authorization_server::clients::document::{ClientKeys, Document};
use crate::jose::KeySet;
use crate::oauth::{ClientIdUrl, RegisteredRedirectUri};

pub fn client_metadata(data: &[u8]) {
    let url = ClientIdUrl::parse("https://client.example/c.json").expect("a URL");
    let schemes = ["cursor".to_owned()];
    let Ok(document) = Document::parse(&url, data, &schemes) else { return };
    // Members that mean nothing here are passed over, even if a string among them is no text.
    let Ok(json) = serde_json::from_slice::<Value>(data) else { return };

    assert_eq!(json.get("client_id").and_then(Value::as_str), Some(url.as_str()));
    let is_secret = |name| json.get(name).is_some_and(|value: &Value| !value.is_null());
    assert!(!is_secret("client_secret") && !is_secret("client_secret_expires_at"));
    let asked = json.get("redirect_uris").and_then(Value::as_array).expect("redirect URIs");
    assert!(!document.redirect_uris.is_empty());
    for uri in &document.redirect_uris {
        assert!(asked.contains(&Value::String(uri.as_str().to_owned())), "one that was not said");
        assert_eq!(RegisteredRedirectUri::parse(uri.as_str(), &schemes).as_ref(), Ok(uri));
    }
    let name = &document.name;
    assert!(!name.trim().is_empty() && name.chars().count() <= 65, "{name:?}");
    assert!(!name.chars().any(char::is_control), "{name:?}");
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!name.chars().any(turns), "it turns what is around it: {name:?}");
    let signs = json.get("token_endpoint_auth_method").and_then(Value::as_str);
    match &document.keys {
        ClientKeys::None => assert_ne!(signs, Some("private_key_jwt"), "it need not sign"),
        ClientKeys::Inline(text) => {
            assert!(KeySet::published(text.as_bytes()).is_some());
            assert_eq!(serde_json::from_str::<Value>(text).ok().as_ref(), json.get("jwks"));
        }
        ClientKeys::At(at) => {
            assert_eq!(json.get("jwks_uri").and_then(Value::as_str), Some(at.as_str()));
        }
    }
}
