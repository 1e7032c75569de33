//! Exchange: what the machine's events say of a request, and what its driver has it answer.

use std::net::Ipv4Addr;

use rtsp_types::StatusCode;
use url::Url;

use super::request::{Mode, Target, TransportOffer};

/// A SETUP that is in order so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupRequest {
    /// The presentation, and the track unless the URL is the presentation's own.
    pub target: Target,
    /// The URL as it was written, without credentials: what a publisher's own SDP calls the track.
    pub url: String,
    /// What may be chosen from; never empty.
    pub offers: Vec<TransportOffer>,
    /// To take media or to send it.
    pub mode: Mode,
}

/// How a track travels, as chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTransport {
    /// In the connection.
    Tcp {
        /// Channel of RTP.
        rtp_channel: u8,
        /// Channel of RTCP.
        rtcp_channel: u8,
    },
    /// Datagrams.
    Udp {
        /// The client's ports of RTP and RTCP.
        client_ports: (u16, u16),
        /// Ours.
        server_ports: (u16, u16),
    },
    /// Datagrams to a group.
    Multicast {
        /// Its address.
        destination: Ipv4Addr,
        /// Its ports of RTP and RTCP.
        ports: (u16, u16),
        /// Routers that they may pass.
        ttl: u8,
    },
}

impl ServerTransport {
    pub(super) fn header(self, ssrc: Option<u32>, mode: Mode) -> String {
        let mut text = match self {
            Self::Tcp { rtp_channel, rtcp_channel } => {
                format!("RTP/AVP/TCP;unicast;interleaved={rtp_channel}-{rtcp_channel}")
            }
            Self::Udp { client_ports: (rtp, rtcp), server_ports: (our_rtp, our_rtcp) } => {
                format!("RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={our_rtp}-{our_rtcp}")
            }
            Self::Multicast { destination, ports: (rtp, rtcp), ttl } => {
                format!("RTP/AVP;multicast;destination={destination};port={rtp}-{rtcp};ttl={ttl}")
            }
        };
        if let Some(ssrc) = ssrc {
            text += &format!(";ssrc={ssrc:08X}");
        }
        if mode == Mode::Record {
            text += ";mode=record";
        }
        text
    }
}

/// A track that the driver takes into the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetUpTrack {
    /// Which.
    pub track: usize,
    /// How it travels.
    pub transport: ServerTransport,
    /// Its synchronization source, where it is ours.
    pub ssrc: Option<u32>,
}

/// Where a track's packets begin after PLAY (RFC 2326 s12.33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpInfo {
    /// Which track.
    pub track: usize,
    /// The sequence number of its first packet.
    pub seq: u16,
    /// Its RTP time at the beginning; the same instant for all tracks.
    pub rtp_timestamp: u32,
}

/// Why the driver refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Makes no sense: 400.
    BadRequest,
    /// The gate says no: 401.
    Unauthorized {
        /// What the client may answer, one a header; none when it has answered wrongly.
        challenges: Vec<String>,
    },
    /// No such path or track, or no stream on it: 404.
    NotFound,
    /// To be asked for elsewhere: 302.
    Elsewhere {
        /// The URL of that.
        location: String,
    },
    /// Not with this path: 405.
    MethodNotAllowed,
    /// A track must be named, the presentation has several: 459.
    AggregateNotAllowed,
    /// None of the transports offered: 461.
    UnsupportedTransport,
    /// The server can't now: 503.
    Unavailable,
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BadRequest,
            Self::Unauthorized { .. } => StatusCode::Unauthorized,
            Self::NotFound => StatusCode::NotFound,
            Self::MethodNotAllowed => StatusCode::MethodNotAllowed,
            Self::Elsewhere { .. } => StatusCode::Found,
            Self::AggregateNotAllowed => StatusCode::AggregateOperationNotAllowed,
            Self::UnsupportedTransport => StatusCode::UnsupportedTransport,
            Self::Unavailable => StatusCode::ServiceUnavailable,
        }
    }
}

/// What a request shows of its sender, and what that is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its method.
    pub method: &'static str,
    /// Its URL.
    pub url: Url,
    /// Its Authorization header.
    pub authorization: Option<String>,
}
