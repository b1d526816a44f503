//! Is an address one of the public internet? From the IANA special-purpose registries (RFC 6890), as of
//! November 2026. What no registry calls public is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is of the public internet. An IPv4 address inside an IPv6 one is judged by itself
/// where that is how the internet reaches it; every other way to embed one is refused as such.
///
/// What can't be seen from here: a NAT64 prefix of the network's own, and public addresses of the
/// operator's own machines.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match judged_inside(address) {
            Some(inside) => is_public_v4(inside),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    !SPECIAL_V4.iter().any(|(start, length)| {
        let shift = 32 - length;
        bits >> shift == u32::from_be_bytes(*start) >> shift
    })
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    is_in(address, GLOBAL_UNICAST)
        && !SPECIAL_V6.iter().any(|prefix| is_in(address, *prefix))
        && !is_isatap(address)
}

/// The IPv4 address that is reached by `address`: mapped (RFC 4291 §2.5.5.2), or by the NAT64 of a
/// network without IPv4 (RFC 6052 §2.1), where the names of the whole public internet lead there.
fn judged_inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., high, low] = address.segments();
    let inside = Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    JUDGED_INSIDE.iter().any(|prefix| is_in(address, *prefix)).then_some(inside)
}

/// RFC 5214 §6.1: an IPv4 address behind `0000:5efe` or `0200:5efe`, under any prefix.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, universal, marker, _, _] = address.segments();
    matches!(universal, 0 | 0x200) && marker == 0x5efe
}

fn is_in(address: Ipv6Addr, (start, length): Prefix6) -> bool {
    let shift = 128 - length;
    u128::from(address) >> shift == u128::from(start) >> shift
}

/// The first address and the number of bits that count.
type Prefix4 = ([u8; 4], u32);
type Prefix6 = (Ipv6Addr, u32);

const SPECIAL_V4: [Prefix4; 19] = [
    ([0, 0, 0, 0], 8),        // this network (RFC 791)
    ([10, 0, 0, 0], 8),       // private (RFC 1918)
    ([100, 64, 0, 0], 10),    // shared by carriers, and by clouds and clusters (RFC 6598)
    ([127, 0, 0, 0], 8),      // loopback (RFC 1122)
    ([168, 63, 129, 16], 32), // looks public: a cloud's own agent, seen by each of its machines
    ([169, 254, 0, 0], 16),   // link-local (RFC 3927): where clouds tell machines their secrets
    ([172, 16, 0, 0], 12),    // private (RFC 1918)
    ([192, 0, 0, 0], 24),     // IETF protocol assignments (RFC 6890)
    ([192, 0, 2, 0], 24),     // documentation (RFC 5737)
    ([192, 31, 196, 0], 24),  // AS112 (RFC 7535)
    ([192, 52, 193, 0], 24),  // AMT (RFC 7450)
    ([192, 88, 99, 0], 24),   // 6to4 relays (RFC 7526)
    ([192, 168, 0, 0], 16),   // private (RFC 1918)
    ([192, 175, 48, 0], 24),  // AS112 (RFC 7534)
    ([198, 18, 0, 0], 15),    // benchmarks (RFC 2544)
    ([198, 51, 100, 0], 24),  // documentation (RFC 5737)
    ([203, 0, 113, 0], 24),   // documentation (RFC 5737)
    ([224, 0, 0, 0], 4),      // multicast (RFC 5771)
    ([240, 0, 0, 0], 4),      // reserved, broadcast (RFC 1112)
];

/// All that IANA gives out for the internet. Outside lie loopback, `::`, v4-compatible, link-local,
/// site-local, unique local, multicast, segment routing and `64:ff9b:1::/48`.
const GLOBAL_UNICAST: Prefix6 = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

const SPECIAL_V6: [Prefix6; 6] = [
    // IETF protocol assignments (RFC 2928), Teredo and ORCHID among them
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // documentation (RFC 3849, RFC 9637)
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4 (RFC 3056)
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    // AS112 (RFC 7534)
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    // 6bone, given back (RFC 3701)
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16),
];

const JUDGED_INSIDE: [Prefix6; 2] = [
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOT_PUBLIC: &str = include_str!("../../tests/not_public_addresses.txt");

    const PUBLIC: [&str; 20] = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2606:4700::6810:84e5",
        "2a00:1450:4001:82a::200e",
        "2400:cb00:2048:1::c629:d7a2",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ];

    #[test]
    fn what_is_not_of_the_public_internet_is_refused() {
        let addresses = NOT_PUBLIC.lines().filter(|line| !line.starts_with('#'));
        let mut seen = 0;
        for text in addresses {
            assert!(!is_public(text.parse().unwrap()), "{text}");
            seen += 1;
        }
        assert!(seen >= 70, "only {seen} addresses");
    }

    #[test]
    fn what_is_of_the_public_internet_is_accepted() {
        for text in PUBLIC {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    proptest! {
        /// Whatever stands around it, a private address is not reached through another.
        #[test]
        fn a_private_address_stays_private_inside(host in any::<u8>(), bits in any::<u128>()) {
            let private = 0x0a00_0000 | u128::from(host);
            for prefix in [
                0,
                0xffff << 32,
                0x0064_ff9b << 96,
                0x0064_ff9b_0001 << 80,
                0x2002 << 112,
                0x2001 << 112,
            ] {
                prop_assert!(!is_public(IpAddr::V6((prefix | private).into())));
            }
            let sixth = (0x2002 << 112) | (bits >> 16);
            prop_assert!(!is_public(IpAddr::V6(sixth.into())));
        }

        #[test]
        fn mapping_changes_no_verdict(bits in any::<u32>()) {
            let address = Ipv4Addr::from(bits);

            prop_assert_eq!(
                is_public(IpAddr::V4(address)),
                is_public(IpAddr::V6(address.to_ipv6_mapped()))
            );
        }
    }
}
