//! Rules: the standard's own rules for a live LL-HLS presentation, each a check of a run.
//!
//! Each function is named after the rule that it checks; the tests that call them cite the
//! rule. Rules that need a camera to fail, or TLS, are tests of their own (black_box/).
//! Spec: draft-pantos-hls-rfc8216bis; sections stand beside each check.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::fmp4;
use crate::http;
use crate::llhls::client::{self, Position, Rendition, Run};
use crate::llhls::playlist::Segment;

/// Playlists round durations to some digits after the point.
const ROUNDING_S: f64 = 0.001;
/// How much later than due a thing may come on a machine that does other work as well.
const NOISE: Duration = Duration::from_millis(250);
/// Share of parts that may come later than that.
const LATE_SHARE_MAX: f64 = 0.02;

/// H1: hold-backs and skip limit (s4.4.3.8).
///
/// # Errors
/// The first playlist that breaks it.
pub fn h1_hold_backs(rendition: &Rendition) -> anyhow::Result<()> {
    for reload in &rendition.reloads {
        let (playlist, control) = (&reload.playlist, &reload.playlist.server_control);
        let part_target = playlist.part_target.context("no EXT-X-PART-INF")?;
        let target = target_s(playlist.target_duration);
        let part_hold_back = control.part_hold_back.context("no PART-HOLD-BACK")?;
        ensure!(control.can_block_reload, "CAN-BLOCK-RELOAD is not YES");
        ensure!(
            part_hold_back + ROUNDING_S >= 3.0 * part_target,
            "PART-HOLD-BACK {part_hold_back} is less than 3 x PART-TARGET {part_target}"
        );
        if let Some(hold_back) = control.hold_back {
            ensure!(hold_back >= 3.0 * target, "HOLD-BACK {hold_back}, target {target}");
        }
        if let Some(skip) = control.can_skip_until {
            ensure!(skip >= 6.0 * target, "CAN-SKIP-UNTIL {skip}, target {target}");
        }
    }
    Ok(())
}

/// H2: part durations against PART-TARGET, which never changes (s4.4.4.9, s4.4.3.7).
///
/// # Errors
/// The first part that breaks it.
pub fn h2_part_durations(rendition: &Rendition) -> anyhow::Result<()> {
    let mut targets = rendition.reloads.iter().filter_map(|reload| reload.playlist.part_target);
    let target = targets.next().context("no EXT-X-PART-INF")?;
    ensure!(targets.all(|other| same(other, target)), "PART-TARGET changes");
    for ((msn, index), part) in &rendition.parts {
        let duration = part.listed.duration;
        ensure!(
            duration <= target + ROUNDING_S,
            "part {msn}.{index}: {duration} s is more than PART-TARGET {target}"
        );
        let last = !rendition.parts.contains_key(&(*msn, index + 1));
        let excused = part.listed.independent || last;
        ensure!(
            excused || duration + ROUNDING_S >= 0.85 * target,
            "part {msn}.{index}: {duration} s is less than 85 % of PART-TARGET {target}"
        );
        let real = part_duration_s(rendition, (*msn, *index))?;
        ensure!(
            (real - duration).abs() <= ROUNDING_S,
            "part {msn}.{index}: listed as {duration} s, its samples last {real} s"
        );
    }
    Ok(())
}

/// H3: a new part within one PART-TARGET of the one before (s6.2.2). Gives the intervals'
/// worst case in milliseconds.
///
/// # Errors
/// When more than 2 % of the parts come later than that and the machine's noise.
pub fn h3_parts_in_time(rendition: &Rendition) -> anyhow::Result<f64> {
    let target = rendition.reloads[0].playlist.part_target.context("no EXT-X-PART-INF")?;
    let times: Vec<_> =
        rendition.parts.values().filter(|part| !part.initial).map(|part| part.listed_at).collect();
    let intervals: Vec<Duration> =
        times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).collect();
    ensure!(intervals.len() > 10, "only {} new parts", times.len());
    let limit = Duration::from_secs_f64(target) + NOISE;
    let late = intervals.iter().filter(|interval| **interval > limit).count();
    let share = ratio(late, intervals.len());
    ensure!(
        share <= LATE_SHARE_MAX,
        "{late} of {} parts came later than {limit:?} after the one before",
        intervals.len()
    );
    Ok(intervals.into_iter().max().unwrap_or_default().as_secs_f64() * 1000.0)
}

/// H4: a segment holds the samples of its parts, and no others (s4.4.4.9).
///
/// # Errors
/// The first segment that differs.
pub fn h4_segments_are_their_parts(rendition: &Rendition) -> anyhow::Result<()> {
    let mut compared = 0;
    for (msn, segment) in &rendition.segments {
        let parts: Vec<_> = rendition.parts.range((*msn, 0)..(msn + 1, 0)).collect();
        let listed: f64 = parts.iter().map(|(_, part)| part.listed.duration).sum();
        // Parts that had left the playlist before the run began can't be compared.
        if parts.is_empty() || parts[0].0.1 != 0 || listed < segment.listed.duration - 0.01 {
            continue;
        }
        let (_, init) = rendition.inits.get(&segment.init).context("init segment")?;
        let samples = |body| -> anyhow::Result<Vec<_>> {
            let fragments = init.fragments(body)?;
            let mut samples: Vec<_> = fragments.into_iter().flat_map(|fragment| fragment.samples).collect();
            samples.sort_by_key(|sample| (sample.track, sample.dts));
            let facts = |sample: fmp4::Sample| {
                (sample.track, sample.dts, sample.duration, sample.offset, sample.sync, sample.data)
            };
            Ok(samples.into_iter().map(facts).collect())
        };
        let whole = samples(&segment.response.body)?;
        let mut pieces = Vec::new();
        for (_, part) in &parts {
            pieces.extend(samples(&part.response.body)?);
        }
        pieces.sort_by_key(|sample| (sample.0, sample.1));
        ensure!(whole == pieces, "segment {msn} and its {} parts differ", parts.len());
        compared += 1;
    }
    ensure!(compared > 0, "no segment whose parts were all seen");
    Ok(())
}

/// H5: what applies to a segment stands before its first part (s4.4.4).
///
/// # Errors
/// The first segment where it does not.
pub fn h5_tags_before_parts(rendition: &Rendition) -> anyhow::Result<()> {
    for reload in &rendition.reloads {
        let first = reload.playlist.segments.first().context("an empty playlist")?;
        ensure!(
            reload.playlist.skipped.is_some() || first.map.is_some() || first.gap,
            "no EXT-X-MAP before the first segment"
        );
        for segment in &reload.playlist.segments {
            ensure!(
                segment.late_tags.is_empty(),
                "segment {}: {:?} after its first part",
                segment.msn,
                segment.late_tags
            );
        }
    }
    Ok(())
}

/// H6, the part that a well-behaved viewer sees: a blocking reload is answered when what it
/// awaits is there, and not before (s6.2.5.2).
///
/// # Errors
/// The first answer that lacks it.
pub fn h6_reloads_wait(rendition: &Rendition) -> anyhow::Result<()> {
    for reload in &rendition.reloads {
        let Some(awaited) = reload.awaited else {
            continue;
        };
        ensure!(
            reload.playlist.next_part() > awaited,
            "a reload that awaited {awaited:?} was answered with {:?} as the next part",
            reload.playlist.next_part()
        );
    }
    Ok(())
}

/// H6 and H7, what a careless viewer sees (s6.2.5.2): directives that make no sense, or are
/// too far ahead, are refused with 400 at once; a part past the end of its segment means the
/// first part of the next.
///
/// # Errors
/// The first directive that is treated otherwise.
pub async fn h6_h7_bad_reloads(url: &str) -> anyhow::Result<()> {
    let now = client::load(url, &[]).await?.playlist;
    let (msn, _) = now.next_part();
    let (ahead, here) = ((msn + 3).to_string(), msn.to_string());
    let refused: [&[(&str, &str)]; 6] = [
        &[("_HLS_part", "0")],
        &[("_HLS_msn", "x")],
        &[("_HLS_msn", "-1")],
        &[("_HLS_msn", &here), ("_HLS_part", "x")],
        &[("_HLS_msn", &ahead)],
        &[("_HLS_msn", &here), ("_HLS_part", "100000")],
    ];
    for directives in refused {
        let answer = http::get(&client::with_directives(url, directives)?).await?;
        ensure!(answer.status == 400, "{directives:?}: {}, not 400", answer.status);
    }
    let whole: Vec<&Segment> = now.whole_segments().filter(|one| !one.parts.is_empty()).collect();
    let last = whole.last().context("no whole segment with parts")?;
    let (msn, past) = (last.msn.to_string(), last.parts.len().to_string());
    let reload = client::load(url, &[("_HLS_msn", &msn), ("_HLS_part", &past)]).await?;
    ensure!(
        reload.playlist.next_part() > (last.msn + 1, 0),
        "a part past the end of segment {msn} was answered without part 0 of the next"
    );
    Ok(())
}

/// H8: a held reload is answered with a whole playlist, not a fragment of it.
///
/// # Errors
/// The first that is not.
pub fn h8_whole_playlists(rendition: &Rendition) -> anyhow::Result<()> {
    let mut before: Option<(u64, usize)> = None;
    for reload in &rendition.reloads {
        let playlist = &reload.playlist;
        ensure!(playlist.skipped.is_none(), "EXT-X-SKIP without _HLS_skip");
        let now = (playlist.media_sequence, playlist.segments.len());
        if let Some((sequence, count)) = before {
            let end = sequence + u64::try_from(count)?;
            let new_end = now.0 + u64::try_from(now.1)?;
            // Between two reloads the window moves on; it has no holes and does not shrink
            // to what is new.
            ensure!(new_end >= end, "segments {end} and later have vanished");
            ensure!(now.1 + 2 >= count, "{count} segments became {}", now.1);
        }
        before = Some(now);
    }
    Ok(())
}

/// H9: `_HLS_skip` gives a delta update: one EXT-X-SKIP in place of the segments beyond the
/// skip limit, version 9 or more (s6.2.5.1).
///
/// # Errors
/// When it does not.
pub async fn h9_delta_updates(url: &str) -> anyhow::Result<()> {
    for value in ["YES", "v2"] {
        let full = client::load(url, &[]).await?.playlist;
        let limit = full.server_control.can_skip_until.context("no CAN-SKIP-UNTIL")?;
        let delta = client::load(url, &[("_HLS_skip", value)]).await?.playlist;
        let skipped = delta.skipped.with_context(|| format!("no EXT-X-SKIP for {value}"))?;
        ensure!(delta.version >= 9, "EXT-X-SKIP in version {}", delta.version);
        ensure!(skipped > 0, "EXT-X-SKIP of nothing");
        let tags = delta.text.matches("#EXT-X-SKIP:").count();
        ensure!(tags == 1, "{tags} EXT-X-SKIP tags");
        // What was left out is further from the edge than the limit.
        let kept: f64 = delta.segments.iter().map(segment_duration_s).sum();
        ensure!(kept + ROUNDING_S >= limit, "only {kept} s are kept, CAN-SKIP-UNTIL is {limit}");
        let first_kept = delta.segments.first().context("nothing is kept")?.msn;
        let listed = full.segments.iter().find(|segment| segment.msn == first_kept);
        ensure!(listed.is_none_or(|segment| segment.uri == delta.segments[0].uri), "numbers shift");
    }
    Ok(())
}

/// H10: the hinted address is the address of the part that comes, may be asked at once, and
/// its bytes come together (s4.4.5.3, s6.2.6).
///
/// # Errors
/// The first hint that breaks it.
pub fn h10_hints(rendition: &Rendition) -> anyhow::Result<()> {
    ensure!(rendition.hints.len() > 10, "only {} hints", rendition.hints.len());
    let discontinuities = rendition.discontinuities();
    let mut kept = 0;
    for hint in &rendition.hints {
        let Some((position, part)) = part_after(rendition, hint.position) else {
            continue;
        };
        if discontinuities.contains(&position.0) && position.1 == 0 {
            continue;
        }
        ensure!(hint.response.is_ok(), "{}: {}", hint.uri, hint.response.status);
        ensure!(part.listed.uri == hint.uri, "hinted {}, but {position:?} is {}", hint.uri, part.listed.uri);
        let spread = hint.response.last_byte - hint.response.first_byte;
        ensure!(spread < NOISE, "the bytes of {} took {spread:?}", hint.uri);
        kept += 1;
    }
    ensure!(kept > 10, "only {kept} hints were kept");
    Ok(())
}

/// H11, listing: no part further than 3 target durations (and its segment) from the end
/// (s6.2.2).
///
/// # Errors
/// The first playlist that lists one.
pub fn h11_old_parts_leave(rendition: &Rendition) -> anyhow::Result<()> {
    for reload in &rendition.reloads {
        let target = target_s(reload.playlist.target_duration);
        let mut behind = 0.0;
        for segment in reload.playlist.segments.iter().rev() {
            ensure!(
                segment.parts.is_empty() || behind <= 3.0 * target + ROUNDING_S,
                "segment {} still lists its parts {behind} s before the end",
                segment.msn
            );
            behind += segment_duration_s(segment);
        }
    }
    Ok(())
}

/// H11, bytes: a part that has left the playlist can be had for 3 target durations more.
///
/// # Errors
/// The first part that can't.
pub async fn h11_old_parts_can_be_had(rendition: &Rendition) -> anyhow::Result<()> {
    let now = client::load(&rendition.url, &[]).await?.playlist;
    let listed = |position: &Position| {
        let segment = now.segments.iter().find(|segment| segment.msn == position.0);
        segment.is_some_and(|segment| segment.parts.len() > position.1)
    };
    let left = rendition.parts.iter().rev().find(|(position, _)| !listed(position));
    let (position, part) = left.context("no part has left the playlist yet")?;
    let answer = http::get(&http::join(&rendition.url, &part.listed.uri)?).await?;
    ensure!(answer.is_ok(), "part {position:?} has just left the playlist: {}", answer.status);
    Ok(())
}

/// H12: with several renditions each playlist reports on each other one (s4.4.5.4).
///
/// # Errors
/// The first playlist without a report.
pub fn h12_rendition_reports(run: &Run) -> anyhow::Result<()> {
    for rendition in &run.renditions {
        let others = run.renditions.iter().filter(|other| other.url != rendition.url);
        for other in others {
            for reload in &rendition.reloads {
                let mut reports = reload.playlist.rendition_reports.iter();
                let found = reports
                    .any(|report| http::join(&rendition.url, &report.uri).is_ok_and(|url| url == other.url));
                ensure!(found, "{} has no report of {}", rendition.url, other.url);
            }
        }
    }
    Ok(())
}

/// H13: EXT-X-TARGETDURATION never changes and no segment, rounded, is longer (s4.4.3.1).
///
/// # Errors
/// The first playlist or segment that breaks it.
pub fn h13_target_duration(rendition: &Rendition) -> anyhow::Result<()> {
    let target = rendition.reloads[0].playlist.target_duration;
    for reload in &rendition.reloads {
        let playlist = &reload.playlist;
        ensure!(playlist.target_duration == target, "TARGETDURATION changes");
        for segment in playlist.whole_segments() {
            ensure!(
                segment.duration.round() <= target_s(target),
                "segment {}: {} s, target {target}",
                segment.msn,
                segment.duration
            );
        }
    }
    Ok(())
}

/// H14: sequence numbers never go backwards, and a number keeps its segment (s4.4.3.2,
/// s4.4.3.3, s6.2.2).
///
/// # Errors
/// The first reload that breaks it.
pub fn h14_sequences(rendition: &Rendition) -> anyhow::Result<()> {
    let mut names = std::collections::BTreeMap::new();
    let mut before = (0, 0);
    for reload in &rendition.reloads {
        let playlist = &reload.playlist;
        let now = (playlist.media_sequence, playlist.discontinuity_sequence);
        ensure!(now.0 >= before.0 && now.1 >= before.1, "sequences went from {before:?} to {now:?}");
        before = now;
        for segment in playlist.whole_segments() {
            let facts = (segment.uri.clone(), segment.discontinuity, segment.duration.to_bits());
            if let Some(known) = names.insert(segment.msn, facts.clone()) {
                ensure!(known == facts, "segment {} was {known:?}, is {facts:?}", segment.msn);
            }
        }
    }
    Ok(())
}

/// H15 over plain HTTP/1.1: types, caching, CORS on playlists and media.
///
/// # Errors
/// The first answer that lacks one.
pub fn h15_headers(rendition: &Rendition) -> anyhow::Result<()> {
    let reload = &rendition.reloads[0].response;
    let cors = |response: &http::Response| response.header("access-control-allow-origin") == "*";
    ensure!(
        reload.header("content-type") == "application/vnd.apple.mpegurl",
        "playlist as {:?}",
        reload.header("content-type")
    );
    ensure!(cors(reload), "playlist without CORS");
    let caching = reload.header("cache-control");
    ensure!(!caching.is_empty() && !caching.contains("immutable"), "playlist: {caching:?}");
    for response in [
        rendition.segments.values().next().map(|segment| &segment.response),
        rendition.parts.values().next().map(|part| &part.response),
        rendition.inits.values().next().map(|(response, _)| response),
    ] {
        let response = response.context("nothing was fetched")?;
        let kind = response.header("content-type");
        ensure!(kind == "video/mp4" || kind == "audio/mp4", "{} as {kind:?}", response.url);
        ensure!(cors(response), "{} without CORS", response.url);
        let caching = response.header("cache-control");
        ensure!(caching.contains("max-age"), "{}: {caching:?}", response.url);
    }
    Ok(())
}

/// F1 and F2 over the whole run: every whole segment continues the one before; sync flags
/// and composition are right.
///
/// # Errors
/// The first sample that breaks one.
pub fn f1_f2_samples(rendition: &Rendition) -> anyhow::Result<()> {
    let discontinuities = rendition.discontinuities();
    let mut run = Vec::new();
    let mut init = None;
    for (msn, segment) in &rendition.segments {
        let (_, of_segment) = rendition.inits.get(&segment.init).context("init segment")?;
        if discontinuities.contains(msn) {
            check_run(init, &run)?;
            run.clear();
        }
        init = Some(of_segment);
        let fragments = of_segment.fragments(&segment.response.body)?;
        run.extend(fragments.into_iter().flat_map(|fragment| fragment.samples));
    }
    check_run(init, &run)
}

fn check_run(init: Option<&fmp4::Init>, samples: &[fmp4::Sample]) -> anyhow::Result<()> {
    let Some(init) = init else { return Ok(()) };
    fmp4::check_contiguous(samples)?;
    fmp4::check_sync_flags(init, samples)?;
    fmp4::check_composition(samples)
}

/// F3: CODECS names exactly the codecs of the init segments.
///
/// # Errors
/// When it names others.
pub fn f3_codecs(run: &Run) -> anyhow::Result<()> {
    let inits = run.renditions.iter().flat_map(|rendition| rendition.inits.values());
    let mut real: Vec<String> = inits
        .flat_map(|(_, init)| init.tracks.values())
        .map(|track| track.codec.to_ascii_lowercase())
        .collect();
    real.sort();
    real.dedup();
    for variant in &run.multivariant.1.variants {
        let mut named: Vec<String> = variant.codecs.iter().map(|codec| codec.to_ascii_lowercase()).collect();
        named.sort();
        ensure!(named == real, "CODECS names {named:?}, the init segments {real:?}");
    }
    Ok(())
}

fn part_after(rendition: &Rendition, at: Position) -> Option<(Position, &client::SeenPart)> {
    // A segment may have ended where its next part was expected.
    let next = [at, (at.0 + 1, 0)];
    next.into_iter().find_map(|position| Some((position, rendition.parts.get(&position)?)))
}

fn part_duration_s(rendition: &Rendition, position: Position) -> anyhow::Result<f64> {
    let part = &rendition.parts[&position];
    let (_, init) = rendition.inits.get(&part.init).context("init segment")?;
    let track = match init.video() {
        Ok(video) => video,
        Err(_) => init.tracks.values().next().context("no track")?,
    };
    let mut ticks = 0;
    for fragment in init.fragments(&part.response.body)? {
        let samples = fragment.samples.iter().filter(|sample| sample.track == track.id);
        ticks += samples.map(|sample| u64::from(sample.duration)).sum::<u64>();
    }
    if track.timescale == 0 {
        bail!("a timescale of 0");
    }
    // f64 holds the ticks of a part exactly.
    Ok(Duration::from_nanos(ticks * 1_000_000_000 / u64::from(track.timescale)).as_secs_f64())
}

fn segment_duration_s(segment: &Segment) -> f64 {
    match segment.uri {
        Some(_) => segment.duration,
        None => segment.parts.iter().map(|part| part.duration).sum(),
    }
}

fn target_s(seconds: u64) -> f64 {
    Duration::from_secs(seconds).as_secs_f64()
}

fn same(left: f64, right: f64) -> bool {
    (left - right).abs() < f64::EPSILON
}

fn ratio(part: usize, whole: usize) -> f64 {
    f64::from(u32::try_from(part).unwrap_or(u32::MAX)) / f64::from(u32::try_from(whole).unwrap_or(u32::MAX))
}
