//! What the IdP says about a person, as JSON, looked up by name or pointer.

use serde_json::{Map, Value};

use crate::idp::profile::ClaimPath;
use crate::jose::json;

/// The members of one JSON object. `null` is as good as absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(Value);

impl From<Map<String, Value>> for Claims {
    fn from(claims: Map<String, Value>) -> Self {
        Self(Value::Object(claims))
    }
}

impl Claims {
    /// The reason is for a log. It may quote a little of what was sent.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        Self::of(json::parse(text)?).ok_or_else(|| "it is not a JSON object".to_owned())
    }

    pub fn of(json: Value) -> Option<Self> {
        json.is_object().then_some(Self(json))
    }

    pub fn named(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub fn at(&self, path: &ClaimPath) -> Option<&Value> {
        if path.0.starts_with('/') {
            self.0.pointer(&path.0).filter(|value| !value.is_null())
        } else {
            self.named(&path.0)
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.named(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// These and what `others` has besides. What both have stays as it is here.
    pub fn and(mut self, others: Self) -> Self {
        if let (Value::Object(own), Value::Object(others)) = (&mut self.0, others.0) {
            for (name, value) in others {
                own.entry(name).or_insert(value);
            }
        }
        self
    }
}

/// A name or a number, as a text.
pub fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        Value::String(_)
        | Value::Number(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    }
}

/// Seconds since 1970 (RFC 7519 §2: a number, with a fraction or without). Some send digits as a text.
pub fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| whole_part(number.as_f64()?)),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, see above")]
fn whole_part(number: f64) -> Option<u64> {
    (0.0..1e15).contains(&number).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_found_by_its_name_or_by_a_pointer() {
        let claims = Claims(json!({
            "https://corp.example/groups": ["a"],
            "realm_access": { "roles": ["b"] },
            "a/b": "c",
            "nothing": null,
        }));
        let at = |path: &str| claims.at(&ClaimPath(path.to_owned())).cloned();

        assert_eq!(at("https://corp.example/groups"), Some(json!(["a"])));
        assert_eq!(at("/realm_access/roles"), Some(json!(["b"])));
        assert_eq!(at("/a~1b"), Some(json!("c")));
        assert_eq!(at("a/b"), Some(json!("c")));
        assert_eq!(at("nothing"), None);
        assert_eq!(at("/nothing"), None);
        assert_eq!(at("roles"), None);
    }

    #[test]
    fn what_is_signed_is_not_replaced() {
        let signed = Claims(json!({ "sub": "a", "tid": "t" }));
        let more = Claims(json!({ "tid": "another", "groups": ["x"] }));

        assert_eq!(signed.and(more), Claims(json!({ "sub": "a", "tid": "t", "groups": ["x"] })));
    }

    #[test]
    fn a_time_may_be_a_text_or_have_a_fraction() {
        for (value, expected) in [
            (json!(1_790_000_000), Some(1_790_000_000)),
            (json!(1_790_000_000.75), Some(1_790_000_000)),
            (json!("1790000000"), Some(1_790_000_000)),
            (json!("2026-09-21"), None),
            (json!(-1), None),
            (json!(1e300), None),
            (json!([1]), None),
        ] {
            assert_eq!(seconds(&value), expected, "{value}");
        }
    }
}
