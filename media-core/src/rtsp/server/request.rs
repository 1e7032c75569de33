//! Request: what the URL and the Transport header of a request ask for (RFC 2326 s3.2, s12.39).
//!
//! Track URLs are ours: the presentation's URL, query included, then `/trackID=N`; every client appends
//! the control to the base as it is.
//!
//! Limits: [`TRANSPORT_OFFERS_MAX`].

use url::Url;

/// The most alternatives looked at in a Transport header; players send one to three.
pub const TRANSPORT_OFFERS_MAX: usize = 16;

/// What stands before a track's number at the end of its URL.
const TRACK_PREFIX: &str = "/trackID=";

/// Which presentation, and which of its tracks, a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path without slashes at its ends, as it was written.
    pub path: String,
    /// The query without its question mark; empty where there is none.
    pub query: String,
    /// The track, where the URL is one's.
    pub track: Option<usize>,
}

impl Target {
    /// Takes a request's URL apart.
    pub(super) fn of(url: &Url) -> Self {
        let whole = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let (presentation, track) = match whole.rsplit_once(TRACK_PREFIX) {
            Some((presentation, number)) => match number.trim_end_matches('/').parse() {
                Ok(track) => (presentation, Some(track)),
                Err(_) => (whole.as_str(), None),
            },
            None => (whole.as_str(), None),
        };
        let (path, query) = presentation.split_once('?').unwrap_or((presentation, ""));
        Self {
            path: path.trim_matches('/').to_owned(),
            // The base that we hand out ends with a slash, behind the query.
            query: query.strip_suffix('/').unwrap_or(query).to_owned(),
            track,
        }
    }

    /// Whether both name the same presentation.
    pub(super) fn is_same_presentation(&self, other: &Self) -> bool {
        self.path == other.path && self.query == other.query
    }
}

/// The last part of a track's URL, behind the presentation's.
pub fn track_control(track: usize) -> String {
    format!("{}{track}", TRACK_PREFIX.trim_start_matches('/'))
}

/// One alternative of a Transport header that this server could serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportOffer {
    /// In the RTSP connection; the channels that the client wants, if it says.
    Tcp {
        /// Channels of RTP and RTCP.
        channels: Option<(u8, u8)>,
    },
    /// Datagrams to a group of the server's choice.
    Multicast,
    /// Datagrams.
    Udp {
        /// The client's ports of RTP and RTCP.
        client_ports: (u16, u16),
    },
}

/// What a client wants to do with a session, as its Transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Take media; where nothing is said, too.
    Play,
    /// Send media.
    Record,
}

/// The alternatives that could be served, in the client's order, and the mode of the first. SRTP and whatever is unknown are
/// passed over.
pub(super) fn offers(header: &str) -> (Vec<TransportOffer>, Mode) {
    let mut offers = Vec::new();
    let mut mode = Mode::Play;
    for (index, alternative) in header.split(',').take(TRANSPORT_OFFERS_MAX).enumerate() {
        let mut parameters = alternative.split(';').map(str::trim);
        let protocol = parameters.next().unwrap_or_default().to_ascii_uppercase();
        let (mut channels, mut client_ports, mut is_multicast) = (None, None, false);
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "multicast" => is_multicast = true,
                "interleaved" => channels = pair(value),
                "client_port" => client_ports = pair(value),
                "mode" if index == 0 && value.trim_matches('"').eq_ignore_ascii_case("record") => {
                    mode = Mode::Record;
                }
                _ => {}
            }
        }
        match (protocol.as_str(), client_ports) {
            ("RTP/AVP" | "RTP/AVP/UDP", _) if is_multicast => offers.push(TransportOffer::Multicast),
            _ if is_multicast => {}
            ("RTP/AVP/TCP", _) => offers.push(TransportOffer::Tcp { channels }),
            ("RTP/AVP" | "RTP/AVP/UDP", Some(client_ports)) => {
                offers.push(TransportOffer::Udp { client_ports });
            }
            _ => {}
        }
    }
    (offers, mode)
}

/// `4-5`, or `4`, which means the same.
fn pair<T: std::str::FromStr + Into<u32> + TryFrom<u32> + Copy>(value: &str) -> Option<(T, T)> {
    let (first, second) = value.split_once('-').unwrap_or((value, ""));
    let first: T = first.trim().parse().ok()?;
    let next = || T::try_from(first.into() + 1).ok();
    let second = second.trim().parse().ok().or_else(next)?;
    Some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_presentation_query_and_track() {
        for (url, path, query, track) in [
            ("rtsp://h/cam_1", "cam_1", "", None),
            ("rtsp://h:8554/city/cam_1/", "city/cam_1", "", None),
            ("rtsp://h/cam_1/trackID=1", "cam_1", "", Some(1)),
            ("rtsp://h/cam_1/?a=b/trackID=0", "cam_1", "a=b", Some(0)),
            ("rtsp://h/cam_1?a=b/", "cam_1", "a=b", None),
            ("rtsp://h/cam_1/trackID=x", "cam_1/trackID=x", "", None),
            ("rtsp://h", "", "", None),
        ] {
            let expect = Target { path: path.to_owned(), query: query.to_owned(), track };
            assert_eq!(Target::of(&Url::parse(url).unwrap()), expect, "{url}");
        }
        assert_eq!(track_control(1), "trackID=1");
    }

    #[test]
    fn transports_of_players_are_read() {
        let tcp = |channels| TransportOffer::Tcp { channels };
        let udp = |rtp, rtcp| TransportOffer::Udp { client_ports: (rtp, rtcp) };
        for (header, expect) in [
            ("RTP/AVP/TCP;unicast;interleaved=0-1", vec![tcp(Some((0, 1)))]),
            ("RTP/AVP/TCP;unicast;interleaved=254", vec![tcp(Some((254, 255)))]),
            ("RTP/AVP/TCP;unicast;interleaved=255", vec![tcp(None)]),
            ("RTP/AVP/TCP", vec![tcp(None)]),
            ("RTP/AVP;unicast;client_port=5000-5001", vec![udp(5000, 5001)]),
            ("RTP/AVP/UDP;unicast;client_port=5000", vec![udp(5000, 5001)]),
            ("RTP/AVP;unicast;client_port=70000", vec![]),
            ("RTP/AVP;multicast", vec![TransportOffer::Multicast]),
            ("RTP/SAVP;multicast", vec![]),
            ("RTP/SAVP;unicast;client_port=5000-5001", vec![]),
            (
                "RTP/AVP;multicast;client_port=5000-5001, RTP/AVP/TCP;interleaved=2-3",
                vec![TransportOffer::Multicast, tcp(Some((2, 3)))],
            ),
        ] {
            assert_eq!(offers(header), (expect, Mode::Play), "{header}");
        }
        let (offers, mode) = offers("RTP/AVP/TCP;unicast;interleaved=0-1;mode=record");
        assert_eq!((offers.len(), mode), (1, Mode::Record));
    }
}
