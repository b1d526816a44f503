//! Whatever parses input, fed with anything. One function for each target of `tests/fuzz/`, which looks for inputs
//! that break what it asserts; those that it has found interesting are kept in `tests/fuzz/corpus/`, and the tests
//! here run them all again. A target says more than that nothing panics: mostly it reads the same bytes a second
//! time, slowly, and compares.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it are tests: to stop is how they fail"
)]

mod answer_head;
mod authorization;
mod basic_credentials;
mod chunked;
mod chunked_coding;
mod client_metadata;
mod config;
mod cookies;
mod cut;
mod discovery;
mod event_ends;
mod event_stream;
mod first_event;
mod form;
mod forwarded;
mod http2_frames;
mod idp_answers;
mod jwt;
mod location;
mod redirect_uri;
mod registration;
mod request_head;
mod target;
mod token;

pub use answer_head::answer_head;
pub use authorization::authorization;
pub use basic_credentials::basic_credentials;
pub use chunked::chunked;
pub use client_metadata::client_metadata;
pub use config::config;
pub use cookies::cookies;
pub use discovery::discovery;
pub use event_ends::event_ends;
pub use first_event::first_event;
pub use form::form;
pub use forwarded::forwarded;
pub use http2_frames::http2_frames;
pub use idp_answers::idp_answers;
pub use jwt::{jwks, jwt};
pub use location::location;
pub use redirect_uri::redirect_uri;
pub use registration::registration;
pub use request_head::request_head;
pub use target::target;
pub use token::token;

#[cfg(test)]
mod tests;
