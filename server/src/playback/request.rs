//! Request: the parameters of `/list` and `/get`, parsed once.

use std::time::Duration;

use jiff::Timestamp;
use media_core::path_name::{PathName, PathNameError};
use media_core::time::WallTime;
use url::form_urlencoded;

use crate::config::duration_value;

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
    #[error("invalid format: {text:?}; this server makes fmp4")]
    Format { text: String },
}

/// `/list`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListRequest {
    pub(super) path: PathName,
    pub(super) start: Option<WallTime>,
    pub(super) end: Option<WallTime>,
}

/// `/get`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GetRequest {
    pub(super) path: PathName,
    pub(super) start: WallTime,
    pub(super) duration: Duration,
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

impl GetRequest {
    pub(super) fn parse(query: &str) -> Result<Self, BadRequest> {
        let path = PathName::parse(&value(query, "path"))?;
        let start = time("start", value(query, "start"))?;
        let duration = duration(value(query, "duration"))?;
        match value(query, "format").as_str() {
            "" | "fmp4" => Ok(Self { path, start, duration }),
            other => Err(BadRequest::Format { text: other.to_owned() }),
        }
    }
}

/// The first value of a name; empty when there is none.
fn value(query: &str, name: &str) -> String {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn time(name: &'static str, text: String) -> Result<WallTime, BadRequest> {
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(WallTime(time.as_microsecond())),
        Err(_) => Err(BadRequest::Time { name, text }),
    }
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
        assert_eq!(rfc3339(request.start), "2026-11-25T19:30:05.5Z");
        assert_eq!(request.duration, Duration::from_millis(1500));
        let request = GetRequest::parse("path=a&start=2026-11-25T19:30:05Z&duration=1m&format=fmp4").unwrap();
        assert_eq!(request.duration, Duration::from_secs(60));
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
        ] {
            let error = GetRequest::parse(query).expect_err(query).to_string();
            assert!(error.starts_with(expected), "{query}: {error}");
        }
        assert!(ListRequest::parse("path=a").is_ok());
        let backward = "path=a&start=2026-11-25T19:30:05Z&end=2026-11-25T19:30:04Z";
        assert_eq!(ListRequest::parse(backward), Err(BadRequest::EndBeforeStart));
    }
}
