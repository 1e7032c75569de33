//! Track map: a viewer's SDP offer against a stream's format: which track goes out as which payload type.
//!
//! ```text
//!  offer text ─► Offer ─┐
//!                       ├─► TrackMap ─► Offer::narrowed ─► the ICE/DTLS stack answers it
//!  StreamFormat ────────┘
//! ```
//!
//! Video is never transcoded: what the camera sends is either in the offer or it is not. H.264 is
//! matched leniently: browsers offer Constrained Baseline and decode High, so the nearest offered
//! profile is taken rather than none (RFC 6184 s8.2.2 would refuse). Sound: Opus as it is, G.711 as
//! PCMA/PCMU, anything else as the stream's Opus twin if it has one; no common sound is no reason
//! to refuse the picture.
//!
//! A publisher's offer is matched by itself ([`Offer::choose_published`]): of what it could send, H.264 before H.265, Opus before G.711.
//!
//! Limits: [`OFFER_MEDIA_MAX`], [`OFFER_BYTES_MAX`] (over them: refused).
//! Spec: RFC 8866 (SDP), RFC 3264 (offer/answer), RFC 9143 (BUNDLE), RFC 4588 s8 (apt).

use crate::track::{
    CodecConfig, G711Law, H264Config, H265Config, StreamFormat, TrackId, TrackInfo, TrackKind,
};

/// The largest offer taken, in bytes; a browser's has 6 to 10 kB. MediaMTX's limit too.
pub const OFFER_BYTES_MAX: usize = 128 << 10;
/// The most media sections taken; a player needs two.
pub const OFFER_MEDIA_MAX: usize = 16;

/// Why an offer can't be served. The first two are the offer's fault, the others the stream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackMapError {
    /// Not an SDP, or over a limit.
    #[error("offer is not usable: {0}")]
    BadOffer(&'static str),
    /// No audio or video section that wants to receive.
    #[error("offer has no audio or video section that receives")]
    NothingToReceive,
    /// No audio or video section that wants to send something that is carried.
    #[error("offer has no audio or video section that sends H.264, H.265, Opus or G.711")]
    NothingToSend,
    /// Several sections of one kind that want to send.
    #[error("offer sends more than one video and one audio track")]
    TooManyTracks,
    /// The pictures are reordered; WebRTC has no decode time, so browsers show them badly.
    #[error("stream has B-frames, which WebRTC can't carry; watch it over HLS")]
    HasBFrames,
    /// The viewer can't decode what the camera sends.
    #[error("offer lacks the stream's codecs: {missing}")]
    CodecNotOffered {
        /// The codecs that were looked for.
        missing: String,
    },
}

/// Whether a stream's pictures are reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureOrder {
    /// Decode order is presentation order.
    InOrder,
    /// B-frames.
    Reordered,
}

/// What an m-section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
    /// Anything else, a data channel for instance; left as it is.
    Other,
}

/// A payload type as offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedPayload {
    /// The payload type, 0 to 127.
    pub pt: u8,
    /// Encoding name as written (`H264`, `opus`).
    pub encoding: String,
    /// RTP clock rate in Hz.
    pub clock_hz: u32,
    /// Channels, where the offer says so.
    pub channels: Option<u8>,
    /// The format parameters as written; empty without an `a=fmtp`.
    pub fmtp: String,
    /// The payload type of its retransmissions.
    pub rtx_pt: Option<u8>,
}

impl OfferedPayload {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.parameter(name)?.parse().ok()
    }
}

/// One media section of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    kind: SectionKind,
    mid: String,
    direction: Direction,
    payloads: Vec<OfferedPayload>,
    /// Its lines, the m-line first.
    lines: Vec<String>,
}

/// A parsed offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    session_lines: Vec<String>,
    sections: Vec<Section>,
}

/// One track on its way to a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedTrack {
    /// The stream's track.
    pub track: TrackId,
    /// The m-section's `a=mid`.
    pub mid: String,
    /// The payload type chosen.
    pub payload: OfferedPayload,
    /// The codec on the wire.
    pub codec: WireCodec,
}

/// Codecs that go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireCodec {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 7587.
    Opus,
    /// G.711 A-law.
    Pcma,
    /// G.711 mu-law.
    Pcmu,
}

/// What a viewer gets.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TrackMap {
    /// Pictures.
    pub video: Option<MappedTrack>,
    /// Sound.
    pub audio: Option<MappedTrack>,
    /// The sound is the transcoded twin: the reader must ask for it.
    pub wants_transcoded_audio: bool,
    /// Which way media goes.
    pub flow: Flow,
    /// Sections that get nothing but are kept: some stacks fail on a rejected one.
    pub idle: Vec<IdleSection>,
}

/// Which way media goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// To a viewer.
    #[default]
    Out,
    /// From a publisher.
    In,
}

/// A section that is answered `inactive`, with the codec that keeps it valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleSection {
    /// The m-section's `a=mid`.
    pub mid: String,
    /// The payload type named in the answer.
    pub payload: OfferedPayload,
    /// Its codec.
    pub codec: WireCodec,
}

impl TrackMap {
    /// Every payload type that the answer names, with its codec.
    pub fn payloads(&self) -> impl Iterator<Item = (&OfferedPayload, WireCodec)> {
        let served = [&self.video, &self.audio].into_iter().flatten();
        let served = served.map(|track| (&track.payload, track.codec));
        served.chain(self.idle.iter().map(|section| (&section.payload, section.codec)))
    }

    /// A payload type stands for one codec in all sections (RFC 9143 s9.1).
    fn check_payload_types(&self) -> Result<(), TrackMapError> {
        let mut known: Vec<(u8, WireCodec)> = Vec::new();
        for (payload, codec) in self.payloads() {
            if known.iter().any(|(pt, other)| *pt == payload.pt && *other != codec) {
                return Err(TrackMapError::BadOffer("one payload type stands for two codecs"));
            }
            known.push((payload.pt, codec));
        }
        let is_media = |pt: u8| known.iter().any(|(known, _)| *known == pt);
        if self.payloads().any(|(payload, _)| payload.rtx_pt.is_some_and(is_media)) {
            return Err(TrackMapError::BadOffer("a payload type is its own retransmission"));
        }
        Ok(())
    }
}

impl Offer {
    /// Reads an offer as far as choosing tracks needs; the rest is left to the WebRTC stack.
    ///
    /// # Errors
    /// [`TrackMapError::BadOffer`] with the fault.
    pub fn parse(text: &str) -> Result<Self, TrackMapError> {
        if text.len() > OFFER_BYTES_MAX {
            return Err(TrackMapError::BadOffer("larger than 128 KiB"));
        }
        if !text.starts_with("v=0") {
            return Err(TrackMapError::BadOffer("does not begin with v=0"));
        }
        let mut session_lines = Vec::new();
        let mut groups: Vec<Vec<String>> = Vec::new();
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if line.starts_with("m=") {
                if groups.len() == OFFER_MEDIA_MAX {
                    return Err(TrackMapError::BadOffer("more than 16 media sections"));
                }
                groups.push(Vec::new());
            }
            groups.last_mut().unwrap_or(&mut session_lines).push(line.to_owned());
        }
        if groups.is_empty() {
            return Err(TrackMapError::BadOffer("no media section"));
        }
        let session_direction = direction(&session_lines);
        let sections = groups.into_iter().map(|lines| Section::parse(lines, session_direction)).collect();
        Ok(Self { session_lines, sections })
    }

    /// Chooses the tracks for a viewer with this offer.
    ///
    /// # Errors
    /// [`TrackMapError`] when nothing useful can be sent. Sound alone is useful only for a stream
    /// without pictures or an offer without a video section.
    pub fn choose(&self, format: &StreamFormat, order: PictureOrder) -> Result<TrackMap, TrackMapError> {
        let video_section = self.receiver(SectionKind::Video);
        let audio_section = self.receiver(SectionKind::Audio);
        if video_section.is_none() && audio_section.is_none() {
            return Err(TrackMapError::NothingToReceive);
        }
        let video = match (video_section, format.video()) {
            (Some(section), Some(track)) => {
                if order == PictureOrder::Reordered {
                    return Err(TrackMapError::HasBFrames);
                }
                let mapped = section.map_video(track);
                let missing = || TrackMapError::CodecNotOffered { missing: track.codec.api_name().into() };
                Some(mapped.ok_or_else(missing)?)
            }
            _ => None,
        };
        let audio = audio_section.and_then(|section| section.map_audio(format));
        if video.is_none() && audio.is_none() {
            let names: Vec<&str> = format.source_tracks().map(|track| track.codec.api_name()).collect();
            return Err(TrackMapError::CodecNotOffered { missing: names.join(", ") });
        }
        let is_twin = |mapped: &MappedTrack| {
            format.track(mapped.track).is_some_and(|track| track.transcoded_from.is_some())
        };
        let wants_transcoded_audio = audio.as_ref().is_some_and(is_twin);
        self.with_idle(TrackMap { video, audio, wants_transcoded_audio, flow: Flow::Out, idle: Vec::new() })
    }

    /// Chooses what a publisher with this offer sends: one track of pictures, one of sound, whose [`MappedTrack::track`] are their places
    /// among [`TrackMap::video`] and [`TrackMap::audio`].
    ///
    /// # Errors
    /// [`TrackMapError`] when it is nothing that can be carried, or too much.
    pub fn choose_published(&self) -> Result<TrackMap, TrackMapError> {
        let sends =
            |kind| self.sections.iter().filter(move |section| section.kind == kind && section.sends());
        let (mut videos, mut audios) = (sends(SectionKind::Video), sends(SectionKind::Audio));
        let (video, audio) = (videos.next(), audios.next());
        if videos.next().is_some() || audios.next().is_some() {
            return Err(TrackMapError::TooManyTracks);
        }
        let video = video.and_then(|section| {
            // What has fragments (RFC 6184 s6.2).
            let h264 = section
                .best("H264", |offered| (offered.number("packetization-mode") == Some(1)).then_some(0));
            let h265 = || Some((section.best("H265", |_| Some(0))?, WireCodec::H265));
            let (payload, codec) = h264.map(|payload| (payload, WireCodec::H264)).or_else(h265)?;
            Some(section.mapped(TrackId(0), payload, codec))
        });
        let audio = audio.and_then(|section| {
            let codecs = [("opus", WireCodec::Opus), ("PCMA", WireCodec::Pcma), ("PCMU", WireCodec::Pcmu)];
            let offered = |(encoding, codec)| Some((section.best(encoding, |_| Some(0))?, codec));
            let (payload, codec) = codecs.into_iter().find_map(offered)?;
            Some(section.mapped(TrackId(u8::from(video.is_some())), payload, codec))
        });
        if video.is_none() && audio.is_none() {
            return Err(TrackMapError::NothingToSend);
        }
        self.with_idle(TrackMap {
            video,
            audio,
            wants_transcoded_audio: false,
            flow: Flow::In,
            idle: Vec::new(),
        })
    }

    fn with_idle(&self, mut map: TrackMap) -> Result<TrackMap, TrackMapError> {
        map.idle = self.sections.iter().filter_map(|section| section.kept_idle(&map)).collect();
        map.check_payload_types()?;
        Ok(map)
    }

    /// The offer with only what `map` serves. What both could send is receive only, so that the
    /// answer is `sendonly` (correctness: W1), or the other way round for a publisher; an idle section is inactive; one whose codecs are all
    /// unknown is rejected (port 0, outside BUNDLE).
    pub fn narrowed(&self, map: &TrackMap) -> String {
        let is_rejected = |section: &&Section| section.fate(map) == Fate::Rejected;
        let rejected: Vec<&str> =
            self.sections.iter().filter(is_rejected).map(|section| section.mid.as_str()).collect();
        let mut text = String::with_capacity(8192);
        for line in &self.session_lines {
            match line.strip_prefix("a=group:BUNDLE") {
                Some(mids) => {
                    text.push_str("a=group:BUNDLE");
                    for mid in mids.split_ascii_whitespace().filter(|mid| !rejected.contains(mid)) {
                        text.push(' ');
                        text.push_str(mid);
                    }
                }
                None => text.push_str(line),
            }
            text.push_str("\r\n");
        }
        for section in &self.sections {
            section.write(&mut text, section.fate(map), map.flow);
        }
        text
    }

    fn receiver(&self, kind: SectionKind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind && section.receives())
    }
}

impl Section {
    fn parse(lines: Vec<String>, session_direction: Option<Direction>) -> Self {
        let m_line = lines.first().map_or("", String::as_str);
        let mut fields = m_line.split_ascii_whitespace();
        let kind = match fields.next() {
            Some("m=audio") => SectionKind::Audio,
            Some("m=video") => SectionKind::Video,
            _ => SectionKind::Other,
        };
        let is_rejected = fields.next() == Some("0") && !lines.iter().any(|line| line == "a=bundle-only");
        let payloads = fields.skip(1).filter_map(|pt| pt.parse().ok()).filter(|pt| *pt < 128);
        let payloads = payloads.filter_map(|pt| payload(&lines, pt)).collect();
        let mid = attribute(&lines, "a=mid:").unwrap_or_default().to_owned();
        let direction = direction(&lines).or(session_direction).unwrap_or(Direction::SendRecv);
        let direction = if is_rejected { Direction::Inactive } else { direction };
        Self { kind, mid, direction, payloads, lines }
    }

    fn receives(&self) -> bool {
        matches!(self.direction, Direction::SendRecv | Direction::RecvOnly)
    }

    fn sends(&self) -> bool {
        matches!(self.direction, Direction::SendRecv | Direction::SendOnly)
    }

    fn map_video(&self, track: &TrackInfo) -> Option<MappedTrack> {
        let (payload, codec) = match &track.codec {
            CodecConfig::H264(config) => {
                (self.best("H264", |offered| h264_score(config, offered))?, WireCodec::H264)
            }
            CodecConfig::H265(config) => {
                (self.best("H265", |offered| h265_score(config, offered))?, WireCodec::H265)
            }
            CodecConfig::Aac(_) | CodecConfig::Opus { .. } | CodecConfig::G711 { .. } => return None,
        };
        Some(self.mapped(track.id, payload, codec))
    }

    fn map_audio(&self, format: &StreamFormat) -> Option<MappedTrack> {
        let is_audio = |track: &&TrackInfo| track.codec.kind() == TrackKind::Audio;
        let source = format.source_tracks().filter(is_audio);
        let twins = format.tracks.iter().filter(|t| t.transcoded_from.is_some()).filter(is_audio);
        source.chain(twins).find_map(|track| {
            let (encoding, codec) = match &track.codec {
                CodecConfig::Opus { .. } => ("opus", WireCodec::Opus),
                // Browsers know G.711 at 8 kHz, one channel, only (RFC 7874 s3).
                CodecConfig::G711 { law, sample_rate: 8000, channels: 1 } => match law {
                    G711Law::A => ("PCMA", WireCodec::Pcma),
                    G711Law::Mu => ("PCMU", WireCodec::Pcmu),
                },
                _ => return None,
            };
            let payload = self.best(encoding, |_| Some(0))?;
            Some(self.mapped(track.id, payload, codec))
        })
    }

    fn mapped(&self, track: TrackId, payload: &OfferedPayload, codec: WireCodec) -> MappedTrack {
        MappedTrack { track, mid: self.mid.clone(), payload: payload.clone(), codec }
    }

    /// The offered payload type of this encoding with the highest score; the earlier one of equals.
    fn best(
        &self,
        encoding: &str,
        score: impl Fn(&OfferedPayload) -> Option<u32>,
    ) -> Option<&OfferedPayload> {
        let offered = self.payloads.iter().filter(|p| p.encoding.eq_ignore_ascii_case(encoding));
        let scored = offered.filter_map(|payload| Some((score(payload)?, payload)));
        scored.rev().max_by_key(|(score, _)| *score).map(|(_, payload)| payload)
    }

    /// The codec with which a section without media is kept; `None` for one that has media, that is
    /// not about media, or of whose codecs we know none.
    fn kept_idle(&self, map: &TrackMap) -> Option<IdleSection> {
        if self.fate(map) != Fate::Rejected {
            return None;
        }
        let codecs = [
            ("H264", WireCodec::H264, SectionKind::Video),
            ("H265", WireCodec::H265, SectionKind::Video),
            ("opus", WireCodec::Opus, SectionKind::Audio),
            ("PCMU", WireCodec::Pcmu, SectionKind::Audio),
            ("PCMA", WireCodec::Pcma, SectionKind::Audio),
        ];
        let of_kind = codecs.into_iter().filter(|(.., kind)| *kind == self.kind);
        let (payload, codec) = of_kind
            .filter_map(|(encoding, codec, _)| Some((self.best(encoding, |_| Some(0))?, codec)))
            .next()?;
        Some(IdleSection { mid: self.mid.clone(), payload: payload.clone(), codec })
    }

    fn fate(&self, map: &TrackMap) -> Fate {
        let mapped = [&map.video, &map.audio];
        if self.kind == SectionKind::Other {
            Fate::AsIs
        } else if mapped.into_iter().flatten().any(|track| track.mid == self.mid) {
            Fate::Served
        } else if map.idle.iter().any(|section| section.mid == self.mid) {
            Fate::Idle
        } else {
            Fate::Rejected
        }
    }

    fn write(&self, text: &mut String, fate: Fate, flow: Flow) {
        let dropped = |line: &str| match fate {
            Fate::AsIs => false,
            Fate::Served | Fate::Idle => is_direction(line),
            Fate::Rejected => is_direction(line) || line == "a=bundle-only",
        };
        for line in self.lines.iter().filter(|line| !dropped(line)) {
            match fate {
                Fate::Rejected if line.starts_with("m=") => text.push_str(&with_port_zero(line)),
                _ => text.push_str(line),
            }
            text.push_str("\r\n");
        }
        match fate {
            Fate::AsIs => {}
            Fate::Served if flow == Flow::In => text.push_str("a=sendonly\r\n"),
            Fate::Served => text.push_str("a=recvonly\r\n"),
            Fate::Idle | Fate::Rejected => text.push_str("a=inactive\r\n"),
        }
    }
}

/// What becomes of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Not audio or video.
    AsIs,
    /// Gets a track.
    Served,
    /// Kept without media.
    Idle,
    /// Port 0.
    Rejected,
}

fn with_port_zero(m_line: &str) -> String {
    let mut fields: Vec<&str> = m_line.split_ascii_whitespace().collect();
    if let Some(port) = fields.get_mut(1) {
        *port = "0";
    }
    fields.join(" ")
}

/// How near an offered H.264 payload type is to the stream; `None` when it can't carry it.
fn h264_score(config: &H264Config, offered: &OfferedPayload) -> Option<u32> {
    // Without packetization-mode 1 there are no fragments (RFC 6184 s6.2); an offer that says
    // nothing comes from stacks that take both, one that says 0 from browsers that mean it.
    let mode = offered.number("packetization-mode");
    let mode_score = match mode {
        Some(1) => 100,
        None => 50,
        Some(_) => return None,
    };
    let id = offered.parameter("profile-level-id").and_then(|id| u32::from_str_radix(id, 16).ok());
    // RFC 6184 s8.1: without the parameter, Baseline level 1.
    let [_, profile, constraints, level] = id.unwrap_or(0x0042_000a).to_be_bytes();
    let same_family = h264_family(config.profile_idc) == h264_family(profile);
    let profile_score = match (config.profile_idc == profile, same_family) {
        (true, _) if config.constraint_flags == constraints => 30,
        (true, _) => 20,
        (false, true) => 10,
        // The richer the profile a viewer offers, the likelier it decodes another rich one.
        (false, false) => u32::from(profile >= 77),
    };
    Some(mode_score + profile_score + u32::from(level >= config.level_idc))
}

/// Profiles of which a decoder of one usually decodes the other.
fn h264_family(profile_idc: u8) -> u8 {
    match profile_idc {
        66 => 66,
        77 | 88 => 77,
        other => other.max(100),
    }
}

/// As [`h264_score`] for H.265, where the profile must fit: hardware decoders have no leniency.
fn h265_score(config: &H265Config, offered: &OfferedPayload) -> Option<u32> {
    // RFC 7798 s7.1: profile-id defaults to 1 (Main), tier-flag to 0.
    let profile = offered.number("profile-id").unwrap_or(1);
    let stream_profile = u32::from(config.general_profile & 0x1f);
    // Main 10 decoders take Main (ITU-T H.265 A.3.3); every other pair must be equal.
    let fits = profile == stream_profile || (profile == 2 && stream_profile == 1);
    // Transmission of one RTP stream only (RFC 7798 s7.1, tx-mode).
    let one_stream = offered.parameter("tx-mode").is_none_or(|mode| mode.eq_ignore_ascii_case("SRST"));
    // RFC 7798 s7.1: level-id defaults to 93 (level 3.1). Decoders play more than they promise.
    let level_fits = offered.number("level-id").unwrap_or(93) >= u32::from(config.level_idc);
    (fits && one_stream).then_some(u32::from(profile == stream_profile) * 2 + u32::from(level_fits))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

fn is_direction(line: &str) -> bool {
    matches!(line, "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive")
}

fn direction(lines: &[String]) -> Option<Direction> {
    lines.iter().find_map(|line| match line.as_str() {
        "a=sendrecv" => Some(Direction::SendRecv),
        "a=sendonly" => Some(Direction::SendOnly),
        "a=recvonly" => Some(Direction::RecvOnly),
        "a=inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

fn attribute<'a>(lines: &'a [String], prefix: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix(prefix)).map(str::trim)
}

/// The offered payload `pt`; `None` for one without a mapping that is not a static one, and for
/// retransmissions, which belong to another payload.
fn payload(lines: &[String], pt: u8) -> Option<OfferedPayload> {
    let of_pt = |prefix: &str| {
        let values = lines.iter().filter_map(move |line| line.strip_prefix(prefix)?.split_once(' '));
        values.filter(|(number, _)| number.parse() == Ok(pt)).map(|(_, value)| value.trim()).next()
    };
    let rtpmap = of_pt("a=rtpmap:").or(match pt {
        0 => Some("PCMU/8000"),
        8 => Some("PCMA/8000"),
        _ => None,
    })?;
    let mut parts = rtpmap.split('/');
    let encoding = parts.next()?.to_owned();
    if encoding.eq_ignore_ascii_case("rtx") {
        return None;
    }
    let clock_hz = parts.next()?.parse().ok()?;
    let channels = parts.next().and_then(|channels| channels.parse().ok());
    let fmtp = of_pt("a=fmtp:").unwrap_or_default().to_owned();
    Some(OfferedPayload { pt, encoding, clock_hz, channels, fmtp, rtx_pt: rtx_of(lines, pt) })
}

/// The payload type whose `apt` is `pt`.
fn rtx_of(lines: &[String], pt: u8) -> Option<u8> {
    lines.iter().find_map(|line| {
        let (rtx, parameters) = line.strip_prefix("a=fmtp:")?.split_once(' ')?;
        let apt = parameters.split(';').find_map(|pair| pair.trim().strip_prefix("apt="))?;
        (apt.trim().parse() == Ok(pt)).then(|| rtx.parse().ok().filter(|rtx: &u8| *rtx < 128))?
    })
}

#[cfg(test)]
mod tests;
