//! Where a secret comes from: `{ file: … }`, `{ env: … }` or, marked as such, `{ insecure_inline: … }`.

use std::path::PathBuf;

use serde_json::json;

use crate::config::field::{Field, Typed};
use crate::config::form::Form;
use crate::config::problem::{Problem, Reported, Spot};
use crate::config::schema::{self, Schema};
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values;
use crate::secret::Secret;

pub(in crate::config) enum SecretSource {
    File(PathBuf),
    Variable(String),
    Inline(Secret),
}

pub(super) const SECRET: Form<SecretSource> = Form::new(read, schema);

pub(super) const SECRETS: Form<Vec<Typed<SecretSource>>> =
    Form::new(read_all, || schema::at_least_one(&schema()));

fn read_all(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<Typed<SecretSource>>>, Reported> {
    values::list(spot, node, read, reading)
}

fn read(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<SecretSource>, Reported> {
    if !names_sources(&node.value) {
        return Err(reading.tell(
            Problem::at(&spot, "does not say where the secret comes from", SOURCES)
                .because("a configuration is read by more people than a secret should be"),
        ));
    }
    let sources = Stanza::read(spot.clone(), node, read_sources, reading);
    let value = one_of(&spot, sources, reading)?;
    Ok(Typed { value, shown: None, spot })
}

type Sources = (Field<String>, Field<String>, Field<Secret>);

fn read_sources(stanza: &mut Stanza, reading: &mut Reading) -> Sources {
    (
        stanza.ask("file", "The file that holds the secret.", values::TEXT, reading),
        stanza.ask("env", "The environment variable that holds it.", values::TEXT, reading),
        stanza.ask(
            "insecure_inline",
            "The secret itself, for trying things out: then this file is a secret too.",
            Form::new(inline, schema::text),
            reading,
        ),
    )
}

fn schema() -> Schema {
    let one_source = json!({ "type": "object", "minProperties": 1, "maxProperties": 1 });
    schema::with(schema::stanza(read_sources), one_source)
}

/// Anything but a map is most likely the secret itself, and so is a key without a value, as in
/// `{ hunter2 }`: it must not be told as an unknown key.
fn names_sources(value: &Value) -> bool {
    match value {
        Value::Map(entries) => entries.iter().all(|entry| {
            !matches!(entry.node.value, Value::Empty) || KEYS.contains(&entry.name.as_str())
        }),
        Value::Empty
        | Value::Flag(_)
        | Value::Whole(_)
        | Value::OtherNumber
        | Value::Text(_)
        | Value::List(_) => false,
    }
}

fn one_of(
    spot: &Spot,
    (file, variable, inline): Sources,
    reading: &mut Reading,
) -> Result<SecretSource, Reported> {
    match (file.optional()?, variable.optional()?, inline.optional()?) {
        (Some(path), None, None) => Ok(SecretSource::File(path.value.into())),
        (None, Some(name), None) => Ok(SecretSource::Variable(name.value)),
        (None, None, Some(secret)) => Ok(SecretSource::Inline(secret.value)),
        (None, None, None) => Err(reading.tell(Problem::at(
            spot,
            "does not say where the secret comes from",
            SOURCES,
        ))),
        (Some(_), Some(_), _) | (Some(_), None, Some(_)) | (None, Some(_), Some(_)) => Err(reading
            .tell(Problem::at(
                spot,
                "names more than one source",
                "keep one of file, env and insecure_inline",
            ))),
    }
}

/// As typed: no variable is filled into a secret, and nothing of it is ever shown.
fn inline(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<Secret>, Reported> {
    let Value::Text(text) = node.value else {
        return Err(values::mistyped(&spot, &node.value, values::Expected::Text, reading));
    };
    Ok(Typed { value: Secret::new(text), shown: None, spot })
}

const KEYS: [&str; 3] = ["file", "env", "insecure_inline"];

const SOURCES: &str = "write { file: /path/to/secret } or { env: NAME_OF_VARIABLE }";
