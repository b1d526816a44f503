//! The protected resource: what MCP clients see of the server before they have a token.

pub mod challenge;
pub mod guard;
pub mod metadata;
pub mod origin;

pub use challenge::Challenges;
pub use origin::Origins;
