//! Which addresses are on the public internet: the special-purpose registries of IANA, and somewhat more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses: its first one, and how many leading bits they share.
type Block4 = (Ipv4Addr, u32);
type Block6 = (Ipv6Addr, u32);

/// IPv4 addresses that are not public.
#[rustfmt::skip]
const RESERVED_V4: [Block4; 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // shared by carriers
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local; the metadata services of clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays, withdrawn
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, broadcast
];

/// IPv6 addresses that are not public, apart from [`PUBLIC_AFTER_ALL`].
#[rustfmt::skip]
const RESERVED_V6: [Block6; 12] = [
    (block(0, 0, 0), 8),                   // unspecified, loopback, and old ways to embed IPv4
    (block(0x64, 0xff9b, 1), 48),          // local translation
    (block(0x100, 0, 0), 64),              // discarded
    (block(0x2001, 0, 0), 23),             // protocol assignments, Teredo
    (block(0x2001, 0xdb8, 0), 32),         // documentation
    (block(0x2002, 0, 0), 16),             // 6to4: leads to any IPv4 address
    (block(0x3fff, 0, 0), 20),             // documentation
    (block(0x5f00, 0, 0), 16),             // segment routing
    (block(0xfc00, 0, 0), 7),              // unique local
    (block(0xfe80, 0, 0), 10),             // link-local
    (block(0xfec0, 0, 0), 10),             // site-local, withdrawn
    (block(0xff00, 0, 0), 8),              // multicast
];

/// The globally reachable assignments inside `2001::/23`.
#[rustfmt::skip]
const PUBLIC_AFTER_ALL: [Block6; 5] = [
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 1), 128), // port control
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 2), 128), // TURN
    (block(0x2001, 3, 0), 32),                         // AMT
    (block(0x2001, 4, 0x112), 48),                     // AS112
    (block(0x2001, 0x20, 0), 28),                      // ORCHIDv2
];

/// The well-known prefix of NAT64 (RFC 6052): what follows is an IPv4 address.
const NAT64: Block6 = (block(0x64, 0xff9b, 0), 96);

const fn block(first: u16, second: u16, third: u16) -> Ipv6Addr {
    Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0)
}

/// The address that packets really go to: IPv4 where it is only dressed as IPv6.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => embedded(six).map_or(address, IpAddr::V4),
    }
}

/// Whether an address is on the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(four) => !RESERVED_V4.iter().any(|block| is_in_v4(four, *block)),
        IpAddr::V6(six) => {
            let is_in = |block: &Block6| is_in_v6(six, *block);
            PUBLIC_AFTER_ALL.iter().any(is_in) || !RESERVED_V6.iter().any(is_in)
        }
    }
}

fn embedded(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let translated = is_in_v6(six, NAT64).then(|| {
        let [.., a, b, c, d] = six.octets();
        Ipv4Addr::new(a, b, c, d)
    });
    translated.or_else(|| six.to_ipv4_mapped())
}

fn is_in_v4(address: Ipv4Addr, (base, bits): Block4) -> bool {
    (address.to_bits() ^ base.to_bits()).leading_zeros() >= bits
}

fn is_in_v6(address: Ipv6Addr, (base, bits): Block6) -> bool {
    (address.to_bits() ^ base.to_bits()).leading_zeros() >= bits
}
