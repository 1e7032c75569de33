//! Playlist: the window as text, whole and as a delta update.
//!
//! ```text
//!  header │ SKIP (delta) │ segment ... segment │ open segment's parts │ PRELOAD-HINT
//! ```
//!
//! Spec: rfc8216bis s4.4 (tags), s6.2.5.1 (EXT-X-SKIP), appendix B (LL-HLS profile).

use std::fmt::Write as _;

use super::names::MediaName;
use super::window::{Segment, Variant, Window};
use crate::remux::fmp4::Part;
use crate::time::WallTime;

/// EXT-X-SKIP needs 9; nothing here needs more.
const VERSION: u32 = 9;
/// PART-HOLD-BACK in part targets: what rfc8216bis recommends (correctness: H1).
const PART_HOLD_BACK_PARTS: u32 = 3;
/// HOLD-BACK in target durations, the least allowed (correctness: H1).
const HOLD_BACK_TARGETS: u32 = 3;
/// CAN-SKIP-UNTIL in target durations, the least allowed (correctness: H1).
pub(super) const SKIP_BOUNDARY_TARGETS: u32 = 6;

/// The whole playlist.
pub(super) fn full(window: &Window) -> String {
    text(window, 0)
}

/// The delta update; `None` where nothing can be skipped.
pub(super) fn delta(window: &Window) -> Option<String> {
    let boundary_us = i64::from(window.targets().target_duration_secs * SKIP_BOUNDARY_TARGETS) * 1_000_000;
    let skipped = window.listed().take_while(|segment| window.age_us(segment) > boundary_us).count();
    (window.config().variant == Variant::LowLatency && skipped > 0).then(|| text(window, skipped))
}

fn text(window: &Window, skipped: usize) -> String {
    let mut out = Lines(String::with_capacity(4096));
    header(&mut out, window);
    if skipped > 0 {
        out.line(format_args!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"));
    }
    let mut init = window.listed().take(skipped).last().map(|segment| segment.init_id);
    for listed in window.listed().skip(skipped) {
        segment(&mut out, window, listed, &mut init);
    }
    if window.config().variant == Variant::LowLatency {
        if let Some(open) = window.open() {
            tags_before_first_part(&mut out, window, open, &mut init);
            parts(&mut out, window, open);
        }
        let (msn, index) = window.hinted_part();
        let file = MediaName::Part { msn, index }.file(&window.config().prefix);
        out.line(format_args!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{file}\""));
    }
    out.0
}

fn header(out: &mut Lines, window: &Window) {
    let targets = window.targets();
    let target = targets.target_duration_secs;
    let hold_back = target * HOLD_BACK_TARGETS;
    out.line(format_args!("#EXTM3U"));
    out.line(format_args!("#EXT-X-VERSION:{VERSION}"));
    out.line(format_args!("#EXT-X-TARGETDURATION:{target}"));
    match window.config().variant {
        Variant::LowLatency => {
            let part_ms = targets.part_target_ms;
            let part_hold_back = Millis(part_ms * PART_HOLD_BACK_PARTS);
            let skip_until = target * SKIP_BOUNDARY_TARGETS;
            out.line(format_args!(
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={part_hold_back},\
                 HOLD-BACK={hold_back}.0,CAN-SKIP-UNTIL={skip_until}.0"
            ));
            out.line(format_args!("#EXT-X-PART-INF:PART-TARGET={}", Millis(part_ms)));
        }
        Variant::Fmp4 => out.line(format_args!("#EXT-X-SERVER-CONTROL:HOLD-BACK={hold_back}.0")),
    }
    out.line(format_args!("#EXT-X-MEDIA-SEQUENCE:{}", window.media_sequence()));
    out.line(format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{}", window.discontinuity_sequence()));
}

fn segment(out: &mut Lines, window: &Window, segment: &Segment, init: &mut Option<u32>) {
    tags_before_first_part(out, window, segment, init);
    if window.config().variant == Variant::LowLatency && window.lists_parts_of(segment) {
        parts(out, window, segment);
    }
    out.line(format_args!("#EXTINF:{},", Seconds(segment.duration_us)));
    out.line(format_args!("{}", MediaName::Segment { msn: segment.msn }.file(&window.config().prefix)));
}

/// correctness: H5
fn tags_before_first_part(out: &mut Lines, window: &Window, segment: &Segment, init: &mut Option<u32>) {
    if segment.discontinuity {
        out.line(format_args!("#EXT-X-DISCONTINUITY"));
    }
    if segment.discontinuity || *init != Some(segment.init_id) {
        let file = MediaName::Init(segment.init_id).file(&window.config().prefix);
        out.line(format_args!("#EXT-X-MAP:URI=\"{file}\""));
        *init = Some(segment.init_id);
    }
    if let Some(wall) = segment.wall() {
        out.line(format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", DateTime(wall)));
    }
}

fn parts(out: &mut Lines, window: &Window, segment: &Segment) {
    for part in &segment.parts {
        let file = MediaName::Part { msn: part.msn, index: part.index }.file(&window.config().prefix);
        let duration = Seconds(part.duration_us());
        let independent = if part.is_independent { ",INDEPENDENT=YES" } else { "" };
        out.line(format_args!("#EXT-X-PART:DURATION={duration},URI=\"{file}\"{independent}"));
    }
}

#[derive(Default)]
pub(super) struct Lines(pub(super) String);

impl Lines {
    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _infallible = self.0.write_fmt(line);
        self.0.push('\n');
    }
}

/// Microseconds as decimal seconds with five digits, rounded down: a part never claims more than PART-TARGET.
pub(super) struct Seconds(pub(super) i64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = self.0.max(0);
        write!(f, "{}.{:05}", us / 1_000_000, us % 1_000_000 / 10)
    }
}

/// Milliseconds as decimal seconds.
struct Millis(u32);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// ISO 8601 with milliseconds, UTC (rfc8216bis s4.4.4.6).
pub(super) struct DateTime(pub(super) WallTime);

impl std::fmt::Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = self.0.unix_us();
        let (year, month, day) = civil_date(us.div_euclid(86_400_000_000));
        let ms = us.rem_euclid(86_400_000_000) / 1000;
        let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// Year, month and day of a day number since 1970-01-01, proleptic Gregorian: years are counted from March, so that
/// the leap day is the last of its year.
fn civil_date(days_since_epoch: i64) -> (i64, i64, i64) {
    let days = days_since_epoch + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The sum of what parts say they last, for EXTINF.
pub(super) fn duration_us(parts: &[std::sync::Arc<Part>]) -> i64 {
    parts
        .first()
        .map_or(0, |first| first.timescale.ticks_to_us(parts.iter().map(|part| part.duration_ticks).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_times_are_those_of_the_calendar() {
        // Known instants (date -u -d @N).
        for (secs, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(DateTime(WallTime(secs * 1_000_000)).to_string(), text);
        }
        assert_eq!(DateTime(WallTime(1_767_225_600_123_999)).to_string(), "2026-01-01T00:00:00.123Z");
    }
}
