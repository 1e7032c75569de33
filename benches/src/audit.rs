//! Audit: looks at what a server keeps of its cameras, picture by picture, outside of the window.
//!
//! Where nobody watches, this is how loss is seen: every segment that is still listed for every camera
//! (`live`), or everything that was recorded (`recorded`, once the server has ended).
//! Limits: [`AT_ONCE`] cameras at a time; segments that leave the playlist meanwhile are not looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::bmff;
use crate::frames::{Counts, FrameIndex, PictureHasher, Tracker};
use crate::server::Server;
use crate::viewer::{Presentation, pictures};

/// Cameras looked at together.
const AT_ONCE: usize = 4;

/// What was found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Findings {
    pub(crate) counts: Counts,
    /// Cameras of which something was seen.
    pub(crate) cameras: usize,
}

impl Findings {
    fn add(&mut self, counts: Counts) {
        self.counts.add(counts);
        self.cameras += usize::from(counts.frames > 0);
    }
}

/// Looks at the listed segments of all cameras.
///
/// # Errors
/// When a camera has no playlist.
pub(crate) async fn live(
    server: &Server,
    cameras: usize,
    index: &Arc<FrameIndex>,
) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let looks = (1..=cameras).map(|camera| {
        let (url, index) = (server.hls(camera), Arc::clone(index));
        async move { segments(&url, &index).await.with_context(|| format!("look at cam_{camera}")) }
    });
    let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
    while let Some(counts) = looks.next().await {
        findings.add(counts?);
    }
    Ok(findings)
}

async fn segments(url: &str, index: &FrameIndex) -> anyhow::Result<Counts> {
    let presentation = Presentation::open(url).await?;
    let playlist = presentation.playlists().first().context("no playlist")?;
    let (media, _) = presentation.load(playlist, None).await?;
    let first_map = media.segments.first().map(|segment| segment.map.clone()).unwrap_or_default();
    let track = presentation.video_track(playlist, &first_map).await?.context("no picture")?;
    let mut tracker = Tracker::default();
    // The oldest one may be leaving; after a change of format the rest is not looked at.
    let listed = media.segments.iter().skip(1).take_while(|segment| segment.map == first_map);
    for uri in listed.filter_map(|segment| segment.uri.as_ref()) {
        let Ok(body) = presentation.get(&playlist.join(uri)?).await else {
            break;
        };
        see_all(&body, track, index, &mut tracker)?;
    }
    Ok(tracker.take())
}

fn see_all(body: &[u8], track: u32, index: &FrameIndex, tracker: &mut Tracker) -> anyhow::Result<()> {
    for identity in pictures(body, track, &PictureHasher::new(index.codec))? {
        tracker.see(index, identity);
    }
    Ok(())
}

/// Looks at everything below `directory`: one folder per camera, files in the order of their names.
///
/// # Errors
/// When a camera has no file, or one can't be read.
pub(crate) fn recorded(directory: &Path, cameras: usize, index: &FrameIndex) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    for camera in 1..=cameras {
        let mut tracker = Tracker::default();
        let files = files(&directory.join(format!("cam_{camera}")))?;
        ensure!(!files.is_empty(), "cam_{camera} has no recording");
        for file in files {
            let body = std::fs::read(&file)?;
            let track = bmff::video_track(&body)?.context("no picture")?;
            see_all(&body, track, index, &mut tracker)
                .with_context(|| format!("look at {}", file.display()))?;
        }
        findings.add(tracker.take());
    }
    Ok(findings)
}

/// The files of a camera in the order of their names.
///
/// # Errors
/// When there is no such folder.
pub(crate) fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("open {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "mp4"));
    files.sort();
    Ok(files)
}
