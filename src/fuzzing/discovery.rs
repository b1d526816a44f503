//! What the IdP says about itself (`idp::discovery`): nothing is sent to another place than it names or the operator
//! wrote, nor in the clear, and what is right is not refused.

use serde_json::Value;
use url::Url;

use crate::clock::Timestamp;
use crate::idp::discovery::Document;
use crate::idp::profile::{IdentitySource, TENANT, Tenants};
use crate::idp::{Discovered, DiscoveryFault, IdpSettings};
use crate::jose::json;

pub fn discovery(data: &[u8]) {
    for settings in settings() {
        let read = read(data, &settings);

        if let Err(fault) = &read {
            assert!(!fault.is_passing(), "what was said is said");
            assert!(!fault.to_string().contains(char::is_control), "{:?}", fault.to_string());
        }
        // Members that mean nothing here are passed over, even if a string among them is no text.
        let Ok(lax) = serde_json::from_slice::<Value>(data) else { continue };
        let strict = json::parse(data);
        match read {
            Ok(read) => assert_said(&read, &lax, &settings),
            Err(fault) if strict.is_ok() => assert_has_reason(&fault, &lax, &settings),
            // Of what stands there twice neither counts.
            Err(_) => {}
        }
    }
}

/// Where all is, and where the keys are.
type Read = (Discovered, Option<Url>);

fn read(data: &[u8], settings: &IdpSettings) -> Result<Read, DiscoveryFault> {
    let document = Document::parse("https://idp.example/", data, settings)?;
    let keys = document.keys_url(settings)?;
    Ok((document.with_keys(None, settings, Timestamp::from_seconds(1_000_000))?, keys))
}

/// As providers differ.
fn settings() -> [IdpSettings; 5] {
    let of = |issuer: &str| IdpSettings::openid_provider(issuer.to_owned(), String::new());
    let usual = of("https://idp.example");
    let mut configured = usual.clone();
    configured.endpoints.token = Some("https://other.example/token".parse().unwrap());
    configured.endpoints.keys = Some("https://other.example/keys".parse().unwrap());
    let mut tenants = of("https://idp.example/common");
    tenants.tenants = Some(Tenants {
        template: format!("https://idp.example/{TENANT}"),
        claim: "tid".to_owned(),
        allowed: vec!["a".to_owned()],
    });
    let user: Url = "https://idp.example/user".parse().unwrap();
    [
        IdpSettings { identity: IdentitySource::Userinfo, ..usual.clone() },
        usual,
        configured,
        IdpSettings { identity: IdentitySource::UserResource(user), ..tenants },
        of("http://localhost:8081"),
    ]
}

/// What `json` names as one that may be used.
fn secure(json: &Value, name: &str, settings: &IdpSettings) -> Option<Url> {
    let url = Url::parse(json[name].as_str()?).ok()?;
    let is_on_http = settings.issuer.starts_with("http:");
    (url.scheme() == "https" || (is_on_http && url.scheme() == "http")).then_some(url)
}

fn is_issuer(json: &Value, settings: &IdpSettings) -> bool {
    let template = settings.tenants.as_ref().map(|tenants| tenants.template.as_str());
    json["issuer"].as_str().is_some_and(|said| said == settings.issuer || Some(said) == template)
}

fn assert_said((read, keys): &Read, json: &Value, settings: &IdpSettings) {
    assert!(is_issuer(json, settings), "another issuer");
    let own = &settings.endpoints;
    for (found, configured, name) in [
        (Some(&read.authorization_endpoint), &own.authorization, "authorization_endpoint"),
        (Some(&read.token_endpoint), &own.token, "token_endpoint"),
        (read.userinfo_endpoint.as_ref(), &own.userinfo, "userinfo_endpoint"),
        (read.revocation_endpoint.as_ref(), &own.revocation, "revocation_endpoint"),
        (read.introspection_endpoint.as_ref(), &own.introspection, "introspection_endpoint"),
    ] {
        let expected = configured.clone().or_else(|| secure(json, name, settings));
        assert_eq!(found, expected.as_ref(), "{name}");
    }
    let asks_for_keys = !matches!(settings.identity, IdentitySource::UserResource(_));
    let published = own.keys.clone().or_else(|| secure(json, "jwks_uri", settings));
    assert_eq!(*keys, published.filter(|_| asks_for_keys));
    assert!(settings.identity != IdentitySource::Userinfo || read.userinfo_endpoint.is_some());
    let says_issuer = json["authorization_response_iss_parameter_supported"] == true;
    assert_eq!(read.sends_issuer, says_issuer);
}

fn assert_has_reason(fault: &DiscoveryFault, json: &Value, settings: &IdpSettings) {
    match fault {
        DiscoveryFault::Garbled { .. } => {
            let is_text = json.get("issuer").is_none_or(Value::is_string);
            assert!(!json.is_object() || !is_text, "{fault}");
        }
        DiscoveryFault::AnotherIssuer { found, .. } => {
            assert!(!is_issuer(json, settings));
            assert!(json["issuer"].as_str().unwrap_or_default().starts_with(found));
        }
        DiscoveryFault::NoEndpoint(name) => {
            let is_url = json[*name].as_str().is_some_and(|text| Url::parse(text).is_ok());
            assert!(!is_url, "{fault}");
        }
        DiscoveryFault::NotHttps(url) => {
            let names =
                ["jwks_uri", "userinfo_endpoint", "authorization_endpoint", "token_endpoint"];
            let said = |name: &&str| json[*name].as_str().and_then(|text| Url::parse(text).ok());
            assert!(names.iter().filter_map(said).any(|one| one == *url));
            assert_ne!(url.scheme(), "https");
        }
        DiscoveryFault::Unreachable { .. }
        | DiscoveryFault::Status { .. }
        | DiscoveryFault::NoKeys => panic!("nobody was asked: {fault}"),
    }
}
