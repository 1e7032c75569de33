//! What readers are told, held against what other programs wrote for the same parameter sets.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::remux::rtp::RtpPayload;
use crate::time::Timescale;
use crate::track::{AacConfig, G711Law, H264Config, H265Config, StreamFormat, TrackId};

fn track(id: u8, hz: u32, codec: CodecConfig) -> TrackInfo {
    let timescale = Timescale::new(hz).unwrap();
    TrackInfo { id: TrackId(id), timescale, codec, transcoded_from: None }
}

fn h264() -> CodecConfig {
    CodecConfig::H264(H264Config {
        sps: Bytes::from_static(&[0x67, 0x4d, 0x40, 0x1f, 0xa9]),
        pps: Bytes::from_static(&[0x68, 0xce, 0x31, 0x12]),
        width: 1920,
        height: 1080,
        profile_idc: 0x4d,
        constraint_flags: 0x40,
        level_idc: 0x1f,
    })
}

fn h265() -> CodecConfig {
    CodecConfig::H265(H265Config {
        vps: Bytes::from_static(&[0x40, 1]),
        sps: Bytes::from_static(&[0x42, 1]),
        pps: Bytes::from_static(&[0x44, 1]),
        width: 0,
        height: 0,
        general_profile: 0,
        profile_compatibility: 0,
        constraint_indicator: [0; 6],
        level_idc: 0,
        chroma_format_idc: 1,
        bit_depth_luma_minus8: 0,
        bit_depth_chroma_minus8: 0,
    })
}

fn sdp_of(tracks: Vec<TrackInfo>) -> String {
    let sdp = describe("cam_1", &StreamFormat { generation: 0, is_slate: false, tracks });
    // An independent parser reads it.
    sdp_types::Session::parse(sdp.as_bytes()).unwrap();
    sdp
}

#[test]
fn video_is_described_with_its_parameter_sets() {
    let sdp = sdp_of(vec![track(0, 90_000, h264())]);
    assert!(sdp.contains("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"), "{sdp}");
    let fmtp =
        "a=fmtp:96 packetization-mode=1;profile-level-id=4D401F;sprop-parameter-sets=Z01AH6k=,aM4xEg==\r\n";
    assert!(sdp.contains(fmtp), "{sdp}");
    assert!(sdp.contains("a=control:trackID=0\r\n"), "{sdp}");
    let sdp = sdp_of(vec![track(0, 90_000, h265())]);
    assert!(sdp.contains("a=fmtp:96 sprop-vps=QAE=;sprop-sps=QgE=;sprop-pps=RAE=\r\n"), "{sdp}");
}

#[test]
fn audio_is_described_as_it_is_and_its_transcoded_twin_is_not() {
    let aac = CodecConfig::Aac(AacConfig {
        audio_specific_config: Bytes::from_static(&[0x11, 0x90]),
        object_type: 2,
        sample_rate: 48_000,
        channels: 2,
    });
    let twin = TrackInfo {
        transcoded_from: Some(TrackId(1)),
        ..track(2, 48_000, CodecConfig::Opus { channels: 2 })
    };
    let sdp = sdp_of(vec![track(0, 90_000, h264()), track(1, 48_000, aac), twin]);
    assert!(sdp.contains("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\n"), "{sdp}");
    assert!(
        sdp.contains("mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190\r\n"),
        "{sdp}"
    );
    assert!(sdp.contains("a=control:trackID=1\r\n") && !sdp.contains("opus"), "{sdp}");
    let pcma = CodecConfig::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 };
    let sdp = sdp_of(vec![track(0, 8000, pcma)]);
    assert!(sdp.contains("m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"), "{sdp}");
    let wide = CodecConfig::G711 { law: G711Law::Mu, sample_rate: 16_000, channels: 2 };
    let sdp = sdp_of(vec![track(0, 16_000, wide)]);
    assert!(sdp.contains("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 PCMU/16000/2\r\n"), "{sdp}");
    let sdp = sdp_of(vec![track(0, 48_000, CodecConfig::Opus { channels: 1 })]);
    assert!(sdp.contains("a=rtpmap:97 opus/48000/2\r\na=fmtp:97 sprop-stereo=0\r\n"), "{sdp}");
}

#[test]
fn packets_go_out_behind_their_headers_and_can_be_told_apart_again() {
    let payload =
        |bytes: &[u8], marker, offset_ticks| RtpPayload { payload: Arc::from(bytes), marker, offset_ticks };
    let payloads = [payload(b"ab", false, 0), payload(b"c", true, 160)];
    let header = PacketHeader {
        channel: 2,
        payload_type: 96,
        first_seq: 0xffff,
        rtp_timestamp: 1000,
        ssrc: 0x0102_0304,
    };
    let block = interleave(&payloads, header);
    let expect = b"$\x02\x00\x0e\x80\x60\xff\xff\x00\x00\x03\xe8\x01\x02\x03\x04ab\
                   $\x02\x00\x0d\x80\xe0\x00\x00\x00\x00\x04\x88\x01\x02\x03\x04c";
    assert_eq!(&block[..], &expect[..]);
    let lengths: Vec<usize> = packets(&block).map(<[u8]>::len).collect();
    assert_eq!(lengths, [14, 13]);
    let moved = with_channel(&block, 6);
    assert_eq!((moved[1], moved[19], moved.len()), (6, 6, block.len()));
}

#[test]
fn a_reader_goes_on_where_only_parameter_sets_changed() {
    let pcma = CodecConfig::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 };
    let mut other = h264();
    if let CodecConfig::H264(config) = &mut other {
        config.sps = Bytes::from_static(&[0x67]);
    }
    assert!(can_go_on(&track(0, 90_000, h264()), &track(0, 90_000, other)));
    assert!(!can_go_on(&track(0, 90_000, h264()), &track(0, 90_000, h265())));
    assert!(!can_go_on(&track(1, 8000, pcma), &track(1, 48_000, CodecConfig::Opus { channels: 1 })));
}
