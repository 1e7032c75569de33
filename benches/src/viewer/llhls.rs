//! LL-HLS viewer: blocking reloads, one part at a time; the hinted part is requested at the same moment,
//! every part is fetched, sound in a playlist of its own too.
//!
//! It begins with the newest random access point that is listed, as players that want low delay do.
//! Spec: draft-pantos-hls-rfc8216bis s6.3.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use reqwest::Url;

use super::Viewer;
use crate::bmff;
use crate::frames::{Identity, PictureHasher};
use crate::playlist::{self, Media, Position};

/// No request takes longer: a blocking reload is held for three target durations at most.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// A viewer's connection to one presentation.
pub(crate) struct Presentation {
    http: reqwest::Client,
    /// Its media playlists.
    playlists: Vec<Url>,
}

impl Presentation {
    /// Loads the multivariant playlist, following the redirection with which MediaMTX tests cookies.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(REQUEST_LIMIT).build()?;
        let answer = http.get(url).send().await?.error_for_status()?;
        let base = answer.url().clone();
        let text = answer.text().await?;
        let playlists = playlist::media_playlists(&text).into_iter().map(|uri| base.join(uri));
        let playlists: Vec<Url> = playlists.collect::<Result<_, _>>()?;
        ensure!(!playlists.is_empty(), "no variant in {text}");
        Ok(Self { http, playlists })
    }

    /// Its media playlists; the first is the one with the picture.
    pub(crate) fn playlists(&self) -> &[Url] {
        &self.playlists
    }

    /// A media playlist, at once, or when the awaited part is there.
    ///
    /// # Errors
    /// When the answer is not one.
    pub(crate) async fn load(&self, url: &Url, awaited: Option<Position>) -> anyhow::Result<(Media, usize)> {
        let mut url = url.clone();
        if let Some((msn, part)) = awaited {
            url.query_pairs_mut()
                .append_pair("_HLS_msn", &msn.to_string())
                .append_pair("_HLS_part", &part.to_string());
        }
        let body = self.get(&url).await?;
        Ok((Media::parse(std::str::from_utf8(&body)?)?, body.len()))
    }

    /// The bytes at an address.
    ///
    /// # Errors
    /// When the answer is not 2xx or not whole.
    pub(crate) async fn get(&self, url: &Url) -> anyhow::Result<Bytes> {
        let answer = self.http.get(url.clone()).send().await?;
        ensure!(answer.status().is_success(), "{} for {}", answer.status(), url.path());
        Ok(answer.bytes().await?)
    }

    /// Id of the picture's track in the init segment at an address.
    ///
    /// # Errors
    /// When that is no init segment.
    pub(crate) async fn video_track(&self, playlist: &Url, map: &str) -> anyhow::Result<Option<u32>> {
        bmff::video_track(&self.get(&playlist.join(map)?).await?)
    }
}

/// Watches until something goes wrong.
///
/// # Errors
/// What went wrong.
pub(super) async fn watch(viewer: &Viewer, url: &str) -> anyhow::Result<()> {
    let presentation = Presentation::open(url).await?;
    let following = presentation.playlists().iter().map(|playlist| {
        let follower = Follower { viewer, presentation: &presentation, playlist, tracks: BTreeMap::new() };
        follower.follow()
    });
    try_join_all(following).await?;
    Ok(())
}

/// Follows one media playlist.
struct Follower<'a> {
    viewer: &'a Viewer,
    presentation: &'a Presentation,
    playlist: &'a Url,
    /// The picture's track by init segment; `None` where that has sound only.
    tracks: BTreeMap<String, Option<u32>>,
}

impl Follower<'_> {
    async fn follow(mut self) -> anyhow::Result<()> {
        let mut media = self.load(None).await?;
        let begin = media.parts().rev().find(|(_, part, _)| part.is_independent).map(|(at, _, _)| at);
        let mut next = begin.unwrap_or_else(|| media.next_part());
        let mut hinted: Option<(String, Bytes, SystemTime)> = None;
        loop {
            let from = next;
            for (at, part, segment) in media.parts().filter(|(at, _, _)| *at >= from) {
                self.learn(&segment.map).await?;
                let (body, arrived) = match hinted.take_if(|(uri, _, _)| *uri == part.uri) {
                    Some((_, body, arrived)) => (body, arrived),
                    None => self.fetch(&part.uri).await?,
                };
                self.take(&segment.map, &body, arrived)?;
                next = (at.0, at.1 + 1);
            }
            next = next.max(media.next_part());
            ensure!(media.can_block, "the playlist can't block");
            let hint = async {
                let Some(uri) = &media.hint else { return Ok(None) };
                let (body, arrived) = self.fetch(uri).await?;
                anyhow::Ok(Some((uri.clone(), body, arrived)))
            };
            let (reloaded, hint) = tokio::try_join!(self.load(Some(media.next_part())), hint)?;
            hinted = hint;
            media = reloaded;
        }
    }

    async fn load(&self, awaited: Option<Position>) -> anyhow::Result<Media> {
        let (media, bytes) = self.presentation.load(self.playlist, awaited).await?;
        self.viewer.bytes(bytes);
        Ok(media)
    }

    async fn fetch(&self, uri: &str) -> anyhow::Result<(Bytes, SystemTime)> {
        let body = self.presentation.get(&self.playlist.join(uri)?).await?;
        let arrived = SystemTime::now();
        self.viewer.bytes(body.len());
        Ok((body, arrived))
    }

    async fn learn(&mut self, map: &str) -> anyhow::Result<()> {
        if !self.tracks.contains_key(map) {
            let track = self.presentation.video_track(self.playlist, map).await?;
            self.tracks.insert(map.to_owned(), track);
        }
        Ok(())
    }

    fn take(&self, map: &str, body: &Bytes, arrived: SystemTime) -> anyhow::Result<()> {
        let Some(track) = self.tracks.get(map).copied().flatten() else {
            return Ok(());
        };
        let pictures = pictures(body, track, &PictureHasher::new(self.viewer.index.codec));
        self.viewer.pictures(&pictures.context("read a part")?, arrived);
        Ok(())
    }
}

/// All pictures of a part or segment.
pub(crate) fn pictures(body: &[u8], track: u32, hasher: &PictureHasher) -> anyhow::Result<Vec<Identity>> {
    let mut found = Vec::new();
    let mut hasher = hasher.clone();
    bmff::each_sample(body, track, |sample| {
        found.extend(bmff::picture(sample, &mut hasher)?);
        Ok(())
    })?;
    Ok(found)
}
