//! Whether MCP clients can get tokens of the IdP by themselves (`tokens.issued_by: idp`): what would stop them
//! is told at the start, each with what to do. Nothing here changes what is accepted.

use http::{Request, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use crate::idp::Idp;

/// What stops MCP clients at the IdP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("none of the addresses where MCP clients look has its metadata: {0}")]
    NoDocument(String),
    #[error("the metadata at {url} says issuer {found:?}, which is not idp.issuer")]
    AnotherIssuer { url: String, found: String },
    #[error("it lets no client register, and knows no client ID metadata documents")]
    NoRegistration,
    #[error("its metadata has no S256 in code_challenge_methods_supported")]
    NoCodeChallenge,
    #[error(
        "its metadata has no introspection_endpoint, without which no token can be judged that is not a JWT"
    )]
    NoIntrospection,
    #[error("it lists the resources that it issues tokens for, and {0} is not among them")]
    UnknownResource(String),
}

impl Obstacle {
    pub fn fix(&self) -> &'static str {
        match self {
            Self::NoDocument(_) => {
                "have the provider publish RFC 8414 or OpenID Connect metadata there, or set tokens.issued_by: doorman"
            }
            Self::AnotherIssuer { .. } => {
                "set idp.issuer to that text if it is the provider's; clients compare it byte by byte"
            }
            Self::NoRegistration => {
                "switch on dynamic client registration or client ID metadata documents, give people a client id that you registered, or set tokens.issued_by: doorman"
            }
            Self::NoCodeChallenge => {
                "switch on PKCE at the provider: MCP clients must not go on without, or set tokens.issued_by: doorman"
            }
            Self::NoIntrospection => {
                "set idp.endpoints.introspection to where the provider has it, or idp.access_token_validation: jwt"
            }
            Self::UnknownResource(_) => {
                "register the resource at the provider, or set resources[].audience to its name there"
            }
        }
    }
}

impl Idp {
    /// What stops clients that want a token for one of `resources`, in the order in which they would notice.
    pub async fn obstacles(&self, resources: &[String]) -> Vec<Obstacle> {
        let places = places(&self.settings.issuer);
        let mut found = None;
        for url in &places {
            if let Some(metadata) = self.metadata_at(url).await {
                found = Some((url, metadata));
                break;
            }
        }
        let Some((url, metadata)) = found else {
            return vec![Obstacle::NoDocument(places.join(" "))];
        };
        let mut obstacles = Vec::new();
        let issuer = metadata.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if issuer != self.settings.issuer {
            let (url, found) = (url.clone(), issuer.to_owned());
            obstacles.push(Obstacle::AnotherIssuer { url, found });
        }
        let takes_documents =
            metadata.get("client_id_metadata_document_supported") == Some(&Value::Bool(true));
        if !metadata.get("registration_endpoint").is_some_and(Value::is_string) && !takes_documents
        {
            obstacles.push(Obstacle::NoRegistration);
        }
        let list = |name: &str| metadata.get(name).and_then(Value::as_array);
        if !list("code_challenge_methods_supported").is_some_and(|own| has(own, "S256")) {
            obstacles.push(Obstacle::NoCodeChallenge);
        }
        let says_where = self.settings.endpoints.introspection.is_some()
            || metadata.get("introspection_endpoint").is_some_and(Value::is_string);
        if self.settings.access_tokens.validation.introspects() && !says_where {
            obstacles.push(Obstacle::NoIntrospection);
        }
        // RFC 9728 §4. Otherwise nothing tells for whom it would issue tokens.
        if let Some(known) = list("protected_resources") {
            let unknown = resources.iter().filter(|resource| !has(known, resource));
            obstacles.extend(unknown.cloned().map(Obstacle::UnknownResource));
        }
        obstacles
    }

    async fn metadata_at(&self, url: &str) -> Option<Map<String, Value>> {
        let request = Request::get(url).header(http::header::ACCEPT, "application/json");
        let answer = self.connection.send(request.body(Vec::new()).ok()?).await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        serde_json::from_slice(answer.body()).ok()
    }
}

fn has(list: &[Value], text: &str) -> bool {
    list.iter().any(|one| one == text)
}

/// Where MCP clients look, in their order: the well-known names before the issuer's path, then below it.
fn places(issuer: &str) -> Vec<String> {
    let Ok(url) = Url::parse(issuer) else { return Vec::new() };
    let origin = url.origin().ascii_serialization();
    let path = url.path().trim_end_matches('/');
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_look_before_and_below_the_path_of_an_issuer() {
        let of_realm = [
            "https://a.example/.well-known/oauth-authorization-server/realms/x",
            "https://a.example/.well-known/openid-configuration/realms/x",
            "https://a.example/realms/x/.well-known/openid-configuration",
        ];
        let of_root = [
            "https://a.example/.well-known/oauth-authorization-server",
            "https://a.example/.well-known/openid-configuration",
        ];
        assert_eq!(places("https://a.example/realms/x"), of_realm);
        assert_eq!(places("https://a.example/realms/x/"), of_realm);
        assert_eq!(places("https://a.example"), of_root);
        assert_eq!(places("https://a.example/"), of_root);
    }
}
