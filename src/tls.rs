//! The only module that names rustls types: the provider, what we trust when we call out, TLS to an upstream, and in
//! `server` TLS towards who calls us. A host's name is always verified.

mod server;
#[cfg(test)]
pub mod trial;

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::sync::{Arc, LazyLock, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::secret::Secret;
use crate::wire::UpstreamProtocol;

pub use rustls::ClientConfig;
pub use server::{
    Acceptor, Agreed, CurrentChain, HandshakeFault, Hello, NotCurrent, ServerIdentity, ServerStream,
};

/// A connection over which TLS is spoken.
pub type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

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
        Trust::System => {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::<SystemAuthorities>::clone(&SYSTEM))
        }
        Trust::Authority(certificate) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone().into())?;
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}

/// Read the system's authorities now, to know that there are any. Else they are read when they are first needed.
pub fn read_system_authorities() -> Result<(), NoAuthorities> {
    SYSTEM.read().map(drop)
}

/// Read once for the process: what they are does not depend on who asks.
static SYSTEM: LazyLock<Arc<SystemAuthorities>> = LazyLock::new(|| {
    Arc::new(SystemAuthorities { provider: default_provider().into(), read: OnceLock::new() })
});

/// What the operating system believes: a few hundred certificates. Who never needs them may have none.
#[derive(Debug)]
struct SystemAuthorities {
    provider: Arc<CryptoProvider>,
    read: OnceLock<Result<Verifier, NoAuthorities>>,
}

/// They can't be read, so nobody is believed.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the system's authorities can't be read, install ca-certificates or set SSL_CERT_FILE or SSL_CERT_DIR: {0}"
)]
pub struct NoAuthorities(rustls::Error);

impl From<NoAuthorities> for rustls::Error {
    fn from(fault: NoAuthorities) -> Self {
        Self::Other(OtherError(Arc::new(fault)))
    }
}

impl SystemAuthorities {
    fn read(&self) -> Result<&Verifier, NoAuthorities> {
        let read = || Verifier::new(Arc::clone(&self.provider)).map_err(NoAuthorities);
        self.read.get_or_init(read).as_ref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for SystemAuthorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.read()?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.read()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.read()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The name that the other side must have a certificate for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedName(ServerName<'static>);

/// Who may say who the other side is, in place of the system's authorities.
#[derive(Clone)]
pub struct Authorities(Arc<RootCertStore>);

/// Our own certificate, then those between it and its authority: apart from the key, as it is no secret.
#[derive(Clone, Debug)]
pub struct Chain(Vec<CertificateDer<'static>>);

/// What we prove ourselves with, if the other side asks.
#[derive(Clone)]
pub struct ClientIdentity(Arc<CertifiedKey>);

/// How TLS is spoken with one server. Checked: what is left to go wrong is the system's trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    pub name: ServedName,
    /// `None`: the system's.
    pub authorities: Option<Authorities>,
    pub identity: Option<ClientIdentity>,
}

/// Why what was given can't be used. Completes "the file …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("has no certificate in PEM form")]
    NoCertificate,
    #[error("has a certificate that can't be read")]
    BadCertificate,
    /// Nothing of it is told.
    #[error("has no private key in PEM form that can be used")]
    NoKey,
    #[error("has the key of another certificate")]
    AnotherKey,
}

impl ServedName {
    /// `None` if nobody can have a certificate for `host`.
    pub fn of(host: &str) -> Option<Self> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.filter(|host| host.parse::<Ipv6Addr>().is_ok()).unwrap_or(host);
        ServerName::try_from(host.to_owned()).ok().map(Self)
    }
}

impl ServerTls {
    /// By the system's trust, as nobody in particular. `None` if nobody can have a certificate for `host`.
    pub fn of(host: &str) -> Option<Self> {
        ServedName::of(host).map(|name| Self { name, authorities: None, identity: None })
    }
}

impl Authorities {
    /// Every certificate in `pem`.
    pub fn from_pem(pem: &str) -> Result<Self, Unusable> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(|_| Unusable::BadCertificate)?;
        }
        Ok(Self(Arc::new(roots)))
    }
}

impl Chain {
    pub fn from_pem(pem: &str) -> Result<Self, Unusable> {
        certificates(pem).map(Self)
    }
}

impl ClientIdentity {
    /// Errors: about the key, unless its certificate can't be read.
    pub fn new(chain: Chain, key: &Secret) -> Result<Self, Unusable> {
        certified_key(chain, key).map(|own| Self(Arc::new(own)))
    }
}

/// Errors: about the key, unless its certificate can't be read.
fn certified_key(chain: Chain, key: &Secret) -> Result<CertifiedKey, Unusable> {
    let key =
        PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| Unusable::NoKey)?;
    let error = match CertifiedKey::from_der(chain.0, key, &default_provider()) {
        Ok(own) => return Ok(own),
        Err(error) => error,
    };
    if matches!(error, rustls::Error::InconsistentKeys(_)) {
        return Err(Unusable::AnotherKey);
    }
    let is_certificate = matches!(error, rustls::Error::InvalidCertificate(_));
    Err(if is_certificate { Unusable::BadCertificate } else { Unusable::NoKey })
}

/// Makes TLS connections to one server. Clones share what it learns for its next connection.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
    protocol: UpstreamProtocol,
}

impl Connector {
    /// `system` is what trusts the system's authorities: a few hundred to read, so they are read once.
    pub fn new(
        server: &ServerTls,
        protocol: UpstreamProtocol,
        system: &ClientConfig,
    ) -> Result<Self, TlsFault> {
        let mut config = match &server.authorities {
            None => system.clone(),
            Some(Authorities(roots)) => {
                ClientConfig::builder_with_provider(Arc::new(default_provider()))
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(Arc::clone(roots))
                    .with_no_client_auth()
            }
        };
        if let Some(ClientIdentity(own)) = &server.identity {
            let own = CertifiedKey::clone(own);
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(own));
        }
        config.alpn_protocols = vec![alpn(protocol).to_vec()];
        // Its own: who was believed by other rules, or knew us otherwise, is met anew.
        config.resumption = Resumption::in_memory_sessions(KEPT_SESSIONS);
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { tls, name: server.name.0.clone(), protocol })
    }

    /// Speak TLS over `stream`. Errors: say what is wrong with the certificate, if that is it.
    pub async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream> {
        let stream = self.tls.connect(self.name.clone(), stream).await?;
        let agreed = stream.get_ref().1.alpn_protocol();
        // RFC 9113 §3.3: never without. Who says nothing of it speaks HTTP/1.
        if self.protocol == UpstreamProtocol::Http2 && agreed != Some(alpn(self.protocol)) {
            return Err(io::Error::other("it does not agree to HTTP/2 (ALPN)"));
        }
        Ok(stream)
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

impl Eq for Authorities {}

/// Who has the same certificate has the same key: it was checked that they belong together.
impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl Eq for ClientIdentity {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

impl fmt::Debug for ClientIdentity {
    // It has the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

/// RFC 7301.
const fn alpn(protocol: UpstreamProtocol) -> &'static [u8] {
    match protocol {
        UpstreamProtocol::Http1 => ALPN_HTTP1,
        UpstreamProtocol::Http2 => ALPN_HTTP2,
    }
}

/// At least one.
fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|_| Unusable::BadCertificate)?;
    if all.is_empty() { Err(Unusable::NoCertificate) } else { Ok(all) }
}

/// Of one server.
const KEPT_SESSIONS: usize = 8;
/// RFC 7301 §6, RFC 9113 §3.1
const ALPN_HTTP1: &[u8] = b"http/1.1";
const ALPN_HTTP2: &[u8] = b"h2";

/// Both ends of a connection over TLS, for tests of what is sent over one.
#[cfg(test)]
pub async fn connected() -> (TlsStream, tokio_rustls::server::TlsStream<TcpStream>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = ServerTls {
        authorities: Some(Authorities(Arc::new(roots))),
        ..ServerTls::of("localhost").unwrap()
    };
    let system = client_config(&Trust::System).unwrap();
    let connector = Connector::new(&server, UpstreamProtocol::Http1, &system).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (near, far) = tokio::join!(
        async { connector.connect(TcpStream::connect(address).await.unwrap()).await },
        async { acceptor.accept(listener.accept().await.unwrap().0).await },
    );
    (near.unwrap(), far.unwrap())
}

#[cfg(test)]
mod tests {
    use rustls::version::{TLS12, TLS13};
    use rustls::{ServerConfig, SupportedProtocolVersion};
    use tokio::io::duplex;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Shake hands by the system's authorities, among which is `certificate`, with who shows it and has `key`.
    async fn shake_hands(
        certificate: &CertificateDer<'static>,
        key: &rcgen::KeyPair,
        version: &'static SupportedProtocolVersion,
    ) -> io::Result<()> {
        let provider = Arc::new(default_provider());
        let key = key.serialize_der().try_into().unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let shown = CertifiedKey::new(vec![certificate.clone()], key);
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        let roots = [certificate.clone()];
        let read = Verifier::new_with_extra_roots(roots, Arc::clone(&provider)).unwrap();
        let verifier = SystemAuthorities { provider, read: OnceLock::from(Ok(read)) };
        let mut client = client_config(&Trust::System).unwrap();
        client.dangerous().set_certificate_verifier(Arc::new(verifier));
        let (near, far) = duplex(64 * 1024);

        let connector = TlsConnector::from(Arc::new(client));
        let name = ServerName::try_from("localhost").unwrap();
        let (near, _) = tokio::join!(
            connector.connect(name, near),
            TlsAcceptor::from(Arc::new(server)).accept(far),
        );
        near.map(drop)
    }

    #[tokio::test]
    async fn who_shows_the_certificate_of_another_is_not_believed() {
        let keys = [(); 2].map(|()| rcgen::KeyPair::generate().unwrap());
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&keys[0]).unwrap();
        for version in [&TLS12, &TLS13] {
            shake_hands(certificate.der(), &keys[0], version).await.unwrap();
            let refused = shake_hands(certificate.der(), &keys[1], version).await.unwrap_err();
            assert!(refused.to_string().contains("BadSignature"), "{refused}");
        }
    }
}
