//! What operators and the platform ask: on listeners of its own, never on the public one.

pub mod health;
