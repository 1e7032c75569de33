//! Playlist: the text of a playlist as what it says, with a bound on everything.
//!
//! `m3u8-rs`, the crate for this, keeps a copy of EXT-X-MAP and EXT-X-KEY with every segment: a playlist of a megabyte, half of it one
//! URI, becomes gigabytes.
//!
//! Spec: RFC 8216 s4. Tags that are not needed are passed over, those of parts among them.
//! Limits: [`PLAYLIST_BYTES_MAX`] (the shell fetches no more), [`SEGMENTS_MAX`], [`URI_BYTES_MAX`], [`ALTERNATIVES_MAX`]: what is beyond is a
//! [`PlaylistError`].

use std::sync::Arc;
use std::time::Duration;

/// The longest playlist: a day of segments of 2 s has half of it.
pub const PLAYLIST_BYTES_MAX: usize = 4 << 20;

/// Segments of one playlist: a day of them at 2 s.
pub const SEGMENTS_MAX: usize = 50_000;

/// The longest URI; signed ones have about a thousand bytes.
pub const URI_BYTES_MAX: usize = 8 << 10;

/// Variants, and renditions beside them, of one multivariant playlist.
const ALTERNATIVES_MAX: usize = 256;

/// The longest segment believed; nothing is waited for longer than follows from this.
const SEGMENT_DURATION_MAX: Duration = Duration::from_secs(60);

/// How the codecs begin that are carried here.
const CODECS: [&str; 7] = ["avc1", "avc3", "hvc1", "hev1", "mp4a", "opus", "Opus"];

/// A playlist of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Playlist {
    /// It names others.
    Multivariant(Multivariant),
    /// It names segments.
    Media(MediaPlaylist),
}

/// The same content in several qualities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multivariant {
    variants: Vec<Variant>,
    sounds: Vec<Sound>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variant {
    uri: String,
    bandwidth: u64,
    codecs: String,
    audio_group: Option<String>,
}

/// EXT-X-MEDIA of type AUDIO with a playlist of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sound {
    uri: String,
    group: String,
    is_default: bool,
}

/// What of a multivariant playlist is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The media playlist of the best variant.
    pub uri: String,
    /// That of its sound, where it is apart.
    pub sound_uri: Option<String>,
}

/// Segments, as far as they are listed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPlaylist {
    /// No segment is longer.
    pub target_duration: Duration,
    /// In their order.
    pub segments: Vec<Segment>,
    /// No more will be listed.
    pub is_ended: bool,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its media sequence number.
    pub msn: u64,
    /// Where it is, relative to the playlist.
    pub uri: String,
    /// The part of that which it is; all where nothing is said.
    pub range: Option<ByteRange>,
    /// How long it is shown.
    pub duration: Duration,
    /// What a decoder needs before it, for fMP4.
    pub init: Option<Arc<InitSegment>>,
    /// Timeline or codecs are not those of the segment before.
    pub is_discontinuous: bool,
    /// There is nothing to fetch.
    pub is_gap: bool,
}

/// EXT-X-MAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitSegment {
    /// Where it is, relative to the playlist.
    pub uri: String,
    /// The part of that which it is.
    pub range: Option<ByteRange>,
}

/// Bytes of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first.
    pub start: u64,
    /// How many, at least one.
    pub bytes: u64,
}

/// Why a playlist can't be used. Texts hold no URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaylistError {
    /// Something else.
    #[error("it does not begin with #EXTM3U, so it is no playlist")]
    NotAPlaylist,
    /// A tag whose value makes no sense.
    #[error("playlist's {tag} makes no sense")]
    Tag {
        /// Its name.
        tag: &'static str,
    },
    /// A media playlist without EXT-X-TARGETDURATION.
    #[error("playlist has no EXT-X-TARGETDURATION")]
    NoTargetDuration,
    /// More than a limit.
    #[error("playlist has more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A URI over [`URI_BYTES_MAX`].
    #[error("URI of {got} bytes, the limit is {URI_BYTES_MAX}")]
    UriTooLong {
        /// Its bytes.
        got: usize,
    },
    /// EXT-X-KEY.
    #[error("segments are encrypted ({method}), which is not supported")]
    Encrypted {
        /// `AES-128` or another one.
        method: String,
    },
    /// No variant has codecs that are carried.
    #[error("no variant has codecs that can be carried")]
    NoVariant,
}

impl Playlist {
    /// Reads a playlist.
    ///
    /// # Errors
    /// [`PlaylistError`].
    pub fn parse(text: &str) -> Result<Self, PlaylistError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        if lines.next().is_none_or(|first| !first.starts_with("#EXTM3U")) {
            return Err(PlaylistError::NotAPlaylist);
        }
        let is_multivariant = lines.clone().any(|line| line.starts_with("#EXT-X-STREAM-INF:"));
        if is_multivariant {
            Multivariant::read(lines).map(Self::Multivariant)
        } else {
            MediaPlaylist::read(lines).map(Self::Media)
        }
    }
}

impl Multivariant {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self, PlaylistError> {
        let mut playlist = Self::default();
        let mut described = None;
        for line in lines {
            if let Some(attributes) = line.strip_prefix("#EXT-X-STREAM-INF:") {
                described = Some(attributes);
            } else if let Some(attributes) = line.strip_prefix("#EXT-X-MEDIA:") {
                playlist.sounds.extend(sound(attributes)?);
            } else if !line.starts_with('#')
                && let Some(attributes) = described.take()
            {
                playlist.variants.push(variant(attributes, line)?);
            }
            if playlist.variants.len() + playlist.sounds.len() > ALTERNATIVES_MAX {
                return Err(PlaylistError::TooMany { what: "variants", max: ALTERNATIVES_MAX });
            }
        }
        Ok(playlist)
    }

    /// The variant with the highest bandwidth whose codecs are carried, as MediaMTX takes it, with its sound.
    ///
    /// # Errors
    /// [`PlaylistError::NoVariant`].
    pub fn choose(&self) -> Result<Choice, PlaylistError> {
        let usable = self.variants.iter().filter(|variant| variant.is_carried());
        let best = usable.max_by_key(|variant| variant.bandwidth).ok_or(PlaylistError::NoVariant)?;
        let of_group = |sound: &&Sound| Some(&sound.group) == best.audio_group.as_ref();
        let mut sounds = self.sounds.iter().filter(of_group);
        let sound = sounds.clone().find(|sound| sound.is_default).or_else(|| sounds.next());
        Ok(Choice { uri: best.uri.clone(), sound_uri: sound.map(|sound| sound.uri.clone()) })
    }
}

impl Variant {
    /// One that does not say is tried.
    fn is_carried(&self) -> bool {
        let mut codecs = self.codecs.split(',').map(str::trim).filter(|codec| !codec.is_empty());
        codecs.all(|codec| CODECS.iter().any(|known| codec.starts_with(known)))
    }
}

fn variant(attributes: &str, uri: &str) -> Result<Variant, PlaylistError> {
    let value = |name| attribute(attributes, name);
    Ok(Variant {
        uri: checked_uri(uri)?,
        bandwidth: value("BANDWIDTH").and_then(|text| text.parse().ok()).unwrap_or(0),
        codecs: value("CODECS").unwrap_or_default().to_owned(),
        audio_group: value("AUDIO").map(str::to_owned),
    })
}

fn sound(attributes: &str) -> Result<Option<Sound>, PlaylistError> {
    let value = |name| attribute(attributes, name);
    let (Some("AUDIO"), Some(uri)) = (value("TYPE"), value("URI")) else { return Ok(None) };
    let group = value("GROUP-ID").unwrap_or_default().to_owned();
    Ok(Some(Sound { uri: checked_uri(uri)?, group, is_default: value("DEFAULT") == Some("YES") }))
}

impl MediaPlaylist {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self, PlaylistError> {
        let mut target_duration = None;
        let mut is_ended = false;
        let mut first_msn: u64 = 0;
        let mut segments: Vec<Segment> = Vec::new();
        let mut init = None;
        let mut next = Described::default();
        for line in lines {
            let Some(tag) = line.strip_prefix('#') else {
                if segments.len() == SEGMENTS_MAX {
                    return Err(PlaylistError::TooMany { what: "segments", max: SEGMENTS_MAX });
                }
                let msn = first_msn.saturating_add(u64::try_from(segments.len()).unwrap_or(u64::MAX));
                let segment = std::mem::take(&mut next).segment(msn, checked_uri(line)?, segments.last())?;
                segments.push(Segment { init: init.clone(), ..segment });
                continue;
            };
            let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
            match name {
                "EXT-X-TARGETDURATION" => target_duration = Some(seconds(value, "EXT-X-TARGETDURATION")?),
                "EXT-X-MEDIA-SEQUENCE" => {
                    // RFC 8216 s4.3.3.2: before the first segment, or those before it would have numbers of their own.
                    let number = value.parse().ok().filter(|_| segments.is_empty());
                    first_msn = number.ok_or(PlaylistError::Tag { tag: "EXT-X-MEDIA-SEQUENCE" })?;
                }
                "EXTINF" => {
                    next.duration = seconds(value.split(',').next().unwrap_or_default(), "EXTINF")?;
                }
                "EXT-X-BYTERANGE" => next.range = Some(value.to_owned()),
                "EXT-X-DISCONTINUITY" => next.is_discontinuous = true,
                "EXT-X-GAP" => next.is_gap = true,
                "EXT-X-ENDLIST" => is_ended = true,
                "EXT-X-MAP" => init = Some(Arc::new(init_segment(value)?)),
                "EXT-X-KEY" => check_clear(value)?,
                _ => {}
            }
        }
        let target_duration = target_duration.ok_or(PlaylistError::NoTargetDuration)?;
        Ok(Self { target_duration, segments, is_ended })
    }
}

/// What stands before a segment's URI.
#[derive(Debug, Default)]
struct Described {
    duration: Duration,
    range: Option<String>,
    is_discontinuous: bool,
    is_gap: bool,
}

impl Described {
    fn segment(self, msn: u64, uri: String, before: Option<&Segment>) -> Result<Segment, PlaylistError> {
        // A range without a start goes on where the one before ended.
        let follows = before.filter(|before| before.uri == uri).and_then(|before| before.range);
        let follows = follows.map_or(0, |range| range.start.saturating_add(range.bytes));
        let range = self.range.map(|text| byte_range(&text, follows, "EXT-X-BYTERANGE")).transpose()?;
        let Self { duration, is_discontinuous, is_gap, .. } = self;
        Ok(Segment { msn, uri, range, duration, init: None, is_discontinuous, is_gap })
    }
}

fn init_segment(attributes: &str) -> Result<InitSegment, PlaylistError> {
    let uri = attribute(attributes, "URI").ok_or(PlaylistError::Tag { tag: "EXT-X-MAP" })?;
    let range =
        attribute(attributes, "BYTERANGE").map(|text| byte_range(text, 0, "EXT-X-MAP")).transpose()?;
    Ok(InitSegment { uri: checked_uri(uri)?, range })
}

fn check_clear(attributes: &str) -> Result<(), PlaylistError> {
    match attribute(attributes, "METHOD") {
        None | Some("NONE") => Ok(()),
        Some(method) => {
            let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
            Err(PlaylistError::Encrypted { method: method.chars().filter(plain).take(32).collect() })
        }
    }
}

/// `n@o`, or `n` behind what is there.
fn byte_range(text: &str, follows: u64, tag: &'static str) -> Result<ByteRange, PlaylistError> {
    let (bytes, start) = match text.split_once('@') {
        Some((bytes, start)) => (bytes, start.trim().parse().ok()),
        None => (text, Some(follows)),
    };
    match (bytes.trim().parse(), start) {
        (Ok(bytes), Some(start)) if bytes > 0 => Ok(ByteRange { start, bytes }),
        _ => Err(PlaylistError::Tag { tag }),
    }
}

/// A decimal number of seconds, [`SEGMENT_DURATION_MAX`] at most.
fn seconds(text: &str, tag: &'static str) -> Result<Duration, PlaylistError> {
    let seconds: f64 = text.trim().parse().map_err(|_| PlaylistError::Tag { tag })?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| PlaylistError::Tag { tag })?;
    Ok(duration.min(SEGMENT_DURATION_MAX))
}

fn checked_uri(uri: &str) -> Result<String, PlaylistError> {
    match uri.len() {
        got if got > URI_BYTES_MAX => Err(PlaylistError::UriTooLong { got }),
        _ => Ok(uri.to_owned()),
    }
}

/// The value of an attribute in a list of them, without its quotes.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = attributes;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.strip_prefix(',').unwrap_or(after))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim() == name {
            return Some(value);
        }
        rest = after;
    }
}
