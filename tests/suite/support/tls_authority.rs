//! An authority that signs certificates, for MCP servers that speak TLS and for who calls them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::support::random_text;

#[derive(Debug)]
pub struct TlsAuthority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as DER.
#[derive(Debug)]
pub struct Signed {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Whether a server wants its clients to show a certificate.
#[derive(Clone, Copy, Debug)]
pub enum Clients<'a> {
    Anybody,
    SignedBy(&'a TlsAuthority),
}

impl TlsAuthority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // A name of its own: one with the name of another would only have signed badly.
        params.distinguished_name.push(DnType::CommonName, random_text());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    pub fn signs(&self, name: &str) -> Signed {
        self.sign(&CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// One that was good once.
    pub fn signed_long_ago(&self, name: &str) -> Signed {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().to_vec();
        Signed { certificate, key: key.serialize_der() }
    }
}

impl Signed {
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }

    /// What a server that has it needs. HTTP/1.1 is all that it speaks.
    pub fn acceptor(&self, clients: Clients<'_>) -> TlsAcceptor {
        self.speaking(Some(b"http/1.1"), clients)
    }

    /// The same for another protocol (RFC 7301), or for one that knows nothing of protocols.
    pub fn speaking(&self, protocol: Option<&[u8]>, clients: Clients<'_>) -> TlsAcceptor {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::SignedBy(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let key = self.key.clone().try_into().unwrap();
        let mut config =
            builder.with_single_cert(vec![self.certificate.clone().into()], key).unwrap();
        config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}
