//! JSON that can be read in one way only. A name that comes twice in an object, at any depth, is refused,
//! because two readers could take each another one (RFC 8259 §4, RFC 7519 §4); and a list is no object, whatever
//! is in it, though serde would read it as one whose members have no names.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use crate::jose::jws::brief;

/// Errors: why it can't be read, for a log. It may quote a little of what was sent.
pub fn parse(json: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(json).map(|Unique(value)| value).map_err(|error| brief(&error))
}

/// Read an object as a struct. For whatever comes from outside; an object inside it is an `Object`.
pub fn object<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(json).map(|Object(read)| read)
}

/// What is read from an object, and from nothing else.
#[derive(Debug, PartialEq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number =
            Number::from_f64(value).ok_or_else(|| E::custom("a number is out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Unique(value))) = entries.next_entry::<String, Unique>()? {
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("an object has a name twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Person {
        name: String,
        #[serde(default)]
        emails: Vec<Object<Email>>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Email {
        address: String,
    }

    #[test]
    fn a_list_is_not_read_as_an_object() {
        let emails = vec![Object(Email { address: "b".to_owned() })];
        for (json, expected) in [
            (r#"{"name":"a"}"#, Ok(vec![])),
            (r#" {"name":"a","emails":[{"address":"b"}],"more":[1]}"#, Ok(emails)),
            (r#"["a",[]]"#, Err("invalid type: sequence, expected an object at line 1 column 0")),
            (
                r#"{"name":"a","emails":[["b"]]}"#,
                Err("invalid type: sequence, expected an object at line 1 column 22"),
            ),
            ("null", Err("invalid type: null, expected an object at line 1 column 4")),
            (r#""a""#, Err("invalid type: string \"a\", expected an object at line 1 column 3")),
            (r#"{"name":"a","name":"a"}"#, Err("duplicate field `name` at line 1 column 18")),
            ("{}", Err("missing field `name` at line 1 column 2")),
            (r#"{"name":"a"} {}"#, Err("trailing characters at line 1 column 14")),
            ("", Err("EOF while parsing a value at line 1 column 0")),
        ] {
            let read = object::<Person>(json.as_bytes()).map_err(|error| error.to_string());
            let expected = expected.map_err(str::to_owned);
            assert_eq!(read.map(|person| person.emails), expected, "{json}");
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_not_read() {
        for (json, is_clear) in [
            (r#"{"sub":"a","groups":["a","b"],"n":{"x":null,"y":-1,"z":1.5,"w":true}}"#, true),
            ("[]", true),
            ("null", true),
            (r#"{"sub":"a","sub":"a"}"#, false),
            (r#"{"n":[{"x":1,"y":2,"x":3}]}"#, false),
            (r#"{"sub":"a","\u0073ub":"b"}"#, false),
            (r#"{"a":1e400}"#, false),
            ("{} {}", false),
            ("", false),
        ] {
            let read = parse(json.as_bytes());
            assert_eq!(read.is_ok(), is_clear, "{json}: {read:?}");
            if let Ok(read) = read {
                assert_eq!(read, serde_json::from_str::<Value>(json).unwrap());
            }
        }
    }
}
