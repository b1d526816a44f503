//! From text to a tree that knows where everything stood. Says nothing yet about what is allowed.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use crate::config::problem::{Place, Problem, Spot};

/// A value and where it stands; for an alias (`*name`), where the alias stands.
#[derive(Clone)]
pub(super) struct Node {
    pub value: Value,
    pub place: Place,
}

/// No `Debug`: a text may be a secret.
#[derive(Clone)]
pub(super) enum Value {
    Empty,
    Flag(bool),
    Whole(u64),
    /// Negative, broken or huge: no setting has such a value.
    OtherNumber,
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, with keys that come twice.
    Map(Vec<Entry>),
}

#[derive(Clone)]
pub(super) struct Entry {
    pub name: String,
    pub place: Place,
    pub node: Node,
}

pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    if let Some(place) = lone_carriage_return(text) {
        let spot = Spot { place, key: String::new() };
        let reason = "has a carriage return with no line feed after it";
        let fix =
            "end lines with LF or CR LF; where a value needs one, write \\r between double quotes";
        return Err(Problem::at(&spot, reason, fix).because(
            "YAML starts a new line there, and many editors do not: two readers, two configurations",
        ));
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| tell(&error))
}

/// Where the first one stands, as editors count lines.
fn lone_carriage_return(text: &str) -> Option<Place> {
    text.split_inclusive('\n').zip(1..).find_map(|(line, number)| {
        let line = line.strip_suffix("\r\n").unwrap_or(line);
        let (before, _) = line.split_once('\r')?;
        Some(Place { line: number, column: before.chars().fold(1, |column, _| column + 1) })
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        // `yes` and `on` are texts, as YAML 1.2 has it.
        strict_booleans: true,
        // A snippet would print neighbouring lines, and a secret may stand there.
        with_snippet: false,
        // This policy hands every key to the visitor, so that each duplicate can be told with the rest.
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        // Far above any real file, far below what an alias bomb unfolds to.
        budget: serde_saphyr::budget! { max_events: 200_000, max_nodes: 100_000, max_depth: 32 },
    }
}

/// The parser's own words are shown only where they can't quote the file: it may hold a secret.
fn tell(error: &Error) -> Problem {
    let place = error.location().map_or(Place::START, Place::from);
    let spot = Spot { place, key: String::new() };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum of serde-saphyr is non-exhaustive"
    )]
    let (reason, fix) = match error.without_snippet() {
        Error::ExternalMessage { msg, .. } if !msg.starts_with("unexpected character") => {
            let reason = format!("is not YAML: {msg}");
            let fix = "look at the indentation, quotes and brackets here and on the line above";
            return Problem::at(&spot, reason, fix);
        }
        Error::ExternalMessage { .. } => {
            ("is not YAML: no value can start with this character", "put the value between quotes")
        }
        Error::Budget { .. }
        | Error::AliasError { .. }
        | Error::AliasReplayLimitExceeded { .. } => {
            ("is too much for a configuration", "write it out without aliases")
        }
        Error::UnsupportedTag { .. } => (
            "has a YAML tag, which means nothing here",
            "put a value that starts with ! between quotes",
        ),
        Error::UnknownAnchor { .. } => (
            "is an alias for an anchor that does not exist",
            "put a value that starts with * between quotes",
        ),
        Error::MultipleDocuments { .. } => {
            ("starts a second YAML document", "remove the line with ---")
        }
        _ => ("is nothing that a configuration can hold", "write plain keys and values"),
    };
    Problem::at(&spot, reason, fix)
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, place: spanned.referenced.into() })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Empty)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Flag(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::OtherNumber, Value::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((name, node)) = map.next_entry::<Spanned<String>, Node>()? {
            entries.push(Entry { name: name.value, place: name.referenced.into(), node });
        }
        Ok(Value::Map(entries))
    }
}
