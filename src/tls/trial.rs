//! Certificates to show, and clients that believe them: for tests of what is served over TLS.

use std::io;
use std::slice;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::tls::{Chain, ServedName, ServerIdentity};

/// A certificate that stands for itself, for `localhost` and 127.0.0.1.
#[derive(Debug)]
pub struct Shown {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// A client that believes some certificates.
#[derive(Clone, Debug)]
pub struct Client(pub ClientConfig);

impl Shown {
    pub fn make() -> Self {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Self { certificate: certificate.der().clone(), key }
    }

    pub fn identity(&self) -> ServerIdentity {
        let chain = Chain(vec![self.certificate.clone()]);
        let now = Timestamp::from_seconds(1_790_000_000);
        let base64 = STANDARD.encode(self.key.serialized_der());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n");
        ServerIdentity::new(chain.at(now).unwrap(), &Secret::new(pem)).unwrap()
    }
}

impl Client {
    /// `protocols`: what it names, the best first (RFC 7301).
    pub fn of(believed: &[&Shown], protocols: &[&str]) -> Self {
        Self::speaking(&[&TLS13, &TLS12], believed, protocols)
    }

    pub fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        believed: &[&Shown],
        protocols: &[&str],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for shown in believed {
            roots.add(shown.certificate.clone()).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols =
            protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self(config)
    }

    pub async fn connect<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect_to("localhost", stream).await
    }

    pub async fn connect_to<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::new(self.0.clone()));
        connector.connect(ServedName::of(host).unwrap().0, stream).await
    }
}

/// Whether `shown` is what was shown on `stream`.
pub fn was_shown<S>(stream: &TlsStream<S>, shown: &Shown) -> bool {
    stream.get_ref().1.peer_certificates() == Some(slice::from_ref(&shown.certificate))
}
