//! A map of the file while it is read: answers for the keys it is asked for, then tells which keys
//! nobody asked for.

use crate::config::environment::Environment;
use crate::config::field::{Field, Typed};
use crate::config::problem::{Place, Problem, Problems, Reported, Spot};
use crate::config::spelling;
use crate::config::tree::{Entry, Node, Value};
use crate::config::values;

/// What goes along while the file is read.
pub(super) struct Reading<'a> {
    pub environment: &'a Environment,
    pub problems: Problems,
}

pub(super) struct Stanza {
    spot: Spot,
    contents: Result<Vec<Entry>, Reported>,
    asked: Vec<&'static str>,
}

impl Reading<'_> {
    pub fn tell(&mut self, problem: Problem) -> Reported {
        self.problems.tell(problem)
    }
}

impl Stanza {
    /// The map at `spot`. Nothing there is an empty map: its keys may all be commented out.
    pub fn open(spot: Spot, node: Node, reading: &mut Reading) -> Self {
        let contents = match node.value {
            Value::Map(entries) => Ok(without_duplicates(&spot, entries, reading)),
            Value::Empty => Ok(Vec::new()),
            Value::Flag(_)
            | Value::Whole(_)
            | Value::OtherNumber
            | Value::Text(_)
            | Value::List(_) => {
                Err(values::mistyped(&spot, &node.value, values::Expected::Map, reading))
            }
        };
        Self { spot, contents, asked: Vec::new() }
    }

    pub fn spot(&self) -> &Spot {
        &self.spot
    }

    /// The value of `name`, as `read` understands it.
    pub fn ask<T>(&mut self, name: &'static str, read: Read<T>, reading: &mut Reading) -> Field<T> {
        self.asked.push(name);
        let entries = match &mut self.contents {
            Ok(entries) => entries,
            Err(reported) => return Field::Mistyped(*reported),
        };
        let Some(index) = entries.iter().position(|entry| entry.name == name) else {
            return Field::LeftOut(self.spot.child(name, self.spot.place));
        };
        let entry = entries.swap_remove(index);
        match read(self.spot.child(name, entry.node.place), entry.node, reading) {
            Ok(typed) => Field::Given(typed),
            Err(reported) => Field::Mistyped(reported),
        }
    }

    /// The stanza under `name`; an empty one if there is none.
    pub fn stanza(&mut self, name: &'static str, reading: &mut Reading) -> Self {
        self.asked.push(name);
        let left_out = self.spot.child(name, self.spot.place);
        let entries = match &mut self.contents {
            Ok(entries) => entries,
            Err(reported) => {
                return Self { spot: left_out, contents: Err(*reported), asked: Vec::new() };
            }
        };
        let Some(index) = entries.iter().position(|entry| entry.name == name) else {
            return Self { spot: left_out, contents: Ok(Vec::new()), asked: Vec::new() };
        };
        let entry = entries.swap_remove(index);
        // Keys that are missing in it are told at its name, not at its first key.
        Self::open(self.spot.child(name, entry.place), entry.node, reading)
    }

    /// Use `defaults` for every key that was not given.
    pub fn fall_back_on(&mut self, defaults: Vec<Entry>) {
        if let Ok(entries) = &mut self.contents {
            for default in defaults {
                if !entries.iter().any(|entry| entry.name == default.name) {
                    entries.push(default);
                }
            }
        }
    }

    /// Every entry, for a map whose keys are the operator's own.
    pub fn into_entries(self) -> Result<Vec<Entry>, Reported> {
        self.contents
    }

    /// Everything was asked for: what is left is unknown.
    pub fn close(self, reading: &mut Reading) {
        for entry in self.contents.unwrap_or_default() {
            let spot = self.spot.child(&entry.name, entry.place);
            let known = self.asked.iter().copied();
            let fix = match spelling::nearest(&entry.name, known) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("remove it; known here are {}", self.asked.join(", ")),
            };
            reading.tell(Problem::at(&spot, "is not a known key", fix));
        }
    }
}

/// How to understand the value at a spot.
pub(super) type Read<T> = fn(Spot, Node, &mut Reading) -> Result<Typed<T>, Reported>;

fn without_duplicates(spot: &Spot, entries: Vec<Entry>, reading: &mut Reading) -> Vec<Entry> {
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let first = kept.iter().find(|kept| kept.name == entry.name).map(|kept| kept.place);
        match first {
            None => kept.push(entry),
            Some(Place { line, .. }) => {
                reading.tell(Problem::at(
                    &spot.child(&entry.name, entry.place),
                    format!("is given twice, first on line {line}"),
                    "remove one of the two",
                ));
            }
        }
    }
    kept
}
