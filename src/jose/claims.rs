//! What a signed text says, as names and values (RFC 7519 §4).

use serde_json::{Map, Value};

use crate::jose::json;

/// Claims by name. Each is read as the type that it must have: another type is a fault, never as if the
/// claim were not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(Map<String, Value>);

/// Why claims don't count. Completes "…: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsFault {
    #[error("they can't be read: {0}")]
    Form(String),
    #[error("{0} is of another type than it must be")]
    Type(String),
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl From<Map<String, Value>> for Claims {
    fn from(claims: Map<String, Value>) -> Self {
        Self(claims)
    }
}

impl Claims {
    pub fn parse(payload: &[u8]) -> Result<Self, ClaimsFault> {
        match json::parse(payload).map_err(ClaimsFault::Form)? {
            Value::Object(claims) => Ok(Self(claims)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(ClaimsFault::Form("they are no JSON object".to_owned())),
        }
    }

    pub fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text that is not empty.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ClaimsFault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(ClaimsFault::Type(name.to_owned())),
        }
    }

    /// A text or a list of texts, none of them empty.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, ClaimsFault> {
        let fault = || ClaimsFault::Type(name.to_owned());
        let text = |value: &'_ Value| value.as_str().is_some_and(|text| !text.is_empty());
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Array(many)) if many.iter().all(text) => {
                Ok(Some(many.iter().filter_map(Value::as_str).collect()))
            }
            Some(one) if text(one) => Ok(Some(one.as_str().into_iter().collect())),
            Some(_) => Err(fault()),
        }
    }

    /// Whole seconds since 1970 (RFC 7519 §2 `NumericDate` allows fractions; nobody sends them).
    pub fn time(&self, name: &str) -> Result<Option<u64>, ClaimsFault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => {
                value.as_u64().map(Some).ok_or_else(|| ClaimsFault::Type(name.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Result<Claims, ClaimsFault> {
        Claims::parse(text.as_bytes())
    }

    /// RFC 7519 §4, RFC 8725 §2.4
    #[test]
    fn a_name_that_comes_twice_is_refused_at_any_depth() {
        for text in [
            r#"{"aud":"a","aud":"b"}"#,
            r#"{"aud":"a","\u0061ud":"a"}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"b":1}]}"#,
        ] {
            assert!(matches!(claims(text), Err(ClaimsFault::Form(_))), "{text}");
        }
        assert!(claims(r#"{"a":{"b":1},"c":{"b":1}}"#).is_ok());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        for text in ["", "null", "[]", "1", "{", r#"{"a":1}x"#, r#"{"a":1e400}"#, &deep] {
            assert!(matches!(claims(text), Err(ClaimsFault::Form(_))), "{text:.60}");
        }
    }

    #[test]
    fn a_claim_of_another_type_is_a_fault_and_not_left_out() {
        for value in [
            "null",
            "\"1790000000\"",
            "-1",
            "1.5",
            "1e9",
            "[1]",
            "{}",
            "true",
            "18446744073709551616",
        ] {
            let claims = claims(&format!(r#"{{"a":{value}}}"#)).unwrap();
            assert!(claims.time("a").is_err(), "{value}");
        }
        for value in ["null", "1", "true", "{}", "[\"a\",1]", "[[\"a\"]]", "\"\"", "[\"\"]"] {
            let claims = claims(&format!(r#"{{"a":{value}}}"#)).unwrap();
            assert!(claims.texts("a").is_err(), "{value}");
            assert!(claims.text("a").is_err(), "{value}");
        }
        let absent = claims("{}").unwrap();
        assert_eq!((absent.time("a"), absent.text("a")), (Ok(None), Ok(None)));
    }
}
