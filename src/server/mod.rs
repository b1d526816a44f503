//! The server: listens, deals connections to workers, refuses what is malformed on the wire, and hands
//! the rest to the application. HTTP/1.1, and HTTP/2 with prior knowledge (RFC 9113 §3.3); both over TLS if it has a
//! certificate to show.

mod connection;
mod deadline;
pub mod descriptors;
mod drain;
mod entry;
mod framing;
mod handshake;
mod http1;
mod http2;
mod listen;
mod peers;
mod refusal;
mod seldom;
mod workers;

#[cfg(test)]
mod battery;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

use tokio::net::TcpListener;
use tracing::instrument::WithSubscriber as _;

pub use drain::{DrainSettings, Drained};
pub use listen::{BindFault, ListenAddress};
pub use peers::Peers;
pub use workers::WorkerSettings;

// What `fuzzing` feeds.
#[cfg(any(test, fuzzing))]
pub mod fed {
    pub use super::connection::serve;
    pub use super::drain::Drain;
    pub use super::entry::check;
    pub use super::framing::Framing;
    pub use super::http1::Stream;
    pub use super::http2::fed::{Frame, Frames};
    pub use super::refusal::Refusal;
}

use crate::proxy::Response;
use crate::server::drain::Drain;
use crate::server::workers::Workers;
use crate::tls::Acceptor;
use crate::wire::Request;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    #[error(transparent)]
    Bind(#[from] BindFault),
    #[error("cannot tell which address it listens on: {0}")]
    Address(#[source] io::Error),
    #[error("cannot start a worker thread: {0}")]
    Worker(#[source] io::Error),
}

/// A server at work. Dropping it cuts everything; `drain` lets it finish.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    drain: Drain,
    tls: Option<Acceptor>,
}

/// A port that is ours. Who connects waits until the server is started.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// To be called inside the runtime that will accept.
    pub fn bind(wanted: ListenAddress) -> Result<Self, StartFault> {
        let socket = listen::bind(wanted)?;
        let address = socket.local_addr().map_err(StartFault::Address)?;
        Ok(Self { socket, address })
    }

    /// The port is known here if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answer with what `make_handler` makes on each of `workers` threads. To be called inside the runtime that
/// accepts; it must go on running.
///
/// A handler gets the peer's address: the client's, or that of whatever stands in front of us. It is
/// cancelled when the client goes.
pub fn start<M, H, F>(
    Listener { socket, address }: Listener,
    workers: NonZeroUsize,
    settings: &WorkerSettings,
    make_handler: M,
) -> Result<Running, StartFault>
where
    M: Fn() -> H + Clone + Send + 'static,
    H: Fn(Request, IpAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let (drain, stop) = Drain::new();
    let workers =
        Workers::start(workers, settings, make_handler, &stop).map_err(StartFault::Worker)?;
    let accepting = listen::accept(socket, settings.peers.clone(), workers, stop);
    tokio::spawn(accepting.with_subscriber(settings.log.clone()));
    Ok(Running { address, drain, tls: settings.tls.clone() })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What shows the certificate, and takes another one; `None` if it speaks no TLS.
    pub fn tls(&self) -> Option<&Acceptor> {
        self.tls.as_ref()
    }

    /// Finish what is under way and end. A second call, while the first one waits, ends at once.
    pub async fn drain(&self, settings: DrainSettings) -> Drained {
        self.drain.drain(settings).await
    }
}
