//! Who is at the other end of a connection, as far as limits are concerned.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::request::Parts;
use ipnet::IpNet;

/// The part of an IPv6 address that a network hands out; the rest is for its user to choose.
const NETWORK: u128 = u128::MAX << 64;

/// Who a request has passed by, each proxy adding whom it heard it from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// How many proxies in a row are believed.
const MAX_PROXIES: usize = 16;

/// The address that limits go by: an IPv4 address, or the first 64 bits of an IPv6 address, for nobody has only one of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// The address at the other end of the connection that a request came by. The server puts it there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connected(pub(crate) IpAddr);

/// Who a request comes from: the other end of its connection or, if that is a proxy that is believed, whoever it names.
/// `None` where there is no connection.
pub(crate) fn origin(request: &Parts, trusted: &[IpNet]) -> Option<Peer> {
    let Connected(address) = request.extensions.get::<Connected>()?;
    Some(Peer::from(behind_proxies(address.to_canonical(), &request.headers, trusted)))
}

/// Goes back from proxy to proxy, as long as they are believed and what they say can be read. Whatever stands further to the
/// left may be made up.
fn behind_proxies(mut address: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !is_trusted(address) {
        return address;
    }
    let named: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().flat_map(|value| value.to_str().unwrap_or_default().split(',')).collect();
    for name in named.into_iter().rev().take(MAX_PROXIES) {
        let Some(before) = parse(name.trim()) else { break };
        address = before;
        if !is_trusted(address) {
            break;
        }
    }
    address
}

/// An address as proxies write it: with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_one_peer_however_it_is_written() {
        assert_eq!(peer("192.0.2.1"), peer("::ffff:192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        assert_eq!(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
    }

    fn named(connected: &str, forwarded: &[&'static str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        behind_proxies(connected.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_told_so() {
        assert_eq!(named("192.0.2.1", &["203.0.113.9"], &[]), "192.0.2.1");
        assert_eq!(named("192.0.2.1", &["203.0.113.9"], &["10.0.0.0/8"]), "192.0.2.1");
    }

    #[test]
    fn a_proxy_that_is_believed_names_its_client() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        for (forwarded, client) in [
            (vec!["203.0.113.9"], "203.0.113.9"),
            (vec!["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (vec!["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
            (vec!["198.51.100.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (vec!["203.0.113.9:4711"], "203.0.113.9"),
            (vec!["[2001:db8::9]:4711, fd00::2"], "2001:db8::9"),
            (vec!["198.51.100.1, nonsense"], "10.0.0.1"),
            (vec!["nonsense, 10.0.0.2"], "10.0.0.2"),
            (vec![""], "10.0.0.1"),
            (vec![], "10.0.0.1"),
        ] {
            assert_eq!(named("10.0.0.1", &forwarded, &trusted), client, "{forwarded:?}");
        }
    }

    #[test]
    fn a_long_chain_has_an_end() {
        let long = "10.0.0.9, ".repeat(1_000) + "10.0.0.8";
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::try_from(long).unwrap());
        let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(behind_proxies([10, 0, 0, 1].into(), &headers, &trusted), IpAddr::from([10, 0, 0, 9]));
    }
}
