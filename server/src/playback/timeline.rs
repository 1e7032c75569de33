//! Timeline: what is recorded and what is missing between two times, with the reasons, a page at a time; and times of pictures.
//!
//! `next` is where the following page begins, and what goes over it is cut there; it is absent on the last one. A hold stands
//! on every page that it touches. Thumbnails are at whole multiples of their interval, so that the same ones are asked for by
//! everyone: those that `recordThumbnails` keeps, where that is the interval or divides it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use media_core::egress::recorder::Gap;
use media_core::egress::recorder::thumbnails::multiple_from;
use media_core::time::WallTime;
use serde::Serialize;
use std::time::Duration;
use storage::{Hold, Span};
use url::form_urlencoded;

use super::request::{TimelineRequest, rfc3339};
use super::{Asker, PlaybackDeps, Refusal};

#[derive(Debug, Serialize)]
struct Timeline {
    path: String,
    start: String,
    end: String,
    ranges: Vec<RangeEntry>,
    gaps: Vec<GapEntry>,
    /// Stretches that nothing and nobody deletes, until they are released.
    holds: Vec<HoldEntry>,
    /// Absent unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnails: Option<Vec<ThumbnailEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct ThumbnailEntry {
    time: String,
    url: String,
}

#[derive(Debug, Serialize)]
struct RangeEntry {
    start: String,
    end: String,
    duration: f64,
}

#[derive(Debug, Serialize)]
struct GapEntry {
    start: String,
    /// Absent while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct HoldEntry {
    id: i64,
    start: String,
    end: String,
    reason: String,
}

pub(super) async fn timeline(State(deps): State<PlaybackDeps>, asker: Asker) -> Result<Response, Refusal> {
    let request = TimelineRequest::parse(&asker.query)?;
    let grant = deps.authorize(&request.path, &asker).await?;
    let (from, until) = (Some(request.start), Some(request.end));
    let spans = deps.recordings.spans(&grant, from, until).await;
    let spans = spans.map_err(|error| Refusal::failed(&error.into()))?;
    let gaps = deps.recordings.gaps(&grant, from, until).await;
    let gaps = gaps.map_err(|error| Refusal::failed(&error.into()))?;
    let holds = deps.recordings.holds(&grant, from, until).await;
    let holds = holds.map_err(|error| Refusal::failed(&error.into()))?;
    Ok(Json(page(&request, (&spans, &gaps, &holds), &deps.base(&asker.headers))).into_response())
}

/// Everything before the first of what does not fit; URLs begin with `base`.
fn page(request: &TimelineRequest, (spans, gaps, holds): (&[Span], &[Gap], &[Hold]), base: &str) -> Timeline {
    let begin_of = |gap: &Gap| gap.from.max(request.start);
    let mut begins: Vec<WallTime> =
        spans.iter().map(|span| span.start).chain(gaps.iter().map(begin_of)).collect();
    begins.sort_unstable();
    // A page ends between two times, never between two entries of one.
    let fits = |at: &WallTime| begins.first() == Some(at);
    let next = begins.get(request.limit).copied().filter(|at| !fits(at));
    let pictures = request.thumbnails_every.map(|every| thumbnail_times(spans, every, request.limit + 1));
    let over = pictures.as_ref().and_then(|times| times.get(request.limit).copied());
    let next = next.into_iter().chain(over).min();
    let is_listed = |at: WallTime| next.is_none_or(|next| at < next);
    let cut = |end: WallTime| next.map_or(end, |next| end.min(next));
    let range = |span: &Span| {
        let end = cut(end_of(span));
        RangeEntry {
            start: rfc3339(span.start),
            end: rfc3339(end),
            duration: Duration::from_micros(u64::try_from(end.us_since(span.start)).unwrap_or(0))
                .as_secs_f64(),
        }
    };
    let gap = |gap: &Gap| GapEntry {
        start: rfc3339(begin_of(gap)),
        end: gap.until.map(|until| rfc3339(cut(until.min(request.end)))),
        reason: gap.reason.as_str(),
    };
    let hold = |hold: &Hold| HoldEntry {
        id: hold.id,
        start: rfc3339(hold.placed.start.max(request.start)),
        end: rfc3339(hold.placed.end.min(request.end)),
        reason: hold.placed.reason.clone(),
    };
    let thumbnail = |at: WallTime| thumbnail_entry(base, request, at);
    Timeline {
        path: request.path.as_str().to_owned(),
        start: rfc3339(request.start),
        end: rfc3339(request.end),
        ranges: spans.iter().filter(|span| is_listed(span.start)).map(range).collect(),
        gaps: gaps.iter().filter(|gap| is_listed(begin_of(gap))).map(gap).collect(),
        holds: holds
            .iter()
            .filter(|hold| is_listed(hold.placed.start.max(request.start)))
            .map(hold)
            .collect(),
        thumbnails: pictures
            .map(|times| times.into_iter().filter(|at| is_listed(*at)).map(thumbnail).collect()),
        next: next.map(rfc3339),
    }
}

fn end_of(span: &Span) -> WallTime {
    span.start.plus_us(i64::try_from(span.duration.as_micros()).unwrap_or(i64::MAX))
}

/// The first `most` multiples of an interval that lie in recorded time.
fn thumbnail_times(spans: &[Span], every: Duration, most: usize) -> Vec<WallTime> {
    let every_us = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
    let of = |span: &Span| {
        let end = end_of(span);
        let first = multiple_from(span.start, every);
        let times = std::iter::successors(Some(first), move |at| Some(at.plus_us(every_us)));
        times.take_while(move |at| *at < end)
    };
    spans.iter().flat_map(of).take(most).collect()
}

fn thumbnail_entry(base: &str, request: &TimelineRequest, at: WallTime) -> ThumbnailEntry {
    let time = rfc3339(at);
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("path", request.path.as_str())
        .append_pair("time", &time)
        .finish();
    ThumbnailEntry { url: format!("{base}/thumbnail?{query}"), time }
}

#[cfg(test)]
mod tests {
    use media_core::egress::recorder::GapReason;

    use super::*;

    #[test]
    fn pages_hold_everything_once() {
        let spans: Vec<Span> = (0..10)
            .map(|number| Span { start: WallTime(number * 10_000_000), duration: Duration::from_secs(6) })
            .collect();
        let gaps: Vec<Gap> = (0..9)
            .map(|number| Gap {
                from: WallTime(number * 10_000_000 + 6_000_000),
                until: Some(WallTime((number + 1) * 10_000_000)),
                reason: GapReason::Camera,
            })
            .collect();
        let mut query = "path=a&start=1970-01-01T00:00:00Z&end=1970-01-01T00:01:40Z&limit=4".to_owned();
        let (mut ranges, mut missing, mut pages) = (0, 0, 0);
        loop {
            let request = TimelineRequest::parse(&query).unwrap();
            // As the catalogue answers: what is not over before the start.
            let spans: Vec<_> = spans.iter().copied().filter(|span| span.start >= request.start).collect();
            let gaps: Vec<_> = gaps.iter().copied().filter(|gap| gap.from >= request.start).collect();
            let page = page(&request, (&spans, &gaps, &[]), "");
            ranges += page.ranges.len();
            missing += page.gaps.len();
            pages += 1;
            let Some(next) = page.next else { break };
            query = format!("path=a&start={next}&end=1970-01-01T00:01:40Z&limit=4");
        }
        assert_eq!((ranges, missing, pages), (10, 9, 5));
    }

    #[test]
    fn thumbnails_are_listed_once_over_pages_and_only_where_something_is_recorded() {
        // 00:00:03 to 00:00:33 and 00:01:00 to 00:01:30.
        let recorded = [(3, 30), (60, 30)].map(|(start, secs)| Span {
            start: WallTime(start * 1_000_000),
            duration: Duration::from_secs(secs),
        });
        let (mut times, mut seconds, mut pages) = (Vec::new(), 0.0, 0);
        let mut start = "1970-01-01T00:00:00Z".to_owned();
        loop {
            let query =
                format!("path=city%2Fcam&start={start}&end=1970-01-01T01:00:00Z&limit=2&thumbnails=10s");
            let request = TimelineRequest::parse(&query).unwrap();
            // As storage answers: cut to what is asked for.
            let cut = |span: &Span| {
                let start = span.start.max(request.start);
                let duration =
                    Duration::from_micros(u64::try_from(end_of(span).us_since(start)).unwrap_or(0));
                Span { start, duration }
            };
            let spans: Vec<Span> = recorded.iter().map(cut).filter(|span| !span.duration.is_zero()).collect();
            let page = page(&request, (&spans, &[], &[]), "http://host");
            times.extend(page.thumbnails.unwrap().into_iter().map(|entry| (entry.time, entry.url)));
            seconds += page.ranges.iter().map(|range| range.duration).sum::<f64>();
            pages += 1;
            match page.next {
                Some(next) => start = next,
                None => break,
            }
        }
        let expected = ["00:10", "00:20", "00:30", "01:00", "01:10", "01:20"];
        let found: Vec<&str> = times.iter().map(|(time, _)| &time[14..19]).collect();
        assert_eq!(found, expected);
        assert_eq!((seconds, pages), (60.0, 3));
        let url = "http://host/thumbnail?path=city%2Fcam&time=1970-01-01T00%3A00%3A10Z";
        assert_eq!(times[0].1, url);
        let refused = TimelineRequest::parse(
            "path=a&start=1970-01-01T00:00:00Z&end=1970-01-01T01:00:00Z&thumbnails=0.5",
        );
        assert!(refused.is_err(), "closer than a second");
    }
}
