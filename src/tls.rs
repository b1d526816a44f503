//! The only module that names rustls types: the provider, and what we trust when we call out.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_platform_verifier::BuilderVerifierExt as _;

pub use rustls::ClientConfig;

/// TLS could not be set up. Completes "…: ".
#[derive(Debug, thiserror::Error)]
#[error("no usable TLS set-up: {0}")]
pub struct TlsFault(#[from] rustls::Error);

/// Whose certificates we believe when we call out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that the operating system (in a container: the image's CA bundle) believes.
    System,
    /// Those of one authority, as DER.
    Authority(Vec<u8>),
}

/// Client settings that trust `trust`.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TlsFault> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::System => builder.with_platform_verifier()?,
        Trust::Authority(certificate) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone().into())?;
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}
