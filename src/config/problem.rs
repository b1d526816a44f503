//! How mistakes are told: where, which key, what is wrong, why it matters, what to do about it.

use std::fmt;

/// Line and column, both from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub line: u64,
    pub column: u64,
}

/// A place in the file and the dotted key that stands there, or would.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub place: Place,
    pub key: String,
}

/// One mistake. Never holds a secret.
#[derive(Debug)]
pub(super) struct Problem {
    place: Option<Place>,
    key: String,
    reason: String,
    why: Option<String>,
    fix: String,
}

/// Everything that is wrong with the configuration, in the order of the file.
#[derive(Debug)]
pub struct Problems {
    file: String,
    found: Vec<Problem>,
}

/// Proof that a problem was told: whoever gives up with it leaves nobody wondering why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

impl Place {
    pub const START: Self = Self { line: 1, column: 1 };
}

impl Spot {
    /// Of the whole file.
    pub fn document() -> Self {
        Self { place: Place::START, key: String::new() }
    }

    /// Of `name` inside `self`. Stays at the place of `self` if the key was left out.
    pub fn child(&self, name: &str, place: Place) -> Self {
        let key =
            if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Self { place, key }
    }

    /// Of the entry number `index`, from 0, of the list at `self`.
    pub fn item(&self, index: usize, place: Place) -> Self {
        Self { place, key: format!("{}[{index}]", self.key) }
    }
}

impl Problem {
    /// `reason` completes "key: ", `fix` completes "fix: ".
    pub fn at(spot: &Spot, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            place: Some(spot.place),
            key: spot.key.clone(),
            reason: reason.into(),
            why: None,
            fix: fix.into(),
        }
    }

    /// Of the file as a whole.
    pub fn of_file(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { place: None, key: String::new(), reason: reason.into(), why: None, fix: fix.into() }
    }

    /// A line between reason and fix, for a rule that is not obvious.
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }
}

impl Problems {
    pub(super) fn in_file(file: String) -> Self {
        Self { file, found: Vec::new() }
    }

    pub(super) fn tell(&mut self, problem: Problem) -> Reported {
        self.found.push(problem);
        Reported(())
    }

    pub(super) fn in_order(mut self) -> Self {
        self.found.sort_by_key(|problem| problem.place);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn len(&self) -> usize {
        self.found.len()
    }

    fn write_one(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Place { line, column }) = problem.place {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !problem.key.is_empty() {
            write!(f, "{}: ", problem.key)?;
        }
        writeln!(f, "{}", problem.reason)?;
        if let Some(why) = &problem.why {
            writeln!(f, "  {why}")?;
        }
        writeln!(f, "  fix: {}", problem.fix)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.found {
            self.write_one(problem, f)?;
            writeln!(f)?;
        }
        match self.found.len() {
            1 => write!(f, "1 problem in {}", self.file),
            count => write!(f, "{count} problems in {}", self.file),
        }
    }
}

impl std::error::Error for Problems {}
