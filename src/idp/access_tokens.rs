//! How the IdP's own access tokens look, where clients bring them: data, mostly of the preset.

use std::time::Duration;

/// The axes on which IdPs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessTokenProfile {
    pub validation: Validation,
    /// How long a word of the IdP's about a token holds, where it is asked.
    pub introspection_ttl: Duration,
    /// What the header's `typ` may be: lower case, without `application/`. A header without one counts as
    /// `jwt` (RFC 7519 §5.1).
    pub types: Vec<String>,
    pub audience: AudienceClaim,
    /// The first of these claims that a token has lists its scopes.
    pub scopes: Vec<String>,
    /// Claims whose values together are the stable key of a person. Must give what those of ID tokens give.
    pub user_key: Vec<String>,
    /// What every token of a person has.
    pub person: Vec<ExpectedClaim>,
    /// What every token has that was issued to a machine for itself, and no person's has.
    pub machine: Vec<ExpectedClaim>,
}

/// Who can tell what a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// Whoever has the IdP's keys. What is no JWT is nothing.
    Jwt,
    /// Of a JWT, likewise; of anything else, the IdP.
    JwtOrIntrospection,
    /// The IdP, which is asked (RFC 7662), whatever a token looks like.
    Introspection,
    /// The IdP, at an endpoint of its own kind that names the application a token is of. It gets the token as
    /// its bearer.
    Tokeninfo,
    /// The same, with the token in the query.
    TokeninfoQuery,
}

impl Validation {
    /// Whether JWTs are judged by the IdP's keys.
    pub fn takes_jwts(self) -> bool {
        match self {
            Self::Jwt | Self::JwtOrIntrospection => true,
            Self::Introspection | Self::Tokeninfo | Self::TokeninfoQuery => false,
        }
    }

    /// Whether tokens are introspected (RFC 7662).
    pub fn introspects(self) -> bool {
        match self {
            Self::JwtOrIntrospection | Self::Introspection => true,
            Self::Jwt | Self::Tokeninfo | Self::TokeninfoQuery => false,
        }
    }

    pub fn is_tokeninfo(self) -> bool {
        match self {
            Self::Tokeninfo | Self::TokeninfoQuery => true,
            Self::Jwt | Self::JwtOrIntrospection | Self::Introspection => false,
        }
    }
}

/// What says for whom a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudienceClaim {
    /// `aud`, as RFC 9068 has it.
    Audience,
    /// The client's id, where there is no `aud`: only tokens of clients that the operator listed are taken.
    Client,
}

/// A claim that a token must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedClaim {
    pub name: String,
    /// `*` is any value; `{client_id}` in it stands for the client's id, `{client_id|lower}` for the same in lower
    /// case.
    pub value: String,
}

impl AccessTokenProfile {
    /// Of an IdP that keeps to RFC 9068.
    pub fn standard() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            validation: Validation::Jwt,
            introspection_ttl: Duration::from_secs(30),
            types: texts(&["at+jwt"]),
            audience: AudienceClaim::Audience,
            scopes: texts(&["scope"]),
            user_key: texts(&["sub"]),
            person: Vec::new(),
            // RFC 9068 §5
            machine: vec![ExpectedClaim {
                name: "sub".to_owned(),
                value: "{client_id}".to_owned(),
            }],
        }
    }
}

impl ExpectedClaim {
    /// Is `value` what is expected in a token of `client`?
    pub fn is(&self, value: Option<&str>, client: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        let named = [CLIENT_ID, CLIENT_ID_LOWER].iter().any(|name| self.value.contains(name));
        if !named {
            return self.value == ANY || self.value == value;
        }
        client.is_some_and(|client| {
            let lower = self.value.replace(CLIENT_ID_LOWER, &client.to_lowercase());
            lower.replace(CLIENT_ID, client) == value
        })
    }
}

const ANY: &str = "*";
const CLIENT_ID: &str = "{client_id}";
/// Where the IdP makes a name of it.
const CLIENT_ID_LOWER: &str = "{client_id|lower}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_may_be_made_of_the_clients_id() {
        for (expected, said, is_it) in [
            ("app", "app", true),
            ("app", "App", false),
            ("*", "whatever", true),
            ("{client_id}", "Yearly", true),
            ("{client_id}", "yearly", false),
            ("service-account-{client_id|lower}", "service-account-yearly", true),
            ("service-account-{client_id|lower}", "service-account-Yearly", false),
        ] {
            let expected = ExpectedClaim { name: "x".to_owned(), value: expected.to_owned() };
            assert_eq!(expected.is(Some(said), Some("Yearly")), is_it, "{expected:?} {said}");
            assert!(!expected.is(None, Some("Yearly")));
        }
    }
}
