//! The form that a value must have: how it is read, and what a schema says of it.

use crate::config::field::Typed;
use crate::config::problem::{Reported, Spot};
use crate::config::schema::Schema;
use crate::config::stanza::Reading;
use crate::config::tree::Node;

/// How to understand the value at a spot, and what to tell an editor about it.
pub(super) struct Form<T> {
    pub read: Read<T>,
    pub shape: Shape,
}

pub(super) type Read<T> = fn(Spot, Node, &mut Reading) -> Result<Typed<T>, Reported>;

/// Functions, so that nothing is made unless a schema is asked for.
pub(super) struct Shape {
    pub schema: fn() -> Schema,
    pub default: Option<fn() -> Schema>,
    pub example: Option<&'static str>,
}

impl<T> Form<T> {
    pub const fn new(read: Read<T>, schema: fn() -> Schema) -> Self {
        Self { read, shape: Shape { schema, default: None, example: None } }
    }

    /// What leaving the key out means. For the schema only; a test compares it with what `check` does.
    pub fn by_default(mut self, default: fn() -> Schema) -> Self {
        self.shape.default = Some(default);
        self
    }

    pub fn with_example(mut self, example: &'static str) -> Self {
        self.shape.example = Some(example);
        self
    }
}
