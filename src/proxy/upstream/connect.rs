//! A new connection to an upstream, made within its deadline. Who lets one caller wait in vain is tried by one each second
//! until it answers: a thousand callers would wait as long, each with a socket.

use std::io;

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout};

use crate::policy::UpstreamServer;
use crate::proxy::upstream::http2;
use crate::proxy::upstream::socket::Stream;
use crate::wire::keepalive::notice_vanishing;
use crate::wire::{UpstreamKind, UpstreamProtocol};

/// Does `server` accept a connection now, show a certificate that is good if it is to, and speak HTTP/2 if it is
/// to? For readiness.
pub async fn accepts(server: &UpstreamServer) -> io::Result<()> {
    let stream = try_to_connect(server).await?;
    match server.protocol {
        UpstreamProtocol::Http1 => Ok(()),
        UpstreamProtocol::Http2 => {
            timeout(server.deadlines.connect, http2::connection::begin(stream)).await?.map(drop)
        }
    }
}

/// For a request.
pub(super) async fn connect(server: &UpstreamServer) -> io::Result<Stream> {
    if !server.silence.may_try(Instant::now()) {
        let text = "it let the last one who tried wait in vain; one tries again each second";
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    }
    try_to_connect(server).await
}

async fn try_to_connect(server: &UpstreamServer) -> io::Result<Stream> {
    let begun = Instant::now();
    let Ok(answered) = timeout(server.deadlines.connect, connect_by_its_kind(server)).await else {
        server.silence.fell(begun, Instant::now());
        let waited = server.deadlines.connect.as_millis();
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("timed out after {waited} ms"),
        ));
    };
    // To be refused is an answer too, and comes at once.
    server.silence.is_over(Instant::now());
    answered
}

async fn connect_by_its_kind(server: &UpstreamServer) -> io::Result<Stream> {
    let authority = server.url.authority.as_str();
    Ok(match (&server.url.kind, &server.tls) {
        (UpstreamKind::Http, _) => Stream::Tcp(connect_tcp(authority).await?),
        (UpstreamKind::Unix(path), _) => Stream::Unix(UnixStream::connect(path).await?),
        (UpstreamKind::Https, Some(tls)) => {
            Stream::Tls(Box::new(tls.connect(connect_tcp(authority).await?).await?))
        }
        (UpstreamKind::Https, None) => return Err(io::Error::other("TLS is not set up")),
    })
}

async fn connect_tcp(authority: &str) -> io::Result<TcpStream> {
    let mut first_fault = None;
    for address in lookup_host(authority).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                notice_vanishing(&SockRef::from(&stream))?;
                return Ok(stream);
            }
            // The first address is the best, and its fault says most: behind 127.0.0.1 `localhost` may be a ::1 that
            // this machine does not have.
            Err(error) => first_fault = first_fault.or(Some(error)),
        }
    }
    Err(first_fault.unwrap_or_else(|| io::Error::other("its name has no address")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::keepalive::assert_vanishing_is_noticed;

    /// Fault 16 of the design: a stream has no deadline.
    #[tokio::test]
    async fn a_server_that_vanished_is_noticed_within_a_minute() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();

        let stream = connect_tcp(&listener.local_addr().unwrap().to_string()).await.unwrap();

        assert_vanishing_is_noticed(&SockRef::from(&stream));
    }
}
