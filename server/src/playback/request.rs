//! Request: the parameters of `/list` and `/get`, parsed once.
//!
//! MediaMTX's two endpoints pass over parameters that they don't know, as it does: an authentication server may know them. Ours
//! refuse them.

use std::time::Duration;

use jiff::Timestamp;
use media_core::path_name::{PathName, PathNameError};
use media_core::time::WallTime;
use storage::{ClipFormat, ClipRequest, GapRule, TooMany};
use url::form_urlencoded;

use crate::config::duration_value;
use crate::decode::Width;

/// The longest clip: as long as a retention of four weeks.
const DURATION_SECS_MAX: f64 = 28.0 * 86_400.0;

/// A parameter is missing or wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("invalid path: {0}")]
    Path(#[from] PathNameError),
    #[error("invalid {name}: {text:?} is no RFC 3339 time")]
    Time { name: &'static str, text: String },
    #[error("invalid duration: {text:?} is no number of seconds greater than 0")]
    Duration { text: String },
    #[error("end is before start")]
    EndBeforeStart,
    #[error("invalid limit: {text:?} is no number from 1 to {LIMIT_MAX}")]
    Limit { text: String },
    #[error("invalid thumbnails: {text:?} is no number of seconds from 1 on")]
    Thumbnails { text: String },
    #[error("invalid width: {text:?} is no number of pixels from 16 to 1920")]
    Width { text: String },
    #[error("invalid body: {0}")]
    Body(String),
    #[error("invalid format: {text:?}; write fmp4 or mp4")]
    Format { text: String },
    #[error("invalid gaps: {text:?}; write stop, skip or time")]
    Gaps { text: String },
    #[error("unknown parameter {name:?}; known are {known}")]
    Unknown { name: String, known: String },
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Entries of a page of the timeline, and how many unless a request says.
const LIMIT_MAX: usize = 10_000;
const LIMIT_DEFAULT: usize = 1000;

/// Thumbnails of a timeline are no closer.
const THUMBNAILS_EVERY_MIN: Duration = Duration::from_secs(1);

/// Credentials in URLs: whether they count is for `access` to say.
const CREDENTIALS: [&str; 4] = ["jwt", "token", "user", "pass"];

/// `/list`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListRequest {
    pub(super) path: PathName,
    pub(super) start: Option<WallTime>,
    pub(super) end: Option<WallTime>,
}

/// `/timeline`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimelineRequest {
    pub(super) path: PathName,
    pub(super) start: WallTime,
    pub(super) end: WallTime,
    pub(super) limit: usize,
    /// One thumbnail each so much, at whole multiples of it; `None` for no thumbnails.
    pub(super) thumbnails_every: Option<Duration>,
}

/// `/thumbnail`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ThumbnailRequest {
    pub(super) path: PathName,
    pub(super) time: WallTime,
    pub(super) width: Width,
}

/// `/get`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GetRequest {
    pub(super) path: PathName,
    pub(super) clip: ClipRequest,
}

impl ListRequest {
    pub(super) fn parse(query: &str) -> Result<Self, BadRequest> {
        let optional = |name| match value(query, name) {
            text if text.is_empty() => Ok(None),
            text => time(name, text).map(Some),
        };
        let path = PathName::parse(&value(query, "path"))?;
        let (start, end) = (optional("start")?, optional("end")?);
        if start.zip(end).is_some_and(|(start, end)| end < start) {
            return Err(BadRequest::EndBeforeStart);
        }
        Ok(Self { path, start, end })
    }
}

impl TimelineRequest {
    pub(super) fn parse(query: &str) -> Result<Self, BadRequest> {
        known_only(query, &["path", "start", "end", "limit", "thumbnails"])?;
        let path = PathName::parse(&value(query, "path"))?;
        let (start, end) = (time("start", value(query, "start"))?, time("end", value(query, "end"))?);
        if end < start {
            return Err(BadRequest::EndBeforeStart);
        }
        let limit = match value(query, "limit") {
            text if text.is_empty() => LIMIT_DEFAULT,
            text => match text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)) {
                Some(limit) => limit,
                None => return Err(BadRequest::Limit { text }),
            },
        };
        let thumbnails_every = match value(query, "thumbnails") {
            text if text.is_empty() => None,
            text => match duration(text.clone()).ok().filter(|interval| *interval >= THUMBNAILS_EVERY_MIN) {
                Some(interval) => Some(interval),
                None => return Err(BadRequest::Thumbnails { text }),
            },
        };
        Ok(Self { path, start, end, limit, thumbnails_every })
    }
}

impl ThumbnailRequest {
    pub(super) fn parse(query: &str) -> Result<Self, BadRequest> {
        known_only(query, &["path", "time", "width"])?;
        let path = PathName::parse(&value(query, "path"))?;
        let time = time("time", value(query, "time"))?;
        let width = match value(query, "width") {
            text if text.is_empty() => Width::THUMBNAIL,
            text => match text.parse().ok().and_then(Width::new) {
                Some(width) => width,
                None => return Err(BadRequest::Width { text }),
            },
        };
        Ok(Self { path, time, width })
    }
}

impl GetRequest {
    pub(super) fn parse(query: &str) -> Result<Self, BadRequest> {
        let path = PathName::parse(&value(query, "path"))?;
        let start = time("start", value(query, "start"))?;
        let duration = duration(value(query, "duration"))?;
        let format = match value(query, "format") {
            text if text.is_empty() || text == "fmp4" => ClipFormat::Fragmented,
            text if text == "mp4" => ClipFormat::Progressive,
            text => return Err(BadRequest::Format { text }),
        };
        let gaps = match value(query, "gaps") {
            text if text.is_empty() || text == "stop" => GapRule::Stop,
            text if text == "skip" => GapRule::Skip,
            text if text == "time" => GapRule::Time,
            text => return Err(BadRequest::Gaps { text }),
        };
        Ok(Self { path, clip: ClipRequest { start, duration, format, gaps } })
    }
}

/// A parameter that would be passed over silently is a mistake of the caller's.
fn known_only(query: &str, known: &[&str]) -> Result<(), BadRequest> {
    let is_known = |name: &str| known.contains(&name) || CREDENTIALS.contains(&name);
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    match names.find(|name| !is_known(name)) {
        Some(name) => Err(BadRequest::Unknown { name: name.into_owned(), known: known.join(", ") }),
        None => Ok(()),
    }
}

/// The first value of a name; empty when there is none.
fn value(query: &str, name: &str) -> String {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn time(name: &'static str, text: String) -> Result<WallTime, BadRequest> {
    wall_time(&text).ok_or(BadRequest::Time { name, text })
}

/// A time as RFC 3339 writes it.
pub(crate) fn wall_time(text: &str) -> Option<WallTime> {
    text.parse::<Timestamp>().ok().map(|time| WallTime(time.as_microsecond()))
}

/// Seconds, or a Go duration as MediaMTX took first.
fn duration(text: String) -> Result<Duration, BadRequest> {
    let seconds = text.parse::<f64>().ok().filter(|secs| (0.0..=DURATION_SECS_MAX).contains(secs));
    let duration = seconds.map(Duration::from_secs_f64).or_else(|| duration_value(&text));
    match duration.filter(|duration| !duration.is_zero() && duration.as_secs_f64() <= DURATION_SECS_MAX) {
        Some(duration) => Ok(duration),
        None => Err(BadRequest::Duration { text }),
    }
}

/// RFC 3339, UTC.
pub(super) fn rfc3339(time: WallTime) -> String {
    Timestamp::from_microsecond(time.unix_us()).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_mediamtx_own() {
        let request = GetRequest::parse("path=city%2Fcam_1&start=2026-11-25T16:30:05.5-03:00&duration=1.5");
        let request = request.unwrap();
        assert_eq!(request.path.as_str(), "city/cam_1");
        assert_eq!(rfc3339(request.clip.start), "2026-11-25T19:30:05.5Z");
        assert_eq!(request.clip.duration, Duration::from_millis(1500));
        assert_eq!((request.clip.format, request.clip.gaps), (ClipFormat::Fragmented, GapRule::Stop));
        let query = "path=a&start=2026-11-25T19:30:05Z&duration=1m&format=mp4&gaps=time&jwt=x";
        let request = GetRequest::parse(query).unwrap();
        assert_eq!(request.clip.duration, Duration::from_secs(60));
        assert_eq!((request.clip.format, request.clip.gaps), (ClipFormat::Progressive, GapRule::Time));
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, expected) in [
            ("", "invalid path: path name is empty"),
            ("path=../a", "invalid path"),
            ("path=a", "invalid start"),
            ("path=a&start=yesterday&duration=1", "invalid start"),
            ("path=a&start=2026-11-25T19:30:05Z", "invalid duration"),
            ("path=a&start=2026-11-25T19:30:05Z&duration=0", "invalid duration"),
            ("path=a&start=2026-11-25T19:30:05Z&duration=-1", "invalid duration"),
            ("path=a&start=2026-11-25T19:30:05Z&duration=nan", "invalid duration"),
            ("path=a&start=2026-11-25T19:30:05Z&duration=1&format=avi", "invalid format"),
            ("path=a&start=2026-11-25T19:30:05Z&duration=1&gaps=no", "invalid gaps"),
            // What is due and mistyped is missing.
            ("path=a&start=2026-11-25T19:30:05Z&length=1", "invalid duration"),
        ] {
            let error = GetRequest::parse(query).expect_err(query).to_string();
            assert!(error.starts_with(expected), "{query}: {error}");
        }
        assert!(ListRequest::parse("path=a&ticket=1").is_ok(), "who may see it is said by others");
        let query = "path=a&start=2026-11-25T19:30:05Z&end=2026-11-25T19:30:06Z&limits=1";
        let error = TimelineRequest::parse(query).unwrap_err().to_string();
        assert!(error.starts_with("unknown parameter \"limits\""), "{error}");
        let backward = "path=a&start=2026-11-25T19:30:05Z&end=2026-11-25T19:30:04Z";
        assert_eq!(ListRequest::parse(backward), Err(BadRequest::EndBeforeStart));
    }

    #[test]
    fn fuzz_what_is_asked_for_is_within_bounds() {
        gtvision_fuzz::feed("playback_query", |input| {
            let Ok(query) = std::str::from_utf8(input) else { return };
            if let Ok(request) = GetRequest::parse(query) {
                let seconds = request.clip.duration.as_secs_f64();
                assert!(seconds > 0.0 && seconds <= DURATION_SECS_MAX, "{seconds} s");
                rfc3339(request.clip.start);
            }
            if let Ok(request) = TimelineRequest::parse(query) {
                assert!(request.start <= request.end && (1..=LIMIT_MAX).contains(&request.limit));
            }
            if let Ok(ListRequest { start: Some(start), end: Some(end), .. }) = ListRequest::parse(query) {
                assert!(start <= end);
            }
            ThumbnailRequest::parse(query).ok();
        });
    }
}
