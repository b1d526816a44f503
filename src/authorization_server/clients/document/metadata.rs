//! What a client ID metadata document says, checked
//! (draft-ietf-oauth-client-id-metadata-document §4.1; MCP, "Client Registration Approaches").

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::jose::{KeySet, json};
use crate::oauth::{ClientIdUrl, RegisteredRedirectUri};
use crate::pages::readable;

/// The part of a document that means something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// As the document says; nobody but its publisher vouches for it.
    pub name: String,
    /// Those that are allowed here; at least one.
    pub redirect_uris: Vec<RegisteredRedirectUri>,
    /// Whether the client wants refresh tokens.
    pub refreshes: bool,
    pub keys: ClientKeys,
}

/// What the client signs with to prove who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKeys {
    /// Nothing: a public client.
    None,
    /// Keys that stand in the document: the text of a JWK Set in which at least one is of use here.
    Inline(String),
    /// Keys that its publisher has there.
    At(ClientIdUrl),
}

/// What is wrong with a document. Completes "the document …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Without the parser's own words: they may repeat what stands there.
    #[error("is not JSON with the members that are expected (line {0}, column {1})")]
    NotJson(usize, usize),
    #[error("is of another client: its client_id is {0:?}, not its own URL")]
    AnotherClient(String),
    #[error("has no client_name")]
    NoName,
    #[error(
        "has no redirect_uris that are allowed here; registration.redirect_schemes says what is"
    )]
    NoRedirectUri,
    #[error("has a client_secret in it, which everybody can read")]
    Secret,
    #[error(
        "wants its client to authenticate by private_key_jwt, and needs either jwks, with a public key for signatures that is supported here, or jwks_uri, an https URL in normal form"
    )]
    NoKeys,
    #[error("has token_endpoint_auth_method {0:?}; only none and private_key_jwt are possible")]
    Authentication(String),
    #[error("does not want the authorization_code grant with response_type code")]
    NoCode,
}

/// Unknown members are ignored; of `logo_uri`, `client_uri` and the like none is ever fetched or shown, and
/// `jwks_uri` only for a client that signs.
#[derive(Deserialize)]
struct Members {
    client_id: String,
    client_name: Option<String>,
    redirect_uris: Option<Vec<String>>,
    token_endpoint_auth_method: Option<String>,
    jwks: Option<Value>,
    jwks_uri: Option<Value>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_secret: Option<IgnoredAny>,
    client_secret_expires_at: Option<IgnoredAny>,
}

impl Document {
    /// Read the document that was found at `url`. A redirect URI that may not be registered here does
    /// not count: a document is the same for every server, so one of them may be meant for others.
    pub fn parse(
        url: &ClientIdUrl,
        text: &[u8],
        redirect_schemes: &[String],
    ) -> Result<Self, Invalid> {
        let members: Members =
            json::object(text).map_err(|error| Invalid::NotJson(error.line(), error.column()))?;
        // §4: "simple string comparison".
        if members.client_id != url.as_str() {
            return Err(Invalid::AnotherClient(members.client_id.chars().take(200).collect()));
        }
        if members.client_secret.is_some() || members.client_secret_expires_at.is_some() {
            return Err(Invalid::Secret);
        }
        let keys = match members.token_endpoint_auth_method.as_deref() {
            None | Some("none") => ClientKeys::None,
            Some("private_key_jwt") => {
                ClientKeys::of(members.jwks, members.jwks_uri).ok_or(Invalid::NoKeys)?
            }
            Some(other) => return Err(Invalid::Authentication(other.chars().take(50).collect())),
        };
        let lists = |types: &Option<Vec<String>>, name: &str| {
            types.as_ref().is_none_or(|types| types.iter().any(|own| own == name))
        };
        if !lists(&members.grant_types, "authorization_code")
            || !lists(&members.response_types, "code")
        {
            return Err(Invalid::NoCode);
        }
        let name = members.client_name.as_deref().map(readable).unwrap_or_default();
        if name.is_empty() {
            return Err(Invalid::NoName);
        }
        let redirect_uris: Vec<_> = members
            .redirect_uris
            .unwrap_or_default()
            .iter()
            .filter_map(|uri| RegisteredRedirectUri::parse(uri, redirect_schemes).ok())
            .collect();
        if redirect_uris.is_empty() {
            return Err(Invalid::NoRedirectUri);
        }
        let refreshes = lists(&members.grant_types, "refresh_token");
        Ok(Self { name, redirect_uris, refreshes, keys })
    }
}

impl ClientKeys {
    /// RFC 7591 §2: one of the two, not both.
    fn of(jwks: Option<Value>, jwks_uri: Option<Value>) -> Option<Self> {
        match (jwks, jwks_uri) {
            (Some(jwks), None) => {
                let text = jwks.to_string();
                KeySet::published(text.as_bytes()).map(|_| Self::Inline(text))
            }
            // Fetched as a document is, so it has to be as plain as the URL of one.
            (None, Some(uri)) => ClientIdUrl::parse(uri.as_str()?).ok().map(Self::At),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const URL: &str = "https://client.example/c.json";

    fn usual() -> Value {
        json!({
            "client_id": URL,
            "client_name": "Example",
            "redirect_uris": ["http://127.0.0.1/callback", "https://client.example/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "logo_uri": "https://client.example/logo.png",
        })
    }

    fn parse(document: &Value) -> Result<Document, Invalid> {
        let url = ClientIdUrl::parse(URL).unwrap();
        Document::parse(&url, document.to_string().as_bytes(), &["cursor".to_owned()])
    }

    fn with(member: &str, value: Value) -> Value {
        let mut document = usual();
        document[member] = value;
        document
    }

    fn without(members: &[&str]) -> Value {
        let mut document = usual();
        document.as_object_mut().unwrap().retain(|name, _| !members.contains(&name.as_str()));
        document
    }

    #[test]
    fn a_document_says_who_the_client_is() {
        let document = parse(&usual()).unwrap();

        assert_eq!(document.name, "Example");
        assert_eq!(document.redirect_uris.len(), 2);
        assert!(document.refreshes);
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let members = ["grant_types", "response_types", "token_endpoint_auth_method"];

        assert!(parse(&without(&members)).unwrap().refreshes);
        assert!(!parse(&with("grant_types", json!(["authorization_code"]))).unwrap().refreshes);
    }

    #[test]
    fn a_redirect_uri_that_is_not_allowed_here_does_not_count() {
        let uris =
            json!(["javascript:alert(1)", "http://evil.example/", "unlisted://x", "cursor://x"]);

        let document = parse(&with("redirect_uris", uris)).unwrap();

        assert_eq!(document.redirect_uris.len(), 1);
        assert_eq!(document.redirect_uris[0].as_str(), "cursor://x");
    }

    /// §4.1, §6.2
    #[test]
    fn a_document_that_breaks_the_rules_is_refused() {
        let another =
            |id: &str| (with("client_id", json!(id)), Invalid::AnotherClient(id.to_owned()));
        for (document, reason) in [
            another("https://client.example/C.json"),
            another("https://client.example:443/c.json"),
            another("https://client.example/c%2ejson"),
            another("https://client.example/c.json/"),
            another("https://client.example/c.json?"),
            another("https://CLIENT.example/c.json"),
            another("https://other.example/c.json"),
            another(""),
            (without(&["client_name"]), Invalid::NoName),
            (with("client_name", json!(" \u{200b} ")), Invalid::NoName),
            (without(&["redirect_uris"]), Invalid::NoRedirectUri),
            (with("redirect_uris", json!([])), Invalid::NoRedirectUri),
            (with("redirect_uris", json!(["javascript:alert(1)"])), Invalid::NoRedirectUri),
            (with("client_secret", json!("x")), Invalid::Secret),
            (with("client_secret", json!({})), Invalid::Secret),
            (with("client_secret_expires_at", json!(0)), Invalid::Secret),
            (with("token_endpoint_auth_method", json!("private_key_jwt")), Invalid::NoKeys),
            (
                with("token_endpoint_auth_method", json!("client_secret_basic")),
                Invalid::Authentication("client_secret_basic".to_owned()),
            ),
            (
                with("token_endpoint_auth_method", json!("client_secret_jwt")),
                Invalid::Authentication("client_secret_jwt".to_owned()),
            ),
            (with("grant_types", json!(["client_credentials"])), Invalid::NoCode),
            (with("response_types", json!(["token"])), Invalid::NoCode),
        ] {
            assert_eq!(parse(&document), Err(reason), "{document}");
        }
    }

    fn signing(members: &Value) -> Value {
        let mut document = with("token_endpoint_auth_method", json!("private_key_jwt"));
        document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        document
    }

    /// RFC 7591 §2
    #[test]
    fn a_client_that_signs_says_where_its_keys_are() {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let unknown = json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" });
        let set = |keys: &[&Value]| json!({ "keys": keys });
        let uri = "https://client.example/jwks.json";

        for members in [json!({ "jwks": set(&[&key]) }), json!({ "jwks": set(&[&unknown, &key]) })]
        {
            let document = parse(&signing(&members)).unwrap();
            assert!(matches!(document.keys, ClientKeys::Inline(_)), "{document:?}");
        }
        let at = parse(&signing(&json!({ "jwks_uri": uri }))).unwrap();
        assert_eq!(at.keys, ClientKeys::At(ClientIdUrl::parse(uri).unwrap()));

        let mut private = key.clone();
        private["d"] = json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        for members in [
            json!({}),
            json!({ "jwks": set(&[]) }),
            json!({ "jwks": set(&[&unknown]) }),
            json!({ "jwks": set(&[&private]) }),
            json!({ "jwks": [key] }),
            json!({ "jwks": "keys" }),
            json!({ "jwks": set(&[&key]), "jwks_uri": uri }),
            json!({ "jwks_uri": 1 }),
            json!({ "jwks_uri": "/jwks.json" }),
            json!({ "jwks_uri": "http://client.example/jwks.json" }),
            json!({ "jwks_uri": "https://10.0.0.1/jwks.json" }),
            json!({ "jwks_uri": "https://a:b@client.example/jwks.json" }),
            json!({ "jwks_uri": "file:///etc/passwd" }),
            json!({ "jwks_uri": "data:application/json,{}" }),
        ] {
            assert_eq!(parse(&signing(&members)), Err(Invalid::NoKeys), "{members}");
        }
        // Of a public client they mean nothing.
        assert_eq!(parse(&with("jwks_uri", json!(1))).unwrap().keys, ClientKeys::None);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let url = ClientIdUrl::parse(URL).unwrap();
        let twice = format!(r#"{{"client_id": "{URL}", "client_id": "{URL}"}}"#);
        let listed =
            format!(r#"["{URL}","Example",["cursor://x"],null,null,null,null,null,null,null]"#);
        for text in ["", "null", "[]", "{}", "\u{feff}{}", "{\"client_id\": 1}", &twice, &listed] {
            let parsed = Document::parse(&url, text.as_bytes(), &["cursor".to_owned()]);
            assert!(matches!(parsed, Err(Invalid::NotJson(..))), "{text}: {parsed:?}");
        }
    }
}
