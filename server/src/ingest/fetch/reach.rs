//! Reach: how far inside a network an address lies, and so whether a playlist or a redirection may send us there.
//!
//! Whoever writes a playlist chooses addresses that this server connects to, from inside of the operator's network. They may be as far
//! inside as the source itself is, and no further: a source on the internet names public addresses only, one in the city's network not
//! this machine's own ports. The source's own host and port are always allowed (correctness: S2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From outside to inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Anybody's.
    Public,
    /// Of a private network.
    Private,
    /// This machine's own, or its link's: other programs' ports, and a cloud's metadata.
    Own,
}

impl Reach {
    /// Of an address.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, ..] = address.octets();
        // RFC 6598: shared by the customers of a carrier.
        let is_shared = first == 100 && second & 0xc0 == 64;
        if address.is_private() || is_shared {
            Self::Private
        } else if address.is_loopback()
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
            || first == 0
        {
            Self::Own
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let [first, second, ..] = address.segments();
        // RFC 6052, RFC 3056: addresses of IPv4 inside.
        let holds_v4 = (first, second) == (0x64, 0xff9b) || first == 0x2002;
        if address.is_unique_local() || holds_v4 {
            Self::Private
        } else if address.is_loopback()
            || address.is_unspecified()
            || address.is_unicast_link_local()
            || address.is_multicast()
        {
            Self::Own
        } else {
            Self::Public
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // correctness: S2
    #[test]
    fn addresses_lie_outside_or_inside() {
        let cases = [
            (Reach::Public, &["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:db8::1"][..]),
            (
                Reach::Private,
                &["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "64:ff9b::7f00:1"],
            ),
            (Reach::Own, &["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "::1", "::", "fe80::1"]),
            (Reach::Own, &["::ffff:127.0.0.1", "255.255.255.255", "ff02::1"]),
        ];
        for (reach, addresses) in cases {
            for address in addresses {
                assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
            }
        }
    }
}
