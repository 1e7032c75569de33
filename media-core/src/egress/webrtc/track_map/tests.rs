//! Tests of the track map with offers of real players (origin: `offers/README.md`).

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::time::Timescale;
use crate::track::{AacConfig, SharedFormat};

const CHROMIUM: &str = include_str!("offers/chromium.sdp");
const FIREFOX: &str = include_str!("offers/firefox.sdp");
const AIORTC: &str = include_str!("offers/aiortc.sdp");

fn h264(profile_idc: u8, constraint_flags: u8) -> CodecConfig {
    let (sps, pps) = (Bytes::from_static(&[0x67]), Bytes::from_static(&[0x68]));
    CodecConfig::H264(H264Config {
        sps,
        pps,
        width: 1920,
        height: 1080,
        profile_idc,
        constraint_flags,
        level_idc: 40,
    })
}

fn h265(profile: u8) -> CodecConfig {
    CodecConfig::H265(H265Config {
        vps: Bytes::new(),
        sps: Bytes::new(),
        pps: Bytes::new(),
        width: 1920,
        height: 1080,
        general_profile: profile,
        profile_compatibility: 0,
        constraint_indicator: [0; 6],
        level_idc: 120,
        chroma_format_idc: 1,
        bit_depth_luma_minus8: 0,
        bit_depth_chroma_minus8: 0,
    })
}

fn aac() -> CodecConfig {
    let audio_specific_config = Bytes::from_static(&[0x11, 0x90]);
    CodecConfig::Aac(AacConfig { audio_specific_config, object_type: 2, sample_rate: 48_000, channels: 2 })
}

fn g711(law: G711Law, sample_rate: u32) -> CodecConfig {
    CodecConfig::G711 { law, sample_rate, channels: 1 }
}

/// The tracks in order; one with `from` is the transcoded twin of that track.
fn format(codecs: Vec<(CodecConfig, Option<u8>)>) -> SharedFormat {
    let tracks = codecs.into_iter().zip(0..).map(|((codec, from), id)| TrackInfo {
        id: TrackId(id),
        timescale: Timescale::VIDEO,
        codec,
        transcoded_from: from.map(TrackId),
    });
    Arc::new(StreamFormat { generation: 0, is_slate: false, tracks: tracks.collect() })
}

fn choose(offer: &str, format: &StreamFormat) -> Result<TrackMap, TrackMapError> {
    Offer::parse(offer)?.choose(format, PictureOrder::InOrder)
}

fn video_of(offer: &str, codec: CodecConfig) -> Result<OfferedPayload, TrackMapError> {
    choose(offer, &format(vec![(codec, None)])).map(|map| map.video.unwrap().payload)
}

#[test]
fn chromium_gets_the_nearest_of_its_h264_payload_types() {
    // Chromium: 102 = 42001f, 108 = 42e01f, 116 = 4d001f, 41 = f4001f, each also with mode 0.
    for (profile, flags, pt) in [(66, 0x00, 102), (66, 0xe0, 108), (77, 0x00, 116), (100, 0x00, 116)] {
        let payload = video_of(CHROMIUM, h264(profile, flags)).unwrap();
        assert_eq!(payload.pt, pt, "profile {profile} flags {flags:#x}");
        assert_eq!(payload.parameter("packetization-mode"), Some("1"));
        assert_eq!(payload.rtx_pt, Some(pt + 1));
    }
}

#[test]
fn offer_of_constrained_baseline_alone_takes_a_high_profile_camera() {
    let payload = video_of(AIORTC, h264(100, 0)).unwrap();
    assert_eq!((payload.pt, payload.rtx_pt), (99, Some(100)));
}

#[test]
fn codec_that_the_viewer_lacks_is_named() {
    let missing = |missing: &str| Err(TrackMapError::CodecNotOffered { missing: missing.into() });
    assert_eq!(video_of(CHROMIUM, h265(1)), missing("H265"));
    assert_eq!(video_of(FIREFOX, h264(66, 0xe0)), missing("H264"));
}

#[test]
fn h265_profile_must_fit_and_level_need_not() {
    let offer = |fmtp: &str| {
        format!(
            "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=recvonly\r\na=rtpmap:96 H265/90000\r\n{fmtp}"
        )
    };
    let chromium = offer("a=fmtp:96 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST\r\n");
    assert_eq!(video_of(&chromium, h265(1)).unwrap().pt, 96);
    assert!(video_of(&chromium, h265(2)).is_err());
    assert!(video_of(&offer(""), h265(1)).is_ok(), "RFC 7798 s7.1: Main is the default");
    assert!(video_of(&offer("a=fmtp:96 profile-id=2\r\n"), h265(1)).is_ok(), "Main 10 decoders take Main");
    assert!(video_of(&offer("a=fmtp:96 profile-id=1;tx-mode=MRST\r\n"), h265(1)).is_err());
}

// RFC 6184 s6.2: mode 0 has no fragments, so no camera's key frame fits.
#[test]
fn packetization_mode_0_is_no_use() {
    let offer =
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=recvonly\r\na=rtpmap:96 H264/90000\r\n";
    assert!(video_of(&format!("{offer}a=fmtp:96 packetization-mode=0\r\n"), h264(66, 0)).is_err());
    assert!(video_of(offer, h264(66, 0)).is_ok(), "stacks that say nothing take fragments");
}

#[test]
fn sound_goes_out_as_it_is_or_as_its_opus_twin_or_not_at_all() {
    let opus = || CodecConfig::Opus { channels: 2 };
    let cases = [
        (vec![(opus(), None)], Some((WireCodec::Opus, 1)), false),
        (vec![(g711(G711Law::A, 8000), None)], Some((WireCodec::Pcma, 1)), false),
        (vec![(g711(G711Law::Mu, 8000), None), (opus(), Some(1))], Some((WireCodec::Pcmu, 1)), false),
        (vec![(g711(G711Law::A, 16_000), None), (opus(), Some(1))], Some((WireCodec::Opus, 2)), true),
        (vec![(aac(), None), (opus(), Some(1))], Some((WireCodec::Opus, 2)), true),
        (vec![(aac(), None)], None, false),
        (vec![], None, false),
    ];
    for (sounds, wanted, transcoded) in cases {
        let tracks = std::iter::once((h264(66, 0), None)).chain(sounds).collect();
        let map = choose(CHROMIUM, &format(tracks)).unwrap();
        assert!(map.video.is_some());
        assert_eq!(map.audio.as_ref().map(|audio| (audio.codec, audio.track.0)), wanted);
        assert_eq!(map.wants_transcoded_audio, transcoded);
        assert_eq!(map.idle.len(), usize::from(wanted.is_none()), "a section without sound is kept");
    }
}

#[test]
fn stream_without_pictures_is_heard() {
    let map = choose(CHROMIUM, &format(vec![(g711(G711Law::A, 8000), None)])).unwrap();
    assert!(map.video.is_none() && map.audio.is_some());
    assert_eq!(map.idle[0].codec, WireCodec::H264);
}

#[test]
fn reordered_pictures_are_refused_and_their_sound_alone_is_not() {
    let format = format(vec![(h264(100, 0), None), (g711(G711Law::A, 8000), None)]);
    let refused = Offer::parse(CHROMIUM).unwrap().choose(&format, PictureOrder::Reordered);
    assert_eq!(refused, Err(TrackMapError::HasBFrames));
    let (head, audio) = CHROMIUM.split_at(CHROMIUM.find("m=audio").unwrap());
    let session = &head[..head.find("m=video").unwrap()];
    let audio_only = Offer::parse(&format!("{session}{audio}")).unwrap();
    assert!(audio_only.choose(&format, PictureOrder::Reordered).unwrap().audio.is_some());
}

#[test]
fn offer_that_wants_nothing_is_refused() {
    let sending = CHROMIUM.replace("a=recvonly", "a=sendonly");
    assert_eq!(choose(&sending, &format(vec![(h264(66, 0), None)])), Err(TrackMapError::NothingToReceive));
    let channel = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n";
    assert_eq!(choose(channel, &format(vec![(h264(66, 0), None)])), Err(TrackMapError::NothingToReceive));
}

// correctness: W1, S6
#[test]
fn texts_that_are_no_offers_are_refused() {
    let many = format!("v=0\r\n{}", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(OFFER_MEDIA_MAX + 1));
    let large = format!("v=0\r\n{}", "a".repeat(OFFER_BYTES_MAX));
    for text in ["", "hello", "v=0\r\n", "{\"sdp\":1}", &many, &large] {
        assert!(matches!(Offer::parse(text), Err(TrackMapError::BadOffer(_))), "{:.30}", text);
    }
}

#[test]
fn payload_type_that_stands_for_two_codecs_is_refused() {
    let offer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=recvonly\r\na=rtpmap:96 H264/90000\r\n\
                 m=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=recvonly\r\na=rtpmap:96 opus/48000/2\r\n";
    let refused =
        choose(offer, &format(vec![(h264(66, 0), None), (CodecConfig::Opus { channels: 2 }, None)]));
    assert!(matches!(refused, Err(TrackMapError::BadOffer(_))));
    let offer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=recvonly\r\na=rtpmap:96 H264/90000\r\n\
                 a=fmtp:96 apt=96\r\n";
    assert!(matches!(choose(offer, &format(vec![(h264(66, 0), None)])), Err(TrackMapError::BadOffer(_))));
}

// correctness: W1
#[test]
fn narrowed_offer_makes_the_answer_sendonly_and_keeps_what_is_idle() {
    let both = AIORTC.replace("a=recvonly", "a=sendrecv");
    let offer = Offer::parse(&both).unwrap();
    let map = offer.choose(&format(vec![(h264(66, 0), None)]), PictureOrder::InOrder).unwrap();
    let narrowed = offer.narrowed(&map);
    let directions: Vec<&str> = narrowed.lines().filter(|line| is_direction(line)).collect();
    assert_eq!(directions, ["a=recvonly", "a=inactive"]);
    assert!(narrowed.contains("a=group:BUNDLE 0 1"));
    let others = narrowed.lines().filter(|line| !is_direction(line));
    assert!(others.into_iter().all(|line| both.contains(line)), "nothing else is invented");
}

#[test]
fn section_with_unknown_codecs_alone_is_rejected_and_leaves_the_bundle() {
    let offer = "v=0\r\na=group:BUNDLE a v\r\n\
                 m=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:a\r\na=sendrecv\r\na=rtpmap:96 speex/8000\r\n\
                 m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=mid:v\r\na=sendrecv\r\na=rtpmap:97 H264/90000\r\n";
    let offer = Offer::parse(offer).unwrap();
    let map = offer.choose(&format(vec![(h264(66, 0), None)]), PictureOrder::InOrder).unwrap();
    let narrowed = offer.narrowed(&map);
    assert!(narrowed.contains("a=group:BUNDLE v\r\n"), "{narrowed}");
    assert!(narrowed.contains("m=audio 0 UDP/TLS/RTP/SAVPF 96\r\n"), "{narrowed}");
    assert!(narrowed.contains("m=video 9 UDP/TLS/RTP/SAVPF 97\r\n"), "{narrowed}");
}

/// Cuts, doubles and swaps bytes of real offers: nothing may panic.
#[test]
fn mutilated_offers_never_panic() {
    let format = format(vec![(h264(66, 0), None), (g711(G711Law::A, 8000), None)]);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(n.max(1)).unwrap()).unwrap()
    };
    for round in 0..3000 {
        let mut bytes = [CHROMIUM, FIREFOX, AIORTC][round % 3].as_bytes().to_vec();
        for _ in 0..=below(8) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes.truncate(at.max(3)),
                1 => bytes.insert(at, b" :;=/0\r\n"[below(8)]),
                2 => drop(bytes.drain(at..(at + below(40)).min(bytes.len()))),
                _ => {
                    let copy: Vec<u8> = bytes[at..(at + 60).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        if let Ok(offer) = Offer::parse(&String::from_utf8_lossy(&bytes))
            && let Ok(map) = offer.choose(&format, PictureOrder::InOrder)
        {
            assert!(!offer.narrowed(&map).is_empty());
        }
    }
}

#[test]
fn a_publisher_sends_what_is_carried_and_is_answered_receive_only() {
    let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 0 111\r\na=mid:a\r\na=sendonly\r\na=rtpmap:111 opus/48000/2\r\n";
    let video = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=mid:v\r\na=sendrecv\r\na=rtpmap:96 VP8/90000\r\n\
                 a=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=0\r\n\
                 a=rtpmap:98 H264/90000\r\na=fmtp:98 packetization-mode=1;profile-level-id=42e01f\r\n";
    let offer = |sections: &[&str]| Offer::parse(&format!("v=0\r\n{}", sections.concat())).unwrap();
    let map = offer(&[audio, video]).choose_published().unwrap();
    let chosen = |track: &Option<MappedTrack>| track.as_ref().map(|track| (track.payload.pt, track.codec));
    assert_eq!(chosen(&map.video), Some((98, WireCodec::H264)));
    assert_eq!(chosen(&map.audio), Some((111, WireCodec::Opus)));
    // str0m answers what only sends with `recvonly`.
    assert_eq!(offer(&[audio, video]).narrowed(&map).matches("a=sendonly\r\n").count(), 2);
    assert_eq!(offer(&[video, video]).choose_published(), Err(TrackMapError::TooManyTracks));
    let watches = audio.replace("sendonly", "recvonly");
    assert_eq!(offer(&[&watches]).choose_published(), Err(TrackMapError::NothingToSend));
}
