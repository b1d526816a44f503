//! What every endpoint needs of HTTP: who called, forms, answers, the body that is never buffered.

pub mod answer;
pub mod body;
pub mod caller;
pub mod feed;
pub mod form;
pub mod keepalive;
pub mod lines;
pub mod names;
pub mod number;
pub mod outbox;
pub mod request;
pub mod request_body;
pub mod scratch;
pub mod upstream_url;
#[cfg(test)]
pub mod woken;

pub use body::Body;
pub use caller::{Caller, TrustedProxies};
pub use form::Form;
pub use number::plain_number;
pub use outbox::Outbox;
pub use request::{Arrival, RequestId};
pub use request_body::RequestBody;
pub use upstream_url::{UpstreamKind, UpstreamProtocol, UpstreamUrl};

/// A request as it came from the wire, its body not yet read.
pub type Request = http::Request<RequestBody>;

/// An answer of our own.
pub type Response = http::Response<Body>;
