//! TLS towards who calls us: what we prove ourselves with, and how a connection begins (RFC 8446, RFC 5246). Who calls
//! is asked for no certificate: tokens say who that is.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{Accepted, ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::tls::{ALPN_HTTP1, ALPN_HTTP2, Chain, TlsFault, Unusable, certified_key};

/// A chain whose own certificate was good when it was looked at.
#[derive(Clone, Debug)]
pub struct CurrentChain {
    chain: Chain,
    ends: Timestamp,
}

/// Why a chain is not to be shown. Completes "the file …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCurrent {
    #[error("has a certificate that can't be read")]
    BadCertificate,
    #[error("has a certificate that ended {0}")]
    Ended(Timestamp),
    #[error("has a certificate that begins {0} only")]
    NotBegun(Timestamp),
}

/// What we prove to clients that we are, and by which key.
#[derive(Clone)]
pub struct ServerIdentity {
    own: Arc<CertifiedKey>,
    ends: Timestamp,
}

/// Begins TLS on connections of clients. Clones show the same certificate.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

/// The certificate is the same whatever name a client asks for (SNI), and if it names none.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

/// A client has said hello. It has not been answered yet.
#[derive(Debug)]
pub struct Hello {
    accepted: Accepted,
    config: Arc<ServerConfig>,
}

/// Why no connection came of it. Completes "failed: ".
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFault {
    #[error("the client has gone")]
    Gone,
    #[error("the client speaks no TLS")]
    PlainHttp,
    /// So the client said.
    #[error("the client does not believe our certificate: {0}")]
    Disbelieved(&'static str),
    #[error("{0}")]
    Tls(rustls::Error),
}

/// A connection over TLS. Boxed, for it is large, and moved about.
#[derive(Debug)]
pub struct ServerStream<S>(Box<TlsStream<S>>);

/// What client and server have agreed to speak (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    /// Also if the client named nothing.
    Http1,
    Http2,
}

impl Chain {
    /// Errors: its own certificate is not good at `now`. Those behind it may be some that clients don't need.
    pub fn at(self, now: Timestamp) -> Result<CurrentChain, NotCurrent> {
        let own = self.0.first().ok_or(NotCurrent::BadCertificate)?;
        let (begins, ends) = validity(own)?;
        if now < begins {
            return Err(NotCurrent::NotBegun(begins));
        }
        if now > ends {
            return Err(NotCurrent::Ended(ends));
        }
        Ok(CurrentChain { chain: self, ends })
    }
}

/// From when until when a certificate is good.
fn validity(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), NotCurrent> {
    let parsed =
        ParsedCertificate::try_from(certificate).map_err(|_| NotCurrent::BadCertificate)?;
    // With no authority nothing is believed, but before that is found out the time is looked at.
    let at = |seconds| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let algorithms = default_provider().signature_verification_algorithms.all;
        let nobody = RootCertStore::empty();
        verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], time, algorithms)
    };
    let begins = match at(0) {
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before,
            ..
        })) => Timestamp::from_seconds(not_before.as_secs()),
        _ => Timestamp::from_seconds(0),
    };
    let ends = match at(END_OF_TIME) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => Timestamp::from_seconds(not_after.as_secs()),
        _ => Timestamp::from_seconds(END_OF_TIME),
    };
    Ok((begins, ends))
}

impl ServerIdentity {
    /// Errors: about the key, unless its certificate can't be read.
    pub fn new(chain: CurrentChain, key: &Secret) -> Result<Self, Unusable> {
        let own = Arc::new(certified_key(chain.chain, key)?);
        Ok(Self { own, ends: chain.ends })
    }

    /// The last moment at which clients believe it.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }
}

impl Acceptor {
    pub fn new(identity: ServerIdentity) -> Result<Self, TlsFault> {
        let shown = Arc::new(Shown(ArcSwap::new(identity.own)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Shown>::clone(&shown));
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        // What a client needs to come back sooner, it keeps itself, sealed with keys that change each 6 h and stay here:
        // a crowd that reconnects is not larger than what we remember, and workers share nothing that is written.
        config.ticketer = Ticketer::new()?;
        // Who records a request could send it again (RFC 8446 §8).
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), shown })
    }

    /// From now on show `identity`. Connections that stand are not touched.
    pub fn renew(&self, identity: ServerIdentity) {
        self.shown.0.store(identity.own);
    }

    /// Read what the client says first. It costs us little.
    pub async fn hello<S>(&self, stream: &mut S) -> Result<Hello, HandshakeFault>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut acceptor = rustls::server::Acceptor::default();
        let mut first = None;
        loop {
            let read = poll_fn(|context| {
                let mut here = Here { stream: &mut *stream, context, first: &mut first };
                match acceptor.read_tls(&mut here) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                    read => Poll::Ready(read),
                }
            });
            if !matches!(read.await, Ok(1..)) {
                return Err(HandshakeFault::Gone);
            }
            // No record begins like that, and every request does.
            if first.is_some_and(|byte| byte.is_ascii_uppercase()) {
                return Err(HandshakeFault::PlainHttp);
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Ok(Hello { accepted, config: Arc::clone(&self.config) });
                }
                Err((error, mut alert)) => {
                    let mut bytes = Vec::new();
                    // In memory, where writing can't fail.
                    let _ = alert.write_all(&mut bytes);
                    let _ = stream.write_all(&bytes).await;
                    return Err(HandshakeFault::Tls(error));
                }
            }
        }
    }
}

impl Hello {
    /// Answer it, and wait for the client to finish. What is costly, the keys and the signature, is computed when
    /// something has come from the client, and before anything is waited for: once or twice in all.
    pub async fn answer<S>(self, stream: S) -> Result<ServerStream<S>, (HandshakeFault, S)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = StartHandshake::from_parts(self.accepted, stream);
        let limit = Some(LARGEST_UNSENT);
        let rest = start.into_stream_with(self.config, |session| session.set_buffer_limit(limit));
        match rest.into_fallible().await {
            Ok(stream) => Ok(ServerStream(Box::new(stream))),
            Err((error, stream)) => Err((fault(&error), stream)),
        }
    }
}

impl<S> ServerStream<S> {
    /// What it goes over.
    pub fn transport(&self) -> &S {
        self.0.get_ref().0
    }

    pub fn agreed(&self) -> Agreed {
        let agreed = self.0.get_ref().1.alpn_protocol();
        if agreed == Some(ALPN_HTTP2) { Agreed::Http2 } else { Agreed::Http1 }
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Reads what is here, for who can't wait.
struct Here<'a, 'b, S> {
    stream: &'a mut S,
    context: &'a mut Context<'b>,
    /// The first byte of all.
    first: &'a mut Option<u8>,
}

impl<S: AsyncRead + Unpin> Read for Here<'_, '_, S> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(room);
        match Pin::new(&mut *self.stream).poll_read(self.context, &mut buffer) {
            Poll::Ready(read) => read?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        }
        *self.first = self.first.or(buffer.filled().first().copied());
        Ok(buffer.filled().len())
    }
}

fn fault(error: &io::Error) -> HandshakeFault {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>())
    else {
        return HandshakeFault::Gone;
    };
    if let rustls::Error::AlertReceived(alert) = error
        && let Some((_, reason)) = DISBELIEF.iter().find(|(known, _)| known == alert)
    {
        return HandshakeFault::Disbelieved(reason);
    }
    HandshakeFault::Tls(error.clone())
}

impl<S> AsyncRead for ServerStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S> AsyncWrite for ServerStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl fmt::Debug for ServerIdentity {
    // It has the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// What a client says that does not believe a certificate (RFC 8446 §6.2).
const DISBELIEF: [(AlertDescription, &str); 6] = [
    (AlertDescription::BadCertificate, "it is malformed, or for another name"),
    (AlertDescription::UnsupportedCertificate, "it is of a kind that is not supported"),
    (AlertDescription::CertificateRevoked, "it is revoked"),
    (AlertDescription::CertificateExpired, "it has expired"),
    (AlertDescription::CertificateUnknown, "certificate unknown"),
    (AlertDescription::UnknownCA, "its authority is not known there"),
];

/// Bytes that the client has not read yet, besides those in the socket: one record. A client that reads so much each
/// minute is not stuck.
const LARGEST_UNSENT: usize = 16 * 1024;

/// Of the year 9999 (RFC 5280 §4.1.2.5): there is no way to write a later one.
const END_OF_TIME: u64 = 253_402_300_799;

#[cfg(test)]
mod tests;
