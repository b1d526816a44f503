//! Who may use a resource: rules on the verified identity.

pub mod access;

pub use access::{Access, AccessEntry};
