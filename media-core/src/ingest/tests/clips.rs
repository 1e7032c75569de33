//! Whole clips: every unit, byte and time against ffmpeg's reading of the same clip.

use super::rig::*;
use crate::codec::{codec_string, h264, h265};
use crate::ingest::TrackSetup;
use crate::track::CodecConfig;

const PYRAMID: &[u8] = include_bytes!("../../../testdata/h264-pyramid.rtp");
const PYRAMID_LIST: &str = include_str!("../../../testdata/h264-pyramid.framecrc");
const SLICES: &[u8] = include_bytes!("../../../testdata/h264-slices.rtp");
const SLICES_LIST: &str = include_str!("../../../testdata/h264-slices.framecrc");
const NO_VUI: &[u8] = include_bytes!("../../../testdata/h264-no-vui.rtp");
const NO_VUI_LIST: &str = include_str!("../../../testdata/h264-no-vui.framecrc");
const H265: &[u8] = include_bytes!("../../../testdata/h265-open-gop.rtp");
const H265_GST: &[u8] = include_bytes!("../../../testdata/h265-open-gop-gst.rtp");
const H265_LIST: &str = include_str!("../../../testdata/h265-open-gop.framecrc");

/// Feeds a clip and compares its units with the list; the last unit may still be under way.
fn check_video(setup: TrackSetup, dump: &'static [u8], list: &str, is_set: fn(u8) -> bool) -> Rig {
    let mut rig = Rig::new(&[setup]);
    rig.feed_all(0, &read_dump(dump), 90_000);
    rig.check_invariants();
    let listed = read_list(list, 90_000);
    assert!(rig.units.len() >= listed.len() - 1, "{} units of {}", rig.units.len(), listed.len());
    let origin = rig.units[0].pts_ticks - listed[0].pts;
    for (n, (unit, listed)) in rig.units.iter().zip(&listed).enumerate() {
        let payload = without_parameter_sets(&unit.payload, is_set);
        assert_eq!((payload.len(), adler(&payload)), (listed.size, listed.adler), "unit {n}");
        assert!((unit.pts_ticks - origin - listed.pts).abs() <= 2, "unit {n}: {unit:?} {listed:?}");
    }
    assert_eq!(rig.formats.len(), 1);
    let counters = rig.ingest.counters();
    assert_eq!((counters.repaired_timestamps, counters.lost_units, counters.malformed_packets), (0, 0, 0));
    rig
}

fn check_decode_times(rig: &Rig, list: &str) {
    let listed = read_list(list, 90_000);
    let origin = rig.units[0].pts_ticks - listed[0].pts;
    for (n, (unit, listed)) in rig.units.iter().zip(&listed).enumerate().skip(2) {
        assert!((unit.dts_ticks - origin - listed.dts).abs() <= 2, "unit {n}: {unit:?} {listed:?}");
    }
}

fn key_flags(rig: &Rig) -> Vec<usize> {
    rig.units.iter().enumerate().filter(|(_, unit)| unit.is_random_access).map(|(n, _)| n).collect()
}

// correctness: F4
#[test]
fn h264_pyramid_has_the_clips_bytes_and_times() {
    let rig = check_video(video("H264", Some(PYRAMID_FMTP)), PYRAMID, PYRAMID_LIST, |_| false);
    check_decode_times(&rig, PYRAMID_LIST);
    assert!(rig.ingest.has_b_frames());
    let keys: Vec<usize> = (0..120).step_by(30).collect();
    assert_eq!(key_flags(&rig), keys);
    let codec = &rig.formats[0].tracks[0].codec;
    assert_eq!(codec_string(codec).unwrap(), "avc1.64000C");
    let CodecConfig::H264(config) = codec else { panic!("{codec:?}") };
    assert_eq!((config.width, config.height), (200, 160));
}

#[test]
fn h264_with_several_slices_a_picture_keeps_its_pictures_whole() {
    let rig = check_video(video("H264", Some(SLICES_FMTP)), SLICES, SLICES_LIST, |_| false);
    check_decode_times(&rig, SLICES_LIST);
    assert!(!rig.ingest.has_b_frames());
    assert_eq!(key_flags(&rig), [0, 25]);
}

#[test]
fn h264_b_frames_that_no_vui_announces_are_learned_and_timestamps_wrap() {
    let rig = check_video(video("H264", None), NO_VUI, NO_VUI_LIST, |header| {
        matches!(h264::nal_type(header), h264::NAL_SPS | h264::NAL_PPS)
    });
    assert!(rig.ingest.has_b_frames());
    let CodecConfig::H264(config) = &rig.formats[0].tracks[0].codec else { panic!() };
    assert_eq!((config.width, config.height), (768, 432));
}

#[test]
fn h265_open_gop_has_the_clips_bytes_and_times() {
    let rig = check_video(video("H265", Some(H265_FMTP)), H265, H265_LIST, |_| false);
    check_decode_times(&rig, H265_LIST);
    assert!(rig.ingest.has_b_frames());
    let expected: Vec<usize> =
        read_list(H265_LIST, 90_000).iter().enumerate().filter(|(_, l)| l.is_key).map(|(n, _)| n).collect();
    assert_eq!(key_flags(&rig), expected);
    let codec = &rig.formats[0].tracks[0].codec;
    assert_eq!(codec_string(codec).unwrap(), "hvc1.1.6.L60.90");
    let CodecConfig::H265(config) = codec else { panic!("{codec:?}") };
    assert_eq!((config.width, config.height), (200, 160));
}

#[test]
fn h265_with_parameter_sets_in_band_needs_no_description() {
    let rig = check_video(video("H265", None), H265_GST, H265_LIST, |header| {
        matches!(h265::nal_type(header), h265::NAL_VPS..=h265::NAL_PPS)
    });
    check_decode_times(&rig, H265_LIST);
}

fn audio(encoding: &str, clock_rate: u32, fmtp: Option<&str>) -> TrackSetup {
    TrackSetup { clock_rate, ..video(encoding, fmtp) }
}

fn check_audio(setup: TrackSetup, dump: &'static [u8], list: &str) -> Rig {
    let hz = i64::from(setup.clock_rate);
    let mut rig = Rig::new(&[setup]);
    rig.feed_all(0, &read_dump(dump), u64::try_from(hz).unwrap());
    rig.check_invariants();
    let listed = read_list(list, hz);
    // ffmpeg's packetizer keeps the last frames of a packet that never fills.
    assert!(rig.units.len() + 2 >= listed.len(), "{} of {}", rig.units.len(), listed.len());
    for (n, (unit, listed)) in rig.units.iter().zip(&listed).enumerate() {
        assert_eq!((unit.payload.len(), adler(&unit.payload)), (listed.size, listed.adler), "unit {n}");
        let relative = (unit.pts_ticks - rig.units[0].pts_ticks) - (listed.pts - read_list(list, hz)[0].pts);
        assert_eq!(relative, 0, "unit {n} {unit:?} {listed:?}");
    }
    assert_eq!(rig.ingest.counters().repaired_timestamps, 0);
    rig
}

#[test]
fn aac_has_the_clips_frames_and_an_opus_twin() {
    let rig = check_audio(
        audio("mpeg4-generic", 48_000, Some(AAC_FMTP)),
        include_bytes!("../../../testdata/aac.rtp"),
        include_str!("../../../testdata/aac.framecrc"),
    );
    assert_eq!(codec_string(&rig.formats[0].tracks[0].codec).unwrap(), "mp4a.40.2");
    let twin = &rig.formats[0].tracks[1];
    assert_eq!((twin.transcoded_from, twin.timescale.hz()), (Some(rig.formats[0].tracks[0].id), 48_000));
}

#[test]
fn opus_has_the_clips_packets_and_no_twin() {
    let rig = check_audio(
        audio("opus", 48_000, None),
        include_bytes!("../../../testdata/opus.rtp"),
        include_str!("../../../testdata/opus.framecrc"),
    );
    assert_eq!(rig.formats[0].tracks.len(), 1);
}

#[test]
fn pcma_has_the_clips_samples() {
    let mut rig = Rig::new(&[audio("PCMA", 8_000, None)]);
    rig.feed_all(0, &read_dump(include_bytes!("../../../testdata/pcma.rtp")), 8_000);
    rig.check_invariants();
    let samples: usize = rig.units.iter().map(|unit| unit.payload.len()).sum();
    let listed = read_list(include_str!("../../../testdata/pcma.framecrc"), 8_000);
    assert_eq!(samples, listed.iter().map(|listed| listed.size).sum::<usize>());
    assert!(rig.units.windows(2).all(|pair| {
        let samples = i64::try_from(pair[0].payload.len()).unwrap();
        (pair[1].pts_ticks - pair[0].pts_ticks - samples).abs() <= 1
    }));
    assert_eq!(rig.formats[0].tracks[1].transcoded_from, Some(rig.formats[0].tracks[0].id));
}
