//! The proxy: carries an admitted request to the MCP server and streams the answer back.

pub mod forward;
pub mod headers;
pub mod odd_answers;
pub mod streams;
pub mod upstream;

pub use forward::forward;
pub use headers::IdentityHeaders;
pub use odd_answers::OddAnswers;
pub use streams::{StreamSettings, Streams};
pub use upstream::Upstream;
