//! Pipeline: what becomes of a hostile source's media: ingest, remuxing to parts, their playlist, and both read back.
//!
//! Times are virtual: a packet comes every [`STEP`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::access_unit::{ACCESS_UNIT_BYTES_MAX, AccessUnit};
use media_core::codec::nal::length_prefixed;
use media_core::egress::hls::{Prefix, Variant, Window, WindowConfig};
use media_core::hls::Playlist;
use media_core::ingest::{Ingest, IngestEvent, TrackSetup};
use media_core::remux::fmp4::read::{box_header, fragment_head};
use media_core::remux::fmp4::{Event, Part, Segmenter, SegmenterConfig};
use media_core::rtp::RtpPacket;
use media_core::rtsp::{MediaKind, ReceivedRtp, RtpReceiver, parse_losses, parse_sender_report};
use media_core::time::WallTime;
use media_core::track::{SharedFormat, TrackId, TrackKind};

/// From one packet to the next.
const STEP: Duration = Duration::from_millis(5);

/// 2026-01-01T00:00:00Z, when everything begins.
const WALL: WallTime = WallTime(1_767_225_600_000_000);

/// Bytes of access units for one of input: a NAL unit of one byte costs five, and one packet may tell many.
const UNIT_EXPANSION_MAX: usize = 6;

/// Bytes of parts that a whole input may become, its own left out: heads, and silence in place of missing sound.
const PART_OVERHEAD_BYTES_MAX: usize = 32 << 20;

/// A source's media on its way.
pub(crate) struct Pipeline {
    ingest: Ingest,
    segmenter: Segmenter,
    /// What viewers would be served.
    pub(crate) window: Window,
    receivers: Vec<RtpReceiver>,
    start: Instant,
    now: Instant,
    given_bytes: usize,
    unit_bytes: usize,
    part_bytes: usize,
    /// The decode time behind the last unit of each track, of the format in force.
    last: BTreeMap<TrackId, i64>,
    format: Option<SharedFormat>,
    part: Option<Arc<Part>>,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        let start = Instant::now();
        Self {
            ingest: Ingest::new(start),
            segmenter: Segmenter::new(SegmenterConfig {
                segment_duration: Duration::from_secs(1),
                part_duration: Duration::from_millis(200),
                segment_bytes_max: 50 << 20,
                first_msn: 7,
            }),
            window: Window::new(WindowConfig {
                variant: Variant::LowLatency,
                segment_count: 7,
                bytes_soft: 50 << 20,
                prefix: Prefix::from_number(7),
                first_discontinuity: 7,
            }),
            receivers: Vec::new(),
            start,
            now: start,
            given_bytes: 0,
            unit_bytes: 0,
            part_bytes: 0,
            last: BTreeMap::new(),
            format: None,
            part: None,
        }
    }

    /// A connection with these tracks; whether one of them can be carried.
    pub(crate) fn start(&mut self, setups: &[TrackSetup]) -> bool {
        self.given_bytes +=
            setups.iter().filter_map(|setup| setup.fmtp.as_ref()).map(String::len).sum::<usize>();
        let taken = self.ingest.start(setups, self.now);
        self.drain();
        taken.is_ok()
    }

    /// A connection over RTP, with these payload types.
    pub(crate) fn start_rtp(&mut self, tracks: Vec<(u8, TrackSetup)>) -> bool {
        let receiver =
            |(payload_type, setup): &(u8, TrackSetup)| RtpReceiver::new(*payload_type, setup.clock_rate);
        self.receivers = tracks.iter().map(receiver).collect();
        let setups: Vec<TrackSetup> = tracks.into_iter().map(|(_, setup)| setup).collect();
        self.start(&setups)
    }

    /// A packet of a track.
    pub(crate) fn rtp(&mut self, (track, kind): (usize, MediaKind), packet: Bytes) {
        self.given_bytes += packet.len();
        self.now += STEP;
        if kind == MediaKind::Rtcp {
            parse_losses(&packet);
            if let Some(report) = parse_sender_report(&packet) {
                self.ingest.handle_sender_report(track, report.ntp, report.rtp_timestamp);
            }
            return;
        }
        let Some(receiver) = self.receivers.get_mut(track) else { return };
        let mut in_order = Vec::new();
        receiver.handle(packet, self.now, &mut in_order);
        for ReceivedRtp { seq, rtp_timestamp, marker, payload, lost_before } in in_order {
            let packet = self.packet(payload, rtp_timestamp);
            let packet = RtpPacket { seq, marker, lost_before, ..packet };
            // What a packet is refused for, the server only tells.
            self.ingest.handle_rtp(track, &packet).ok();
            self.drain();
        }
    }

    /// A whole access unit of a track.
    pub(crate) fn unit(&mut self, track: usize, rtp_timestamp: u32, payload: Bytes) {
        self.given_bytes += payload.len();
        self.now += STEP;
        let unit = self.packet(payload, rtp_timestamp);
        self.ingest.handle_unit(track, &unit).ok();
        self.drain();
    }

    pub(crate) fn parameter_sets(&mut self, track: usize, nals: &[Bytes]) {
        self.ingest.handle_parameter_sets(track, nals);
        self.drain();
    }

    fn packet(&self, payload: Bytes, rtp_timestamp: u32) -> RtpPacket {
        let passed = i64::try_from((self.now - self.start).as_micros()).unwrap_or(i64::MAX);
        RtpPacket {
            seq: 0,
            rtp_timestamp,
            marker: true,
            payload,
            arrival: self.now,
            arrival_wall: WALL.plus_us(passed),
            lost_before: 0,
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.ingest.poll_event() {
            match event {
                IngestEvent::Format(format) => {
                    self.last.clear();
                    self.format = Some(format);
                }
                IngestEvent::Unit(unit) => self.take(unit),
            }
        }
    }

    fn take(&mut self, unit: AccessUnit) {
        let format = self.format.clone().expect("a format before the first unit");
        let track = format.track(unit.track).expect("a unit's track in its format");
        assert!(unit.pts_ticks >= unit.dts_ticks, "shown before it is decoded: {unit:?}");
        if let Some(before) = self.last.insert(unit.track, unit.dts_ticks) {
            assert!(unit.dts_ticks > before, "decode time {} after {before}", unit.dts_ticks);
        }
        assert!(unit.payload.len() <= ACCESS_UNIT_BYTES_MAX, "unit of {} bytes", unit.payload.len());
        self.unit_bytes += unit.payload.len();
        let bytes_max = UNIT_EXPANSION_MAX * self.given_bytes;
        assert!(self.unit_bytes <= bytes_max, "{} bytes of {}", self.unit_bytes, self.given_bytes);
        if track.codec.kind() == TrackKind::Video {
            let nals: usize = length_prefixed(&unit.payload).map(|nal| nal.len() + 4).sum();
            assert_eq!(nals, unit.payload.len(), "lengths that do not add up");
        }
        // Of a format that can't be put into fMP4 nothing comes; the stream says so.
        self.segmenter.push(&format, &Arc::new(unit)).ok();
        self.read_parts();
    }

    fn read_parts(&mut self) {
        while let Some(event) = self.segmenter.poll_event() {
            self.window.apply(event.clone());
            match event {
                Event::Part(part) => self.check(&part),
                Event::Init { .. } => self.part = None,
                Event::Start(_) | Event::SegmentEnd { .. } => {}
            }
        }
    }

    /// A part read back says what was put into it, and goes on where the one before ended (correctness: F1, F2).
    fn check(&mut self, part: &Arc<Part>) {
        self.part_bytes += part.len_bytes;
        let bytes_max = self.unit_bytes + PART_OVERHEAD_BYTES_MAX;
        assert!(self.part_bytes <= bytes_max, "{} bytes of {}", self.part_bytes, self.unit_bytes);
        let moof = box_header(&part.head).and_then(|header| usize::try_from(header.size).ok());
        let moof = part.head.get(..moof.expect("a box header")).expect("a whole moof");
        let head = fragment_head(moof).expect("our own moof");
        let sizes = head.tracks.iter().flat_map(|track| &track.samples).map(|sample| sample.size_bytes);
        let sizes: Vec<usize> = sizes.map(|size| usize::try_from(size).unwrap_or(usize::MAX)).collect();
        let payloads: Vec<usize> = part.payloads.iter().map(Bytes::len).collect();
        assert_eq!(sizes, payloads, "sizes in the head and of what follows it");
        let lead = head.tracks.first().expect("a track in a part");
        assert_eq!(lead.base_ticks, part.start_ticks);
        assert_eq!(lead.end_ticks(), part.start_ticks + part.duration_ticks);
        if let Some(before) = self.part.replace(Arc::clone(part)) {
            assert_eq!(before.start_ticks + before.duration_ticks, part.start_ticks, "a hole between parts");
            assert!((before.msn, before.index) < (part.msn, part.index), "numbers that do not rise");
        }
    }
}

impl Pipeline {
    /// The source is gone: what it leaves are whole parts, and a playlist that a client of ours can read.
    pub(crate) fn finish(&mut self) {
        self.segmenter.finish().ok();
        self.read_parts();
        self.window.commit();
        let Some(rendered) = self.window.rendered() else { return };
        let text = std::str::from_utf8(&rendered.full).expect("a playlist in UTF-8");
        assert!(matches!(Playlist::parse(text), Ok(Playlist::Media(_))), "{text}");
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.finish();
        }
    }
}

/// `$`, channel, 16 bits of length, packet: what of it there is.
pub(crate) fn interleaved(mut input: &[u8]) -> impl Iterator<Item = ((usize, MediaKind), Bytes)> {
    std::iter::from_fn(move || {
        let (&[_, channel, high, low], rest) = input.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (packet, rest) = rest.split_at(len);
        input = rest;
        let kind = if channel & 1 == 0 { MediaKind::Rtp } else { MediaKind::Rtcp };
        Some(((usize::from(channel >> 1), kind), Bytes::copy_from_slice(packet)))
    })
}
