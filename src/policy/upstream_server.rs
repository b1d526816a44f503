//! The MCP server behind a resource: where it is, and what it takes to get in.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::policy::silence::Silence;
use crate::tls::{ClientConfig, Connector, ServerTls, TlsFault};
use crate::wire::{UpstreamProtocol, UpstreamUrl};

/// One MCP server, as one resource reaches it.
#[derive(Debug)]
pub struct UpstreamServer {
    pub url: UpstreamUrl,
    pub protocol: UpstreamProtocol,
    /// Without it nobody connects to an `https://` one.
    pub tls: Option<Connector>,
    /// What it wants from us with each request, whatever the client sent under these names. Secret: each is
    /// marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub deadlines: UpstreamDeadlines,
    /// Whichever worker it is silent to.
    pub silence: Silence,
    /// Whether it has accepted a connection once.
    pub was_seen: AtomicBool,
}

/// How long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamDeadlines {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From our last byte to the head of the answer, and for the upstream to take more of the request.
    pub first_byte: Duration,
}

impl Default for UpstreamDeadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), first_byte: Duration::from_mins(1) }
    }
}

impl UpstreamServer {
    /// One that wants nothing, and speaks HTTP/1.
    pub fn at(url: UpstreamUrl) -> Self {
        Self {
            url,
            protocol: UpstreamProtocol::default(),
            tls: None,
            headers: Vec::new(),
            deadlines: UpstreamDeadlines::default(),
            silence: Silence::default(),
            was_seen: AtomicBool::new(false),
        }
    }

    /// One at which `protocol` is spoken, over TLS if `tls` says how. `system` trusts the system's authorities.
    pub fn over_tls(
        url: UpstreamUrl,
        protocol: UpstreamProtocol,
        tls: Option<&ServerTls>,
        system: &ClientConfig,
    ) -> Result<Self, TlsFault> {
        let tls = tls.map(|tls| Connector::new(tls, protocol, system)).transpose()?;
        Ok(Self { protocol, tls, ..Self::at(url) })
    }
}
