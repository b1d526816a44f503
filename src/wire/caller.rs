//! Which address a request comes from, for budgets and logs. Never a reason to let somebody in.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use crate::wire::names::X_FORWARDED_FOR;

/// Where a request comes from, as far as that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Address(IpAddr),
    /// Behind a proxy that we were told nothing about, or that says nothing: everybody may look like this.
    Unknown,
}

/// The proxies in front of us whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self(ranges)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who calls, if the connection comes from `peer`: the last address in `X-Forwarded-For` that no trusted
    /// proxy has. Everything before it may have been made up.
    pub fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Caller {
        let peer = peer.to_canonical();
        if self.is_empty() {
            // In a cluster that is the ingress, for every request there is.
            return if is_private(peer) { Caller::Unknown } else { Caller::Address(peer) };
        }
        if !self.trusts(peer) {
            return Caller::Address(peer);
        }
        for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            for entry in line.to_str().unwrap_or("?").rsplit(',') {
                match address(entry.trim()) {
                    Some(address) if self.trusts(address) => {}
                    Some(address) => return Caller::Address(address),
                    None => return Caller::Unknown,
                }
            }
        }
        Caller::Unknown
    }

    pub fn ranges(&self) -> &[IpNet] {
        &self.0
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// Some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.parse().or_else(|_| entry.trim_matches(['[', ']']).parse());
    let address =
        bare.ok().or_else(|| entry.parse().ok().map(|socket: std::net::SocketAddr| socket.ip()));
    address.map(|address| address.to_canonical())
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            // RFC 6598: what carriers, and some clusters, use inside.
            let is_shared = a == 100 && (64..128).contains(&b);
            address.is_private() || address.is_loopback() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn caller(trusted: &[&str], peer: &str, forwarded: &[&str]) -> Caller {
        let ranges = trusted.iter().map(|range| range.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        TrustedProxies::new(ranges).caller(peer.parse().unwrap(), &headers)
    }

    #[test]
    fn only_what_a_trusted_proxy_adds_is_believed() {
        let is = |address: &str| Caller::Address(address.parse().unwrap());
        let inside = &["10.0.0.0/8", "fd00::/8"][..];
        for (trusted, peer, forwarded, expected) in [
            // Nothing is trusted.
            (&[][..], "203.0.113.7", &["198.51.100.1"][..], is("203.0.113.7")),
            (&[], "10.1.2.3", &["198.51.100.1"], Caller::Unknown),
            (&[], "127.0.0.1", &[], Caller::Unknown),
            (&[], "100.64.1.1", &[], Caller::Unknown),
            (&[], "::ffff:10.1.2.3", &[], Caller::Unknown),
            (&[], "fd12::1", &[], Caller::Unknown),
            // A stranger can say what they like.
            (inside, "203.0.113.7", &["198.51.100.1"], is("203.0.113.7")),
            // A proxy adds at the end.
            (inside, "10.1.2.3", &["198.51.100.1"], is("198.51.100.1")),
            (inside, "::ffff:10.1.2.3", &["198.51.100.1"], is("198.51.100.1")),
            (inside, "10.1.2.3", &["1.1.1.1, 198.51.100.1"], is("198.51.100.1")),
            (inside, "10.1.2.3", &["1.1.1.1", "198.51.100.1,10.9.9.9"], is("198.51.100.1")),
            (inside, "10.1.2.3", &["198.51.100.1:4711"], is("198.51.100.1")),
            (inside, "10.1.2.3", &["[2001:db8::1]:4711"], is("2001:db8::1")),
            (inside, "fd00::1", &["[2001:db8::1]"], is("2001:db8::1")),
            (inside, "10.1.2.3", &["1.1.1.1, unknown"], Caller::Unknown),
            (inside, "10.1.2.3", &["1.1.1.1, "], Caller::Unknown),
            (inside, "10.1.2.3", &["10.4.4.4"], Caller::Unknown),
            (inside, "10.1.2.3", &[], Caller::Unknown),
        ] {
            assert_eq!(caller(trusted, peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
