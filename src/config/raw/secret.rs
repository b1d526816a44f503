//! Where a secret comes from: `{ file: … }`, `{ env: … }` or, marked as such, `{ insecure_inline: … }`.

use std::path::PathBuf;

use crate::config::field::{Field, Typed};
use crate::config::problem::{Problem, Reported, Spot};
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values;
use crate::secret::Secret;

pub(in crate::config) enum SecretSource {
    File(PathBuf),
    Variable(String),
    Inline(Secret),
}

pub(super) fn read_all(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<Typed<SecretSource>>>, Reported> {
    values::list(spot, node, read, reading)
}

pub(super) fn read(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<SecretSource>, Reported> {
    if !names_sources(&node.value) {
        return Err(reading.tell(
            Problem::at(&spot, "does not say where the secret comes from", SOURCES)
                .because("a configuration is read by more people than a secret should be"),
        ));
    }
    let mut stanza = Stanza::open(spot.clone(), node, reading);
    let file = stanza.ask("file", values::text, reading);
    let variable = stanza.ask("env", values::text, reading);
    let inline = stanza.ask("insecure_inline", inline, reading);
    stanza.close(reading);
    let value = one_of(&spot, file, variable, inline, reading)?;
    Ok(Typed { value, shown: None, spot })
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
    file: Field<String>,
    variable: Field<String>,
    inline: Field<Secret>,
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
