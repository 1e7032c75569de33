//! Tests of the window against the rules of rfc8216bis, read back by a parser that is not ours.

use std::sync::Arc;
use std::time::Duration;

use quick_m3u8::config::ParsingOptions;
use quick_m3u8::tag::{KnownTag, hls};
use quick_m3u8::{HlsLine, Reader};

use super::*;
use crate::gate::{Action, CameraGrant, Gate};
use crate::path_name::PathName;
use crate::remux::fmp4::synth::{self, Camera, START};
use crate::remux::fmp4::{Event, Segmenter, SegmenterConfig};

fn grant() -> CameraGrant {
    Gate::on_own_behalf(Action::Read, &PathName::parse("cam").unwrap())
}

fn window_config(variant: Variant) -> WindowConfig {
    WindowConfig {
        variant,
        segment_count: 7,
        bytes_soft: 32 << 20,
        prefix: Prefix::from_number(0xabc),
        first_discontinuity: 40,
    }
}

/// A camera, its segmenter and its window.
struct Feed {
    camera: Camera,
    segmenter: Segmenter,
    window: Window,
    gop_frames: u64,
}

impl Feed {
    fn new(variant: Variant, gop_frames: u64) -> Self {
        Self {
            camera: Camera::new(1),
            segmenter: Segmenter::new(SegmenterConfig { first_msn: 1000, ..synth::config() }),
            window: Window::new(window_config(variant)),
            gop_frames,
        }
    }

    /// Frames of a 25 fps camera.
    fn frames(&mut self, count: u64) {
        for _ in 0..count {
            let unit = self.camera.unit(3600, self.gop_frames);
            let format = Arc::clone(&self.camera.format);
            let events: Vec<Event> = synth::push(&mut self.segmenter, &format, &unit);
            let changed = !events.is_empty();
            events.into_iter().for_each(|event| self.window.apply(event));
            if changed {
                self.window.commit();
            }
        }
    }

    fn full(&mut self) -> String {
        String::from_utf8(self.window.rendered().unwrap().full.to_vec()).unwrap()
    }

    fn answer(&self, query: &str, held_ms: u64) -> Answer {
        match Directives::parse(query) {
            Ok(directives) => self.window.answer(&directives, Duration::from_millis(held_ms)),
            Err(error) => Answer::BadRequest(error),
        }
    }
}

/// Compares with a file beside this one; `UPDATE=1` writes it.
fn check_golden(name: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/egress/hls/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "{name}; UPDATE=1 rewrites it");
}

fn tags(text: &str) -> Vec<hls::Tag<'_>> {
    let mut reader = Reader::from_str(text, ParsingOptions::default());
    let mut tags = Vec::new();
    while let Some(line) = reader.read_line().unwrap() {
        match line {
            HlsLine::KnownTag(KnownTag::Hls(tag)) => tags.push(tag),
            HlsLine::Uri(_) | HlsLine::Blank => {}
            other => panic!("not a line of ours: {other:?}"),
        }
    }
    tags
}

fn number_after(text: &str, tag: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(tag)).unwrap().parse().unwrap()
}

// correctness: H1, H5, H10
#[test]
fn low_latency_playlist_is_the_golden_one() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(25 * 10 + 12);
    check_golden("low-latency.m3u8", &feed.full());
}

// correctness: H1, H9
#[test]
fn delta_playlist_is_the_golden_one() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(25 * 10 + 12);
    let delta = feed.window.rendered().unwrap().delta.clone().unwrap();
    check_golden("delta.m3u8", std::str::from_utf8(&delta).unwrap());
}

#[test]
fn segments_only_playlist_is_the_golden_one() {
    let mut feed = Feed::new(Variant::Fmp4, 25);
    feed.frames(25 * 4 + 12);
    check_golden("fmp4.m3u8", &feed.full());
}

// correctness: F3
#[test]
fn multivariant_playlist_is_the_golden_one() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(25 * 4 + 12);
    check_golden("index.m3u8", &feed.window.multivariant(Some("token=a%20b\r\n#EXT")).unwrap());
}

// correctness: H1
#[test]
fn another_parser_reads_every_tag_and_the_hold_backs_are_legal() {
    let mut feed = Feed::new(Variant::LowLatency, 50);
    feed.frames(25 * 20 + 3);
    let text = feed.full();
    let mut target = 0.0;
    let mut part_target = 0.0;
    let mut control = None;
    for tag in tags(&text) {
        match tag {
            hls::Tag::Targetduration(tag) => {
                target = f64::from(u32::try_from(tag.target_duration()).unwrap())
            }
            hls::Tag::PartInf(tag) => part_target = tag.part_target(),
            hls::Tag::ServerControl(tag) => control = Some(tag),
            _ => {}
        }
    }
    let control = control.unwrap();
    assert!(control.can_block_reload());
    assert!(control.part_hold_back().unwrap() + 1e-9 >= 3.0 * part_target);
    assert!(control.hold_back().unwrap() >= 3.0 * target);
    assert!(control.can_skip_until().unwrap() >= 6.0 * target);
}

// correctness: H5
#[test]
fn map_discontinuity_and_date_stand_before_the_first_part() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(60);
    feed.camera = Camera::new(2);
    feed.frames(60);
    let text = feed.full();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| *line == "#EXT-X-DISCONTINUITY").unwrap();
    assert!(lines[at - 1].ends_with(".mp4"), "after the segment before: {}", lines[at - 1]);
    assert_eq!(lines[at + 1], "#EXT-X-MAP:URI=\"000000000abc_init1.mp4\"");
    assert!(lines[at + 2].starts_with("#EXT-X-PROGRAM-DATE-TIME:"));
    assert!(lines[at + 3].starts_with("#EXT-X-PART:") && lines[at + 3].ends_with("INDEPENDENT=YES"));
    let dates = lines.iter().filter(|line| line.starts_with("#EXT-X-PROGRAM-DATE-TIME")).count();
    let segments = lines.iter().filter(|line| line.starts_with("#EXTINF")).count();
    assert_eq!(dates, segments + 1, "each segment and the open one");
}

// correctness: H6
#[test]
fn blocking_reload_waits_for_its_segment_or_part() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    // Four segments (1000 to 1003) and two parts of 1004 with the unit after them.
    feed.frames(25 * 4 + 11);
    let waits = |query: &str| matches!(feed.answer(query, 0), Answer::Wait { .. });
    assert_eq!(feed.answer("", 0), Answer::Now);
    assert_eq!(feed.answer("_HLS_msn=1003", 0), Answer::Now);
    assert_eq!(feed.answer("_HLS_msn=7", 0), Answer::Now);
    assert!(waits("_HLS_msn=1004"));
    assert_eq!(feed.answer("_HLS_msn=1004&_HLS_part=1", 0), Answer::Now);
    assert!(waits("_HLS_msn=1004&_HLS_part=2"));
    // 1003 has five parts; a sixth means part 0 of 1004, which is there.
    assert_eq!(feed.answer("_HLS_msn=1003&_HLS_part=5", 0), Answer::Now);
    // The answer comes with the part.
    feed.frames(5);
    assert_eq!(feed.answer("_HLS_msn=1004&_HLS_part=2", 0), Answer::Now);
}

// correctness: H6
#[test]
fn part_past_the_end_of_the_last_segment_waits_for_the_next_one() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    // The key frame that ends 1003 has come, nothing of 1004 is complete.
    feed.frames(25 * 4 + 1);
    assert!(matches!(feed.answer("_HLS_msn=1003&_HLS_part=5", 0), Answer::Wait { .. }));
    feed.frames(5);
    assert_eq!(feed.answer("_HLS_msn=1003&_HLS_part=5", 0), Answer::Now);
}

// correctness: H6
#[test]
fn bad_directives_are_refused() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(110);
    for bad in [
        "_HLS_part=1",
        "_HLS_msn=x",
        "_HLS_msn=-1",
        "_HLS_msn=",
        "_HLS_msn=1003&_HLS_part=1.5",
        "_HLS_skip=NO",
        "_HLS_msn=99999999999999999999",
    ] {
        assert!(matches!(feed.answer(bad, 0), Answer::BadRequest(_)), "{bad}");
    }
    assert!(matches!(feed.answer(&"x".repeat(3000), 0), Answer::BadRequest(_)));
    assert_eq!(feed.answer("token=x&_HLS_skip=v2", 0), Answer::Now);
}

// correctness: H7
#[test]
fn requests_too_far_ahead_are_refused_and_none_is_held_for_ever() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(25 * 4 + 11);
    // Last complete segment 1003, so up to 1005 may be asked for.
    assert!(matches!(feed.answer("_HLS_msn=1005", 0), Answer::Wait { .. }));
    assert!(matches!(feed.answer("_HLS_msn=1006", 0), Answer::BadRequest(_)));
    // Advance part limit: 3 s / 200 ms = 15 parts past the two that are there.
    assert!(matches!(feed.answer("_HLS_msn=1004&_HLS_part=17", 0), Answer::Wait { .. }));
    assert!(matches!(feed.answer("_HLS_msn=1004&_HLS_part=18", 0), Answer::BadRequest(_)));
    // Three target durations of 1 s.
    let left = Duration::from_millis(1);
    assert_eq!(feed.answer("_HLS_msn=1004", 2999), Answer::Wait { left });
    assert_eq!(feed.answer("_HLS_msn=1004", 3000), Answer::Unavailable);
}

// correctness: H7, H14
#[test]
fn an_outage_leaves_the_playlist_as_it_is_without_an_end() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(25 * 8);
    let before = feed.full();
    assert_eq!(feed.answer("", 60_000), Answer::Now);
    assert_eq!(feed.full(), before);
    assert!(!before.contains("ENDLIST"));
}

// correctness: H9
#[test]
fn a_delta_skips_only_what_is_older_than_the_skip_boundary_and_agrees_with_the_whole() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(25 * 30 + 12);
    let full = feed.full();
    let delta = feed.window.rendered().unwrap().delta.clone().unwrap();
    let delta = std::str::from_utf8(&delta).unwrap();
    let skipped = number_after(delta, "#EXT-X-SKIP:SKIPPED-SEGMENTS=");
    let version = number_after(delta, "#EXT-X-VERSION:");
    assert!(version >= 9);
    assert_eq!(delta.matches("#EXT-X-SKIP").count(), 1);
    let durations = |text: &str| -> Vec<f64> {
        text.lines()
            .filter_map(|line| line.strip_prefix("#EXTINF:"))
            .map(|line| line.trim_end_matches(',').parse().unwrap())
            .collect()
    };
    let (whole, rest) = (durations(&full), durations(delta));
    assert_eq!(whole.len(), rest.len() + usize::try_from(skipped).unwrap());
    // From the newest skipped segment's end to the end of the playlist: all listed after it, and the open parts.
    let open: f64 = 2.0 * 0.2;
    assert!(rest.iter().sum::<f64>() + open > 6.0);
    assert!(
        full.ends_with(delta.lines().last().unwrap().trim())
            || full.trim().ends_with(delta.lines().last().unwrap())
    );
}

// correctness: H10
#[test]
fn the_hinted_part_is_the_next_one_always() {
    for gop in [25, 13, 40, 500] {
        let mut feed = Feed::new(Variant::LowLatency, gop);
        feed.frames(gop * 2 + 120);
        let mut hinted: Option<(u64, u32)> = None;
        for _ in 0..600 {
            let unit = feed.camera.unit(3600, gop);
            let format = Arc::clone(&feed.camera.format);
            for event in synth::push(&mut feed.segmenter, &format, &unit) {
                if let (Event::Part(part), Some(hint)) = (&event, hinted.take()) {
                    assert_eq!((part.msn, part.index), hint, "GOP {gop}");
                }
                feed.window.apply(event);
            }
            feed.window.commit();
            hinted = Some(feed.window.hinted_part());
        }
        let (msn, index) = feed.window.hinted_part();
        let file = MediaName::Part { msn, index }.file(&feed.window.config().prefix).to_string();
        assert!(feed.full().ends_with(&format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{file}\"\n")));
        // It may be asked for at once, and comes whole.
        let name = MediaName::Part { msn, index };
        assert!(matches!(feed.window.media(&grant(), name, Duration::ZERO), MediaAnswer::Wait { .. }));
        assert_eq!(feed.window.media(&grant(), name, Duration::from_secs(64)), MediaAnswer::Unavailable);
        feed.frames(6);
        assert!(matches!(feed.window.media(&grant(), name, Duration::ZERO), MediaAnswer::Now(_)));
    }
}

// correctness: H14
#[test]
fn a_window_nobody_watches_keeps_three_target_durations_and_grows_for_a_viewer() {
    let mut feed = Feed::new(Variant::LowLatency, 50);
    feed.window.note_audience(Audience::None);
    feed.frames(25 * 60);
    let target = number_after(&feed.full(), "#EXT-X-TARGETDURATION:");
    let msn = number_after(&feed.full(), "#EXT-X-MEDIA-SEQUENCE:");
    let listed = |feed: &mut Feed| feed.full().matches("#EXTINF").count();
    assert_eq!((target, listed(&mut feed), feed.window.retired_count()), (2, 3, 0));
    let unwatched_bytes = feed.window.bytes();
    feed.window.note_audience(Audience::Present);
    feed.frames(25 * 60);
    assert_eq!(listed(&mut feed), window_config(Variant::LowLatency).segment_count);
    assert!(number_after(&feed.full(), "#EXT-X-MEDIA-SEQUENCE:") > msn);
    assert!(feed.window.bytes() > 3 * unwatched_bytes, "{} {unwatched_bytes}", feed.window.bytes());
    feed.window.note_audience(Audience::None);
    feed.frames(50);
    assert_eq!((listed(&mut feed), feed.window.retired_count()), (3, 0));
}

fn media_bytes(window: &Window, name: MediaName) -> Option<Vec<u8>> {
    match window.media(&grant(), name, Duration::ZERO) {
        MediaAnswer::Now(media) => {
            assert_eq!(media.len_bytes, media.chunks.iter().map(|chunk| chunk.len()).sum::<usize>());
            Some(media.chunks.concat())
        }
        _ => None,
    }
}

// correctness: H4
#[test]
fn a_segment_is_its_parts_end_to_end() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(25 * 4 + 3);
    let whole = media_bytes(&feed.window, MediaName::Segment { msn: 1002 }).unwrap();
    let parts: Vec<u8> = (0..5)
        .flat_map(|index| media_bytes(&feed.window, MediaName::Part { msn: 1002, index }).unwrap())
        .collect();
    assert_eq!(whole, parts);
    assert_eq!(media_bytes(&feed.window, MediaName::Segment { msn: 1004 }), None, "not complete");
    assert_eq!(media_bytes(&feed.window, MediaName::Init(1)), None);
    assert!(media_bytes(&feed.window, MediaName::Init(0)).is_some());
}

// correctness: H11
#[test]
fn parts_leave_the_playlist_after_three_target_durations_and_stay_three_more() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(25 * 12 + 1);
    let name = MediaName::Part { msn: 1011, index: 0 };
    let file = name.file(&feed.window.config().prefix).to_string();
    let mut listed_secs = None;
    let mut kept_secs = None;
    for second in 0..40 {
        if listed_secs.is_none() && !feed.full().contains(&file) {
            listed_secs = Some(second);
        }
        if kept_secs.is_none() && media_bytes(&feed.window, name).is_none() {
            kept_secs = Some(second);
        }
        feed.frames(25);
    }
    let (listed, kept) = (listed_secs.unwrap(), kept_secs.unwrap());
    assert!((3..=4).contains(&listed), "listed for {listed} s");
    assert!(kept >= listed + 3, "kept for {kept} s");
}

/// hls.js begins with the parts of the open segment only where the list has older ones, by that segment's length.
#[test]
fn with_a_long_gop_the_parts_of_the_open_segment_and_of_the_one_before_are_listed_and_no_more() {
    let mut feed = Feed::new(Variant::LowLatency, 500);
    feed.frames(25 * 100);
    for _ in 0..40 {
        feed.frames(25);
        let playlist = feed.full();
        let (whole, open) = playlist.rsplit_once("#EXTINF:").unwrap();
        let [whole, open] = [whole, open].map(|text| text.matches("#EXT-X-PART:").count());
        assert!(open <= 100 && whole == 100, "{whole} and {open} parts listed");
    }
}

// correctness: H13, H14
#[test]
fn numbers_never_go_back_over_reconnects_and_the_target_never_changes() {
    let mut feed = Feed::new(Variant::LowLatency, 25);
    feed.frames(60);
    let target = number_after(&feed.full(), "#EXT-X-TARGETDURATION:");
    let (mut sequence, mut discontinuity) = (0, 0);
    for generation in 2..60 {
        feed.camera = Camera::new(generation);
        feed.gop_frames = 25 + generation % 7;
        for _ in 0..10 {
            feed.frames(20);
            let text = feed.full();
            assert_eq!(number_after(&text, "#EXT-X-TARGETDURATION:"), target);
            let next_sequence = number_after(&text, "#EXT-X-MEDIA-SEQUENCE:");
            let next_discontinuity = number_after(&text, "#EXT-X-DISCONTINUITY-SEQUENCE:");
            assert!(next_sequence >= sequence && next_discontinuity >= discontinuity);
            (sequence, discontinuity) = (next_sequence, next_discontinuity);
        }
    }
    assert!(discontinuity > 40 + 40);
    // A window made in its place begins above.
    let after = feed.window.sequence_after();
    assert!(after.msn > feed.window.hinted_part().0 && after.discontinuity > discontinuity);
    let clock = SequenceStart::at(START.plus_us(10_000_000));
    assert_eq!(clock, SequenceStart { msn: 40, discontinuity: 0 });
    assert_eq!(clock.max(after), after);
}

#[test]
fn memory_stays_within_its_bound_for_hours() {
    let mut feed = Feed::new(Variant::LowLatency, 50);
    feed.frames(1000);
    let bound = feed.window.bytes();
    for _ in 0..100 {
        feed.frames(100);
        assert!(feed.window.bytes() <= bound * 11 / 10, "{} of {bound}", feed.window.bytes());
    }
}

#[test]
fn memory_pressure_leaves_the_least_that_a_playlist_may_list() {
    let mut feed = Feed::new(Variant::LowLatency, 50);
    feed.window = Window::new(WindowConfig { bytes_soft: 1, ..window_config(Variant::LowLatency) });
    feed.frames(2000);
    let text = feed.full();
    assert_eq!(text.matches("#EXTINF").count(), 4);
    assert!(feed.window.retired_count() == 0);
}

#[test]
fn a_running_camera_is_answered_after_its_history_alone() {
    // One GOP of history and the open one, as the ring keeps them.
    let mut feed = Feed::new(Variant::LowLatency, 250);
    feed.frames(260);
    assert_eq!(feed.answer("", 0), Answer::Now);
    let mut fresh = Feed::new(Variant::LowLatency, 25);
    fresh.frames(20);
    assert!(matches!(fresh.answer("", 0), Answer::Wait { .. }));
}
