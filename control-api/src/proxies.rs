//! Proxies: where a request comes from, when others forwarded it.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use ipnet::IpNet;

/// The most `X-Forwarded-For` entries looked at; a longer chain is an attack or a loop, and its
/// caller counts as unknown.
const FORWARDED_MAX: usize = 32;

/// Proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(pub Arc<[IpNet]>);

impl TrustedProxies {
    /// The caller's address: the peer's, or behind trusted proxies the last one that is not a
    /// trusted proxy. `None` when a trusted proxy forwards something that is no address.
    pub fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return Some(peer);
        }
        let mut hops: Vec<&str> = Vec::new();
        for value in headers.get_all("x-forwarded-for") {
            hops.extend(value.to_str().ok()?.split(',').map(str::trim));
        }
        if hops.len() > FORWARDED_MAX {
            return None;
        }
        let mut caller = peer;
        for hop in hops.iter().rev() {
            caller = hop.parse::<IpAddr>().ok()?.to_canonical();
            if !self.trusts(caller) {
                break;
            }
        }
        Some(caller)
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(trusted: &[&str], peer: &str, forwarded: &[&str]) -> Option<String> {
        let proxies = TrustedProxies(trusted.iter().map(|network| network.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        proxies.caller(peer.parse().unwrap(), &headers).map(|ip| ip.to_string())
    }

    #[test]
    fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
        let proxy = ["10.0.0.0/8"];
        assert_eq!(caller(&[], "192.0.2.1", &["127.0.0.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(caller(&proxy, "10.1.1.1", &["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(caller(&proxy, "10.1.1.1", &["127.0.0.1, 192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(caller(&proxy, "10.1.1.1", &["192.0.2.1", "10.2.2.2"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(caller(&proxy, "10.1.1.1", &["nonsense"]), None);
        assert_eq!(caller(&proxy, "10.1.1.1", &[]).as_deref(), Some("10.1.1.1"));
        assert_eq!(caller(&[], "::ffff:127.0.0.1", &[]).as_deref(), Some("127.0.0.1"));
        assert_eq!(caller(&proxy, "10.1.1.1", &["10.0.0.1,".repeat(40).trim_end_matches(',')]), None);
    }
}
