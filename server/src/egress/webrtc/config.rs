//! Configuration of the WebRTC egress, resolved from MediaMTX's `webrtc*` keys.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Everything the WebRTC egress is told. A reload compares it with the one in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebRtcConfig {
    /// `webrtcLocalUDPAddress`: the one UDP socket of all sessions. `None`: no UDP candidates.
    pub(crate) local_udp_address: Option<SocketAddr>,
    /// `webrtcLocalTCPAddress`: the listener of TCP candidates. `None` (the default): none.
    pub(crate) local_tcp_address: Option<SocketAddr>,
    /// `webrtcIPsFromInterfaces`: announce the addresses of the interfaces; default true.
    pub(crate) ips_from_interfaces: bool,
    /// `webrtcIPsFromInterfacesList`: only these interfaces, by name; empty: all.
    pub(crate) interfaces: Vec<String>,
    /// `webrtcAdditionalHosts`: further addresses or names to announce (NAT, containers).
    pub(crate) additional_hosts: Vec<String>,
    /// `webrtcICEServers2`.
    pub(crate) ice_servers: Vec<IceServer>,
    /// `webrtcHandshakeTimeout`: from the answer to an encrypted connection; default 10 s.
    pub(crate) handshake_timeout: Duration,
    /// `webrtcAllowOrigins`: exact origins, `*`, or `scheme://*.host`; default `*`.
    pub(crate) allow_origins: Vec<String>,
    /// Where the same path is served as HLS: told to viewers whom WebRTC can't serve.
    pub(crate) hls: Option<HlsFallback>,
}

impl Default for WebRtcConfig {
    /// MediaMTX's defaults.
    fn default() -> Self {
        Self {
            local_udp_address: Some(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 8189))),
            local_tcp_address: None,
            ips_from_interfaces: true,
            interfaces: Vec::new(),
            additional_hosts: Vec::new(),
            ice_servers: Vec::new(),
            handshake_timeout: Duration::from_secs(10),
            allow_origins: vec!["*".to_owned()],
            hls: Some(HlsFallback { scheme: Scheme::Http, port: 8888 }),
        }
    }
}

/// The HLS listener, as a viewer reaches it: the host is the one of the viewer's own request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HlsFallback {
    /// Plain or TLS.
    pub(crate) scheme: Scheme,
    /// Its port.
    pub(crate) port: u16,
}

/// Scheme of an HTTP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As in a URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A STUN or TURN server for the viewers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=tcp` ...
    pub(crate) url: String,
    /// The user, or `AUTH_SECRET`: then `password` is the secret that short-lived credentials are made of.
    pub(crate) username: String,
    /// The password or shared secret.
    pub(crate) password: String,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is a secret (product rule 5).
        f.debug_struct("IceServer").field("url", &self.url).finish_non_exhaustive()
    }
}
