//! The words that the journeys are told in. Nothing here knows how the product works inside.

pub mod access_token;
pub mod admin;
pub mod assertion;
pub mod browser;
pub mod client;
pub mod document_host;
pub mod doorman;
pub mod exchange;
pub mod fake_idp;
pub mod fake_mcp_server;
pub mod http2;
pub mod http2_mcp_server;
pub mod idp_quirks;
pub mod introspection;
pub mod log;
pub mod program;
pub mod raw_mcp_server;
pub mod tls_authority;
pub mod trouble;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_doorman::chance::Chance;

/// Wait for what must happen soon: a test that waits in vain fails instead of hanging.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(DEADLINE, future).await;
    result.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what}"))
}

/// 256 random bits as 43 characters that are safe in a URL.
pub fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(Chance::system().bytes::<32>().unwrap())
}

/// SHA-256 of `text` as 43 characters of base64url.
pub fn hash_text(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

const DEADLINE: Duration = Duration::from_secs(20);
