//! `idp_presets.yaml`: what is known of identity providers, as data.

use crate::config::field::Field;
use crate::config::spelling;
use crate::config::stanza::Reading;
use crate::config::tree::{self, Entry, Value};

/// The keys of the preset that was picked. Those of the default stand in for one that does not exist,
/// so that a misspelled name is the only problem told.
pub(super) fn entries_of(preset: Field<String>, reading: &mut Reading) -> Vec<Entry> {
    let presets = all();
    let name = match preset {
        Field::LeftOut(_) | Field::Mistyped(_) => DEFAULT.to_owned(),
        Field::Given(typed) if presets.iter().any(|preset| preset.name == typed.value) => {
            typed.value
        }
        Field::Given(typed) => {
            let names: Vec<_> = presets.iter().map(|preset| preset.name.as_str()).collect();
            let nearest = spelling::nearest(&typed.value, names.iter().copied());
            let fix = match nearest.or_else(|| known_as(&typed.value, &presets)) {
                Some(meant) => format!("did you mean {meant}?"),
                None => {
                    format!("use one of {}; {DEFAULT} fits any OpenID provider", names.join(", "))
                }
            };
            reading.tell(typed.problem("is not a known preset", fix));
            DEFAULT.to_owned()
        }
    };
    let picked = presets.into_iter().find(|preset| preset.name == name);
    let mut entries = picked.map_or_else(Vec::new, |preset| entries(preset.node.value));
    entries.retain(|entry| entry.name != ALSO_KNOWN_AS);
    entries
}

/// The preset that people call so, or nearly so.
fn known_as<'a>(typed: &str, presets: &'a [Entry]) -> Option<&'a str> {
    presets.iter().find_map(|preset| {
        let Value::Map(entries) = &preset.node.value else { return None };
        let names = entries.iter().find(|entry| entry.name == ALSO_KNOWN_AS)?;
        let Value::List(names) = &names.node.value else { return None };
        let names = names.iter().filter_map(|name| {
            if let Value::Text(name) = &name.value { Some(name.as_str()) } else { None }
        });
        spelling::nearest(typed, names).map(|_| preset.name.as_str())
    })
}

fn all() -> Vec<Entry> {
    // A test reads every preset, so the file is not at fault at run time.
    tree::parse(PRESETS).map_or_else(|_| Vec::new(), |document| entries(document.value))
}

fn entries(value: Value) -> Vec<Entry> {
    if let Value::Map(entries) = value { entries } else { Vec::new() }
}

pub(super) fn names() -> Vec<String> {
    all().into_iter().map(|preset| preset.name).collect()
}

/// The presets that have `key`.
pub(super) fn names_with(key: &str) -> Vec<String> {
    let has_key =
        |preset: &Entry| entries(preset.node.value.clone()).iter().any(|entry| entry.name == key);
    all().into_iter().filter(has_key).map(|preset| preset.name).collect()
}

/// The key that picks one.
pub(super) const KEY: &str = "preset";

const ALSO_KNOWN_AS: &str = "also_known_as";

pub(super) const DEFAULT: &str = "oidc";

const PRESETS: &str = include_str!("idp_presets.yaml");
