//! The product from outside: a file per journey, told in the words of `support`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on should stop and say where"
)]

mod admin;
mod attacks;
mod authorization_code;
mod backchannel_logout;
mod budgets;
mod canary;
mod challenge;
mod consent;
mod declared_clients;
mod demo;
mod desync;
mod discovery;
mod evil_idp;
mod exchanges;
mod fail_closed;
mod formats;
mod http2;
mod identity;
mod idp_outage;
mod idp_tokens;
mod introspection;
mod jwks;
mod legacy_sse;
mod limits;
mod login;
mod logs;
mod lost_store;
mod machines;
mod metadata_documents;
mod metadata_documents_signing;
#[path = "../model/mod.rs"]
mod model;
mod outages;
mod presets;
mod pressure;
mod proxying;
mod recheck;
mod refresh;
mod registration;
mod reload;
mod reload_files;
mod remembered_consent;
mod resource_indicators;
mod revocation;
mod service_accounts;
mod sessions;
mod stream_ends;
mod streaming;
mod support;
mod tls;
mod upstream_faults;
mod upstream_http2;
mod upstream_kinds;
mod vocabulary;
