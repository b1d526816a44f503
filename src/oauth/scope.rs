//! Scopes (RFC 6749 §3.3): a set of names, printed separated by single spaces.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of scope names in the order in which they were first given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// Read a space-separated list. Names with characters outside RFC 6749 §3.3 are dropped: we grant
    /// what is configured, so an impossible name can only be one that nobody has.
    pub fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        for name in text.split(' ').filter(|name| is_scope_name(name)) {
            if !scopes.contains(name) {
                scopes.0.push(name.to_owned());
            }
        }
        scopes
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|own| own == name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// What both sets hold, in the order of `self`.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|name| other.contains(name)).cloned().collect())
    }

    /// The names of `self` that `other` lacks.
    pub fn missing_from(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|name| !other.contains(name)).cloned().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// `1*( %x21 / %x23-5B / %x5D-7E )`, RFC 6749 §3.3. Such a name needs no escape inside a quoted string.
pub fn is_scope_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_words() {
        let scopes = Scopes::parse("readwrite  admin readwrite");

        assert!(!scopes.contains("read"));
        assert_eq!(scopes.to_string(), "readwrite admin");
    }

    #[test]
    fn a_name_that_would_break_a_quoted_string_is_dropped() {
        assert_eq!(Scopes::parse("ok a\"b c\\d é").to_string(), "ok");
    }

    #[test]
    fn what_is_missing_is_named_at_once() {
        let needed = Scopes::parse("a b c");

        assert_eq!(needed.missing_from(&Scopes::parse("b")).to_string(), "a c");
    }
}
