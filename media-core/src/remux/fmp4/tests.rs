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
    let sps: String = h264.sps[1..4].iter().map(|byte| format!("{byte:02X}")).collect();
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

/// What a long run came to.
struct Run {
    targets: Targets,
    parts: Vec<Arc<Part>>,
    stats: SegmenterStats,
}

/// Minutes of a camera whose frames last what `step` says.
fn run_long(gop_frames: u64, frames: u64, mut step: impl FnMut(&mut synth::Camera) -> i64) -> Run {
    let mut camera = synth::Camera::new(1);
    let mut segmenter = Segmenter::new(synth::config());
    let mut events = Vec::new();
    for _ in 0..frames {
        let ticks = step(&mut camera);
        let format = Arc::clone(&camera.format);
        events.extend(synth::push(&mut segmenter, &format, &camera.unit(ticks, gop_frames)));
    }
    Run { targets: segmenter.targets().unwrap(), parts: parts(&events), stats: segmenter.stats() }
}

/// Every part and segment obeys the targets.
fn check_lengths(name: &str, run: &Run) {
    let target_us = i64::from(run.targets.part_target_ms) * 1000;
    for (index, part) in run.parts.iter().enumerate() {
        let us = part.duration_us();
        assert!(us <= target_us, "{name}: part {index} of {us} us, target {target_us}");
        let is_last = run.parts.get(index + 1).is_none_or(|next| next.msn != part.msn);
        let long_enough = us * 100 >= target_us * 85;
        assert!(long_enough || part.is_independent || is_last, "{name}: part {index} of {us} us");
    }
    for (msn, us) in segment_durations(&run.parts) {
        let rounded = (us + 500_000) / 1_000_000;
        assert!(rounded <= i64::from(run.targets.target_duration_secs), "{name}: segment {msn} of {us} us");
    }
}

fn segment_durations(parts: &[Arc<Part>]) -> Vec<(u64, i64)> {
    let mut segments: Vec<(u64, i64)> = Vec::new();
    for part in parts {
        match segments.last_mut() {
            Some((msn, us)) if *msn == part.msn => *us += part.duration_us(),
            _ => segments.push((part.msn, part.duration_us())),
        }
    }
    segments
}

// correctness: H2, H3, H13
#[test]
fn parts_and_segments_keep_their_targets_at_every_constant_frame_rate() {
    // Thousandths of frames per second, PART-TARGET in ms that whole pictures nearest to 200 ms give, GOP, TARGETDURATION.
    for (milli_fps, target_ms, gop, target_secs) in [
        (7_000, 143, 14, 2),
        (12_000, 167, 12, 1),
        (12_500, 160, 25, 2),
        (15_000, 200, 30, 2),
        (25_000, 200, 25, 1),
        (25_000, 200, 100, 4),
        (29_830, 202, 60, 2),
        (29_970, 201, 30, 1),
        (30_000, 200, 60, 2),
        (50_000, 200, 50, 1),
        (5_000, 200, 10, 2),
        (1_000, 1000, 2, 2),
    ] {
        let name = format!("{milli_fps} mHz");
        let mut frame = 0;
        let run = run_long(gop, 3000, |_| {
            let begin = frame * 90_000_000 / milli_fps;
            frame += 1;
            frame * 90_000_000 / milli_fps - begin
        });
        assert_eq!(run.targets.part_target_ms, target_ms, "{name}");
        assert_eq!(run.targets.target_duration_secs, target_secs, "{name}");
        check_lengths(&name, &run);
        assert_eq!(run.stats, SegmenterStats::default(), "{name}");
    }
}

// correctness: H2, H13
#[test]
fn parts_keep_their_target_when_timestamps_jitter() {
    for (fps, jitter_us) in [(25, 4_000), (25, 8_000), (30, 8_000), (15, 6_000), (12, 20_000), (7, 15_000)] {
        let name = format!("{fps} fps, jitter {jitter_us} us");
        let mut off = 0;
        let run = run_long(fps * 2, 20_000, |camera| {
            // The clock is steady, each stamp is off by its own error.
            let next = camera.jitter(jitter_us * 9 / 100);
            let ticks = 90_000 / i64::try_from(fps).unwrap() + next - off;
            off = next;
            ticks
        });
        check_lengths(&name, &run);
        assert_eq!(run.stats.oversize_parts, 0, "{name}");
        let cuts = run.stats.short_part_cuts;
        assert!(cuts * 50 <= run.parts.len() as u64, "{name}: {cuts} cuts in {} parts", run.parts.len());
    }
}

// correctness: H2, H13
#[test]
fn a_variable_frame_rate_breaks_nothing_but_frames_longer_than_a_part() {
    let run = run_long(40, 20_000, |camera| 6000 + camera.jitter(3500));
    let target_us = i64::from(run.targets.part_target_ms) * 1000;
    assert!(target_us >= 200_000);
    check_lengths("5 to 36 fps", &run);
}

// correctness: H13
#[test]
fn a_gop_that_grows_is_cut_at_a_frame_that_is_not_a_key_frame() {
    let mut camera = synth::Camera::new(1);
    let mut segmenter = Segmenter::new(synth::config());
    let mut events = Vec::new();
    for frame in 0..3000 {
        let gop = if frame < 100 { 25 } else { 500 };
        let format = Arc::clone(&camera.format);
        events.extend(synth::push(&mut segmenter, &format, &camera.unit(3600, gop)));
    }
    let run = Run { targets: segmenter.targets().unwrap(), parts: parts(&events), stats: segmenter.stats() };
    assert_eq!(run.targets.target_duration_secs, 1);
    check_lengths("growing GOP", &run);
    assert!(run.stats.forced_cuts > 50);
    // A key frame always begins a part that says so.
    assert_eq!(run.parts.iter().filter(|part| part.is_independent).count(), 4 + 5);
}

// correctness: H13
#[test]
fn segments_of_a_20_s_gop_begin_with_its_key_frame() {
    let run = run_long(500, 3000, |_| 3600);
    check_lengths("20 s", &run);
    assert_eq!(run.targets.target_duration_secs, 21);
    assert!(run.parts.iter().all(|part| part.is_independent == (part.index == 0)));
}

// correctness: H13
#[test]
fn a_burst_of_key_frames_at_the_start_does_not_set_the_target() {
    let mut camera = synth::Camera::new(1);
    let mut segmenter = Segmenter::new(synth::config());
    for frame in 0..200 {
        let gop = if frame < 8 { 1 } else { 50 };
        let format = Arc::clone(&camera.format);
        synth::push(&mut segmenter, &format, &camera.unit(3600, gop));
    }
    assert!(segmenter.targets().unwrap().target_duration_secs >= 2);
}

// correctness: H13, F1
#[test]
fn a_pause_longer_than_a_segment_opens_a_discontinuity_and_file_time_goes_on() {
    let mut camera = synth::Camera::new(1);
    let mut segmenter = Segmenter::new(synth::config());
    let mut events = Vec::new();
    for frame in 0..200 {
        let ticks = if frame == 99 { 90_000 * 30 } else { 3600 };
        let format = Arc::clone(&camera.format);
        events.extend(synth::push(&mut segmenter, &format, &camera.unit(ticks, 25)));
    }
    assert_eq!(segmenter.stats().discontinuities, 1);
    let run = Run { targets: segmenter.targets().unwrap(), parts: parts(&events), stats: segmenter.stats() };
    check_lengths("pause", &run);
    let mut end = 0;
    for part in &run.parts {
        assert!(part.start_ticks >= end && part.start_ticks <= end + 1, "{} after {end}", part.start_ticks);
        end = part.start_ticks + part.duration_ticks;
    }
}

#[test]
fn a_new_format_ends_the_segment_and_gives_a_new_init() {
    let mut segmenter = Segmenter::new(synth::config());
    let mut inits = Vec::new();
    for generation in 1..=3 {
        let mut camera = synth::Camera::new(generation);
        for _ in 0..100 {
            let format = Arc::clone(&camera.format);
            for event in synth::push(&mut segmenter, &format, &camera.unit(3600, 25)) {
                if let Event::Init { init, discontinuity } = event {
                    inits.push((init.bytes.clone(), discontinuity));
                }
            }
        }
    }
    assert_eq!(
        inits.iter().map(|(_, discontinuity)| *discontinuity).collect::<Vec<_>>(),
        [false, true, true]
    );
    assert_ne!(inits[0].0, inits[1].0, "another PPS");
}

// correctness: H13
#[test]
fn a_slate_leaves_room_for_the_gops_of_the_camera_that_follows() {
    let mut slate = synth::Camera::new(1);
    Arc::make_mut(&mut slate.format).is_slate = true;
    let mut camera = synth::Camera::new(2);
    camera.dts_ticks = slate.dts_ticks + 200 * 3600;
    let mut segmenter = Segmenter::new(synth::config());
    let (mut events, mut inits) = (Vec::new(), Vec::new());
    for (source, gop_frames, frames) in [(&mut slate, 50, 200), (&mut camera, 250, 1000)] {
        for _ in 0..frames {
            let format = Arc::clone(&source.format);
            events.extend(synth::push(&mut segmenter, &format, &source.unit(3600, gop_frames)));
        }
    }
    for event in &events {
        if let Event::Init { init, .. } = event {
            inits.push(init.is_slate);
        }
    }
    assert_eq!(inits, [true, false]);
    let run = Run { targets: segmenter.targets().unwrap(), parts: parts(&events), stats: segmenter.stats() };
    assert_eq!((run.targets.target_duration_secs, run.stats.forced_cuts), (21, 0));
    check_lengths("slate", &run);
}
