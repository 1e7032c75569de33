//! Tests of the WHEP side without a peer: statuses, headers, limits.

use std::time::Duration;

use super::*;
use crate::config::resolved::{HttpConfig, InterfaceIps};

pub(super) fn config_for_tests() -> WebRtcConfig {
    WebRtcConfig {
        http: HttpConfig {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            allow_origins: vec!["*".to_owned()],
            trusted_proxies: Vec::new(),
        },
        local_udp_address: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        local_tcp_address: None,
        interface_ips: InterfaceIps::All,
        additional_hosts: Vec::new(),
        ice_servers: Vec::new(),
        handshake_timeout: Duration::from_secs(10),
    }
}
