//! Transport header of SETUP (RFC 2326 s12.39): what we ask for, what the camera answers.

use super::server::Mode;

/// How RTP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowerTransport {
    /// Interleaved in the RTSP connection.
    Tcp {
        /// Channel of RTP; RTCP takes the next.
        channel: u8,
    },
    /// Datagrams to two local ports.
    Udp {
        /// Our RTP port; RTCP takes the next.
        rtp_port: u16,
    },
}

impl LowerTransport {
    /// The request header's value.
    pub(super) fn header(self, mode: Mode) -> String {
        let mut text = match self {
            Self::Tcp { channel } => {
                format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel.saturating_add(1))
            }
            Self::Udp { rtp_port } => {
                format!("RTP/AVP;unicast;client_port={rtp_port}-{}", rtp_port.saturating_add(1))
            }
        };
        if mode == Mode::Record {
            text += ";mode=record";
        }
        text
    }
}

/// What the camera's Transport header says; every part is optional because cameras leave out any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportReply {
    /// Channel of RTP in the RTSP connection.
    pub channel: Option<u8>,
    /// The camera's RTP port.
    pub server_rtp_port: Option<u16>,
    /// The camera's RTCP port.
    pub server_rtcp_port: Option<u16>,
    /// Its SSRC. Hikvision sends it blank or with a leading space: then it is not known.
    pub ssrc: Option<u32>,
}

impl TransportReply {
    /// Reads the header leniently: what can't be read is as if it were not there.
    pub(super) fn parse(header: &str) -> Self {
        let mut reply = Self::default();
        for parameter in header.split(',').next().unwrap_or_default().split(';') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim();
            let (first, second) = value.split_once('-').unwrap_or((value, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "interleaved" => reply.channel = first.trim().parse().ok(),
                "server_port" => {
                    reply.server_rtp_port = first.trim().parse().ok();
                    let next = || reply.server_rtp_port.and_then(|port| port.checked_add(1));
                    reply.server_rtcp_port = second.trim().parse().ok().or_else(next);
                }
                "ssrc" => reply.ssrc = u32::from_str_radix(value, 16).ok(),
                _ => {}
            }
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expect: TransportReply) {
        assert_eq!(TransportReply::parse(header), expect, "{header}");
    }

    #[test]
    fn replies_of_real_cameras_are_read() {
        let tcp = TransportReply { channel: Some(2), ..Default::default() };
        check("RTP/AVP/TCP;unicast;interleaved=2-3", tcp);
        check(
            "RTP/AVP/TCP;unicast;interleaved=2-3;ssrc=1A2B3C4D;mode=\"play\"",
            TransportReply { ssrc: Some(0x1a2b_3c4d), ..tcp },
        );
        let udp = TransportReply {
            server_rtp_port: Some(8000),
            server_rtcp_port: Some(8001),
            ..Default::default()
        };
        check("RTP/AVP;unicast;client_port=1-2;server_port=8000-8001", udp);
        check("RTP/AVP/UDP;unicast;client_port=1-2;server_port=8000", udp);
    }

    #[test]
    fn hikvision_ssrc_blank_or_with_leading_space() {
        let tcp = TransportReply { channel: Some(0), ..Default::default() };
        check("RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=;mode=\"play\"", tcp);
        check(
            "RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=  30a98ee",
            TransportReply { ssrc: Some(0x30a_98ee), ..tcp },
        );
    }
}
