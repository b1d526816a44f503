//! `listen:` and `health.listen:` where to listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::stanza::Reading;
use crate::server::ListenAddress;

/// The public listener and the health listener, which must not be in each other's way.
pub(super) fn check(
    public: Field<String>,
    health: Field<String>,
    reading: &mut Reading,
) -> Result<(ListenAddress, ListenAddress), Reported> {
    let public = public.optional().and_then(|typed| address(typed, PUBLIC_PORT, reading));
    let health = health.optional().and_then(|typed| address(typed, HEALTH_PORT, reading));
    let ((public, public_typed), (health, health_typed)) = (public?, health?);
    if !collide(public.address, health.address) {
        return Ok((public, health));
    }
    match health_typed.or(public_typed) {
        Some(typed) => Err(reading.tell(typed.problem(
            "is taken: listen and health.listen have the same port",
            "give one of the two another port",
        ))),
        // The defaults don't collide.
        None => Ok((public, health)),
    }
}

/// The address, and what was typed for it.
type Listener = (ListenAddress, Option<Typed<String>>);

fn address(
    typed: Option<Typed<String>>,
    default_port: u16,
    reading: &mut Reading,
) -> Result<Listener, Reported> {
    let Some(typed) = typed else {
        // Only where nothing was typed may another address stand in: a machine may have no IPv6.
        let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), default_port);
        let fallback = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), default_port);
        return Ok((ListenAddress { address, fallback: Some(fallback) }, None));
    };
    if let Ok(address) = typed.value.parse() {
        return Ok((ListenAddress { address, fallback: None }, Some(typed)));
    }
    let port = port_alone(&typed.value).unwrap_or(default_port);
    Err(reading.tell(typed.problem(
        "is not an address and a port",
        format!(
            "write \"[::]:{port}\" for every address, \"127.0.0.1:{port}\" for this machine only"
        ),
    )))
}

/// `8080`, `:8080` or `localhost:8080`: the port is meant.
fn port_alone(text: &str) -> Option<u16> {
    text.rsplit(':').next()?.parse().ok()
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    // Port 0 is whichever is free.
    one.port() == other.port() && one.port() != 0 && same_address
}

const PUBLIC_PORT: u16 = 8080;
const HEALTH_PORT: u16 = 9090;
