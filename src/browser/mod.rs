//! What binds an answer to the browser that was asked: cookies, forms, the proof of consent and its memory.

pub mod consent;
pub mod cookies;
pub mod memory;
pub mod person;

pub use consent::{AuthorizationRequest, Consent};
pub use cookies::Cookies;
