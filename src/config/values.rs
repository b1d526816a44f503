//! Single values and lists of them: how a text, a number, a duration must be typed.

use std::time::Duration;

use crate::config::expand::{Unexpandable, expand};
use crate::config::field::{Typed, quoted};
use crate::config::form::{Form, Read};
use crate::config::problem::{Problem, Reported, Spot};
use crate::config::schema;
use crate::config::stanza::{ReadStanza, Reading, Stanza};
use crate::config::tree::{Node, Value};

/// One entry of a map whose keys are the operator's own.
pub(super) struct Pair {
    pub name: String,
    pub value: Typed<String>,
}

/// An entry of a map from names to one or more texts.
pub(super) struct Named {
    pub name: String,
    pub values: Typed<Vec<Typed<String>>>,
}

pub(super) const TEXT: Form<String> = Form::new(text, schema::text);
pub(super) const FLAG: Form<bool> = Form::new(flag, schema::flag);
pub(super) const DURATION: Form<Duration> = Form::new(duration, schema::duration);
pub(super) const SIZE: Form<u64> = Form::new(size, schema::size);
pub(super) const TEXTS: Form<Vec<Typed<String>>> =
    Form::new(texts, || schema::list(&schema::text()));
pub(super) const TEXT_OR_TEXTS: Form<Vec<Typed<String>>> =
    Form::new(text_or_texts, schema::text_or_texts);
pub(super) const PAIRS: Form<Vec<Pair>> = Form::new(pairs, schema::pairs);
pub(super) const NAMED: Form<Vec<Named>> = Form::new(named, schema::named);

/// A text that is not empty, its variables filled in.
pub(super) fn text(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<String>, Reported> {
    let Value::Text(typed) = node.value else {
        return Err(mistyped(&spot, &node.value, Expected::Text, reading));
    };
    let shown = quoted(&typed);
    match expand(&typed, reading.environment) {
        Ok(value) if value.trim().is_empty() => {
            Err(reading.tell(Problem::at(&spot, "is empty", "give it a value, or remove the key")))
        }
        Ok(value) => Ok(Typed { value, shown: Some(shown), spot }),
        Err(fault) => {
            let fix = match &fault {
                Unexpandable::Unset(name) => format!("set it, or write ${{{name}:-a default}}"),
                Unexpandable::NotText(_) => "set it to text".to_owned(),
                Unexpandable::NotAVariable => {
                    "write ${NAME} or ${NAME:-default}; write $${ where you mean ${ itself"
                        .to_owned()
                }
            };
            Err(reading.tell(Problem::at(&spot, format!("{shown} {fault}"), fix)))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of every `Read`")]
fn flag(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<bool>, Reported> {
    let Value::Flag(value) = node.value else {
        return Err(mistyped(&spot, &node.value, Expected::Flag, reading));
    };
    Ok(Typed { value, shown: Some(value.to_string()), spot })
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of every `Read`")]
pub(super) fn whole(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<u64>, Reported> {
    let Value::Whole(value) = node.value else {
        return Err(mistyped(&spot, &node.value, Expected::Whole, reading));
    };
    Ok(Typed { value, shown: Some(value.to_string()), spot })
}

/// `<integer><ms|s|m|h|d>`.
fn duration(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<Duration>, Reported> {
    if let Value::Whole(number) = node.value {
        return Err(reading.tell(Problem::at(
            &spot,
            format!("{number} has no unit"),
            format!("say {number}s for seconds; units are ms, s, m, h and d"),
        )));
    }
    let typed = text(spot, node, reading)?;
    match parse_duration(&typed.value) {
        Some(duration) => Ok(typed.with(duration)),
        None => Err(reading.tell(typed.problem(
            "is not a duration",
            "write a whole number and one unit of ms, s, m, h and d, as in 90s or 14d",
        ))),
    }
}

/// `<integer><KiB|MiB|GiB>`, in bytes.
fn size(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<u64>, Reported> {
    if let Value::Whole(number) = node.value {
        return Err(reading.tell(Problem::at(
            &spot,
            format!("{number} has no unit"),
            "give it one: KiB, MiB or GiB, as in 4MiB",
        )));
    }
    let typed = text(spot, node, reading)?;
    match parse_size(&typed.value) {
        Some(bytes) => Ok(typed.with(bytes)),
        None => Err(reading.tell(typed.problem(
            "is not a size",
            "write a whole number and one unit of KiB, MiB and GiB, as in 512KiB or 4MiB",
        ))),
    }
}

pub(super) fn texts(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<Typed<String>>>, Reported> {
    list(spot, node, text, reading)
}

/// One text or a list of them. At least one.
fn text_or_texts(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<Vec<Typed<String>>>, Reported> {
    if let Value::Text(_) = node.value {
        let one = text(spot.clone(), node, reading)?;
        return Ok(Typed { value: vec![one], shown: None, spot });
    }
    let texts = list(spot, node, text, reading)?;
    if texts.value.is_empty() {
        return Err(reading.tell(texts.problem("is an empty list", "name one, or remove the key")));
    }
    Ok(texts)
}

/// A list of maps, each as `read` understands it.
pub(super) fn stanzas<T>(
    spot: Spot,
    node: Node,
    read: ReadStanza<T>,
    reading: &mut Reading,
) -> Result<Typed<Vec<T>>, Reported> {
    let items = items(&spot, node, reading)?;
    let stanzas = items
        .into_iter()
        .enumerate()
        .map(|(index, node)| Stanza::read(spot.item(index, node.place), node, read, reading))
        .collect();
    Ok(Typed { value: stanzas, shown: None, spot })
}

/// A list whose entries `read` understands. Every entry is read, also after one that is wrong.
pub(super) fn list<T>(
    spot: Spot,
    node: Node,
    read: Read<T>,
    reading: &mut Reading,
) -> Result<Typed<Vec<Typed<T>>>, Reported> {
    let entries: Vec<_> = items(&spot, node, reading)?
        .into_iter()
        .enumerate()
        .map(|(index, node)| read(spot.item(index, node.place), node, reading))
        .collect();
    let value = entries.into_iter().collect::<Result<_, _>>()?;
    Ok(Typed { value, shown: None, spot })
}

/// A map from names to texts.
fn pairs(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<Vec<Pair>>, Reported> {
    let entries = Stanza::open(spot.clone(), node, reading).into_entries()?;
    let pairs: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            let spot = spot.child(&entry.name, entry.node.place);
            text(spot, entry.node, reading).map(|value| Pair { name: entry.name, value })
        })
        .collect();
    let value = pairs.into_iter().collect::<Result<_, _>>()?;
    Ok(Typed { value, shown: None, spot })
}

fn named(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<Vec<Named>>, Reported> {
    let entries = Stanza::open(spot.clone(), node, reading).into_entries()?;
    let named: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            let spot = spot.child(&entry.name, entry.node.place);
            let values = text_or_texts(spot, entry.node, reading)?;
            Ok(Named { name: entry.name, values })
        })
        .collect();
    let value = named.into_iter().collect::<Result<_, _>>()?;
    Ok(Typed { value, shown: None, spot })
}

/// Tells what stands at `spot` in place of what is expected. Not the value: it may be a secret that
/// went under the wrong key.
pub(super) fn mistyped(
    spot: &Spot,
    value: &Value,
    expected: Expected,
    reading: &mut Reading,
) -> Reported {
    let found = match value {
        Value::Empty => "is empty",
        Value::Flag(_) => "is true or false",
        Value::Whole(_) | Value::OtherNumber => "is a number",
        Value::Text(_) => "is a text",
        Value::List(_) => "is a list",
        Value::Map(_) => "is a map",
    };
    let wanted = match expected {
        Expected::Text => "a text",
        Expected::Flag => "true or false",
        Expected::Whole => "a whole number",
        Expected::List => "a list",
        Expected::Map => "a map",
    };
    let fix = match (expected, value) {
        (_, Value::Empty) => "give it a value, or remove the key",
        (Expected::Text, Value::List(_) | Value::Map(_)) => "write a single value",
        (Expected::Text, _) => "put the value between quotes",
        (Expected::Flag, Value::Text(text)) if text.contains("${") => {
            "write true or false: variables are filled into texts only"
        }
        (Expected::Flag, _) => "write true or false, without quotes",
        (Expected::Whole, Value::Text(text)) if text.contains("${") => {
            "write digits only: variables are filled into texts only"
        }
        (Expected::Whole, _) => "write digits only, without quotes",
        (Expected::List, Value::Map(_)) => "put a dash before each entry",
        (Expected::List, _) => "put it between square brackets, as in [one, two]",
        (Expected::Map, _) => "write its keys below it, indented, each as `key: value`",
    };
    reading.tell(Problem::at(spot, format!("{found}, where {wanted} is expected"), fix))
}

/// The form that a value must have.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    Text,
    Flag,
    Whole,
    List,
    Map,
}

fn items(spot: &Spot, node: Node, reading: &mut Reading) -> Result<Vec<Node>, Reported> {
    let Value::List(items) = node.value else {
        return Err(mistyped(spot, &node.value, Expected::List, reading));
    };
    Ok(items)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => number,
        "m" => number.checked_mul(60)?,
        "h" => number.checked_mul(60 * 60)?,
        "d" => number.checked_mul(24 * 60 * 60)?,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let unit: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "1.5h", "-1s", "1 h", "1h30m", "1H", "99999999999999999d", "１s"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_a_whole_number_and_a_unit() {
        for (text, bytes) in [("1KiB", 1024), ("4MiB", 4_194_304), ("1GiB", 1_073_741_824)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "4", "MiB", "1.5MiB", "-1KiB", "4 MiB", "4MB", "4mib", "99999999999GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
