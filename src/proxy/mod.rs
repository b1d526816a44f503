//! The proxy: carries an admitted request to the MCP server and streams the answer back.

pub mod body;
mod event_ends;
mod first_event;
pub mod forward;
pub mod headers;
mod lateness;
mod legacy_sse;
pub mod odd_answers;
pub mod open_answers;
pub mod pressure;
mod redirects;
pub mod sessions;
pub mod streams;
pub mod upstream;

pub use body::{Body, BodyFault};
pub use forward::forward;
pub use headers::IdentityHeaders;
pub use odd_answers::OddAnswers;
pub use sessions::Sessions;
pub use streams::{StreamSettings, Streams};
pub use upstream::Upstream;

// What `fuzzing` feeds.
#[cfg(any(test, fuzzing))]
pub mod fed {
    pub use super::event_ends::{COMMENT, EventEnds};
    pub use super::first_event::{FirstEvent, Looked, NoUrl};
    pub use super::headers::without_own_cookies;
    pub use super::redirects::make_public;
    pub use super::upstream::fed::{Framing, answer_head, chunked};
}

/// An answer to a call: the upstream's, or ours in its place.
pub type Response = http::Response<Body>;
