//! The proxy: carries an admitted request to the MCP server and streams the answer back.

pub mod forward;
pub mod headers;
pub mod upstream;

pub use forward::forward;
pub use headers::IdentityHeaders;
pub use upstream::Upstream;
