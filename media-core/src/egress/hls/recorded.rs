//! Recorded: a media playlist of recorded files, whose segments are byte ranges of them.
//!
//! ```text
//!  files with their GOPs ─► segments: whole GOPs, at least SEGMENT_US of them ─► text: VOD, or EVENT while it grows,
//!                             └ never over the end of a file: each is a range of one     or a window that slides
//! ```
//!
//! - A segment begins with a random access point and is named by its file and range, so the same range has the same name
//!   for ever, whatever playlist it is in.
//! - Parts are served as they were recorded. Files of a run have one timeline and one init segment; between runs there is
//!   EXT-X-DISCONTINUITY and EXT-X-MAP, and the date-times tell how much is missing.
//! - A playlist that grows never changes what it said: a segment is listed once it is complete, and TARGETDURATION
//!   (correctness: H13) is chosen at the first look, with room, and then part of the URL.
//! - A window that slides counts its segments from the file that it began with, which is part of the URL too: what left it is
//!   counted and not listed (correctness: H14), and nothing has to be kept of those who watch.
//!
//! Belongs here: the text and what it says. Does not: files, HTTP (-> storage, server).
//! Spec: rfc8216bis s4.4.3 (EXT-X-PLAYLIST-TYPE), s4.4.4 (EXT-X-MAP, EXT-X-PROGRAM-DATE-TIME), s4.4.2.2 (EXT-X-START).

use std::fmt::Write as _;

use super::multivariant::{self, VariantFacts};
use super::playlist::{DateTime, Lines, Seconds};
use crate::egress::recorder::RunId;
use crate::egress::recorder::index::{GopEntry, place};
use crate::time::{Timescale, WallTime};

/// GOPs are put together until a segment lasts so long: a day is 20,000 segments at most.
const SEGMENT_US: i64 = 4_000_000;
/// The least TARGETDURATION of a playlist that grows.
const GROWING_TARGET_SECS_MIN: i64 = 10;
/// EXT-X-MAP in a playlist that is not I-frames only, and decimal EXTINF, need no more.
const VERSION: u32 = 7;

/// A recorded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFile {
    /// When its first picture was taken.
    pub start: WallTime,
    /// Files of a run follow each other without a gap.
    pub run: RunId,
    /// Its position in the run.
    pub number: u32,
    /// Unit of its times.
    pub timescale: Timescale,
    /// Where its first part begins.
    pub first_offset: u64,
    /// Its complete GOPs; when it is closed, all of it.
    pub gops: Vec<GopEntry>,
    /// Nothing will be added.
    pub is_complete: bool,
}

/// A segment of a playlist: a byte range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    start: WallTime,
    from: u64,
    to: u64,
    duration_us: i64,
}

/// What a playlist is to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// From when on.
    pub start: WallTime,
    /// Up to when.
    pub until: Option<WallTime>,
    /// Nothing will be added.
    pub is_over: bool,
    /// TARGETDURATION, of a playlist that grows or grew.
    pub target_secs: Option<i64>,
    /// Of a window that slides: what ended before is counted only.
    pub listed_from: Option<WallTime>,
}

/// Segments that left a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    segments: usize,
    discontinuities: usize,
}

/// The playlist of these files, in the order of their times; `None` when nothing is to be listed.
pub fn playlist(files: &[RecordedFile], wanted: &Wanted) -> Option<String> {
    let mut listed: Vec<Vec<Segment>> = files.iter().map(|file| segments(file, wanted)).collect();
    let left = wanted.listed_from.map(|from| take_left(files, &mut listed, from));
    let first = listed.iter().flatten().next()?;
    let longest_us = listed.iter().flatten().map(|segment| segment.duration_us).max().unwrap_or(0);
    let mut out = Lines::default();
    out.line(format_args!("#EXTM3U"));
    out.line(format_args!("#EXT-X-VERSION:{VERSION}"));
    out.line(format_args!(
        "#EXT-X-TARGETDURATION:{}",
        wanted.target_secs.unwrap_or_else(|| rounded_secs(longest_us))
    ));
    match left {
        Some(Left { segments, discontinuities }) => {
            out.line(format_args!("#EXT-X-MEDIA-SEQUENCE:{segments}"));
            out.line(format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}"));
            out.line(format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
        }
        None => {
            out.line(format_args!("#EXT-X-MEDIA-SEQUENCE:0"));
            let kind = if wanted.target_secs.is_some() { "EVENT" } else { "VOD" };
            out.line(format_args!("#EXT-X-PLAYLIST-TYPE:{kind}"));
            out.line(format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
            let into = Seconds(wanted.start.us_since(first.start).max(0));
            out.line(format_args!("#EXT-X-START:TIME-OFFSET={into},PRECISE=YES"));
        }
    }
    let mut before: Option<&RecordedFile> = None;
    for (file, segments) in files.iter().zip(&listed).filter(|(_, segments)| !segments.is_empty()) {
        if before.is_some_and(|before| !continues(before, file)) {
            out.line(format_args!("#EXT-X-DISCONTINUITY"));
        }
        if before.is_none_or(|before| !continues(before, file)) {
            out.line(format_args!("#EXT-X-MAP:URI=\"{}\"", init_uri(file)));
        }
        for segment in segments {
            out.line(format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", DateTime(segment.start)));
            out.line(format_args!("#EXTINF:{},", Seconds(segment.duration_us)));
            out.line(format_args!("{}", segment_uri(file, segment)));
        }
        before = Some(file);
    }
    if wanted.is_over {
        out.line(format_args!("#EXT-X-ENDLIST"));
    }
    Some(out.0)
}

/// Takes out the segments before the first that ends behind `from`, and counts what stands before it.
fn take_left(files: &[RecordedFile], listed: &mut [Vec<Segment>], from: WallTime) -> Left {
    let mut left = Left::default();
    let mut before: Option<&RecordedFile> = None;
    for (file, segments) in files.iter().zip(listed).filter(|(_, segments)| !segments.is_empty()) {
        let is_left = |segment: &&Segment| segment.start.plus_us(segment.duration_us) <= from;
        let count = segments.iter().take_while(is_left).count();
        // Before what is listed first no tag is written, so it counts as gone with what it stood behind.
        left.discontinuities += usize::from(before.is_some_and(|before| !continues(before, file)));
        if count == 0 {
            break;
        }
        left.segments += count;
        segments.drain(..count);
        if !segments.is_empty() {
            break;
        }
        before = Some(file);
    }
    left
}

/// The name of a playlist whose window slides.
pub const WINDOW_PLAYLIST: &str = "recorded.m3u8";

/// The multivariant playlist of a window that slides: players ask for it once, so its child's URL holds what must stay.
///
/// `codecs` and `resolution` are the live stream's, where there is one.
pub fn window_multivariant(
    files: &[RecordedFile],
    query: &str,
    (codecs, resolution): (String, Option<(u32, u32)>),
) -> String {
    let (peak_bps, average_bps) = bit_rates(files);
    let facts = VariantFacts { peak_bps, average_bps, codecs, resolution, frame_rate_milli: None };
    multivariant::render_for(&facts, WINDOW_PLAYLIST, Some(query))
}

/// The highest bit rate of a GOP, and the mean.
fn bit_rates(files: &[RecordedFile]) -> (u64, u64) {
    let bps = |bytes: u64, us: i64| {
        let us = u128::try_from(us.max(1)).unwrap_or(1);
        u64::try_from(u128::from(bytes) * 8_000_000 / us).unwrap_or(u64::MAX)
    };
    let (mut peak_bps, mut bytes, mut us) = (1, 0_u64, 0_i64);
    for file in files {
        for gop in &file.gops {
            let gop_us = file.timescale.ticks_to_us(gop.duration_ticks);
            peak_bps = peak_bps.max(bps(gop.len_bytes, gop_us));
            bytes = bytes.saturating_add(gop.len_bytes);
            us = us.saturating_add(gop_us);
        }
    }
    (peak_bps, bps(bytes, us).max(1))
}

/// A TARGETDURATION with room for a playlist that begins with these files and grows.
pub fn growing_target_secs(files: &[RecordedFile]) -> i64 {
    let longest = files
        .iter()
        .flat_map(|file| file.gops.iter().map(|gop| file.timescale.ticks_to_us(gop.duration_ticks)));
    // A segment lasts less than SEGMENT_US and one GOP more.
    let with_room = rounded_secs(longest.max().unwrap_or(0) * 2 + SEGMENT_US);
    with_room.max(GROWING_TARGET_SECS_MIN)
}

/// correctness: H13
fn rounded_secs(us: i64) -> i64 {
    ((us + 500_000) / 1_000_000).max(1)
}

fn continues(before: &RecordedFile, file: &RecordedFile) -> bool {
    before.run == file.run && before.number.checked_add(1) == Some(file.number)
}

fn segments(file: &RecordedFile, wanted: &Wanted) -> Vec<Segment> {
    let (start, until) = (wanted.start, wanted.until.unwrap_or(WallTime(i64::MAX)));
    let at = |ticks: i64| file.start.plus_us(file.timescale.ticks_to_us(ticks));
    let mut segments: Vec<Segment> = Vec::new();
    for gop in place(&file.gops, file.first_offset) {
        let end_ticks = gop.start_ticks + gop.entry.duration_ticks;
        let (begin, end) = (at(gop.start_ticks), at(end_ticks));
        if end <= start || begin >= until {
            continue;
        }
        let to = gop.offset + gop.entry.len_bytes;
        match segments.last_mut() {
            Some(last) if last.duration_us < SEGMENT_US || !gop.entry.is_random_access => {
                last.to = to;
                last.duration_us = end.us_since(last.start);
            }
            _ => segments.push(Segment {
                start: begin,
                from: gop.offset,
                to,
                duration_us: end.us_since(begin),
            }),
        }
    }
    // The last one of a file that grows may become longer.
    if !file.is_complete
        && !wanted.is_over
        && segments.last().is_some_and(|last| last.duration_us < SEGMENT_US)
    {
        segments.pop();
    }
    segments
}

fn init_uri(file: &RecordedFile) -> String {
    format!("recorded_init.mp4?file={}", file.start.unix_us())
}

fn segment_uri(file: &RecordedFile, segment: &Segment) -> String {
    let mut uri = String::with_capacity(64);
    let (start, from, to) = (file.start.unix_us(), segment.from, segment.to);
    // Writing to a String can't fail.
    let _infallible = write!(uri, "recorded.mp4?file={start}&from={from}&to={to}");
    uri
}

#[cfg(test)]
mod tests {
    use quick_m3u8::config::ParsingOptions;
    use quick_m3u8::{HlsLine, Reader};

    use super::*;

    /// 2026-11-25T19:30:00Z
    const START: WallTime = WallTime(1_795_635_000_000_000);

    /// A file of GOPs of a second, `number` of them.
    fn file(start_s: i64, run: i64, number: u32, gops: usize) -> RecordedFile {
        let gop = GopEntry {
            len_bytes: 500_000,
            duration_ticks: 90_000,
            composition_offset_ticks: 0,
            is_random_access: true,
        };
        RecordedFile {
            start: START.plus_us(start_s * 1_000_000),
            run: RunId(run),
            number,
            timescale: Timescale::VIDEO,
            first_offset: 1000,
            gops: vec![gop; gops],
            is_complete: true,
        }
    }

    fn stretch(from_ms: i64, until_s: i64) -> Wanted {
        let (start, until) = (START.plus_us(from_ms * 1000), START.plus_us(until_s * 1_000_000));
        Wanted { start, until: Some(until), is_over: true, target_secs: None, listed_from: None }
    }

    #[test]
    fn a_run_is_one_timeline_and_a_gap_a_discontinuity_with_the_true_time() {
        let files = [file(0, 1, 0, 6), file(6, 1, 1, 6), file(60, 2, 0, 6)];
        let text = playlist(&files, &stretch(2_500, 64)).unwrap();
        let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n\
            #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-START:TIME-OFFSET=0.50000,PRECISE=YES\n\
            #EXT-X-MAP:URI=\"recorded_init.mp4?file=1795635000000000\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-25T19:30:02.000Z\n#EXTINF:4.00000,\n\
            recorded.mp4?file=1795635000000000&from=1001000&to=3001000\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-25T19:30:06.000Z\n#EXTINF:4.00000,\n\
            recorded.mp4?file=1795635006000000&from=1000&to=2001000\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-25T19:30:10.000Z\n#EXTINF:2.00000,\n\
            recorded.mp4?file=1795635006000000&from=2001000&to=3001000\n\
            #EXT-X-DISCONTINUITY\n\
            #EXT-X-MAP:URI=\"recorded_init.mp4?file=1795635060000000\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-25T19:31:00.000Z\n#EXTINF:4.00000,\n\
            recorded.mp4?file=1795635060000000&from=1000&to=2001000\n#EXT-X-ENDLIST\n";
        assert_eq!(text, expected);
        assert_eq!(playlist(&files, &stretch(20_000, 50)), None);
    }

    // correctness: H13, H14
    #[test]
    fn a_playlist_that_grows_never_changes_what_it_said() {
        let target_secs = growing_target_secs(&[file(0, 1, 0, 3)]);
        let mut before = String::new();
        for gops in 4..40 {
            let files = [file(0, 1, 0, 10), RecordedFile { is_complete: false, ..file(10, 1, 1, gops) }];
            let wanted = Wanted {
                start: START,
                until: None,
                is_over: false,
                target_secs: Some(target_secs),
                listed_from: None,
            };
            let text = playlist(&files, &wanted).unwrap();
            assert!(text.starts_with(&before), "{before}\nbecame\n{text}");
            assert!(!text.contains("ENDLIST"));
            before = text;
        }
        let longest = before.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(','));
        let longest = longest.map(|text| text.parse::<f64>().unwrap()).fold(0.0, f64::max);
        assert!(
            longest.round() <= f64::from(u32::try_from(target_secs).unwrap()),
            "{longest} of {target_secs}"
        );
    }

    // correctness: H14
    #[test]
    fn a_window_slides_without_renumbering_what_it_lists() {
        // Two runs; the second begins 20 s after the first ends, and grows.
        let at = |now_s: i64| {
            let files = [
                file(0, 1, 0, 10),
                file(10, 1, 1, 10),
                RecordedFile { is_complete: false, ..file(40, 2, 0, usize::try_from(now_s - 40).unwrap()) },
            ];
            let wanted = Wanted {
                start: START,
                until: None,
                is_over: false,
                target_secs: Some(10),
                listed_from: Some(START.plus_us((now_s - 30) * 1_000_000)),
            };
            playlist(&files, &wanted).unwrap()
        };
        let number = |text: &str, tag: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(tag)).unwrap();
            line.parse::<usize>().unwrap()
        };
        let mut numbered = std::collections::BTreeMap::new();
        let mut lengths = Vec::new();
        for now_s in 45..120 {
            let text = at(now_s);
            assert!(
                !text.contains("PLAYLIST-TYPE") && !text.contains("EXT-X-START") && !text.contains("ENDLIST")
            );
            let mut msn = number(&text, "#EXT-X-MEDIA-SEQUENCE:");
            let mut discontinuities = number(&text, "#EXT-X-DISCONTINUITY-SEQUENCE:");
            let (first, mut count) = (msn, 0);
            for line in text.lines() {
                discontinuities += usize::from(line == "#EXT-X-DISCONTINUITY");
                if line.starts_with("recorded.mp4") {
                    let known = numbered.entry(msn).or_insert((line.to_owned(), discontinuities));
                    assert_eq!(*known, (line.to_owned(), discontinuities), "at {now_s} s");
                    msn += 1;
                    count += 1;
                }
            }
            lengths.push((first, count));
        }
        assert!(lengths.is_sorted(), "{lengths:?}");
        // 30 s of segments of 4 s, and the one that is begun at each end.
        assert!(lengths.iter().rev().take(40).all(|(_, count)| (7..=9).contains(count)), "{lengths:?}");
    }

    #[test]
    fn a_window_says_how_fast_it_is_and_keeps_its_query() {
        let text =
            window_multivariant(&[file(0, 1, 0, 4)], "dvr=7200&first=1", ("avc1.4D401F".to_owned(), None));
        let expected = "#EXTM3U\n#EXT-X-VERSION:9\n\
            #EXT-X-STREAM-INF:BANDWIDTH=4000000,AVERAGE-BANDWIDTH=4000000,CODECS=\"avc1.4D401F\"\n\
            recorded.m3u8?dvr=7200&first=1\n";
        assert_eq!(text, expected);
        assert!(!window_multivariant(&[], "", (String::new(), None)).contains("CODECS"));
    }

    #[test]
    fn a_day_is_read_by_a_parser_that_is_not_ours_and_costs_milliseconds() {
        let files: Vec<_> = (0..24)
            .map(|hour| file(i64::from(hour) * 3600, 1 + i64::from(hour) / 8, hour % 8, 3600))
            .collect();
        let text = playlist(&files, &stretch(0, 86_400)).unwrap();
        let mut reader = Reader::from_str(&text, ParsingOptions::default());
        while let Some(line) = reader.read_line().unwrap() {
            let is_ours = matches!(line, HlsLine::KnownTag(_) | HlsLine::Uri(_));
            assert!(is_ours, "not a line of ours: {line:?}");
        }
        assert_eq!(text.matches("#EXTINF").count(), 86_400 / 4);
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY").count(), 2);
    }
}
