//! The listening socket: bound once, accepting for as long as `drain` lets it. Next: `workers`, which get
//! the connections in turn.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::sleep;

use crate::server::drain::{Stage, Stop};
use crate::server::peers::{Crowded, Peers};
use crate::server::seldom::Seldom;
use crate::server::workers::{Deal, Workers};
use crate::wire::keepalive::{VANISHED, notice_vanishing};

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    pub address: SocketAddr,
    /// Tried if `address` can't be bound because the machine has no IPv6.
    pub fallback: Option<SocketAddr>,
}

/// For the operator: `listen` names an address that is taken, not ours, or not allowed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindFault {
    address: SocketAddr,
    source: io::Error,
}

/// To be called inside the runtime that will accept.
pub fn bind(wanted: ListenAddress) -> Result<TcpListener, BindFault> {
    let fault = match bind_to(wanted.address) {
        Ok(listener) => return Ok(listener),
        Err(source) => BindFault { address: wanted.address, source },
    };
    match wanted.fallback {
        Some(fallback) if lacks_ipv6(&fault.source) => bind_to(fallback).map_err(|_| fault),
        Some(_) | None => Err(fault),
    }
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // Only against TIME_WAIT after a restart. SO_REUSEPORT would let a second process take our clients.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A kernel without IPv6 says that the family is unknown, one with it switched off that the address is.
/// A taken port or a missing permission would be the same on IPv4.
fn lacks_ipv6(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

/// Accept connections and deal them out until the drain has come to `Stage::Finishing`.
pub async fn accept(listener: TcpListener, peers: Peers, workers: Workers, mut stop: Stop) {
    let mut door = Door { peers, deal: workers.deal(), refused: Refused::default() };
    accept_until(&listener, &mut door, stop.reached(Stage::Finishing)).await;
    // Closing the socket would reset them, and to their clients they stand already.
    if let Err(error) = accept_what_waits(listener, &mut door) {
        tracing::error!(fault = %error, whose_fault = "us", "can't accept connections, while stopping");
    }
}

async fn accept_until(
    listener: &TcpListener,
    door: &mut Door,
    finishing: impl Future<Output = ()>,
) {
    let mut faults = AcceptFaults::default();
    let mut finishing = pin!(finishing);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut finishing => return,
            accepted = listener.accept() => accepted,
        };
        let pause = match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = stream.into_std().and_then(|stream| door.let_in(stream, peer)) {
                    faults.note(&error);
                }
                continue;
            }
            Err(error) => faults.note(&error),
        };
        tokio::select! {
            () = &mut finishing => return,
            () = sleep(pause) => {}
        }
    }
}

/// From an accepted connection to the worker that gets it.
struct Door {
    peers: Peers,
    deal: Deal,
    refused: Refused,
}

impl Door {
    /// Errors: the connection can't be used. One that may not be is closed, without a word: an answer would cost more
    /// than the connection.
    fn let_in(&mut self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        match self.peers.admit(peer.ip()) {
            Ok(seat) => self.deal.hand_out(prepare(stream)?, peer.ip(), seat),
            Err(Crowded) => self.refused.note(peer.ip(), self.peers.most()),
        }
        Ok(())
    }
}

/// Ask the kernel itself: the runtime knows only of those that it has been told of.
fn accept_what_waits(listener: TcpListener, door: &mut Door) -> io::Result<()> {
    let listener = listener.into_std()?;
    for _ in 0..=BACKLOG {
        match listener.accept() {
            Ok((stream, peer)) => door.let_in(stream, peer)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if went_away(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Small answers leave at once, no worker waits for one socket, and a client that vanished is noticed though
/// its stream has nothing to say.
fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let socket = SockRef::from(&stream);
    // For bytes that are on their way, which no probe follows. Linux then doesn't count probes: the one at 55 s
    // without an answer is the last.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(VANISHED))?;
    notice_vanishing(&socket)?;
    Ok(stream)
}

fn went_away(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// What to do when `accept` fails.
#[derive(Debug, Default)]
struct AcceptFaults(Seldom);

impl AcceptFaults {
    /// How long to wait before the next try. A client that went away again is nobody's fault; anything
    /// else (too many open files above all) stands until some connection ends, so trying at once would
    /// only spin.
    fn note(&mut self, error: &io::Error) -> Duration {
        if went_away(error) {
            return Duration::ZERO;
        }
        if self.0.note().is_some() {
            tracing::error!(fault = %error, whose_fault = "us", "can't accept connections, pausing");
        }
        PAUSE
    }
}

/// Connections of addresses that have too many.
#[derive(Debug, Default)]
struct Refused(Seldom);

impl Refused {
    fn note(&mut self, peer: IpAddr, most: Option<NonZeroUsize>) {
        let Some(refused) = self.0.note() else { return };
        tracing::warn!(
            peer = %peer.to_canonical(),
            most,
            refused,
            fix = "set trusted_proxies if that is your ingress, or raise limits.connections_per_address",
            whose_fault = "client",
            "connections closed: one address has too many"
        );
    }
}

/// Enough for every client to reconnect at once after a restart.
const BACKLOG: u32 = 1024;
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tokio::time::Instant;

    use super::*;
    use crate::telemetry::{LogFormat, LogLevel, LogSettings, log_to};
    use crate::wire::keepalive::assert_vanishing_is_noticed;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lasting_fault_pauses_the_accepting_and_is_told_each_ten_seconds() {
        let lines = Lines::default();
        let sink = lines.clone();
        let settings = LogSettings { format: LogFormat::Json, level: LogLevel::Info };
        let _log = tracing::dispatcher::set_default(&log_to(&settings, move || sink.clone()));
        let begin = Instant::now();
        let mut faults = AcceptFaults::default();

        while begin.elapsed() < Duration::from_secs(25) {
            sleep(faults.note(&io::Error::other("too many open files"))).await;
        }

        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(lines.lines().count(), 3, "{lines}");
        assert!(lines.contains("too many open files"));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_too_many_are_counted_and_told_each_ten_seconds() {
        let lines = Lines::default();
        let sink = lines.clone();
        let settings = LogSettings { format: LogFormat::Json, level: LogLevel::Info };
        let _log = tracing::dispatcher::set_default(&log_to(&settings, move || sink.clone()));
        let mut refused = Refused::default();

        for _ in 0..25 {
            refused.note("192.0.2.1".parse().unwrap(), NonZeroUsize::new(7));
            sleep(Duration::from_secs(1)).await;
        }

        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let counts = lines.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (line["peer"].as_str(), line["most"].as_u64()),
                (Some("192.0.2.1"), Some(7))
            );
            line["refused"].as_u64().unwrap()
        });
        assert_eq!(counts.collect::<Vec<_>>(), [1, 10, 10]);
    }

    #[test]
    fn a_client_that_went_away_again_does_not_pause_the_accepting() {
        let gone = io::Error::from(io::ErrorKind::ConnectionAborted);

        assert_eq!(AcceptFaults::default().note(&gone), Duration::ZERO);
    }

    /// Fault 21
    #[test]
    fn a_client_that_vanished_is_noticed_within_a_minute() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();

        let prepared = prepare(listener.accept().unwrap().0).unwrap();

        let socket = SockRef::from(&prepared);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(VANISHED));
        assert_vanishing_is_noticed(&socket);
    }

    #[tokio::test]
    async fn the_fallback_is_for_machines_without_ipv6_only() {
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let documentation: SocketAddr = "[2001:db8::1]:0".parse().unwrap();
        let taken = bind(ListenAddress { address: loopback, fallback: None }).unwrap();

        let elsewhere = bind(ListenAddress { address: documentation, fallback: Some(loopback) });
        let in_use =
            bind(ListenAddress { address: taken.local_addr().unwrap(), fallback: Some(loopback) });

        assert!(elsewhere.unwrap().local_addr().unwrap().ip().is_loopback());
        let told = in_use.unwrap_err().to_string();
        assert!(told.starts_with("cannot listen on 127.0.0.1:"), "{told}");
    }
}
