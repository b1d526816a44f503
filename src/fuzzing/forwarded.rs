//! `X-Forwarded-For` (`wire::caller`): what a stranger writes at its front never changes who calls. The first line
//! is the peer's address, each other one a header.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::wire::caller::{Caller, TrustedProxies};

pub fn forwarded(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let peer = lines.next().and_then(|line| str::from_utf8(line).ok());
    let Some(peer) = peer.and_then(|line| line.parse::<IpAddr>().ok()) else { return };
    let headers: Vec<HeaderValue> =
        lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let ranges: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"]
        .iter()
        .map(|range| range.parse().expect("a range"))
        .collect();
    let is_trusted =
        |address: IpAddr| ranges.iter().any(|range| range.contains(&address.to_canonical()));
    let proxies = TrustedProxies::new(ranges.clone());

    let caller = proxies.caller(peer, &map(&headers));

    if !is_trusted(peer) {
        assert_eq!(caller, Caller::Address(peer.to_canonical()), "a stranger was believed");
    }
    if let Caller::Address(address) = caller {
        assert_eq!(address, address.to_canonical());
        assert!(!is_trusted(address), "a proxy of ours is taken for a caller");
    }
    let is_decided = matches!(caller, Caller::Address(_));
    for lie in ["198.51.100.1", "x", "10.1.1.1, 203.0.113.9"] {
        let lie = HeaderValue::from_static(lie);
        let in_front: Vec<HeaderValue> = std::iter::once(&lie).chain(&headers).cloned().collect();
        let believed = proxies.caller(peer, &map(&in_front));
        assert!(!is_decided || believed == caller, "what stands in front was believed");
        let Some((first, others)) = headers.split_first() else { continue };
        let longer = [lie.as_bytes(), b", ", first.as_bytes()].concat();
        let longer = HeaderValue::from_bytes(&longer).expect("a header");
        let in_line: Vec<HeaderValue> = std::iter::once(&longer).chain(others).cloned().collect();
        let believed = proxies.caller(peer, &map(&in_line));
        assert!(!is_decided || believed == caller, "what stands in front was believed");
    }
    // Nothing is trusted: nothing that is sent counts.
    let nobody = TrustedProxies::default();
    assert_eq!(nobody.caller(peer, &map(&headers)), nobody.caller(peer, &HeaderMap::new()));
}

fn map(lines: &[HeaderValue]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append("x-forwarded-for", line.clone());
    }
    headers
}
