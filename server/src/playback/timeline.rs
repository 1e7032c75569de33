//! Timeline: what is recorded and what is missing between two times, with the reasons, a page at a time.
//!
//! `next` is where the following page begins; it is absent on the last one. A hold stands on every page that it touches.

use axum::Json;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use media_core::egress::recorder::Gap;
use media_core::time::WallTime;
use serde::Serialize;
use std::net::SocketAddr;
use storage::{Hold, Span};

use super::request::{TimelineRequest, rfc3339};
use super::{PlaybackDeps, Refusal};

#[derive(Debug, Serialize)]
struct Timeline {
    path: String,
    start: String,
    end: String,
    ranges: Vec<RangeEntry>,
    gaps: Vec<GapEntry>,
    /// Stretches that nothing and nobody deletes, until they are released.
    holds: Vec<HoldEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
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

pub(super) async fn timeline(
    State(deps): State<PlaybackDeps>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let request = TimelineRequest::parse(&query.unwrap_or_default())?;
    let grant = deps.authorize(&request.path, peer, &headers)?;
    let (from, until) = (Some(request.start), Some(request.end));
    let spans = deps.recordings.spans(&grant, from, until).await;
    let spans = spans.map_err(|error| Refusal::failed(&error.into()))?;
    let gaps = deps.recordings.gaps(&grant, from, until).await;
    let gaps = gaps.map_err(|error| Refusal::failed(&error.into()))?;
    let holds = deps.recordings.holds(&grant, from, until).await;
    let holds = holds.map_err(|error| Refusal::failed(&error.into()))?;
    Ok(Json(page(&request, &spans, &gaps, &holds)).into_response())
}

/// Everything that begins before the first of what does not fit.
fn page(request: &TimelineRequest, spans: &[Span], gaps: &[Gap], holds: &[Hold]) -> Timeline {
    let begin_of = |gap: &Gap| gap.from.max(request.start);
    let mut begins: Vec<WallTime> =
        spans.iter().map(|span| span.start).chain(gaps.iter().map(begin_of)).collect();
    begins.sort_unstable();
    // A page ends between two times, never between two entries of one.
    let fits = |at: &WallTime| begins.first() == Some(at);
    let next = begins.get(request.limit).copied().filter(|at| !fits(at));
    let is_listed = |at: WallTime| next.is_none_or(|next| at < next);
    let range = |span: &Span| {
        let us = i64::try_from(span.duration.as_micros()).unwrap_or(i64::MAX);
        RangeEntry {
            start: rfc3339(span.start),
            end: rfc3339(span.start.plus_us(us)),
            duration: span.duration.as_secs_f64(),
        }
    };
    let gap = |gap: &Gap| GapEntry {
        start: rfc3339(begin_of(gap)),
        end: gap.until.map(|until| rfc3339(until.min(request.end))),
        reason: gap.reason.as_str(),
    };
    let hold = |hold: &Hold| HoldEntry {
        id: hold.id,
        start: rfc3339(hold.placed.start.max(request.start)),
        end: rfc3339(hold.placed.end.min(request.end)),
        reason: hold.placed.reason.clone(),
    };
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
        next: next.map(rfc3339),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            let page = page(&request, &spans, &gaps, &[]);
            ranges += page.ranges.len();
            missing += page.gaps.len();
            pages += 1;
            let Some(next) = page.next else { break };
            query = format!("path=a&start={next}&end=1970-01-01T00:01:40Z&limit=4");
        }
        assert_eq!((ranges, missing, pages), (10, 9, 5));
    }
}
