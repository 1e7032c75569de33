//! Tests of the remuxer against ffmpeg, a reader of boxes that is not ours, and the clip itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mp4_atom::{Any, Decode as _, Moof};

use super::clip::{Clip, run_silent, scratch};
use super::*;
use crate::access_unit::AccessUnit;
use crate::track::{CodecConfig, TrackId};

pub(crate) fn config() -> SegmenterConfig {
    SegmenterConfig {
        segment_duration: Duration::from_secs(1),
        part_duration: Duration::from_millis(200),
        segment_bytes_max: 50 << 20,
        first_msn: 100,
    }
}

pub(crate) fn segment(clip: &Clip) -> Vec<Event> {
    let mut segmenter = Segmenter::new(config());
    let mut events = Vec::new();
    for unit in &clip.units {
        segmenter.push(&clip.format, unit).unwrap();
        events.extend(std::iter::from_fn(|| segmenter.poll_event()));
    }
    events
}

pub(crate) fn parts(events: &[Event]) -> Vec<Arc<Part>> {
    events
        .iter()
        .filter_map(|event| if let Event::Part(part) = event { Some(Arc::clone(part)) } else { None })
        .collect()
}

fn file_bytes(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        match event {
            Event::Init { init, .. } => bytes.extend_from_slice(&init.bytes),
            Event::Part(part) => part.chunks().for_each(|chunk| bytes.extend_from_slice(chunk)),
            Event::Start(_) | Event::SegmentEnd { .. } => {}
        }
    }
    bytes
}

const VIDEO: &str = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=6";
const TONE: &str = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=6";

fn h264_aac() -> Clip {
    Clip::make(
        "h264-aac",
        &format!("{VIDEO} {TONE} -c:v libx264 -bf 0 -g 25 -preset ultrafast -c:a aac -ac 2"),
    )
}

fn h264_b_frames() -> Clip {
    Clip::make(
        "h264-b",
        &format!("{VIDEO} -c:v libx264 -bf 3 -x264-params b-pyramid=normal -g 50 -preset veryfast"),
    )
}

fn h265_opus() -> Clip {
    Clip::make(
        "h265-opus",
        &format!(
            "{VIDEO} {TONE} -c:v libx265 -x265-params log-level=none:keyint=50 -preset ultrafast -tag:v hvc1 -c:a libopus"
        ),
    )
}

fn audio_only() -> Clip {
    Clip::make("aac", &format!("{TONE} -c:a aac -ac 1"))
}

/// The file of a clip's init segment and parts is read by ffprobe and ffmpeg without a word, and has all frames but
/// the one held back a track.
fn check_file(name: &str, clip: &Clip) {
    let file = scratch("files").join(format!("{name}.mp4"));
    let path = file.to_str().unwrap();
    std::fs::write(&file, file_bytes(&segment(clip))).unwrap();
    run_silent("ffprobe", &["-v", "error", path]);
    run_silent("ffmpeg", &["-v", "warning", "-i", path, "-map", "0", "-c", "copy", "-f", "null", "-"]);
    run_silent("ffmpeg", &["-v", "warning", "-i", path, "-map", "0", "-f", "null", "-"]);
    let lead = clip.format.tracks[0].id;
    let counted = run_silent(
        "ffprobe",
        &[
            "-v",
            "error",
            "-count_packets",
            "-select_streams",
            "0",
            "-show_entries",
            "stream=nb_read_packets",
            "-of",
            "csv=p=0",
            path,
        ],
    );
    let frames: usize = counted.trim().parse().unwrap();
    let whole_parts: usize = parts(&segment(clip)).iter().map(|part| lead_samples(part)).sum();
    assert_eq!(frames, whole_parts);
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    assert!(frames + 12 >= clip.of_track(lead).len(), "{frames} of {}", clip.of_track(lead).len());
}

fn lead_samples(part: &Part) -> usize {
    moof(part).traf[0].trun[0].samples.len()
}

fn moof(part: &Part) -> Moof {
    Moof::decode(&mut part.head.as_ref()).unwrap()
}

// correctness: F5
#[test]
fn ffmpeg_reads_h264_with_aac_without_a_word() {
    check_file("h264-aac", &h264_aac());
}

// correctness: F5
#[test]
fn ffmpeg_reads_b_frames_without_a_word() {
    check_file("h264-b", &h264_b_frames());
}

// correctness: F5
#[test]
fn ffmpeg_reads_h265_with_opus_without_a_word() {
    check_file("h265-opus", &h265_opus());
}

// correctness: F5
#[test]
fn ffmpeg_reads_audio_alone_without_a_word() {
    check_file("aac", &audio_only());
}

// correctness: F1
#[test]
fn a_part_is_one_moof_and_one_mdat_with_contiguous_decode_times() {
    for clip in [h264_aac(), h264_b_frames(), h265_opus(), audio_only()] {
        let mut next_ticks = std::collections::HashMap::new();
        for (index, part) in parts(&segment(&clip)).iter().enumerate() {
            let bytes: Vec<u8> = part.chunks().flatten().copied().collect();
            assert_eq!(bytes.len(), part.len_bytes);
            let mut rest = bytes.as_slice();
            let Any::Moof(moof) = Any::decode(&mut rest).unwrap() else { panic!("no moof first") };
            let Any::Mdat(_) = Any::decode(&mut rest).unwrap() else { panic!("no mdat second") };
            assert!(rest.is_empty());
            assert_eq!(moof.mfhd.sequence_number as usize, index + 1);
            for traf in &moof.traf {
                let base = traf.tfdt.as_ref().unwrap().base_media_decode_time;
                let duration: u64 = traf.trun[0].samples.iter().map(|s| u64::from(s.duration.unwrap())).sum();
                let expected = next_ticks.insert(traf.tfhd.track_id, base + duration).unwrap_or(base);
                assert_eq!(base, expected, "part {index} track {}", traf.tfhd.track_id);
            }
        }
    }
}

/// Whether a length-prefixed access unit holds a NAL unit from which decoding can start.
fn has_key_nal(codec: &CodecConfig, payload: &[u8]) -> bool {
    let mut rest = payload;
    while let Some((length, after)) = rest.split_at_checked(4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let (nal, after) = after.split_at(length);
        let is_key = match codec {
            // ITU-T H.264 table 7-1: 5 is an IDR slice.
            CodecConfig::H264(_) => nal[0] & 0x1f == 5,
            // ITU-T H.265 table 7-1: 16 to 21 are BLA, IDR and CRA.
            CodecConfig::H265(_) => (16..=21).contains(&((nal[0] >> 1) & 0x3f)),
            _ => true,
        };
        if is_key {
            return true;
        }
        rest = after;
    }
    false
}

// correctness: F2
#[test]
fn sync_flags_tell_what_the_nal_units_are_and_decode_times_rise() {
    for clip in [h264_b_frames(), h265_opus()] {
        let codec = &clip.format.tracks[0].codec;
        let mut keys = 0;
        for part in parts(&segment(&clip)) {
            let moof = moof(&part);
            assert!(moof.traf.iter().all(|traf| traf.tfhd.default_base_is_moof));
            for (entry, payload) in moof.traf[0].trun[0].samples.iter().zip(&part.payloads) {
                // ISO/IEC 14496-12 s8.8.3.1: sample_is_non_sync_sample is bit 16, sample_depends_on bits 24-25.
                let flags = entry.flags.unwrap_or(moof.traf[0].tfhd.default_sample_flags.unwrap());
                let is_sync = flags & 0x1_0000 == 0;
                assert_eq!(is_sync, has_key_nal(codec, payload));
                assert_eq!((flags >> 24) & 3, if is_sync { 2 } else { 1 });
                assert!(entry.duration.unwrap() > 0);
                keys += usize::from(is_sync);
            }
        }
        assert_eq!(keys, 3, "a key frame every 2 s");
    }
}

// correctness: F2
#[test]
fn composition_offsets_give_the_presentation_times_of_the_clip() {
    let clip = h264_b_frames();
    let lead = clip.of_track(TrackId(0));
    let mut expected = lead.iter().map(|unit| unit.pts_ticks - lead[0].dts_ticks);
    for part in parts(&segment(&clip)) {
        let moof = moof(&part);
        let mut dts = i64::try_from(moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time).unwrap();
        for entry in moof.traf[0].trun[0].samples.iter() {
            assert_eq!(dts + entry.cts.unwrap_or(0), expected.next().unwrap());
            dts += i64::from(entry.duration.unwrap());
        }
    }
}

// correctness: F4
#[test]
fn access_units_are_kept_byte_for_byte_without_a_copy() {
    let clip = h264_aac();
    let video: Vec<Bytes> = clip.of_track(TrackId(0)).iter().map(|unit| unit.payload.clone()).collect();
    let mut expected = video.iter();
    for part in parts(&segment(&clip)) {
        for payload in part.payloads.iter().take(lead_samples(&part)) {
            let source = expected.next().unwrap();
            assert_eq!(payload, source);
            assert_eq!(payload.as_ptr(), source.as_ptr(), "shared with the ring, not copied");
        }
    }
}

// correctness: F3
#[test]
fn codec_strings_match_the_sample_entry() {
    let clip = h264_aac();
    let CodecConfig::H264(h264) = &clip.format.tracks[0].codec else { panic!("not H.264") };
    // RFC 6381 s3.3: the three bytes after the SPS's NAL header.
    let sps: String = h264.sps[1..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let Some(Event::Init { init, .. }) = segment(&clip).get(1).cloned() else { panic!("no init") };
    assert_eq!(init.codecs, format!("avc1.{sps},mp4a.40.2"));
    let Some(Event::Init { init, .. }) = segment(&h265_opus()).get(1).cloned() else { panic!("no init") };
    // ISO/IEC 14496-15 annex E: Main profile, level 2 (60), progressive and frame-only source.
    assert_eq!(init.codecs, "hvc1.1.6.L60.90,opus");
    assert_eq!(init.resolution, Some((320, 180)));
}

// correctness: H4
#[test]
fn a_new_segment_begins_with_a_key_frame_and_a_rising_number() {
    let events = segment(&h264_aac());
    let mut msn = 100;
    for part in parts(&events) {
        if part.index == 0 {
            assert!(part.is_independent);
        }
        assert!(part.msn == msn || part.msn == msn + 1);
        msn = part.msn;
    }
    assert_eq!(msn, 105);
}

#[test]
fn audio_of_a_silent_microphone_is_covered_by_silence() {
    let clip = h265_opus();
    let mut without = Clip { format: Arc::clone(&clip.format), units: clip.units.clone() };
    without.units.retain(|unit: &Arc<AccessUnit>| unit.track == TrackId(0) || unit.dts_ticks < 48_000);
    let all = parts(&segment(&without));
    let last = all.last().unwrap();
    let moof = moof(last);
    assert_eq!(moof.traf.len(), 2, "the last part still has audio");
    assert_eq!(last.payloads.last().unwrap().as_ref(), [0xf8, 0xff, 0xfe]);
    check_file("silence", &without);
}
