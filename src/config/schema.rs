//! A JSON Schema of the configuration, for editors: every key that `raw` asks an empty file for.
//! It knows the shape of a file; what only `check` can see passes.

use serde_json::{Value, json};

use crate::config::environment::Environment;
use crate::config::form::Shape;
use crate::config::presets;
use crate::config::problem::Problems;
use crate::config::raw;
use crate::config::stanza::{ReadStanza, Reading, Stanza};

/// A schema, or a part of one, as JSON.
pub(super) type Schema = Value;

/// The schema of a whole file, as a text. Draft 7: editors that know a later one know it too.
pub fn schema() -> String {
    let about = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:mcp-doorman:config",
        "title": "mcp-doorman config",
        "description": "Made by `mcp-doorman check --schema`. `mcp-doorman check` sees more.",
    });
    format!("{:#}", with(stanza(raw::read), about))
}

/// The keys that a stanza was asked for, in that order.
#[derive(Default)]
pub(super) struct Outline {
    keys: Vec<Key>,
    /// Whether a preset stands in for keys that were left out.
    pub has_presets: bool,
}

struct Key {
    name: &'static str,
    about: &'static str,
    content: Content,
}

enum Content {
    Value(Shape, Need),
    Stanza(Outline),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
}

impl Outline {
    pub fn add(&mut self, name: &'static str, about: &'static str, need: Need, shape: Shape) {
        self.keys.push(Key { name, about, content: Content::Value(shape, need) });
    }

    pub fn add_stanza(&mut self, name: &'static str, about: &'static str, inner: Self) {
        self.keys.push(Key { name, about, content: Content::Stanza(inner) });
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    fn schema(&self) -> Schema {
        let properties: serde_json::Map<_, _> =
            self.keys.iter().map(|key| (key.name.to_owned(), key.schema())).collect();
        let required = self.always_needed();
        // A stanza may have nothing in it: its keys may all be commented out.
        let forms = if required.is_empty() { json!(["object", "null"]) } else { json!("object") };
        let mut schema =
            json!({ "type": forms, "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            schema = with(schema, json!({ "required": required }));
        }
        let conditions = self.needed_unless_preset();
        if !conditions.is_empty() {
            schema = with(schema, json!({ "allOf": conditions }));
        }
        schema
    }

    fn always_needed(&self) -> Vec<&'static str> {
        self.needed().filter(|name| self.presets_with(name).is_empty()).collect()
    }

    /// What must be given unless the preset that was picked has it.
    fn needed_unless_preset(&self) -> Vec<Schema> {
        let is_in_some = |name: &&str| {
            let holders = self.presets_with(name).len();
            0 < holders && holders < presets::names().len()
        };
        let condition = |name: &str| {
            let has_it = json!({
                "properties": { (presets::KEY): choice(self.presets_with(name)) },
                "required": [presets::KEY],
            });
            json!({ "if": has_it, "else": { "required": [name] } })
        };
        self.needed().filter(is_in_some).map(condition).collect()
    }

    fn needed(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().filter(|key| key.is_needed()).map(|key| key.name)
    }

    fn presets_with(&self, key: &str) -> Vec<String> {
        if self.has_presets { presets::names_with(key) } else { Vec::new() }
    }
}

impl Key {
    /// A stanza is, if one of its keys is.
    fn is_needed(&self) -> bool {
        match &self.content {
            Content::Value(_, need) => *need == Need::Required,
            Content::Stanza(inner) => !inner.always_needed().is_empty(),
        }
    }

    fn schema(&self) -> Schema {
        match &self.content {
            Content::Value(shape, _) => with((shape.schema)(), self.hints(shape)),
            Content::Stanza(outline) => {
                with(outline.schema(), json!({ "description": self.about }))
            }
        }
    }

    fn hints(&self, shape: &Shape) -> Schema {
        let mut hints = json!({ "description": self.about });
        if let Some(default) = shape.default {
            let default = default();
            let shown = match default.to_string().as_str() {
                "[]" | "{}" => "none".to_owned(),
                shown => shown.trim_matches('"').to_owned(),
            };
            let about = format!("{} Default: {shown}", self.about);
            hints = json!({ "description": about, "default": default });
        }
        match shape.example {
            Some(example) => with(hints, json!({ "examples": [example] })),
            None => hints,
        }
    }
}

/// Of a map with the keys that `read` asks for. It must ask for the same ones whatever a file holds.
pub(super) fn stanza<T>(read: ReadStanza<T>) -> Schema {
    let environment = Environment::empty();
    let problems = Problems::in_file(String::new());
    let mut stanza = Stanza::empty();
    read(&mut stanza, &mut Reading { environment: &environment, problems });
    stanza.outline().schema()
}

/// Not empty, also not with spaces only.
pub(super) fn text() -> Schema {
    json!({ "type": "string", "pattern": r"\S" })
}

pub(super) fn flag() -> Schema {
    json!({ "type": "boolean" })
}

pub(super) fn whole(least: usize, most: usize) -> Schema {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

/// What a variable holds is for `check`, so any text with one passes, here and in `choice`.
pub(super) fn duration() -> Schema {
    json!({ "type": "string", "pattern": r"^[0-9]+(ms|s|m|h|d)$|\$\{" })
}

pub(super) fn size() -> Schema {
    json!({ "type": "string", "pattern": r"^[0-9]+(KiB|MiB|GiB)$|\$\{" })
}

pub(super) fn choice<T: Into<Value>>(words: impl IntoIterator<Item = T>) -> Schema {
    let words: Vec<Value> = words.into_iter().map(Into::into).collect();
    json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": r"\$\{" }] })
}

pub(super) fn list(of: &Schema) -> Schema {
    json!({ "type": "array", "items": of })
}

pub(super) fn at_least_one(of: &Schema) -> Schema {
    with(list(of), json!({ "minItems": 1 }))
}

pub(super) fn text_or_texts() -> Schema {
    json!({ "anyOf": [text(), at_least_one(&text())] })
}

pub(super) fn pairs() -> Schema {
    json!({ "type": ["object", "null"], "additionalProperties": text() })
}

pub(super) fn named() -> Schema {
    json!({ "type": ["object", "null"], "additionalProperties": text_or_texts() })
}

/// `schema` with the keywords of `more`.
pub(super) fn with(mut schema: Schema, more: Schema) -> Schema {
    if let (Value::Object(schema), Value::Object(more)) = (&mut schema, more) {
        schema.extend(more);
    }
    schema
}
