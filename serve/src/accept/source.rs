//! Who a connection comes from, as far as its addresses tell.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The source of a connection. Clients behind one address translation are one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// This process, or another one in its network namespace: the connection comes from the address that it goes to. A port-forward, and the
    /// self-beat of the reaper where the node does not masquerade it.
    Own,
    /// An IPv4 address, or a /64 of IPv6: one host can use all addresses of it (RFC 4291, RFC 4941).
    Peer(IpAddr),
}

impl Source {
    /// The source of a connection between these addresses.
    pub(super) fn of(peer: SocketAddr, local: Option<SocketAddr>) -> Self {
        let ip = peer.ip().to_canonical();
        if local.is_some_and(|local| local.ip().to_canonical() == ip) {
            return Self::Own;
        }
        Self::Peer(match ip {
            IpAddr::V4(_) => ip,
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn source(peer: &str, local: &str) -> Source {
        let at = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), 1);
        Source::of(at(peer), Some(at(local)))
    }

    #[rstest]
    #[case::loopback("127.0.0.1", "127.0.0.1", true)]
    #[case::loopback_of_ipv6("::1", "::1", true)]
    #[case::through_the_service_to_itself("10.244.1.7", "10.244.1.7", true)]
    #[case::mapped("::ffff:10.244.1.7", "10.244.1.7", true)]
    #[case::another_pod("10.244.1.8", "10.244.1.7", false)]
    fn own_connections_are_recognised(#[case] peer: &str, #[case] local: &str, #[case] own: bool) {
        assert_eq!(source(peer, local) == Source::Own, own);
    }

    #[test]
    fn a_host_with_many_addresses_of_ipv6_is_one_source() {
        assert_eq!(source("2001:db8::1", "2001:db8:1::9"), source("2001:db8::ffff:2", "2001:db8:1::9"));
        assert_ne!(source("2001:db8:0:1::1", "2001:db8:1::9"), source("2001:db8::1", "2001:db8:1::9"));
        assert_ne!(source("10.0.0.1", "10.0.0.9"), source("10.0.0.2", "10.0.0.9"));
    }
}
