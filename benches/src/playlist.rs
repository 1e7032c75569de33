//! Playlist: what a viewer needs of a playlist, read cheaply.
//!
//! Belongs here: the lines that say what to fetch next. Does not: whether the playlist keeps the rules
//! (-> tests/src/llhls). Spec: draft-pantos-hls-rfc8216bis s4.4. Addresses are as written.

use anyhow::{Context as _, ensure};

/// A position: media sequence number, and part within the segment.
pub(crate) type Position = (u64, usize);

/// A segment as listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) msn: u64,
    /// `None` while only parts are there.
    pub(crate) uri: Option<String>,
    pub(crate) parts: Vec<Part>,
    /// The init segment that applies.
    pub(crate) map: String,
}

/// A part as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) uri: String,
    pub(crate) is_independent: bool,
}

/// A media playlist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Media {
    pub(crate) segments: Vec<Segment>,
    /// The part that comes next.
    pub(crate) hint: Option<String>,
    pub(crate) can_block: bool,
}

impl Media {
    /// # Errors
    /// When it is not a media playlist.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        ensure!(text.starts_with("#EXTM3U"), "not a playlist: {:.60}", text);
        let mut media = Self::default();
        let mut open = Segment::default();
        for line in text.lines() {
            if let Some(number) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
                open.msn = number.trim().parse().context("EXT-X-MEDIA-SEQUENCE")?;
            } else if let Some(attributes) = line.strip_prefix("#EXT-X-PART:") {
                let uri = attribute(attributes, "URI").context("EXT-X-PART without URI")?.to_owned();
                open.parts.push(Part { uri, is_independent: attributes.contains("INDEPENDENT=YES") });
            } else if let Some(attributes) = line.strip_prefix("#EXT-X-MAP:") {
                attribute(attributes, "URI").context("EXT-X-MAP without URI")?.clone_into(&mut open.map);
            } else if let Some(attributes) = line.strip_prefix("#EXT-X-PRELOAD-HINT:") {
                media.hint = attribute(attributes, "URI").map(str::to_owned);
            } else if line.starts_with("#EXT-X-SERVER-CONTROL:") {
                media.can_block = line.contains("CAN-BLOCK-RELOAD=YES");
            } else if !line.starts_with('#') && !line.is_empty() {
                let next = Segment { msn: open.msn + 1, map: open.map.clone(), ..Segment::default() };
                let whole = std::mem::replace(&mut open, next);
                media.segments.push(Segment { uri: Some(line.to_owned()), ..whole });
            }
        }
        if !open.parts.is_empty() {
            media.segments.push(open);
        }
        Ok(media)
    }

    /// The part to wait for next.
    pub(crate) fn next_part(&self) -> Position {
        match self.segments.last() {
            None => (0, 0),
            Some(last) if last.uri.is_some() => (last.msn + 1, 0),
            Some(last) => (last.msn, last.parts.len()),
        }
    }

    /// All listed parts with their segments, in order.
    pub(crate) fn parts(&self) -> impl DoubleEndedIterator<Item = (Position, &Part, &Segment)> {
        self.segments.iter().flat_map(|segment| {
            let parts = segment.parts.iter().enumerate();
            parts.map(move |(index, part)| ((segment.msn, index), part, segment))
        })
    }
}

/// Addresses of the media playlists of a multivariant playlist: its first variant and the renditions
/// that have a playlist of their own.
pub(crate) fn media_playlists(text: &str) -> Vec<&str> {
    let variant = text.lines().find(|line| !line.starts_with('#') && !line.is_empty());
    let renditions = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-MEDIA:"));
    let mut found: Vec<&str> = variant.into_iter().collect();
    for uri in renditions.filter_map(|attributes| attribute(attributes, "URI")) {
        if !found.contains(&uri) {
            found.push(uri);
        }
    }
    found
}

/// The value of a quoted attribute.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Low-Latency example of draft-pantos-hls-rfc8216bis s9.13, shortened.
    const EXAMPLE: &str = r#"#EXTM3U
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0
#EXT-X-MEDIA-SEQUENCE:266
#EXT-X-MAP:URI="init.mp4"
#EXTINF:4.00008,
fileSequence266.mp4
#EXT-X-PART:DURATION=0.33334,URI="filePart267.0.mp4",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.33334,URI="filePart267.1.mp4"
#EXTINF:4.00008,
fileSequence267.mp4
#EXT-X-PART:DURATION=0.33334,URI="filePart268.a.mp4",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="filePart268.b.mp4"
"#;

    #[test]
    fn parts_hint_and_edge_are_read() {
        let media = Media::parse(EXAMPLE).unwrap();
        assert!(media.can_block);
        assert_eq!(media.next_part(), (268, 1));
        assert_eq!(media.hint.as_deref(), Some("filePart268.b.mp4"));
        let last = media.parts().next_back().unwrap();
        assert_eq!(
            (last.0, last.1.uri.as_str(), last.2.map.as_str()),
            ((268, 0), "filePart268.a.mp4", "init.mp4")
        );
        assert!(last.1.is_independent);
    }

    #[test]
    fn sound_in_a_playlist_of_its_own_is_followed_too() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"audio.m3u8?s=1\"\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=1\nvideo.m3u8\n";
        assert_eq!(media_playlists(text), ["video.m3u8", "audio.m3u8?s=1"]);
    }
}
