//! Candidates: the addresses at which viewers are told to reach us.
//!
//! From the interfaces (`webrtcIPsFromInterfaces`, `...List`) and from `webrtcAdditionalHosts`
//! (addresses or names). A socket bound to one address announces that address alone. Loopback is
//! announced only to viewers who came over loopback, or when there is nothing else.
//!
//! Limits: [`CANDIDATES_MAX`] (the rest is left out), [`NAME_LOOKUP_MAX`] for all names together.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use str0m::Candidate;
use str0m::net::TcpType;
use tracing::{debug, warn};

use crate::config::resolved::{InterfaceIps, WebRtcConfig};

/// The most addresses announced; ICE tries every pair, so many addresses make it slow.
pub(crate) const CANDIDATES_MAX: usize = 16;
/// How long names of `webrtcAdditionalHosts` may take to resolve; those that take longer are left out.
const NAME_LOOKUP_MAX: Duration = Duration::from_secs(2);

/// The local addresses to announce to a viewer at `viewer`.
pub(crate) async fn local_ips(config: &WebRtcConfig, bound: IpAddr, viewer: IpAddr) -> Vec<IpAddr> {
    let mut ips = if bound.is_unspecified() { interface_ips(config, bound, viewer) } else { vec![bound] };
    for ip in additional_ips(&config.additional_hosts).await {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips.truncate(CANDIDATES_MAX);
    ips
}

/// Host candidates for the UDP socket and the TCP listener at these addresses.
pub(crate) fn host_candidates(
    ips: &[IpAddr],
    udp_port: Option<u16>,
    tcp_port: Option<u16>,
) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for ip in ips {
        if let Some(port) = udp_port {
            candidates.push(Candidate::host(SocketAddr::new(*ip, port), "udp"));
        }
        if let Some(port) = tcp_port {
            let tcp = Candidate::builder().tcp().host(SocketAddr::new(*ip, port)).tcptype(TcpType::Passive);
            candidates.push(tcp.build());
        }
    }
    let refused = |error| debug!(%error, "address can't be a candidate");
    candidates.into_iter().filter_map(|candidate| candidate.map_err(refused).ok()).collect()
}

fn interface_ips(config: &WebRtcConfig, bound: IpAddr, viewer: IpAddr) -> Vec<IpAddr> {
    let is_wanted = |name: &str| match &config.interface_ips {
        InterfaceIps::None => false,
        InterfaceIps::All => true,
        InterfaceIps::Of(names) => names.iter().any(|wanted| wanted == name),
    };
    if config.interface_ips == InterfaceIps::None {
        return Vec::new();
    }
    let interfaces = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            warn!(%error, "network interfaces can't be listed; only webrtcAdditionalHosts are announced");
            return Vec::new();
        }
    };
    let all = interfaces.iter().filter(|interface| is_wanted(&interface.name)).map(|i| i.ip());
    // An IPv4 socket can't be reached over IPv6; a dual-stack one by both.
    let reachable = all.filter(|ip| ip.is_ipv4() || bound.is_ipv6());
    let (loopback, mut ips): (Vec<IpAddr>, Vec<IpAddr>) =
        reachable.filter(|ip| !is_link_local(*ip)).partition(IpAddr::is_loopback);
    if viewer.is_loopback() || ips.is_empty() {
        ips.extend(loopback);
    }
    ips
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

async fn additional_ips(hosts: &[String]) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    let deadline = tokio::time::sleep(NAME_LOOKUP_MAX);
    tokio::pin!(deadline);
    for host in hosts {
        if let Ok(ip) = host.parse() {
            ips.push(ip);
            continue;
        }
        tokio::select! {
            () = &mut deadline => {
                warn!(host, "webrtcAdditionalHosts: name did not resolve in time");
                break;
            }
            resolved = tokio::net::lookup_host((host.as_str(), 0)) => match resolved {
                Ok(addrs) => ips.extend(addrs.map(|addr| addr.ip())),
                Err(error) => warn!(host, %error, "webrtcAdditionalHosts: name does not resolve"),
            },
        }
    }
    ips
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::tests::config_for_tests;
    use super::*;

    #[tokio::test]
    async fn socket_bound_to_loopback_announces_loopback_alone() {
        let config = config_for_tests();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(local_ips(&config, loopback, loopback).await, [loopback]);
    }

    #[tokio::test]
    async fn additional_hosts_may_be_addresses_or_names() {
        let config = WebRtcConfig {
            interface_ips: InterfaceIps::None,
            additional_hosts: vec!["192.0.2.7".into(), "localhost".into()],
            ..config_for_tests()
        };
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let ips = local_ips(&config, any, any).await;
        assert_eq!(ips.first(), Some(&IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))));
        assert!(ips.iter().any(IpAddr::is_loopback), "{ips:?}");
    }

    #[tokio::test]
    async fn viewer_over_loopback_is_told_loopback_and_others_only_if_there_is_nothing_else() {
        let config = config_for_tests();
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let near = local_ips(&config, any, IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        assert!(near.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let far = local_ips(&config, any, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))).await;
        assert!(far.iter().all(IpAddr::is_loopback) || !far.iter().any(IpAddr::is_loopback), "{far:?}");
    }

    #[test]
    fn tcp_candidates_are_passive() {
        let ips = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let candidates = host_candidates(&ips, Some(8189), Some(8190));
        let lines: Vec<String> = candidates.iter().map(Candidate::to_sdp_string).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains(" udp ") && lines[1].contains(" tcp "), "{lines:?}");
        assert!(lines[1].ends_with("tcptype passive"), "{lines:?}");
    }
}
