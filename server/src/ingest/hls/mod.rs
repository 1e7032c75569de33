//! HLS: one session with a source of playlists and segments, from the first playlist to whatever ends it.
//!
//! ```text
//!  fetch ─► playlist ─► Lane (pictures, or both) ─batches─┐   Release: in the order of decoding, each when it is due
//!                  └──► Lane (sound apart)       ─batches─┴─► Arrivals ─► Ingest ─► Output
//! ```
//!
//! Lanes fetch ahead of time and wait for their turn. Live playlists are begun three target durations from their end, what is over is
//! read at its pace, and then anew.
//!
//! Belongs here: requests and time. Does not: what to fetch (-> media_core::hls).
//! Limits: those of `lane`, `super::fetch` and media_core::hls; [`SOUND_PATIENCE`].

mod lane;
mod release;

use std::time::Duration;

use futures_util::future::join_all;
use media_core::hls::{DemuxError, MediaPlaylist, Playlist, PlaylistError};
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use url::Url;

use lane::{BATCHES, Lane, Loaded, load};
use release::Release;

use super::arrivals::Arrivals;
use super::fetch::{FetchError, Fetcher};
use super::session::{SessionContext, SessionEnd, SessionError};
use crate::config::pulled::RemoteSource;
use crate::runtime::clock;

/// How long pictures wait for sound that is late, and the other way.
const SOUND_PATIENCE: Duration = Duration::from_secs(1);

/// Why a source can't be had. Texts hold no address but a host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HlsError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Playlist(#[from] PlaylistError),
    #[error(transparent)]
    Demux(#[from] DemuxError),
    #[error("a multivariant playlist names another one")]
    Multivariant,
    #[error("address of a {what} can't be used")]
    Uri { what: &'static str },
}

/// Runs one session until it ends. `online` is called at the first access unit.
pub(super) async fn run(
    source: &RemoteSource,
    context: SessionContext<'_>,
    online: impl FnMut(),
) -> Result<SessionEnd, SessionError> {
    let token = context.token;
    let arrivals = Arrivals::new(context, clock::now());
    tokio::select! {
        ended = session(source, arrivals, online) => ended.map(|never| match never {}),
        () = token.cancelled() => Ok(SessionEnd::Cancelled),
    }
}

async fn session(
    source: &RemoteSource,
    mut arrivals: Arrivals<'_>,
    online: impl FnMut(),
) -> Result<std::convert::Infallible, SessionError> {
    let opening = open(source, arrivals.request_limit());
    let opened = timeout_at(arrivals.connect_deadline().into(), opening).await;
    let lanes = opened.map_err(|_| arrivals.connect_timeout())??;
    let longest = lanes.iter().map(Lane::target_duration).max().unwrap_or_default();
    // A segment that is listed late is no frozen camera.
    arrivals.bear_with(longest * 2);
    arrivals.reached(clock::now());
    let (senders, receivers): (Vec<_>, Vec<_>) = lanes.iter().map(|_| mpsc::channel(BATCHES)).unzip();
    let fetching = join_all(lanes.into_iter().zip(senders).map(|(lane, batches)| lane.run(batches)));
    let fetching = async {
        fetching.await;
        std::future::pending().await
    };
    tokio::select! {
        ended = Release::new(receivers, arrivals).run(online) => ended,
        never = fetching => never,
    }
}

/// Finds the media playlists.
async fn open(source: &RemoteSource, limit: Duration) -> Result<Vec<Lane>, HlsError> {
    let mut fetcher = Fetcher::new(source);
    let Loaded { url, playlist, .. } = load(&mut fetcher, source.url.url(), limit).await?;
    let choice = match playlist {
        Playlist::Media(playlist) => return Ok(vec![Lane::new(fetcher, (url, playlist), limit)]),
        Playlist::Multivariant(playlist) => playlist.choose()?,
    };
    let mut lanes = Vec::new();
    for uri in [Some(choice.uri), choice.sound_uri].into_iter().flatten() {
        let media_url = url.join(&uri).map_err(|_| HlsError::Uri { what: "playlist" })?;
        let mut fetcher = fetcher.sibling();
        let (url, playlist) = media_playlist(&mut fetcher, &media_url, limit).await?;
        lanes.push(Lane::new(fetcher, (url, playlist), limit));
    }
    Ok(lanes)
}

async fn media_playlist(
    fetcher: &mut Fetcher,
    url: &Url,
    limit: Duration,
) -> Result<(Url, MediaPlaylist), HlsError> {
    let Loaded { url, playlist, .. } = load(fetcher, url, limit).await?;
    match playlist {
        Playlist::Media(playlist) => Ok((url, playlist)),
        Playlist::Multivariant(_) => Err(HlsError::Multivariant),
    }
}
