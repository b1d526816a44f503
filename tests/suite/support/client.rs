//! An OAuth client as MCP clients are: registers itself, keeps a verifier, exchanges, refreshes, calls.

use serde_json::{Value, json};
use url::form_urlencoded;

use crate::support::exchange::Exchange;
use crate::support::{hash_text, random_text};

/// What a client knows after registration.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    pub redirect_uri: String,
}

/// An authorization request, whose parameters a test may bend.
#[derive(Clone, Debug)]
pub struct Authorization {
    endpoint: String,
    pub verifier: String,
    pub state: String,
    parameters: Vec<(String, String)>,
}

/// What the token endpoint gave.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

/// What a client registers with, unless the test says more.
pub fn metadata(redirect_uri: &str) -> Value {
    json!({
        "client_name": "Example Client",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
}

impl Authorization {
    pub fn of(client: &Client, endpoint: &str, resource: &str) -> Self {
        let (verifier, state) = (random_text(), random_text());
        let parameters = [
            ("response_type", "code"),
            ("client_id", client.id.as_str()),
            ("redirect_uri", client.redirect_uri.as_str()),
            ("code_challenge", &hash_text(&verifier)),
            ("code_challenge_method", "S256"),
            ("resource", resource),
            ("state", &state),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let parameters = parameters.map(owned).to_vec();
        Self { endpoint: endpoint.to_owned(), verifier, state, parameters }
    }

    pub fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(own, _)| own != name);
        self
    }

    /// Add a parameter, a second time if it is there already.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replace a parameter, or add it.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    pub fn url(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.parameters);
        format!("{}?{}", self.endpoint, query.finish())
    }
}

impl Exchange {
    /// RFC 6749 §5.1
    #[track_caller]
    pub fn tokens(&self) -> Tokens {
        self.assert_status(200);
        let body = self.json();
        let text = |name: &str| {
            let value = body[name].as_str().unwrap_or_else(|| panic!("no {name}\n{self}"));
            value.to_owned()
        };
        Tokens { access: text("access_token"), refresh: text("refresh_token") }
    }
}
