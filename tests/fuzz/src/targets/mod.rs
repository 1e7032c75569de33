//! Targets: each parser of outside bytes, with what must hold for it.

mod access;
mod audio;
mod codec;
mod fmp4;
mod hls;
mod rtmp;
mod rtp;
mod rtsp;
mod webrtc;

/// Something that takes outside bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Gives it one input; panics when what must hold does not.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "rtsp_client", run: rtsp::client },
    Target { name: "rtsp_server", run: rtsp::server },
    Target { name: "rtp_h264", run: rtp::h264 },
    Target { name: "rtp_h265", run: rtp::h265 },
    Target { name: "rtp_aac", run: rtp::aac },
    Target { name: "rtp_sound", run: rtp::sound },
    Target { name: "rtmp_server", run: rtmp::server },
    Target { name: "rtmp_client", run: rtmp::client },
    Target { name: "flv_tags", run: rtmp::tags },
    Target { name: "amf0", run: rtmp::values },
    Target { name: "m3u8", run: hls::playlist },
    Target { name: "hls_segments", run: hls::segments },
    Target { name: "hls_request", run: hls::request },
    Target { name: "recorded_fmp4", run: fmp4::recorded },
    Target { name: "parameter_sets", run: codec::parameter_sets },
    Target { name: "aac_config", run: codec::aac_config },
    Target { name: "aac_frames", run: audio::aac_frames },
    Target { name: "webrtc_offer", run: webrtc::offer },
    Target { name: "authorization", run: access::authorization },
    Target { name: "path_name", run: access::path_name },
];

/// The bytes of a peer as a network may deliver them: all at once, and in crumbs.
const READS: [usize; 2] = [usize::MAX, 7];

/// Input whose first byte chooses one of `choices`; the rest.
fn chosen(input: &[u8], choices: usize) -> (usize, &[u8]) {
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    (usize::from(*first) % choices, rest)
}
