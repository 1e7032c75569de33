//! Recorded: playlists of what is recorded, and the segments that they name.
//!
//! ```text
//!  index.m3u8?start=&end=      end is over: VOD
//!  index.m3u8?start=           302 to the same with target= and first=: EVENT, which grows
//!  index.m3u8?dvr=             recorded.m3u8 (-> dvr)
//!  recorded_init.mp4?file=     recorded.mp4?file=&from=&to=
//! ```
//!
//! What a playlist that grows may not change is in its URL: TARGETDURATION, and the file that it begins with. Once that file is
//! deleted, the numbers of its segments are wrong: 410, and the player begins anew.
//!
//! Belongs here: requests and answers. Does not: what is listed (-> `media_core::egress::hls::recorded`), files (-> storage).

use http::{HeaderMap, Request, Response, StatusCode};
use media_core::egress::hls::recorded::{
    RecordedFile, WINDOW_PLAYLIST, Wanted, growing_target_secs, playlist,
};
use media_core::gate::CameraGrant;
use media_core::time::WallTime;
use storage::{OpenGop, PlaybackError, Recordings};
use url::form_urlencoded;

use super::HlsServer;
use super::body::ChunkBody;
use super::muxer;
use super::response::{self, PlaylistCache, Retry};
use super::routes::{Target, bad_request, not_found};
use crate::playback::body::stream;
use crate::playback::request::wall_time;
use crate::runtime::clock;

/// The longest playlist: two weeks. 4 s a segment make it some 40 MB of text.
pub(super) const LISTED_US_MAX: i64 = 14 * 86_400 * 1_000_000;
/// A TARGETDURATION beyond this was not made here.
pub(super) const TARGET_SECS_MAX: i64 = 3600;

/// What a playlist of recordings names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordedMedia {
    Init,
    Segment,
}

/// Sees what is meant for recordings.
pub(super) fn target<'a>(target: Target<'a>, query: &str) -> Target<'a> {
    match target {
        Target::Multivariant(path) if value(query, "start").is_some() => Target::Recorded(path),
        Target::Multivariant(path) if value(query, "dvr").is_some() => Target::Dvr(path),
        Target::Media(path, file) => match file.as_str() {
            "recorded_init.mp4" => Target::RecordedMedia(path, RecordedMedia::Init),
            WINDOW_PLAYLIST => Target::DvrWindow(path),
            "recorded.mp4" => Target::RecordedMedia(path, RecordedMedia::Segment),
            _ => Target::Media(path, file),
        },
        other => other,
    }
}

pub(super) fn value(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The parameters of a playlist.
#[derive(Debug, PartialEq, Eq)]
struct Parameters {
    start: WallTime,
    end: Option<WallTime>,
    target_secs: Option<i64>,
    first: Option<WallTime>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, String> {
        let time = |name: &str| match value(query, name) {
            None => Ok(None),
            Some(text) => match wall_time(&text) {
                None => Err(format!("invalid {name}: {text:?} is no RFC 3339 time")),
                time => Ok(time),
            },
        };
        let number = |name: &str, max: i64| match value(query, name) {
            None => Ok(None),
            Some(text) => match text.parse::<i64>().ok().filter(|number| (1..=max).contains(number)) {
                None => Err(format!("invalid {name}: {text:?}; leave it out")),
                number => Ok(number),
            },
        };
        let start = time("start")?.ok_or_else(|| "start is missing".to_owned())?;
        let end = time("end")?;
        if end.is_some_and(|end| end <= start) {
            return Err("end is not after start".to_owned());
        }
        if end.is_some_and(|end| end.us_since(start) > LISTED_US_MAX) {
            return Err(format!("at most {} days are listed", LISTED_US_MAX / 86_400_000_000));
        }
        let target_secs = number("target", TARGET_SECS_MAX)?;
        let first = number("first", i64::MAX)?.map(WallTime);
        Ok(Self { start, end, target_secs, first })
    }

    fn is_over(&self, now: WallTime) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    /// Where a playlist that grows is from now on.
    fn location(query: &str, files: &[RecordedFile]) -> Option<String> {
        let first = files.first()?.start.unix_us();
        let kept =
            form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "target" && name != "first");
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair("target", &growing_target_secs(files).to_string())
            .append_pair("first", &first.to_string())
            .finish();
        Some(format!("index.m3u8?{query}"))
    }
}

impl HlsServer {
    pub(super) async fn recorded<B>(&self, grant: &CameraGrant, request: &Request<B>) -> Response<ChunkBody> {
        let Some(recordings) = (self.deps.recordings)() else { return nothing() };
        let query = request.uri().query().unwrap_or_default();
        let parameters = match Parameters::parse(query) {
            Ok(parameters) => parameters,
            Err(reason) => return bad_request(&reason),
        };
        let now = clock::wall_now();
        if now.us_since(parameters.start) > LISTED_US_MAX && parameters.end.is_none() {
            return bad_request("start is too long ago for a playlist that grows; give an end");
        }
        let is_over = parameters.is_over(now);
        let open = if is_over { OpenGop::Included } else { OpenGop::Awaited };
        let files = recordings.recorded_files(grant, parameters.start, parameters.end, open).await;
        let files = match files {
            Ok(files) => files,
            Err(error) => return failed(&error.into()),
        };
        if !is_over && (parameters.target_secs.is_none() || parameters.first.is_none()) {
            let location = Parameters::location(query, &files);
            return location.map_or_else(nothing, |location| response::redirect(&location));
        }
        if parameters.first.is_some_and(|first| files.first().is_none_or(|file| file.start != first)) {
            let reason = "the beginning was deleted; ask for a later start";
            return response::error(StatusCode::GONE, reason, Retry::Never);
        }
        let Parameters { start, end, target_secs, .. } = parameters;
        let wanted = Wanted { start, until: end, is_over, target_secs, listed_from: None };
        let Some(text) = playlist(&files, &wanted) else { return nothing() };
        let encoding = response::encoding(request.headers());
        response::playlist(muxer::encoded(text.into(), encoding), encoding, PlaylistCache::No)
    }

    /// Media bytes, so only with a grant (correctness: S1).
    pub(super) async fn recorded_media<B>(
        &self,
        grant: &CameraGrant,
        kind: RecordedMedia,
        request: &Request<B>,
    ) -> Response<ChunkBody> {
        let Some(recordings) = (self.deps.recordings)() else { return nothing() };
        let query = request.uri().query().unwrap_or_default();
        let number = |name: &str| value(query, name)?.parse::<u64>().ok();
        let file = number("file").and_then(|us| i64::try_from(us).ok()).map(WallTime);
        let Some(file) = file else { return bad_request("invalid file: write what the playlist says") };
        let answer = match kind {
            RecordedMedia::Init => init(&recordings, grant, file, request.headers()).await,
            RecordedMedia::Segment => match number("from").zip(number("to")) {
                Some((from, to)) => segment(&recordings, grant, (file, from..to), request.headers()).await,
                None => return bad_request("invalid from or to: write what the playlist says"),
            },
        };
        answer.unwrap_or_else(|error| failed(&error))
    }
}

async fn init(
    recordings: &Recordings,
    grant: &CameraGrant,
    file: WallTime,
    request: &HeaderMap,
) -> Result<Response<ChunkBody>, PlaybackError> {
    let Some(init) = recordings.recorded_init(grant, file).await? else { return Ok(nothing()) };
    let total = u64::try_from(init.len()).unwrap_or(0);
    let index = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    response::recorded(total, request, async |from, to| {
        Ok(ChunkBody::whole(init.slice(index(from)..index(to))))
    })
    .await
}

async fn segment(
    recordings: &Recordings,
    grant: &CameraGrant,
    (file, range): (WallTime, std::ops::Range<u64>),
    request: &HeaderMap,
) -> Result<Response<ChunkBody>, PlaybackError> {
    let Some(clip) = recordings.recorded_range(grant, file, range).await? else { return Ok(nothing()) };
    response::recorded(clip.len_bytes(), request, async |from, to| {
        let reader = recordings.reader(grant, clip, from..to).await?;
        Ok(ChunkBody::unread(to - from, stream(reader)))
    })
    .await
}

pub(super) fn nothing() -> Response<ChunkBody> {
    not_found("no recordings found")
}

/// The reason is for the log: it names files.
pub(super) fn failed(error: &PlaybackError) -> Response<ChunkBody> {
    tracing::error!(%error, "recordings can't be played");
    response::error(StatusCode::INTERNAL_SERVER_ERROR, "recordings can't be read", Retry::Never)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_make_no_sense_are_named() {
        for (query, expected) in [
            ("start=yesterday", "invalid start"),
            ("start=2026-11-25T19:30:05Z&end=soon", "invalid end"),
            ("start=2026-11-25T19:30:05Z&end=2026-11-25T19:30:05Z", "end is not after start"),
            ("start=2026-11-25T19:30:05Z&end=2026-12-25T19:30:05Z", "at most 14 days"),
            ("start=2026-11-25T19:30:05Z&target=0", "invalid target"),
        ] {
            let reason = Parameters::parse(query).expect_err(query);
            assert!(reason.starts_with(expected), "{query}: {reason}");
        }
    }
}
