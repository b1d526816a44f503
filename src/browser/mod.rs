//! What binds an answer to the browser that was asked: cookies, forms, the proof of consent.

pub mod consent;
pub mod cookies;

pub use consent::{AuthorizationRequest, Consent};
pub use cookies::Cookies;
