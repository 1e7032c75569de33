//! Playlist: what a multivariant or media playlist says, with the order that rule H5 asks for.
//!
//! Spec: draft-pantos-hls-rfc8216bis s4.4.

use anyhow::{Context as _, bail, ensure};
use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::tag::KnownTag;
use quick_m3u8::tag::hls::{PreloadHintType, Tag};
use quick_m3u8::{HlsLine, Reader};

/// A partial segment as listed.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Reference as written.
    pub uri: String,
    /// Seconds.
    pub duration: f64,
    /// INDEPENDENT=YES.
    pub independent: bool,
    /// GAP=YES.
    pub gap: bool,
}

/// A media segment as listed. The last one may still be without its own line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Segment {
    /// Its media sequence number.
    pub msn: u64,
    /// Reference as written; `None` while only parts of it are there.
    pub uri: Option<String>,
    /// EXTINF seconds; 0 while only parts are there.
    pub duration: f64,
    /// Its parts; empty when they are no longer listed.
    pub parts: Vec<Part>,
    /// EXT-X-MAP that stands right before it.
    pub map: Option<String>,
    /// EXT-X-DISCONTINUITY before it.
    pub discontinuity: bool,
    /// EXT-X-PROGRAM-DATE-TIME before it, microseconds since 1970.
    pub program_date_time_us: Option<i64>,
    /// EXT-X-GAP.
    pub gap: bool,
    /// Tags that apply to the whole segment but stand after its first part (H5).
    pub late_tags: Vec<&'static str>,
}

/// EXT-X-SERVER-CONTROL, seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ServerControl {
    /// CAN-SKIP-UNTIL
    pub can_skip_until: Option<f64>,
    /// HOLD-BACK
    pub hold_back: Option<f64>,
    /// PART-HOLD-BACK
    pub part_hold_back: Option<f64>,
    /// CAN-BLOCK-RELOAD=YES
    pub can_block_reload: bool,
}

/// EXT-X-RENDITION-REPORT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenditionReport {
    /// Reference as written.
    pub uri: String,
    /// LAST-MSN
    pub last_msn: u64,
    /// LAST-PART
    pub last_part: Option<u64>,
}

/// A media playlist.
#[derive(Debug, Clone, Default)]
pub struct MediaPlaylist {
    /// As received.
    pub text: String,
    /// EXT-X-VERSION
    pub version: u64,
    /// EXT-X-TARGETDURATION, seconds.
    pub target_duration: u64,
    /// EXT-X-PART-INF, seconds.
    pub part_target: Option<f64>,
    /// EXT-X-SERVER-CONTROL
    pub server_control: ServerControl,
    /// EXT-X-MEDIA-SEQUENCE
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE
    pub discontinuity_sequence: u64,
    /// EXT-X-SKIP: how many segments a delta update leaves out.
    pub skipped: Option<u64>,
    /// Segments in order; the last may be incomplete.
    pub segments: Vec<Segment>,
    /// EXT-X-PRELOAD-HINT TYPE=PART, reference as written.
    pub part_hint: Option<String>,
    /// All EXT-X-RENDITION-REPORT.
    pub rendition_reports: Vec<RenditionReport>,
    /// EXT-X-ENDLIST
    pub ended: bool,
}

impl MediaPlaylist {
    /// Reads a media playlist.
    ///
    /// # Errors
    /// When it is not one, or holds a line that the oracle does not know: we emit standard
    /// tags only.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut playlist = Self { text: text.to_owned(), ..Self::default() };
        let mut open = Segment::default();
        each_line(text, |line| playlist.read(line, &mut open))?;
        if !open.parts.is_empty() {
            playlist.segments.push(open);
        }
        let first = playlist.media_sequence + playlist.skipped.unwrap_or_default();
        for (segment, msn) in playlist.segments.iter_mut().zip(first..) {
            segment.msn = msn;
        }
        Ok(playlist)
    }

    fn read(&mut self, line: Line<'_>, open: &mut Segment) -> anyhow::Result<()> {
        match line {
            Line::Uri(uri) => {
                open.uri = Some(uri.to_owned());
                self.segments.push(std::mem::take(open));
            }
            Line::Tag(tag) => self.read_tag(&tag, open)?,
        }
        Ok(())
    }

    fn read_tag(&mut self, tag: &Tag<'_>, open: &mut Segment) -> anyhow::Result<()> {
        let mut of_segment = |name| {
            if !open.parts.is_empty() {
                open.late_tags.push(name);
            }
        };
        match tag {
            Tag::M3u(_) | Tag::IndependentSegments(_) | Tag::Start(_) => {}
            Tag::Version(tag) => self.version = tag.version(),
            Tag::Targetduration(tag) => self.target_duration = tag.target_duration(),
            Tag::PartInf(tag) => self.part_target = Some(tag.part_target()),
            Tag::ServerControl(tag) => {
                self.server_control = ServerControl {
                    can_skip_until: tag.can_skip_until(),
                    hold_back: tag.hold_back(),
                    part_hold_back: tag.part_hold_back(),
                    can_block_reload: tag.can_block_reload(),
                }
            }
            Tag::MediaSequence(tag) => self.media_sequence = tag.media_sequence(),
            Tag::DiscontinuitySequence(tag) => {
                self.discontinuity_sequence = tag.discontinuity_sequence();
            }
            Tag::Skip(tag) => self.skipped = Some(tag.skipped_segments()),
            Tag::Endlist(_) => self.ended = true,
            Tag::PreloadHint(tag) if tag.hint_type().known() == Some(&PreloadHintType::Part) => {
                self.part_hint = Some(tag.uri().to_owned());
            }
            Tag::PreloadHint(_) => {}
            Tag::RenditionReport(tag) => self.rendition_reports.push(RenditionReport {
                uri: tag.uri().to_owned(),
                last_msn: tag.last_msn(),
                last_part: tag.last_part(),
            }),
            Tag::Map(tag) => {
                of_segment("MAP");
                open.map = Some(tag.uri().to_owned());
            }
            Tag::Discontinuity(_) => {
                of_segment("DISCONTINUITY");
                open.discontinuity = true;
            }
            Tag::ProgramDateTime(tag) => {
                of_segment("PROGRAM-DATE-TIME");
                open.program_date_time_us = Some(tag.program_date_time().timestamp_micros());
            }
            Tag::Key(_) => of_segment("KEY"),
            Tag::Gap(_) => open.gap = true,
            Tag::Bitrate(_) => {}
            Tag::Inf(tag) => open.duration = tag.duration(),
            Tag::Part(tag) => open.parts.push(Part {
                uri: tag.uri().to_owned(),
                duration: tag.duration(),
                independent: tag.independent(),
                gap: tag.gap(),
            }),
            other => bail!("{other:?} does not belong in a live media playlist"),
        }
        Ok(())
    }

    /// Position of the newest part: segment and index within it; the newest whole segment
    /// and `None` when the next segment has no part yet.
    #[must_use]
    pub fn edge(&self) -> Option<(u64, Option<usize>)> {
        let last = self.segments.last()?;
        Some(match last.uri {
            Some(_) => (last.msn, None),
            None => (last.msn, last.parts.len().checked_sub(1)),
        })
    }

    /// The part that comes next: the argument of a blocking reload.
    #[must_use]
    pub fn next_part(&self) -> (u64, usize) {
        match self.segments.last() {
            None => (self.media_sequence, 0),
            Some(last) if last.uri.is_some() => (last.msn + 1, 0),
            Some(last) => (last.msn, last.parts.len()),
        }
    }

    /// Segments that are complete.
    pub fn whole_segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.uri.is_some())
    }
}

/// One EXT-X-STREAM-INF with its playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Reference as written.
    pub uri: String,
    /// CODECS, split at commas.
    pub codecs: Vec<String>,
    /// BANDWIDTH, bits per second.
    pub bandwidth_bps: u64,
    /// RESOLUTION
    pub resolution: Option<(u64, u64)>,
    /// AUDIO group.
    pub audio: Option<String>,
}

/// A multivariant playlist.
#[derive(Debug, Clone, Default)]
pub struct MultivariantPlaylist {
    /// As received.
    pub text: String,
    /// Its variants.
    pub variants: Vec<Variant>,
    /// URIs of EXT-X-MEDIA renditions that have a playlist of their own.
    pub renditions: Vec<String>,
}

impl MultivariantPlaylist {
    /// Reads a multivariant playlist.
    ///
    /// # Errors
    /// When it is not one, or has no variant.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut playlist = Self { text: text.to_owned(), ..Self::default() };
        let mut open: Option<Variant> = None;
        each_line(text, |line| {
            let tag = match line {
                Line::Tag(tag) => *tag,
                Line::Uri(uri) => {
                    let mut variant = open.take().context("a URI without EXT-X-STREAM-INF")?;
                    variant.uri = uri.to_owned();
                    playlist.variants.push(variant);
                    return Ok(());
                }
            };
            match tag {
                Tag::StreamInf(tag) => {
                    let codecs = tag.codecs().unwrap_or_default().split(',');
                    open = Some(Variant {
                        uri: String::new(),
                        codecs: codecs.map(|codec| codec.trim().to_owned()).collect(),
                        bandwidth_bps: tag.bandwidth(),
                        resolution: tag.resolution().map(|size| (size.width, size.height)),
                        audio: tag.audio().map(str::to_owned),
                    });
                }
                Tag::Media(tag) => {
                    playlist.renditions.extend(tag.uri().map(str::to_owned));
                }
                Tag::M3u(_) | Tag::Version(_) | Tag::IndependentSegments(_) | Tag::Start(_) => {}
                other => bail!("{other:?} does not belong in a multivariant playlist"),
            }
            Ok(())
        })?;
        ensure!(!playlist.variants.is_empty(), "no variant in {text}");
        Ok(playlist)
    }
}

enum Line<'a> {
    Tag(Box<Tag<'a>>),
    Uri(&'a str),
}

fn each_line(text: &str, mut take: impl FnMut(Line<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    ensure!(text.starts_with("#EXTM3U"), "not a playlist: {text}");
    let options = ParsingOptionsBuilder::new().with_parsing_for_all_tags().build();
    let mut reader = Reader::from_str(text, options);
    loop {
        let line = reader.read_line().map_err(|error| anyhow::anyhow!("{error:?} in {text}"))?;
        let result = match line {
            None => return Ok(()),
            Some(HlsLine::KnownTag(KnownTag::Hls(tag))) => take(Line::Tag(Box::new(tag))),
            Some(HlsLine::Uri(uri)) => take(Line::Uri(&uri)),
            Some(HlsLine::Comment(_) | HlsLine::Blank) => Ok(()),
            Some(other) => bail!("not a standard line: {other:?}"),
        };
        result.with_context(|| format!("in playlist:\n{text}"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Low-Latency example of draft-pantos-hls-rfc8216bis s9.13, shortened.
    const EXAMPLE: &str = r#"#EXTM3U
#EXT-X-TARGETDURATION:4
#EXT-X-VERSION:6
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0,CAN-SKIP-UNTIL=12.0
#EXT-X-PART-INF:PART-TARGET=0.33334
#EXT-X-MEDIA-SEQUENCE:266
#EXT-X-PROGRAM-DATE-TIME:2019-02-14T02:13:36.106Z
#EXT-X-MAP:URI="init.mp4"
#EXTINF:4.00008,
fileSequence266.mp4
#EXT-X-PART:DURATION=0.33334,URI="filePart267.0.mp4",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.33334,URI="filePart267.1.mp4"
#EXTINF:4.00008,
fileSequence267.mp4
#EXT-X-PART:DURATION=0.33334,URI="filePart268.a.mp4",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.33334,URI="filePart268.b.mp4"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="filePart268.c.mp4"
#EXT-X-RENDITION-REPORT:URI="../1M/waitForMSN.php",LAST-MSN=273,LAST-PART=2
"#;

    #[test]
    fn the_drafts_example_is_read_whole() {
        let playlist = MediaPlaylist::parse(EXAMPLE).unwrap();
        assert_eq!(playlist.segments.len(), 3);
        assert_eq!(playlist.edge(), Some((268, Some(1))));
        assert_eq!(playlist.next_part(), (268, 2));
        assert_eq!(playlist.part_hint.as_deref(), Some("filePart268.c.mp4"));
        assert_eq!(playlist.segments[0].program_date_time_us, Some(1_550_110_416_106_000));
        assert_eq!(playlist.server_control.part_hold_back, Some(1.0));
        assert_eq!(playlist.rendition_reports[0].last_msn, 273);
        assert!(playlist.segments.iter().all(|segment| segment.late_tags.is_empty()));
    }

    #[test]
    fn a_map_after_the_first_part_is_noted_as_late() {
        let text = EXAMPLE.replace(
            "#EXTINF:4.00008,\nfileSequence267.mp4",
            "#EXT-X-MAP:URI=\"init2.mp4\"\n#EXTINF:4.00008,\nfileSequence267.mp4",
        );
        let playlist = MediaPlaylist::parse(&text).unwrap();
        assert_eq!(playlist.segments[1].late_tags, ["MAP"]);
    }
}
