//! Counter: a viewer for load runs, which keeps counts instead of bytes.
//!
//! It follows whole segments by blocking reload and holds each against the one before:
//! every video sample must begin where the last ended and last exactly one frame, so a
//! frame lost anywhere between camera and viewer shows as a sample of two.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use crate::fmp4::Init;
use crate::http;
use crate::llhls::client::load;
use crate::llhls::playlist::{MultivariantPlaylist, Segment};
use crate::wait;

/// Between two loads of a playlist that can't block (s6.3.4: half a target duration).
const PLAIN_RELOAD: Duration = Duration::from_millis(400);

/// What was counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    /// Video samples of all whole segments.
    pub frames: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of segments.
    pub bytes: u64,
    /// Declared discontinuities.
    pub discontinuities: u64,
}

/// Follows the first variant of a presentation for `length`. Each video sample must last
/// `1 / fps` s; more is lost frames.
///
/// # Errors
/// The first lost or repeated frame, or segment that can't be had.
pub async fn count(url: &str, length: Duration, fps: u32) -> anyhow::Result<Counted> {
    let answer = http::get_following(url).await?.ok()?;
    let url = answer.url.as_str();
    let multivariant = MultivariantPlaylist::parse(&answer.text())?;
    let first = multivariant.variants.first().context("no variant")?;
    let media = http::join(url, &first.uri)?;
    let counted = Counted::default();
    let mut viewer = Viewer { media, fps, blocking: true, init: None, due: None, counted };
    let start = Instant::now();
    let mut next = None;
    while start.elapsed() < length {
        next = Some(viewer.step(next).await?);
    }
    Ok(viewer.counted)
}

struct Viewer {
    media: String,
    fps: u32,
    /// Whether the playlist says that it can.
    blocking: bool,
    init: Option<(String, Init)>,
    /// DTS at which the next sample must begin.
    due: Option<u64>,
    counted: Counted,
}

impl Viewer {
    /// Waits for segment `next` and takes all that are new; gives the one to wait for then.
    async fn step(&mut self, next: Option<u64>) -> anyhow::Result<u64> {
        let awaited = next.filter(|_| self.blocking).map(|msn| msn.to_string());
        let directive = awaited.as_deref().map(|msn| ("_HLS_msn", msn));
        if !self.blocking {
            wait::run_for(PLAIN_RELOAD).await;
        }
        let reload = load(&self.media, directive.as_slice()).await?;
        self.blocking = reload.playlist.server_control.can_block_reload;
        let mut map = None;
        let mut after = next.unwrap_or_default();
        for segment in reload.playlist.whole_segments() {
            map = segment.map.as_ref().or(map);
            // The first load only finds the edge: what is listed before it may be leaving.
            if next.is_some_and(|next| segment.msn >= next) && !segment.gap {
                self.take(segment, map.context("no EXT-X-MAP")?).await?;
            }
            after = segment.msn + 1;
        }
        Ok(after)
    }

    async fn take(&mut self, segment: &Segment, map: &str) -> anyhow::Result<()> {
        if segment.discontinuity {
            self.due = None;
            self.counted.discontinuities += 1;
        }
        if self.init.as_ref().is_none_or(|(known, _)| known != map) {
            let response = http::get(&http::join(&self.media, map)?).await?.ok()?;
            self.init = Some((map.to_owned(), Init::parse(&response.body)?));
        }
        let uri = segment.uri.as_deref().context("not whole")?;
        let body = http::get(&http::join(&self.media, uri)?).await?.ok()?.body;
        self.counted.segments += 1;
        self.counted.bytes += u64::try_from(body.len())?;
        let frames = self.check(&body);
        let frames = frames.with_context(|| format!("segment {} of {}", segment.msn, self.media))?;
        self.counted.frames += frames;
        Ok(())
    }

    fn check(&mut self, body: &Bytes) -> anyhow::Result<u64> {
        let (_, init) = self.init.as_ref().context("init")?;
        let video = init.video()?;
        let frame = video.timescale / self.fps;
        let mut frames = 0;
        for fragment in init.fragments(body)? {
            for sample in fragment.samples.iter().filter(|sample| sample.track == video.id) {
                let due = self.due.unwrap_or(sample.dts);
                ensure!(sample.dts == due, "dts {} where {due} is due", sample.dts);
                // A camera's clock wanders a little; a lost frame makes twice a frame.
                let wrong = sample.duration.abs_diff(frame) > frame / 4;
                ensure!(!wrong, "a frame of {} ticks, not {frame}", sample.duration);
                self.due = Some(due + u64::from(sample.duration));
                frames += 1;
            }
        }
        Ok(frames)
    }
}
