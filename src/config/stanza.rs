//! A map of the file while it is read: answers for the keys it is asked for, then tells which keys
//! nobody asked for.

use crate::config::environment::Environment;
use crate::config::field::{Field, Required};
use crate::config::form::{Form, Read};
use crate::config::problem::{Place, Problem, Problems, Reported, Spot};
use crate::config::schema::{Need, Outline};
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
    outline: Outline,
}

/// How to understand a map: asks it for every key that it may have.
pub(super) type ReadStanza<T> = fn(&mut Stanza, &mut Reading) -> T;

impl Reading<'_> {
    pub fn tell(&mut self, problem: Problem) -> Reported {
        self.problems.tell(problem)
    }
}

impl Stanza {
    /// The map at `spot` as `read` understands it. What was not asked for is unknown.
    pub fn read<T>(spot: Spot, node: Node, read: ReadStanza<T>, reading: &mut Reading) -> T {
        let mut stanza = Self::open(spot, node, reading);
        let value = read(&mut stanza, reading);
        stanza.close(reading);
        value
    }

    /// One without entries, to see what it is asked for.
    pub fn empty() -> Self {
        Self::holding(Spot::document(), Ok(Vec::new()))
    }

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
        Self::holding(spot, contents)
    }

    fn holding(spot: Spot, contents: Result<Vec<Entry>, Reported>) -> Self {
        Self { spot, contents, outline: Outline::default() }
    }

    pub fn spot(&self) -> &Spot {
        &self.spot
    }

    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// The value of `name`, in the given form. `about` is what editors show: one line, units included.
    pub fn ask<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        form: Form<T>,
        reading: &mut Reading,
    ) -> Field<T> {
        self.outline.add(name, about, Need::Optional, form.shape);
        self.take(name, form.read, reading)
    }

    /// Like `ask`, for a key that must be given, by the operator or by a preset.
    pub fn require<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        form: Form<T>,
        reading: &mut Reading,
    ) -> Required<T> {
        self.outline.add(name, about, Need::Required, form.shape);
        Required(self.take(name, form.read, reading))
    }

    /// The stanza under `name`, as `read` understands it; an empty one if there is none.
    pub fn stanza<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        read: ReadStanza<T>,
        reading: &mut Reading,
    ) -> T {
        let mut inner = self.inner(name, reading);
        let value = read(&mut inner, reading);
        let outline = inner.close(reading);
        self.outline.add_stanza(name, about, outline);
        value
    }

    fn take<T>(&mut self, name: &str, read: Read<T>, reading: &mut Reading) -> Field<T> {
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

    fn inner(&mut self, name: &str, reading: &mut Reading) -> Self {
        let left_out = self.spot.child(name, self.spot.place);
        let entries = match &mut self.contents {
            Ok(entries) => entries,
            Err(reported) => return Self::holding(left_out, Err(*reported)),
        };
        let Some(index) = entries.iter().position(|entry| entry.name == name) else {
            return Self::holding(left_out, Ok(Vec::new()));
        };
        let entry = entries.swap_remove(index);
        // Keys that are missing in it are told at its name, not at its first key.
        Self::open(self.spot.child(name, entry.place), entry.node, reading)
    }

    /// Use the entries of a preset for every key that was not given.
    pub fn fall_back_on(&mut self, defaults: Vec<Entry>) {
        self.outline.has_presets = true;
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
    fn close(self, reading: &mut Reading) -> Outline {
        let known: Vec<_> = self.outline.names().collect();
        for entry in self.contents.unwrap_or_default() {
            let spot = self.spot.child(&entry.name, entry.place);
            let fix = match spelling::nearest(&entry.name, known.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("remove it; known here are {}", known.join(", ")),
            };
            reading.tell(Problem::at(&spot, "is not a known key", fix));
        }
        self.outline
    }
}

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
