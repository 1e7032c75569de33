//! Offers to a WHIP server, answered by ours; what others answer is tried in the black-box tests.

use bytes::Bytes;
use media_core::egress::webrtc::track_map::WireCodec;
use media_core::time::Timescale;
use media_core::track::{
    AacConfig, CodecConfig, G711Law, H264Config, H265Config, StreamFormat, TrackId, TrackInfo,
};

use super::super::candidates::host_candidates;
use super::super::negotiate::{Identity, negotiate};
use super::*;

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 50_000))
}

fn format(codecs: Vec<(CodecConfig, Option<TrackId>)>) -> SharedFormat {
    let tracks = codecs.into_iter().zip(0..).map(|((codec, transcoded_from), id)| TrackInfo {
        id: TrackId(id),
        timescale: Timescale::new(90_000).unwrap(),
        codec,
        transcoded_from,
    });
    Arc::new(StreamFormat { generation: 0, tracks: tracks.collect(), is_slate: false })
}

fn h264() -> CodecConfig {
    CodecConfig::H264(H264Config {
        sps: Bytes::from_static(&[0x67, 0x64, 0, 0x28]),
        pps: Bytes::from_static(&[0x68]),
        width: 1920,
        height: 1080,
        profile_idc: 100,
        constraint_flags: 0,
        level_idc: 40,
    })
}

fn h265() -> CodecConfig {
    CodecConfig::H265(H265Config {
        vps: Bytes::new(),
        sps: Bytes::new(),
        pps: Bytes::new(),
        width: 1920,
        height: 1080,
        general_profile: 1,
        profile_compatibility: 0x6000_0000,
        constraint_indicator: [0x90, 0, 0, 0, 0, 0],
        level_idc: 120,
        chroma_format_idc: 1,
        bit_depth_luma_minus8: 0,
        bit_depth_chroma_minus8: 0,
    })
}

/// An offer of a format, and what our own WHIP endpoint answers.
fn answered(format: &SharedFormat) -> (Box<Rtc>, SdpPendingOffer, String, String) {
    let (rtc, text, pending) = offered(format, local()).unwrap();
    let offer = Offer::parse(&text).unwrap();
    let map = offer.choose_published().unwrap();
    let candidates = host_candidates(&[local().ip()], Some(8189), None);
    let answered = negotiate(&Identity::generate().unwrap(), &offer, &map, candidates, clock::now()).unwrap();
    (rtc, pending, text, answered.answer)
}

/// The offer, and what goes out then.
fn sent(format: &SharedFormat) -> (String, TrackMap) {
    let (mut rtc, pending, offer, answer) = answered(format);
    (offer, accept(&mut rtc, pending, &answer, format).unwrap())
}

fn codecs(map: &TrackMap) -> [Option<WireCodec>; 2] {
    [&map.video, &map.audio].map(|track| track.as_ref().map(|track| track.codec))
}

#[test]
fn pictures_and_sound_are_offered_to_send_and_sent_as_the_server_takes_them() {
    let aac = AacConfig {
        audio_specific_config: Bytes::from_static(&[0x11, 0x90]),
        object_type: 2,
        sample_rate: 48_000,
        channels: 2,
    };
    let twin = (CodecConfig::Opus { channels: 2 }, Some(TrackId(1)));
    let (offer, map) = sent(&format(vec![(h264(), None), (CodecConfig::Aac(aac), None), twin]));
    assert_eq!(offer.matches("a=sendonly").count(), 2, "{offer}");
    assert!(!offer.contains("transport-cc") && !offer.contains("recvonly"), "{offer}");
    assert_eq!(codecs(&map), [Some(WireCodec::H264), Some(WireCodec::Opus)]);
    assert!(map.wants_transcoded_audio && map.video.as_ref().unwrap().payload.rtx_pt.is_some());

    let law = CodecConfig::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 };
    let (offer, map) = sent(&format(vec![(h265(), None), (law, None)]));
    assert!(offer.contains("a=rtpmap:104 H265/90000") && !offer.contains("H264"), "{offer}");
    assert_eq!(codecs(&map), [Some(WireCodec::H265), Some(WireCodec::Pcma)]);
}

#[test]
fn a_camera_without_sound_offers_none_and_a_server_that_takes_no_pictures_gets_nothing() {
    let (offer, map) = sent(&format(vec![(h264(), None)]));
    assert!(!offer.contains("m=audio"), "{offer}");
    assert_eq!(codecs(&map), [Some(WireCodec::H264), None]);

    let both = format(vec![(h264(), None), (CodecConfig::Opus { channels: 2 }, None)]);
    let (mut rtc, pending, _, answer) = answered(&both);
    // The pictures come first.
    let answer = answer.replacen("a=recvonly", "a=inactive", 1);
    let refused = accept(&mut rtc, pending, &answer, &both);
    assert!(matches!(refused, Err(WhipError::NotTaken("H264"))), "{refused:?}");
}
