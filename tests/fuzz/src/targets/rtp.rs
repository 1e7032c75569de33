//! RTP: packets of cameras and publishers, of each codec, with reports between them. Input: interleaved packets.

use media_core::ingest::TrackSetup;

use super::chosen;
use crate::pipeline::{Pipeline, interleaved};

/// The payload type that the corpus has.
const PAYLOAD_TYPE: u8 = 96;

fn track(encoding: &str, clock_rate: u32, channels: Option<u8>, fmtp: &str) -> TrackSetup {
    TrackSetup {
        encoding: encoding.to_owned(),
        clock_rate,
        channels,
        fmtp: Some(fmtp.to_owned()),
        rtp_info_timestamp: None,
    }
}

fn run(setup: TrackSetup, input: &[u8]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    assert!(pipeline.start_rtp(vec![(PAYLOAD_TYPE, setup)]), "a track that is carried");
    interleaved(input).for_each(|(track, packet)| pipeline.rtp(track, packet));
    pipeline
}

/// RFC 6184.
pub(super) fn h264(input: &[u8]) {
    h264_pipeline(input);
}

/// What became of H.264.
pub(super) fn h264_pipeline(input: &[u8]) -> Pipeline {
    run(track("H264", 90_000, None, "packetization-mode=1"), input)
}

/// RFC 7798.
pub(super) fn h265(input: &[u8]) {
    run(track("H265", 90_000, None, ""), input);
}

/// RFC 3640, in both modes that cameras use; the first byte says which.
pub(super) fn aac(input: &[u8]) {
    let (mode, packets) = chosen(input, 2);
    let fmtp = [
        "mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3",
        "mode=AAC-lbr;sizelength=6;indexlength=2;indexdeltalength=2",
    ];
    run(track("mpeg4-generic", 44_100, Some(2), &format!("{};config=1210", fmtp[mode])), packets);
}

/// RFC 7587 and RFC 3551; the first byte says which.
pub(super) fn sound(input: &[u8]) {
    let (codec, packets) = chosen(input, 3);
    let (encoding, clock_rate, channels) =
        [("opus", 48_000, 2), ("PCMA", 8_000, 1), ("PCMU", 8_000, 2)][codec];
    run(track(encoding, clock_rate, Some(channels), ""), packets);
}
