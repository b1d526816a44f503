//! mcp-doorman: OAuth in front of an MCP server that knows nothing of it.
//!
//! The modules in the order in which a request meets them; `docs/architecture.md` is the longer tour.

// A connection: accepted, dealt to a worker, refused if its bytes can be read in two ways.
pub mod server;

// What stands at this host and path: an endpoint of ours, or a protected resource.
pub mod router;

// A resource: who calls (challenge, guard), may they (token, policy), then on to the MCP server.
pub mod policy;
pub mod protected_resource;
pub mod proxy;
pub mod token;

// A login: registration, the client's proof, consent in the browser, the IdP, the grant that it ends in.
pub mod authorization_server;
pub mod browser;
pub mod grants;
pub mod idp;
pub mod jose;
pub mod pages;

// What all of them stand on.
pub mod budget;
pub mod chance;
pub mod clock;
pub mod oauth;
pub mod outbound;
pub mod seal;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod wire;

// The process: its config, its health, its command line.
pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;

// All that reads input, fed with anything: `tests/fuzz/run`.
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
