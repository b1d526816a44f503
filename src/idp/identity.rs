//! Who a person is, as the IdP vouches for it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::idp::profile::IdpSettings;

/// A person: the stable key decides who it is, everything else describes them at the time of the login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Unique and never reassigned at this IdP.
    pub key: String,
    /// Only if the IdP says that it verified the address; lower case.
    pub email: Option<String>,
    pub groups: Vec<String>,
}

/// The claims don't have the shape that was configured. Completes "…: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFault {
    #[error("the ID token has no claim {0:?} as text, which idp.user_key needs")]
    NoKey(String),
    #[error("the claim {0:?} has a slash, which a part of idp.user_key can't have")]
    Slash(String),
    #[error("the claim {0:?} is not a list of texts")]
    Groups(String),
}

impl Identity {
    /// Read the claims of a verified ID token. A shape that was not expected is an error, never an
    /// empty value: an empty list of groups would be read as "in no group", which is an answer.
    pub fn from_claims(
        claims: &Map<String, Value>,
        settings: &IdpSettings,
    ) -> Result<Self, ClaimFault> {
        Ok(Self {
            key: key(claims, &settings.user_key)?,
            email: email(claims),
            groups: groups(claims, &settings.groups_claim)?,
        })
    }
}

fn key(claims: &Map<String, Value>, names: &[String]) -> Result<String, ClaimFault> {
    let mut parts = Vec::with_capacity(names.len());
    for name in names {
        match claims.get(name) {
            // Joined by a slash, so none may hold one: `a/b` + `c` is not `a` + `b/c`.
            Some(Value::String(value)) if names.len() > 1 && value.contains('/') => {
                return Err(ClaimFault::Slash(name.clone()));
            }
            Some(Value::String(value)) if !value.is_empty() => parts.push(value.as_str()),
            _ => return Err(ClaimFault::NoKey(name.clone())),
        }
    }
    Ok(parts.join("/"))
}

/// An address counts only if the IdP says that it belongs to the person, and only with a single `@`:
/// `a@evil.example@corp.example` is in nobody's domain.
fn email(claims: &Map<String, Value>) -> Option<String> {
    let is_verified = match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        // Some IdPs send the text.
        Some(Value::String(verified)) => verified == "true",
        _ => false,
    };
    let address = claims.get("email")?.as_str()?;
    let (local, domain) = address.split_once('@')?;
    let plain = !local.is_empty() && !domain.is_empty() && !domain.contains('@');
    let clean = address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    (is_verified && plain && clean).then(|| address.to_ascii_lowercase())
}

fn groups(claims: &Map<String, Value>, name: &str) -> Result<Vec<String>, ClaimFault> {
    let fault = || ClaimFault::Groups(name.to_owned());
    match claims.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) => {
            many.iter().map(|group| group.as_str().map(str::to_owned).ok_or_else(fault)).collect()
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(fault()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::idp::AccessTokenProfile;
    use crate::idp::profile::ClientAuthentication;

    fn identity(claims: &Value) -> Result<Identity, ClaimFault> {
        let settings = IdpSettings {
            issuer: "https://idp.example".to_owned(),
            client_id: String::new(),
            client_secret: None,
            client_authentication: ClientAuthentication::Basic,
            scopes: Vec::new(),
            authorization_parameters: Vec::new(),
            another_account_parameters: Vec::new(),
            user_key: vec!["sub".to_owned()],
            revocable_refresh_tokens: false,
            logout_ends_connections: false,
            groups_claim: "groups".to_owned(),
            access_tokens: AccessTokenProfile::standard(),
        };
        Identity::from_claims(claims.as_object().unwrap(), &settings)
    }

    #[test]
    fn an_email_counts_only_if_it_is_verified_and_plain() {
        for (claims, expected) in [
            (
                json!({"sub": "1", "email": "A@Corp.example", "email_verified": true}),
                Some("a@corp.example"),
            ),
            (
                json!({"sub": "1", "email": "a@corp.example", "email_verified": "true"}),
                Some("a@corp.example"),
            ),
            (json!({"sub": "1", "email": "a@corp.example"}), None),
            (json!({"sub": "1", "email": "a@corp.example", "email_verified": false}), None),
            (
                json!({"sub": "1", "email": "a@evil.example@corp.example", "email_verified": true}),
                None,
            ),
            (json!({"sub": "1", "email": "a@córp.example", "email_verified": true}), None),
            (json!({"sub": "1", "email": ["a@corp.example"], "email_verified": true}), None),
        ] {
            assert_eq!(identity(&claims).unwrap().email.as_deref(), expected, "{claims}");
        }
    }

    #[test]
    fn a_claim_of_another_shape_is_an_error() {
        for claims in [
            json!({}),
            json!({"sub": ""}),
            json!({"sub": 1}),
            json!({"sub": ["1"]}),
            json!({"sub": "1", "groups": {"a": true}}),
            json!({"sub": "1", "groups": [1]}),
            json!({"sub": "1", "groups": true}),
        ] {
            assert!(identity(&claims).is_err(), "{claims}");
        }
    }
}
