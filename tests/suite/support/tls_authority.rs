//! An authority that signs certificates: for MCP servers that speak TLS and who calls them, and for the product itself.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::random_text;

#[derive(Debug)]
pub struct TlsAuthority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as DER.
#[derive(Debug)]
pub struct Signed {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// A client that believes an authority, and wants to reach the server of that name.
#[derive(Clone, Debug)]
pub struct TlsClient {
    roots: Arc<RootCertStore>,
    name: String,
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

    /// One that is good until then: a year, a month and a day.
    pub fn signs_until(&self, name: &str, (year, month, day): (i32, u8, u8)) -> Signed {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, month, day);
        self.sign(&params)
    }

    pub fn client_of(&self, name: &str) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        TlsClient { roots: Arc::new(roots), name: name.to_owned() }
    }

    fn sign(&self, params: &CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().to_vec();
        Signed { certificate, key: key.serialize_der() }
    }
}

impl TlsClient {
    /// `protocol` is all that it speaks (RFC 7301).
    pub async fn connect(
        &self,
        stream: TcpStream,
        protocol: &[u8],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = self.name.clone().try_into().unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// What it says first, as it goes over the wire.
    pub async fn hello(&self) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let listening = async {
            let mut stream = listener.accept().await.unwrap().0;
            let mut hello = vec![0; 5];
            stream.read_exact(&mut hello).await.unwrap();
            hello.resize(5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])), 0);
            stream.read_exact(&mut hello[5..]).await.unwrap();
            hello
        };
        let (refused, hello) = tokio::join!(self.connect(stream, b"http/1.1"), listening);
        refused.unwrap_err();
        hello
    }
}

impl Signed {
    /// Whether that is what was shown on `stream`.
    pub fn was_shown_on(&self, stream: &TlsStream<TcpStream>) -> bool {
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        shown[0].as_ref() == self.certificate
    }

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
