//! mcp-doorman: OAuth in front of an MCP server that knows nothing of it.
pub mod authorization_server;
pub mod chance;
pub mod clock;
pub mod config;
pub mod grants;
pub mod idp;
pub mod oauth;
pub mod policy;
pub mod proxy;
pub mod seal;
pub mod secret;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod wire;
