//! TS: the packets of an MPEG-TS segment to access units of its first picture and sound streams.
//!
//! ```text
//!  packet (188 bytes) ─ PID 0 ─► PAT ─► PID of the PMT ─► PMT ─► PIDs of H.264, H.265, AAC
//!                     └ those PIDs ─► PES ─┬─ byte stream ─► one picture behind lengths
//!                                          └─ ADTS ─► frames, AudioSpecificConfig
//! ```
//!
//! One PES packet is taken for one picture, as HLS packagers make them. Checksums of tables are not looked at: TCP has brought them.
//! Spec: ISO/IEC 13818-1 s2.4.3 (packets, PES), s2.4.4 (tables); ISO/IEC 14496-3 s1.A.3.2 (ADTS).
//! Limits: [`SECTION_BYTES_MAX`], `ACCESS_UNIT_BYTES_MAX` a PES packet (a longer one is dropped and counted).

use bytes::{BufMut as _, Bytes, BytesMut};

use super::demux::{Kind, Raw};
use super::{Codec, VIDEO_RATE};
use crate::access_unit::ACCESS_UNIT_BYTES_MAX;
use crate::codec::bits::{BitError, BitReader};
use crate::codec::nal::annex_b;

/// The bytes of a packet.
pub(super) const PACKET_BYTES: usize = 188;

/// The byte that each begins with.
pub(super) const SYNC: u8 = 0x47;

/// The longest section of a table (s2.4.4.3).
const SECTION_BYTES_MAX: usize = 1024;

/// Samples of an AAC frame.
const FRAME_SAMPLES: i64 = 1024;

/// Times have 33 bits.
const TIME_BITS: u32 = 33;

/// `stream_type`s that are taken (s2.4.4.10).
const STREAM_AAC_ADTS: u8 = 0x0f;
const STREAM_H264: u8 = 0x1b;
const STREAM_H265: u8 = 0x24;

/// Takes segments apart; remembers what goes on from one to the next.
#[derive(Debug, Default)]
pub(super) struct TsDemuxer {
    pmt_pid: Option<u16>,
    pat: Section,
    pmt: Section,
    video: Option<Stream>,
    audio: Option<Stream>,
    /// The latest time, which the next is near to.
    near: Option<i64>,
    sound: Sound,
}

/// Where a packet stands in what its stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Something begins in it.
    Start,
    /// It goes on with what began.
    Later,
}

/// A PES packet's header, read.
struct PesHeader<'a> {
    /// Presentation and decoding, where it has any.
    times: Option<(i64, i64)>,
    payload: &'a [u8],
}

/// A table's section on its way.
#[derive(Debug, Default)]
struct Section {
    bytes: Vec<u8>,
}

/// One elementary stream.
#[derive(Debug)]
struct Stream {
    pid: u16,
    codec: Option<Codec>,
    pes: Option<Pes>,
}

/// A PES packet under way.
#[derive(Debug)]
struct Pes {
    pts: i64,
    dts: i64,
    payload: BytesMut,
    is_too_long: bool,
}

/// What is known of the sound.
#[derive(Debug, Default)]
struct Sound {
    config: Bytes,
    rate: u32,
    /// A frame that goes on in the next PES packet.
    rest: BytesMut,
    /// When the frame after the last one is due, in samples.
    next: Option<i64>,
}

impl TsDemuxer {
    /// Takes a whole segment apart; says how much of it was malformed.
    pub(super) fn segment(&mut self, bytes: &[u8], out: &mut Vec<Raw>) -> u64 {
        let mut malformed = 0;
        let mut rest = bytes;
        while let Some((packet, after)) = rest.split_at_checked(PACKET_BYTES) {
            if packet.first() != Some(&SYNC) {
                malformed += 1;
                rest = resynchronised(rest);
                continue;
            }
            malformed += u64::from(self.packet(packet, out).is_none());
            rest = after;
        }
        for kind in [Kind::Video, Kind::Audio] {
            malformed += u64::from(self.finish(kind, out).is_none());
        }
        self.sound.rest.clear();
        malformed
    }

    /// Forgets times and what is half there: something else follows.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The codec of the pictures, as the table tells it.
    pub(super) fn video(&self) -> Option<&Codec> {
        self.video.as_ref()?.codec.as_ref()
    }

    /// The codec of the sound, once a frame of it has come.
    pub(super) fn audio(&self) -> Option<Codec> {
        (!self.sound.config.is_empty())
            .then(|| Codec::Aac { config: self.sound.config.clone(), rate: self.sound.rate })
    }

    /// `None` when the packet makes no sense.
    fn packet(&mut self, packet: &[u8], out: &mut Vec<Raw>) -> Option<()> {
        let (head, rest) = packet.split_first_chunk::<4>()?;
        let [_, high, low, flags] = *head;
        let place = if high & 0x40 != 0 { Place::Start } else { Place::Later };
        let pid = u16::from_be_bytes([high & 0x1f, low]);
        if high & 0x80 != 0 || flags & 0xc0 != 0 {
            // Broken, or scrambled.
            return None;
        }
        let payload = match flags >> 4 & 3 {
            1 => rest,
            3 => {
                let (length, rest) = rest.split_first()?;
                rest.get(usize::from(*length)..)?
            }
            _ => return Some(()),
        };
        if pid == 0 {
            if let Some(section) = self.pat.push(payload, place)? {
                self.pmt_pid = program_map_pid(&section);
            }
        } else if Some(pid) == self.pmt_pid {
            if let Some(section) = self.pmt.push(payload, place)? {
                self.streams(&section)?;
            }
        } else if self.video.as_ref().is_some_and(|stream| stream.pid == pid) {
            self.elementary(Kind::Video, (payload, place), out)?;
        } else if self.audio.as_ref().is_some_and(|stream| stream.pid == pid) {
            self.elementary(Kind::Audio, (payload, place), out)?;
        }
        Some(())
    }

    /// The streams of a PMT: the first of each kind that is carried.
    fn streams(&mut self, section: &[u8]) -> Option<()> {
        let information = usize::from(u16::from_be_bytes([*section.get(10)? & 0x0f, *section.get(11)?]));
        // Behind the last stream stands the checksum.
        let mut rest = section.get(12 + information..section.len().checked_sub(4)?)?;
        let (mut video, mut audio) = (None, None);
        while let Some((head, after)) = rest.split_first_chunk::<5>() {
            let [stream_type, pid_high, pid_low, length_high, length_low] = *head;
            let pid = u16::from_be_bytes([pid_high & 0x1f, pid_low]);
            match stream_type {
                STREAM_H264 => video = video.or(Some((pid, Some(Codec::H264)))),
                STREAM_H265 => video = video.or(Some((pid, Some(Codec::H265)))),
                STREAM_AAC_ADTS => audio = audio.or(Some((pid, None))),
                _ => {}
            }
            rest = after.get(usize::from(u16::from_be_bytes([length_high & 0x0f, length_low]))..)?;
        }
        take_stream(&mut self.video, video);
        take_stream(&mut self.audio, audio);
        Some(())
    }

    fn elementary(&mut self, kind: Kind, (payload, place): (&[u8], Place), out: &mut Vec<Raw>) -> Option<()> {
        if place == Place::Later {
            if let Some(pes) = self.stream(kind).and_then(|stream| stream.pes.as_mut()) {
                pes.push(payload);
            }
            return Some(());
        }
        let PesHeader { times, payload } = pes_header(payload)?;
        let Some((pts, dts)) = times else {
            // It goes on with the one before.
            if let Some(pes) = self.stream(kind).and_then(|stream| stream.pes.as_mut()) {
                pes.push(payload);
            }
            return Some(());
        };
        self.finish(kind, out);
        let dts = self.extended(dts);
        let pts = nearest(pts, dts);
        let mut pes = Pes { pts, dts, payload: BytesMut::new(), is_too_long: false };
        pes.push(payload);
        self.stream(kind)?.pes = Some(pes);
        Some(())
    }

    /// A time of 33 bits near the one before.
    fn extended(&mut self, time: i64) -> i64 {
        let extended = self.near.map_or(time, |near| nearest(time, near));
        self.near = Some(extended);
        extended
    }

    fn stream(&mut self, kind: Kind) -> Option<&mut Stream> {
        match kind {
            Kind::Video => self.video.as_mut(),
            Kind::Audio => self.audio.as_mut(),
        }
    }

    /// Hands out the PES packet under way; `None` when it can't be used.
    fn finish(&mut self, kind: Kind, out: &mut Vec<Raw>) -> Option<()> {
        let Some(pes) = self.stream(kind).and_then(|stream| stream.pes.take()) else { return Some(()) };
        if pes.is_too_long {
            return None;
        }
        match kind {
            Kind::Video => {
                let payload = behind_lengths(&pes.payload);
                if !payload.is_empty() {
                    out.push(Raw { kind, dts: pes.dts, pts: pes.pts, timescale: VIDEO_RATE, payload });
                }
                Some(())
            }
            Kind::Audio => self.sound.frames(&pes, out),
        }
    }
}

impl Pes {
    fn push(&mut self, payload: &[u8]) {
        self.is_too_long |= self.payload.len() + payload.len() > ACCESS_UNIT_BYTES_MAX;
        if !self.is_too_long {
            self.payload.extend_from_slice(payload);
        }
    }
}

impl Section {
    /// Takes a packet's payload, and hands out the section once it is whole. `None` when it makes no sense.
    fn push(&mut self, payload: &[u8], place: Place) -> Option<Option<Vec<u8>>> {
        let mut payload = payload;
        if place == Place::Start {
            let (pointer, rest) = payload.split_first()?;
            payload = rest.get(usize::from(*pointer)..)?;
            self.bytes.clear();
        } else if self.bytes.is_empty() {
            return Some(None);
        }
        let room = SECTION_BYTES_MAX - self.bytes.len();
        self.bytes.extend_from_slice(payload.get(..room.min(payload.len()))?);
        let Some([_, high, low]) = self.bytes.first_chunk() else { return Some(None) };
        let length = 3 + usize::from(u16::from_be_bytes([high & 0x0f, *low]));
        if length > SECTION_BYTES_MAX {
            self.bytes.clear();
            return None;
        }
        if self.bytes.len() < length {
            return Some(None);
        }
        let mut section = std::mem::take(&mut self.bytes);
        section.truncate(length);
        Some(Some(section))
    }
}

impl Sound {
    /// The frames of a PES packet, and of the one before what it left.
    fn frames(&mut self, pes: &Pes, out: &mut Vec<Raw>) -> Option<()> {
        let mut left_over = self.rest.len();
        self.rest.extend_from_slice(&pes.payload);
        let bytes = self.rest.split().freeze();
        let mut rest = &bytes[..];
        let mut in_pes: i64 = 0;
        while rest.len() >= 7 {
            let frame = Adts::read(rest).ok().flatten()?;
            let Some((whole, after)) = rest.split_at_checked(frame.bytes) else { break };
            if *self.config != frame.config {
                self.config = Bytes::copy_from_slice(&frame.config);
                (self.rate, self.next) = (frame.rate, None);
            }
            let rate = i64::from(frame.rate);
            // A frame that began in the packet before goes on with its time.
            let from_pes = pes.pts * rate / i64::from(VIDEO_RATE) + in_pes * FRAME_SAMPLES;
            let is_left_over = left_over > 0;
            left_over = left_over.saturating_sub(frame.bytes);
            in_pes += i64::from(!is_left_over);
            let time = self.next.filter(|next| is_left_over || (next - from_pes).abs() <= rate / 500);
            let time = time.unwrap_or(from_pes);
            self.next = Some(time + FRAME_SAMPLES);
            let payload = Bytes::copy_from_slice(whole.get(frame.header_bytes..)?);
            out.push(Raw { kind: Kind::Audio, dts: time, pts: time, timescale: frame.rate, payload });
            rest = after;
        }
        if rest.len() < ACCESS_UNIT_BYTES_MAX {
            self.rest.extend_from_slice(rest);
        }
        Some(())
    }
}

/// The header of an ADTS frame.
struct Adts {
    bytes: usize,
    header_bytes: usize,
    rate: u32,
    config: [u8; 2],
}

impl Adts {
    /// `None` for bytes that are no frame.
    fn read(bytes: &[u8]) -> Result<Option<Self>, BitError> {
        let mut bits = BitReader::new(bytes);
        if bits.bits(12)? != 0xfff {
            return Ok(None);
        }
        bits.skip(3)?; // ID, layer
        let has_no_checksum = bits.flag()?;
        let object_type = bits.bits(2)? + 1;
        let rate_index = bits.bits(4)?;
        bits.skip(1)?; // private
        let channels = bits.bits(3)?;
        bits.skip(4)?; // original, home, copyright
        let length = usize::try_from(bits.bits(13)?).unwrap_or(0);
        bits.skip(11)?; // fullness
        // More than one frame behind a header is allowed, and made by nobody.
        let more_blocks = bits.bits(2)?;
        let header_bytes = if has_no_checksum { 7 } else { 9 };
        let config = u16::try_from(object_type << 11 | rate_index << 7 | channels << 3).unwrap_or(0);
        let config = config.to_be_bytes();
        let codec = Codec::aac(Bytes::copy_from_slice(&config));
        match codec {
            Some(Codec::Aac { rate, .. }) if length > header_bytes && more_blocks == 0 => {
                Ok(Some(Self { bytes: length, header_bytes, rate, config }))
            }
            _ => Ok(None),
        }
    }
}

/// Keeps a stream that is still the same.
fn take_stream(known: &mut Option<Stream>, told: Option<(u16, Option<Codec>)>) {
    let is_same = |stream: &Stream| told.as_ref() == Some(&(stream.pid, stream.codec.clone()));
    if !known.as_ref().is_some_and(is_same) {
        *known = told.map(|(pid, codec)| Stream { pid, codec, pes: None });
    }
}

/// From the next place on that looks like a packet.
fn resynchronised(bytes: &[u8]) -> &[u8] {
    let is_packet = |at: usize| {
        bytes.get(at) == Some(&SYNC) && bytes.get(at + PACKET_BYTES).is_none_or(|next| *next == SYNC)
    };
    let at = (1..bytes.len()).find(|at| is_packet(*at)).unwrap_or(bytes.len());
    bytes.get(at..).unwrap_or_default()
}

/// The PID of the first program's table.
fn program_map_pid(section: &[u8]) -> Option<u16> {
    let programs = section.get(8..section.len().checked_sub(4)?)?;
    let mut programs = programs.chunks_exact(4).filter_map(|program| program.first_chunk::<4>());
    let [_, _, high, low] = programs.find(|program| program.get(..2) != Some(&[0, 0]))?;
    Some(u16::from_be_bytes([high & 0x1f, *low]))
}

/// A PES packet's times (presentation, decoding) and the bytes behind its header.
fn pes_header(payload: &[u8]) -> Option<PesHeader<'_>> {
    let (head, rest) = payload.split_first_chunk::<9>()?;
    let [0, 0, 1, _, _, _, _, flags, length] = *head else { return None };
    let (fields, data) = rest.split_at_checked(usize::from(length))?;
    let pts = (flags & 0x80 != 0).then(|| time(fields)).flatten();
    let dts = (flags & 0x40 != 0).then(|| time(fields.get(5..)?)).flatten();
    Some(PesHeader { times: pts.map(|pts| (pts, dts.unwrap_or(pts))), payload: data })
}

/// 33 bits with markers between them.
fn time(field: &[u8]) -> Option<i64> {
    let [a, b, c, d, e] = field.first_chunk::<5>()?.map(i64::from);
    Some((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}

/// The time with these 33 bits that is nearest to another.
fn nearest(time: i64, near: i64) -> i64 {
    let period = 1_i64 << TIME_BITS;
    let difference = (time - near).rem_euclid(period);
    if difference < period / 2 { near + difference } else { near + difference - period }
}

/// The NAL units of a byte stream behind their lengths.
fn behind_lengths(stream: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(stream.len() + 16);
    for nal in annex_b(stream) {
        out.put_u32(u32::try_from(nal.len()).unwrap_or(0));
        out.put_slice(nal);
    }
    out.freeze()
}
