//! DVR: what is recorded, from so long ago up to now, as one playlist that players seek back in.
//!
//! ```text
//!  index.m3u8?dvr=2h ─► multivariant ─► recorded.m3u8?dvr=7200&target=&first= ─► recorded.mp4?file=&from=&to=
//! ```
//!
//! Its window ends where recording does: a segment is listed once its last GOP is on the disk. Who wants to be nearer to live
//! has the live playlist. What may not change while the window slides, TARGETDURATION and the file from which segments are
//! counted, is in the media playlist's URL, which players take from the multivariant one and keep. Once that file is deleted:
//! 410, and the player begins anew.
//!
//! Limits: [`WINDOW_MAX`].

use std::time::Duration;

use http::{Request, Response, StatusCode};
use media_core::egress::hls::recorded::{Wanted, growing_target_secs, playlist, window_multivariant};
use media_core::gate::CameraGrant;
use media_core::remux::fmp4::InitSegment;
use media_core::remux::fmp4::init::Selection;
use media_core::time::WallTime;
use storage::OpenGop;

use super::HlsServer;
use super::body::ChunkBody;
use super::muxer;
use super::recorded::{LISTED_US_MAX, TARGET_SECS_MAX, failed, nothing, value};
use super::response::{self, PlaylistCache, Retry};
use super::routes::bad_request;
use crate::config::duration_value;
use crate::runtime::clock;

/// The longest window: 5,400 segments, which are sent again with each of them. Further back is what `start` is for.
const WINDOW_MAX: Duration = Duration::from_secs(6 * 3600);
/// The shortest: players want three target durations.
const WINDOW_MIN: Duration = Duration::from_secs(30);

/// The window that is asked for, in microseconds.
fn window_us(query: &str) -> Result<i64, String> {
    let text = value(query, "dvr").unwrap_or_default();
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    let window = seconds.or_else(|| duration_value(&text));
    match window.filter(|window| (WINDOW_MIN..=WINDOW_MAX).contains(window)) {
        Some(window) => Ok(i64::try_from(window.as_micros()).unwrap_or(i64::MAX)),
        None => Err(format!("invalid dvr: {text:?} is no time from 30s to 6h")),
    }
}

impl HlsServer {
    /// The multivariant playlist.
    pub(super) async fn dvr<B>(&self, grant: &CameraGrant, request: &Request<B>) -> Response<ChunkBody> {
        let Some(recordings) = (self.deps.recordings)() else { return nothing() };
        let window_us = match window_us(request.uri().query().unwrap_or_default()) {
            Ok(window_us) => window_us,
            Err(reason) => return bad_request(&reason),
        };
        let from = clock::wall_now().plus_us(-window_us);
        let files = match recordings.recorded_files(grant, from, None, OpenGop::Awaited).await {
            Ok(files) => files,
            Err(error) => return failed(&error.into()),
        };
        let Some(first) = files.first() else { return nothing() };
        let query = format!(
            "dvr={}&target={}&first={}",
            window_us / 1_000_000,
            growing_target_secs(&files),
            first.start.unix_us()
        );
        let text = window_multivariant(&files, &query, self.live_facts(grant));
        let encoding = response::encoding(request.headers());
        response::playlist(muxer::encoded(text.into(), encoding), encoding, PlaylistCache::No)
    }

    /// Codec strings and picture size of what is live.
    fn live_facts(&self, grant: &CameraGrant) -> (String, Option<(u32, u32)>) {
        let format = self.deps.registry.get(grant.path()).and_then(|stream| stream.format());
        let init = format.and_then(|format| InitSegment::new(&Selection::of(&format)).ok());
        init.map(|init| (init.codecs, init.resolution)).unwrap_or_default()
    }

    /// The media playlist.
    pub(super) async fn dvr_window<B>(
        &self,
        grant: &CameraGrant,
        request: &Request<B>,
    ) -> Response<ChunkBody> {
        let Some(recordings) = (self.deps.recordings)() else { return nothing() };
        let query = request.uri().query().unwrap_or_default();
        let number = |name: &str, max: i64| {
            let number = value(query, name)?.parse::<i64>().ok()?;
            (1..=max).contains(&number).then_some(number)
        };
        let (target, first) = (number("target", TARGET_SECS_MAX), number("first", i64::MAX).map(WallTime));
        let (window_us, target_secs, first) = match (window_us(query), target, first) {
            (Ok(window_us), Some(target_secs), Some(first)) => (window_us, target_secs, first),
            (Err(reason), ..) => return bad_request(&reason),
            _ => return bad_request("invalid target or first: write what index.m3u8?dvr= says"),
        };
        let now = clock::wall_now();
        let files = match recordings.recorded_files(grant, first, None, OpenGop::Awaited).await {
            Ok(files) => files,
            Err(error) => return failed(&error.into()),
        };
        let is_known = files.first().is_some_and(|file| file.start == first);
        if !is_known || now.us_since(first) > LISTED_US_MAX {
            let reason = "what the window began with is gone; ask for index.m3u8?dvr= again";
            return response::error(StatusCode::GONE, reason, Retry::Never);
        }
        let listed_from = Some(now.plus_us(-window_us));
        let wanted =
            Wanted { start: first, until: None, is_over: false, target_secs: Some(target_secs), listed_from };
        let Some(text) = playlist(&files, &wanted) else { return nothing() };
        let encoding = response::encoding(request.headers());
        response::playlist(muxer::encoded(text.into(), encoding), encoding, PlaylistCache::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_seconds_or_durations_within_limits() {
        for (query, expected) in [("dvr=7200", Some(7200)), ("dvr=2h", Some(7200)), ("a=1&dvr=90s", Some(90))]
        {
            assert_eq!(window_us(query).ok(), expected.map(|secs| secs * 1_000_000), "{query}");
        }
        for query in ["dvr=", "dvr=7h", "dvr=1", "dvr=-5", "dvr=soon"] {
            let reason = window_us(query).expect_err(query);
            assert!(reason.starts_with("invalid dvr"), "{reason}");
        }
    }
}
