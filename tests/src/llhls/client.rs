//! Client: an LL-HLS viewer that does what rfc8216bis s6.3 tells clients to do, and keeps
//! everything that it got and when.
//!
//! For each media playlist of the presentation, beside each other: blocking reloads one
//! part at a time, the hinted part requested at the same moment, each new part, whole
//! segment and init segment fetched once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use reqwest::Url;

use crate::fmp4::{Init, Sample};
use crate::http::{self, Response};
use crate::llhls::playlist::{MediaPlaylist, MultivariantPlaylist, Part, Segment};
use crate::wait;

/// From starting a camera to its playlist.
const PLAYLIST_LIMIT: Duration = Duration::from_secs(20);

/// A position: segment and part within it.
pub type Position = (u64, usize);

/// One load of a media playlist.
#[derive(Debug, Clone)]
pub struct Reload {
    /// What the blocking reload asked to be there; `None` for the first, plain load.
    pub awaited: Option<Position>,
    /// The answer.
    pub response: Response,
    /// What it said.
    pub playlist: MediaPlaylist,
}

/// A part that was listed.
#[derive(Debug, Clone)]
pub struct SeenPart {
    /// As listed.
    pub listed: Part,
    /// When the first playlist with it had arrived.
    pub listed_at: Instant,
    /// Whether it was there in the very first playlist: when it appeared is not known.
    pub initial: bool,
    /// The answer with its bytes.
    pub response: Response,
    /// Address of the init segment that applies.
    pub init: String,
}

/// A whole segment that was listed.
#[derive(Debug, Clone)]
pub struct SeenSegment {
    /// As listed when it became whole; parts of earlier listings are in `Rendition::parts`.
    pub listed: Segment,
    /// The answer with its bytes.
    pub response: Response,
    /// Address of the init segment that applies.
    pub init: String,
}

/// A preload hint that was requested at once.
#[derive(Debug, Clone)]
pub struct SeenHint {
    /// The position that it stood for.
    pub position: Position,
    /// Reference as written.
    pub uri: String,
    /// The answer.
    pub response: Response,
}

/// All that was seen of one media playlist.
#[derive(Debug, Clone)]
pub struct Rendition {
    /// Address of the playlist.
    pub url: String,
    /// Every load, in order.
    pub reloads: Vec<Reload>,
    /// Every part listed, by position.
    pub parts: BTreeMap<Position, SeenPart>,
    /// Every whole segment listed, by media sequence number.
    pub segments: BTreeMap<u64, SeenSegment>,
    /// Every hint.
    pub hints: Vec<SeenHint>,
    /// Init segments by address.
    pub inits: BTreeMap<String, (Response, Init)>,
}

/// All that was seen of a presentation.
#[derive(Debug, Clone)]
pub struct Run {
    /// The multivariant playlist and its answer.
    pub multivariant: (Response, MultivariantPlaylist),
    /// Its media playlists: variants first, then renditions.
    pub renditions: Vec<Rendition>,
}

/// Follows a presentation for `length`. Waits for its first playlist as a viewer would.
///
/// # Errors
/// When an answer is not 2xx, or can't be read.
pub async fn follow(url: &str, length: Duration) -> anyhow::Result<Run> {
    let response = wait::until("multivariant playlist", PLAYLIST_LIMIT, async || {
        Ok(Some(http::get_following(url).await?.ok()?))
    })
    .await?;
    let url = response.url.as_str();
    let multivariant = MultivariantPlaylist::parse(&response.text())?;
    let mut urls: Vec<String> = Vec::new();
    let variants = multivariant.variants.iter().map(|variant| &variant.uri);
    for uri in variants.chain(&multivariant.renditions) {
        let url = http::join(url, uri)?;
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    let renditions = try_join_all(urls.iter().map(|url| Rendition::follow(url, length))).await?;
    Ok(Run { multivariant: (response, multivariant), renditions })
}

impl Run {
    /// The rendition that carries the video.
    ///
    /// # Errors
    /// When none does.
    pub fn video(&self) -> anyhow::Result<&Rendition> {
        self.renditions
            .iter()
            .find(|rendition| rendition.inits.values().any(|(_, init)| init.video().is_ok()))
            .context("no rendition carries video")
    }

    /// Every playlist text that was received, for other validators.
    pub fn playlist_texts(&self) -> impl Iterator<Item = &str> {
        let media = self.renditions.iter().flat_map(|rendition| &rendition.reloads);
        std::iter::once(self.multivariant.1.text.as_str())
            .chain(media.map(|reload| reload.playlist.text.as_str()))
    }
}

/// A media playlist's address with the directives of a blocking reload (s6.2.5.2).
///
/// # Errors
/// When `url` is not a URL.
pub fn with_directives(url: &str, directives: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut url = Url::parse(url)?;
    url.query_pairs_mut().extend_pairs(directives);
    Ok(url.into())
}

/// Loads a media playlist once.
///
/// # Errors
/// When the answer is not 2xx or not a playlist.
pub async fn load(url: &str, directives: &[(&str, &str)]) -> anyhow::Result<Reload> {
    let url = if directives.is_empty() { url.to_owned() } else { with_directives(url, directives)? };
    let response = http::get(&url).await?.ok()?;
    let playlist = MediaPlaylist::parse(&response.text())?;
    Ok(Reload { awaited: None, response, playlist })
}

impl Rendition {
    async fn follow(url: &str, length: Duration) -> anyhow::Result<Self> {
        let mut rendition = Self {
            url: url.to_owned(),
            reloads: Vec::new(),
            parts: BTreeMap::new(),
            segments: BTreeMap::new(),
            hints: Vec::new(),
            inits: BTreeMap::new(),
        };
        let start = Instant::now();
        let mut next = load(url, &[]).await?;
        loop {
            rendition.fetch_new(&next).await?;
            let playlist = next.playlist.clone();
            rendition.reloads.push(next);
            if start.elapsed() >= length || playlist.ended {
                return Ok(rendition);
            }
            let awaited = playlist.next_part();
            let (reloaded, hint) =
                tokio::try_join!(blocking_reload(url, awaited), ask_hint(url, &playlist, awaited))?;
            rendition.hints.extend(hint);
            next = reloaded;
        }
    }

    async fn fetch_new(&mut self, reload: &Reload) -> anyhow::Result<()> {
        let mut init = String::new();
        for segment in &reload.playlist.segments {
            if let Some(map) = &segment.map {
                init = http::join(&self.url, map)?;
            }
            if segment.gap {
                continue;
            }
            self.fetch_init(&init).await?;
            for (index, part) in segment.parts.iter().enumerate().filter(|(_, part)| !part.gap) {
                self.fetch_part((segment.msn, index), part, reload, &init).await?;
            }
            if let (Some(uri), false) = (&segment.uri, self.segments.contains_key(&segment.msn)) {
                let response = http::get(&http::join(&self.url, uri)?).await?.ok()?;
                let seen = SeenSegment { listed: segment.clone(), response, init: init.clone() };
                self.segments.insert(segment.msn, seen);
            }
        }
        Ok(())
    }

    async fn fetch_init(&mut self, url: &str) -> anyhow::Result<()> {
        ensure!(!url.is_empty(), "a segment without EXT-X-MAP before it");
        if !self.inits.contains_key(url) {
            let response = http::get(url).await?.ok()?;
            let init = Init::parse(&response.body)?;
            self.inits.insert(url.to_owned(), (response, init));
        }
        Ok(())
    }

    async fn fetch_part(
        &mut self,
        position: Position,
        listed: &Part,
        reload: &Reload,
        init: &str,
    ) -> anyhow::Result<()> {
        if self.parts.contains_key(&position) {
            return Ok(());
        }
        let hinted = self.hints.iter().rev().take(4).find(|hint| hint.uri == listed.uri);
        let response = match hinted {
            Some(hint) => hint.response.clone(),
            None => http::get(&http::join(&self.url, &listed.uri)?).await?.ok()?,
        };
        let part = SeenPart {
            listed: listed.clone(),
            listed_at: reload.response.last_byte,
            initial: self.reloads.is_empty(),
            response,
            init: init.to_owned(),
        };
        self.parts.insert(position, part);
        Ok(())
    }

    /// The samples of all whole segments, in order, of one init segment's tracks.
    ///
    /// # Errors
    /// When a segment can't be read.
    pub fn segment_samples(&self) -> anyhow::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for (msn, segment) in &self.segments {
            let (_, init) = self.inits.get(&segment.init).context("init segment")?;
            let fragments = init.fragments(&segment.response.body);
            let fragments = fragments.with_context(|| format!("segment {msn}"))?;
            samples.extend(fragments.into_iter().flat_map(|fragment| fragment.samples));
        }
        Ok(samples)
    }

    /// Media sequence numbers before which a discontinuity is declared.
    #[must_use]
    pub fn discontinuities(&self) -> BTreeSet<u64> {
        let segments = self.reloads.iter().flat_map(|reload| &reload.playlist.segments);
        segments.filter(|segment| segment.discontinuity).map(|segment| segment.msn).collect()
    }

    /// Init segment and whole segments end to end, for readers of files.
    ///
    /// # Errors
    /// When the run has more than one init segment: such a file would not be one.
    pub fn as_file(&self) -> anyhow::Result<Vec<u8>> {
        ensure!(self.inits.len() == 1, "{} init segments", self.inits.len());
        let inits = self.inits.values().map(|(response, _)| &response.body);
        let segments = self.segments.values().map(|segment| &segment.response.body);
        Ok(inits.chain(segments).flat_map(|bytes| bytes.iter().copied()).collect())
    }
}

async fn blocking_reload(url: &str, awaited: Position) -> anyhow::Result<Reload> {
    let (msn, part) = (awaited.0.to_string(), awaited.1.to_string());
    let reload = load(url, &[("_HLS_msn", &msn), ("_HLS_part", &part)]).await?;
    Ok(Reload { awaited: Some(awaited), ..reload })
}

async fn ask_hint(
    url: &str,
    playlist: &MediaPlaylist,
    position: Position,
) -> anyhow::Result<Option<SeenHint>> {
    let Some(uri) = &playlist.part_hint else {
        return Ok(None);
    };
    let response = http::get(&http::join(url, uri)?).await?;
    Ok(Some(SeenHint { position, uri: uri.clone(), response }))
}
