//! The only module that names rustls types: the provider, and what we trust when we call out.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_platform_verifier::BuilderVerifierExt as _;

/// TLS could not be set up. Completes "…: ".
#[derive(Debug, thiserror::Error)]
#[error("no usable TLS set-up: {0}")]
pub struct TlsFault(#[from] rustls::Error);

/// Client settings that trust what the operating system (in a container: the image's CA bundle) trusts.
pub fn client_config() -> Result<ClientConfig, TlsFault> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(config)
}
