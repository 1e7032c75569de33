//! WebRTC: the offers of viewers and publishers (WHEP, WHIP).

use bytes::Bytes;
use media_core::egress::webrtc::track_map::{Offer, PictureOrder};
use media_core::time::Timescale;
use media_core::track::{CodecConfig, G711Law, H264Config, StreamFormat, TrackId, TrackInfo};

/// What narrowing adds to an offer: a direction and a reason for each section.
const NARROWING_BYTES_MAX: usize = 4096;

fn camera() -> StreamFormat {
    let picture = CodecConfig::H264(H264Config {
        sps: Bytes::from_static(&[0x67]),
        pps: Bytes::from_static(&[0x68]),
        width: 1920,
        height: 1080,
        profile_idc: 100,
        constraint_flags: 0,
        level_idc: 40,
    });
    let sound = CodecConfig::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 };
    let track =
        |id, codec| TrackInfo { id: TrackId(id), timescale: Timescale::VIDEO, codec, transcoded_from: None };
    StreamFormat { generation: 1, tracks: vec![track(0, picture), track(1, sound)], is_slate: false }
}

/// What is taken of an offer was offered, and what is left of it is an offer.
pub(super) fn offer(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(offer) = Offer::parse(text) else { return };
    let maps = [offer.choose(&camera(), PictureOrder::InOrder), offer.choose_published()];
    for map in maps.iter().flatten() {
        for (payload, _) in map.payloads() {
            assert!(text.contains(&payload.pt.to_string()), "payload type {} was not offered", payload.pt);
        }
        let narrowed = offer.narrowed(map);
        assert!(
            narrowed.len() <= 2 * text.len() + NARROWING_BYTES_MAX,
            "{} bytes of {}",
            narrowed.len(),
            text.len()
        );
        assert!(Offer::parse(&narrowed).is_ok(), "no offer any more: {narrowed}");
    }
}
