//! Lane: one media playlist: fetched, followed, and its segments taken apart, ahead of the time at which they are due.
//!
//! Limits: [`SEGMENT_BYTES_MAX`]; two batches wait and one is fetched, so a lane holds three segments; [`FAILURES_MAX`].

use std::time::Duration;

use media_core::hls::{
    Brought, ByteRange, Demuxer, Follower, MediaPlaylist, PLAYLIST_BYTES_MAX, Playlist, Segment, Step,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};
use tracing::{debug, warn};
use url::Url;

use super::HlsError;
use crate::ingest::fetch::{Ask, Fetched, Fetcher, Wanted};
use crate::ingest::session::SessionError;
use crate::runtime::clock;

/// The longest segment: ten seconds at 25 Mbit/s. A longer one is passed over.
pub(super) const SEGMENT_BYTES_MAX: usize = 32 << 20;

/// The longest init segment, boxes of others included.
const INIT_BYTES_MAX: usize = 1 << 20;

/// How long a segment may take.
const SEGMENT_LIMIT: Duration = Duration::from_secs(60);

/// Segments, or reloads, that may fail one after the other; then the session does.
const FAILURES_MAX: u32 = 3;

/// Between two tries of a reload.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Batches that wait for their time; the lane waits when it is full.
pub(super) const BATCHES: usize = 1;

/// A segment's worth.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order of decoding.
    pub(super) brought: Vec<Brought>,
    /// What could not be read.
    pub(super) malformed: u64,
    /// What came over the network for it.
    pub(super) bytes: usize,
    /// Segments that were listed behind it.
    pub(super) backlog: usize,
}

/// A playlist being followed.
pub(super) struct Lane {
    fetcher: Fetcher,
    url: Url,
    limit: Duration,
    follower: Follower,
    demuxer: Demuxer,
    /// Address and range of the init segment in force.
    init: Option<(String, Option<ByteRange>)>,
    failures: u32,
    /// What was borne with last, unless something went well since.
    borne: Option<HlsError>,
    bytes: usize,
}

/// A playlist that was fetched.
pub(super) struct Loaded {
    /// Where it was found.
    pub(super) url: Url,
    /// What it says.
    pub(super) playlist: Playlist,
    /// Its length.
    pub(super) bytes: usize,
}

/// Fetches a playlist of either kind.
pub(super) async fn load(fetcher: &mut Fetcher, url: &Url, limit: Duration) -> Result<Loaded, HlsError> {
    let ask = Ask::Get(None);
    let wanted = Wanted { what: "playlist", ask, bytes_max: PLAYLIST_BYTES_MAX, limit };
    let Fetched { url, body, .. } = fetcher.fetch(url, wanted).await?;
    let playlist = Playlist::parse(&String::from_utf8_lossy(&body))?;
    Ok(Loaded { url, playlist, bytes: body.len() })
}

impl Lane {
    /// Follows a playlist that was fetched just now from `url`; a request takes `limit` at most.
    pub(super) fn new(fetcher: Fetcher, (url, playlist): (Url, MediaPlaylist), limit: Duration) -> Self {
        let now = clock::now();
        let mut follower = Follower::new(now);
        follower.handle_playlist(playlist, now);
        let demuxer = Demuxer::default();
        Self { fetcher, url, limit, follower, demuxer, init: None, failures: 0, borne: None, bytes: 0 }
    }

    /// The longest that a segment may last.
    pub(super) fn target_duration(&self) -> Duration {
        self.follower.target_duration()
    }

    /// Fetches until the playlist is over or can't be had any more, which is the last that is sent.
    pub(super) async fn run(mut self, batches: mpsc::Sender<Result<Batch, SessionError>>) {
        loop {
            let sent = match self.turn().await {
                Ok(Some(batch)) => batches.send(Ok(batch)).await,
                Ok(None) => Ok(()),
                Err(error) => {
                    // Nobody listens when the session is ending anyway.
                    let _told = batches.send(Err(error)).await;
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn turn(&mut self) -> Result<Option<Batch>, SessionError> {
        match self.follower.step() {
            // Where the end could not be had, why is what there is to say.
            Step::Over => Err(self.borne.take().map_or(SessionError::Ended, Into::into)),
            Step::ReloadAt(at) => {
                sleep_until(at.into()).await;
                let reloaded = self.reload().await;
                self.judge(reloaded, "playlist can't be had").await?;
                Ok(None)
            }
            Step::Fetch(segment) => {
                let fetched = self.segment(&segment).await;
                if fetched.is_err() {
                    self.follower.missed();
                }
                self.judge(fetched, "segment is left out").await
            }
        }
    }

    /// Some failures in a row are borne with.
    async fn judge<T: Default>(
        &mut self,
        result: Result<T, HlsError>,
        what: &'static str,
    ) -> Result<T, SessionError> {
        match result {
            Ok(value) => {
                self.failures = 0;
                self.borne = None;
                Ok(value)
            }
            Err(error) if self.failures + 1 < FAILURES_MAX => {
                self.failures += 1;
                debug!(%error, "{what}");
                self.borne = Some(error);
                sleep(RETRY_PAUSE).await;
                Ok(T::default())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn reload(&mut self) -> Result<(), HlsError> {
        let loaded = load(&mut self.fetcher, &self.url, self.limit).await?;
        self.bytes += loaded.bytes;
        match loaded.playlist {
            Playlist::Media(playlist) => self.follower.handle_playlist(playlist, clock::now()),
            Playlist::Multivariant(_) => return Err(HlsError::Multivariant),
        }
        Ok(())
    }

    async fn segment(&mut self, segment: &Segment) -> Result<Option<Batch>, HlsError> {
        if let Some(init) = &segment.init {
            let wanted = (init.uri.clone(), init.range);
            if self.init.as_ref() != Some(&wanted) {
                let fetching = self.fetch("init segment", &init.uri, (init.range, INIT_BYTES_MAX));
                let body = fetching.await?;
                self.demuxer.init(&body)?;
                self.init = Some(wanted);
            }
        }
        let body = self.fetch("segment", &segment.uri, (segment.range, SEGMENT_BYTES_MAX)).await?;
        if segment.is_discontinuous {
            self.demuxer.discontinuity();
        }
        let mut brought = Vec::new();
        self.demuxer.segment(&body, &mut brought)?;
        let malformed = self.demuxer.take_malformed();
        if malformed > 0 {
            warn!(msn = segment.msn, malformed, "packets of a segment can't be read");
        }
        let (bytes, backlog) = (std::mem::take(&mut self.bytes), self.follower.backlog());
        Ok(Some(Batch { brought, malformed, bytes, backlog }))
    }

    async fn fetch(
        &mut self,
        what: &'static str,
        uri: &str,
        (range, bytes_max): (Option<ByteRange>, usize),
    ) -> Result<bytes::Bytes, HlsError> {
        let url = self.url.join(uri).map_err(|_| HlsError::Uri { what })?;
        let wanted = Wanted { what, ask: Ask::Get(range), bytes_max, limit: SEGMENT_LIMIT };
        let body = self.fetcher.fetch(&url, wanted).await?.body;
        self.bytes += body.len();
        Ok(body)
    }
}
