//! Ingest: the packets of a camera's sessions to one stream of formats and access units.
//!
//! ```text
//!            handle_rtp                   start ──► Waiting for a random access point
//!                │                                        │  with parameter sets: new format
//!          depacketize ─► Unit ─► timeline ─► dts ─►      ▼
//!                │                 (pts)     wall    Running ── parameter sets changed, or jump
//!                └──────► Lost (a key picture) ───────┤   ▲     ─► new format at the next
//!                                                     ▼   │        random access point
//!                                          Waiting ───────┘ (same format)
//! ```
//!
//! One machine lives as long as its stream; [`Ingest::start`] begins each connection. Generations and
//! times go on rising across connections, by the monotonic clock, so HLS and recordings have one
//! timeline with marked discontinuities.
//!
//! A unit lost takes nothing else with it (a decoder conceals), unless it was a key picture: then
//! nothing comes until the next, for all of it would be damaged. Readers never get a unit that can't
//! be decoded from the random access point before.
//!
//! Belongs here: repair and order. Does not: sockets, RTSP (-> `server::ingest`), keeping (-> `ring`).
//! Invariants: see `AccessUnit`; a format comes before its first unit, and that unit is a random
//! access point of the video track where there is one.
//! Limits: the first video and the first audio track are taken, others ignored; [`VIDEO_WAIT_US`].

mod counters;
pub mod dts;
mod lineup;
mod splice;
pub mod timeline;
mod track_setup;
mod wall;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

pub use counters::IngestCounters;
pub use lineup::Lineup;
pub use splice::{Feeder, Line, Splice};
pub use track_setup::{FMTP_BYTES_MAX, PARAMETER_SETS_MAX, SetupError, TrackSetup};
pub use wall::{CAMERA_OFFSET_MAX_US, SETTLE_US};

use crate::access_unit::AccessUnit;
use crate::codec::PictureOrder;
use crate::rtp::RtpPacket;
use crate::rtp::depacketize::{
    Content, Depacketized, Depacketizer, EntryPoint, LossReason, LostUnit, PacketError, Picture, RawUnit,
};
use crate::time::{NtpTime, Timescale, WallTime};
use crate::track::{CodecConfig, SharedFormat, StreamFormat, TrackId, TrackInfo, TrackKind};
use dts::DecodeTimes;
use timeline::{Place, Stamp, TrackTimeline, Verdict};
use track_setup::ReadyTrack;
use wall::{Seen, WallClock};

/// How long sound waits for the first picture before it goes out alone: longer than the longest GOP
/// (20 s) a camera in the middle of one may have. Pictures that come later open a new format.
pub const VIDEO_WAIT_US: i64 = 25_000_000;

/// How long to wait for a random access point proper before a recovery point (H.264 open GOP, intra
/// refresh) is taken for one, then and from then on.
pub const RECOVERY_POINT_WAIT_US: i64 = 5_000_000;

/// Where the timeline begins, so that decode times before the first picture are not negative.
const LEAD_US: i64 = 10_000_000;

/// Time left between the last unit of a connection and the first of the next.
const CONNECTION_GAP_US: i64 = 100_000;

/// `RTP-Info` is believed when it puts a track within this of where its arrival does.
const RTP_INFO_MAX_US: i64 = 1_000_000;

/// `RTP-Info` is believed when the first unit taken is at most this far from the instant it names.
const RTP_INFO_AGE_MAX_US: i64 = 30_000_000;

/// Tracks further apart than this by their sender reports are taken to have insane reports.
const ALIGN_MAX_US: i64 = 5_000_000;

/// After a jump, tracks further apart than this by their arrivals are put right; less is jitter.
const ALIGN_BY_ARRIVAL_MIN_US: i64 = 300_000;

/// Tracks closer than this are aligned well enough.
const ALIGN_MIN_US: i64 = 10_000;

/// While tracks are being aligned, pictures move by 1/200 of the time that passes: not to be seen.
const ALIGN_SLEW_DIVISOR: i64 = 200;

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum IngestEvent {
    /// A new format: what follows belongs to it.
    Format(SharedFormat),
    /// The next access unit.
    Unit(AccessUnit),
}

/// A track of the connection.
#[derive(Debug)]
struct Track {
    kind: TrackKind,
    id: TrackId,
    timescale: Timescale,
    codec: Option<CodecConfig>,
    depacketizer: Depacketizer,
    timeline: TrackTimeline,
    decode_times: DecodeTimes,
    rtp_info_timestamp: Option<u32>,
    /// Camera clock minus position, by the last sender report.
    reported_offset_us: Option<i64>,
    last_wall: Option<(i64, WallTime)>,
    /// Packets were lost since the last unit that came out.
    is_loss_since_unit: bool,
}

/// What the video track waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VideoState {
    /// A random access point, since this position.
    Waiting {
        since_us: i64,
    },
    /// Leading pictures of the first random access point are passed over.
    AfterEntry,
    Running,
}

/// What belongs to one connection.
#[derive(Debug)]
struct Connection {
    /// By the index of the setup; `None` for those that are ignored.
    tracks: Vec<Option<Track>>,
    started_us: i64,
    video: VideoState,
    wall: WallClock,
    /// The timeline jumped: the next random access point begins a new format.
    is_discontinuous: bool,
    has_b_frames: bool,
    /// Added to arrivals so that this connection begins after the last one's end.
    base_us: i64,
    /// Nothing is placed before this.
    floor_us: i64,
    /// Position of the instant that `RTP-Info` speaks of.
    rtp_info_us: Option<i64>,
}

/// The machine.
#[derive(Debug)]
pub struct Ingest {
    epoch: Instant,
    generation: u64,
    format: Option<SharedFormat>,
    connection: Option<Connection>,
    /// Position of the latest presentation time handed out.
    end_us: i64,
    /// Recovery points count as random access points: the camera has no others.
    takes_recovery_points: bool,
    counters: IngestCounters,
    events: VecDeque<IngestEvent>,
}

impl Ingest {
    /// A machine for one stream; `now` is where its timeline begins.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            generation: 0,
            format: None,
            connection: None,
            end_us: 0,
            takes_recovery_points: false,
            counters: IngestCounters::default(),
            events: VecDeque::new(),
        }
    }

    /// A connection begins with these tracks; their indexes are those of [`Ingest::handle_rtp`].
    /// What the last connection left unfinished is dropped.
    ///
    /// Returns for each track whether it is taken; packets of the others are ignored.
    ///
    /// # Errors
    /// The last [`SetupError`] when no track can be taken.
    pub fn start(&mut self, setups: &[TrackSetup], now: Instant) -> Result<Vec<bool>, SetupError> {
        let mut taken_kinds = Vec::new();
        let mut refused = None;
        let mut tracks = Vec::new();
        for setup in setups {
            match setup.ready() {
                Ok(ready) if !taken_kinds.contains(&ready.kind) => {
                    taken_kinds.push(ready.kind);
                    tracks.push(Some(Track::new(ready, setup.rtp_info_timestamp, self.end_us)));
                }
                Ok(_) => tracks.push(None),
                Err(error) => {
                    tracing::debug!(%error, "track is ignored");
                    refused = Some(error);
                    tracks.push(None);
                }
            }
        }
        if let (true, Some(error)) = (taken_kinds.is_empty(), refused) {
            return Err(error);
        }
        let now_us = self.arrival_us(now);
        let base_us = (self.end_us + CONNECTION_GAP_US - now_us).max(0);
        let taken = tracks.iter().map(Option::is_some).collect();
        self.format = None;
        self.connection = Some(Connection {
            tracks,
            started_us: now_us + base_us,
            video: VideoState::Waiting { since_us: now_us + base_us },
            wall: WallClock::default(),
            is_discontinuous: false,
            has_b_frames: false,
            base_us,
            floor_us: self.end_us,
            rtp_info_us: None,
        });
        Ok(taken)
    }

    /// Takes the next packet of a track. Poll until `None` afterwards, whatever the result.
    ///
    /// # Errors
    /// [`PacketError`]: the packet was bad. It is counted, and the next one is welcome.
    pub fn handle_rtp(&mut self, index: usize, packet: &RtpPacket) -> Result<(), PacketError> {
        self.take(index, packet, Depacketizer::push)
    }

    /// The same of a whole access unit, as protocols without RTP carry it: NAL units behind lengths of 4 bytes, or one frame of sound, with
    /// its presentation time as an RTP timestamp.
    ///
    /// # Errors
    /// [`PacketError`]: the unit was bad. It is counted, and the next one is welcome.
    pub fn handle_unit(&mut self, index: usize, unit: &RtpPacket) -> Result<(), PacketError> {
        self.take(index, unit, Depacketizer::push_unit)
    }

    /// Counts a message that never became a packet: its protocol could not make sense of it.
    pub fn count_malformed(&mut self) {
        self.counters.malformed_packets += 1;
    }

    /// Takes parameter sets that came beside the pictures, for those that come.
    pub fn handle_parameter_sets(&mut self, index: usize, nals: &[Bytes]) {
        let Some(track) = self.track_mut(index) else { return };
        let bad = nals.iter().filter(|nal| track.depacketizer.learn(nal).is_err()).count();
        self.counters.malformed_packets += u64::try_from(bad).unwrap_or(0);
    }

    fn take(
        &mut self,
        index: usize,
        packet: &RtpPacket,
        push: fn(&mut Depacketizer, &RtpPacket) -> Result<(), PacketError>,
    ) -> Result<(), PacketError> {
        let Some(track) = self.track_mut(index) else { return Ok(()) };
        let result = push(&mut track.depacketizer, packet);
        track.is_loss_since_unit |= packet.lost_before > 0;
        self.counters.packets += 1;
        self.counters.lost_packets += u64::from(packet.lost_before);
        if result.is_err() {
            self.counters.malformed_packets += 1;
        }
        while let Some(item) = self.track_mut(index).and_then(|track| track.depacketizer.poll()) {
            match item {
                Depacketized::Unit(unit) => self.on_unit(index, unit),
                Depacketized::Lost(lost) => self.on_lost(index, lost),
            }
        }
        result
    }

    /// Takes the times of a sender report: `ntp` and `rtp_timestamp` are the same instant.
    pub fn handle_sender_report(&mut self, index: usize, ntp: NtpTime, rtp_timestamp: u32) {
        let Some(connection) = &mut self.connection else { return };
        let has_video = connection.tracks.iter().flatten().any(|track| track.kind == TrackKind::Video);
        let Some(Some(track)) = connection.tracks.get_mut(index) else { return };
        let Some(ticks) = track.timeline.locate(rtp_timestamp) else { return };
        let position_us = track.timescale.ticks_to_us(ticks);
        track.reported_offset_us = Some(ntp.to_wall().unix_us().saturating_sub(position_us));
        if track.kind == TrackKind::Video || !has_video {
            connection.wall.report(ntp.to_wall(), position_us);
        }
    }

    /// The next event; `None` until more packets come.
    pub fn poll_event(&mut self) -> Option<IngestEvent> {
        self.events.pop_front()
    }

    /// Totals since the stream was made.
    pub fn counters(&self) -> IngestCounters {
        self.counters
    }

    /// The format in force.
    pub fn format(&self) -> Option<&SharedFormat> {
        self.format.as_ref()
    }

    /// Whether pictures of this connection came in another order than they are shown, as seen in
    /// their order counts and times (not merely allowed by the parameter sets).
    pub fn has_b_frames(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.has_b_frames)
    }

    /// Camera clock minus ours in microseconds, by its sender reports; encoding and network make it a
    /// little negative.
    pub fn camera_clock_offset_us(&self) -> Option<i64> {
        self.connection.as_ref()?.wall.camera_offset_us()
    }

    fn track_mut(&mut self, index: usize) -> Option<&mut Track> {
        self.connection.as_mut()?.tracks.get_mut(index)?.as_mut()
    }

    /// Position of an arrival on the timeline's scale, without the connection's base.
    fn arrival_us(&self, arrival: Instant) -> i64 {
        let since = arrival.saturating_duration_since(self.epoch).as_micros();
        i64::try_from(since).unwrap_or(i64::MAX / 2) + LEAD_US
    }

    fn on_lost(&mut self, index: usize, lost: LostUnit) {
        match lost.reason {
            LossReason::Oversized => self.counters.oversized_units += 1,
            _ => self.counters.lost_units += 1,
        }
        let Some(connection) = &mut self.connection else { return };
        let Some(Some(track)) = connection.tracks.get_mut(index) else { return };
        track.is_loss_since_unit = true;
        let is_key = track.kind == TrackKind::Video && lost.was_random_access;
        if is_key && !matches!(connection.video, VideoState::Waiting { .. }) {
            connection.video = VideoState::Waiting { since_us: self.end_us };
        }
    }

    fn on_unit(&mut self, index: usize, mut unit: RawUnit) {
        let arrival_us = self.arrival_us(unit.arrival);
        let Some(connection) = &mut self.connection else { return };
        let arrival_us = arrival_us + connection.base_us;
        match std::mem::replace(&mut unit.content, Content::Audio { duration_ticks: 0 }) {
            Content::Audio { duration_ticks } => {
                self.on_audio(index, &mut unit, duration_ticks, arrival_us);
            }
            Content::Picture(picture) => self.on_picture(index, &mut unit, picture, arrival_us),
        }
    }

    fn on_audio(&mut self, index: usize, unit: &mut RawUnit, duration_ticks: u32, arrival_us: i64) {
        if self.format.is_none() {
            let Some(connection) = &self.connection else { return };
            let has_video = connection.tracks.iter().flatten().any(|track| track.kind == TrackKind::Video);
            if has_video && arrival_us - connection.started_us < VIDEO_WAIT_US {
                self.counters.undecodable_units += 1;
                return;
            }
            self.announce();
        }
        let duration_ticks = Some(i64::from(duration_ticks));
        let Some(placed) = self.place(index, unit, Place::Rising, (arrival_us, duration_ticks)) else {
            return;
        };
        self.emit(
            index,
            unit,
            Emission { dts_ticks: placed, pts_ticks: placed, is_random_access: true },
            arrival_us,
        );
    }

    fn on_picture(&mut self, index: usize, unit: &mut RawUnit, mut picture: Picture, arrival_us: i64) {
        let Some(entry) = self.admit(&picture, arrival_us) else {
            self.counters.undecodable_units += 1;
            return;
        };
        if entry == EntryPoint::RandomAccess && !self.on_random_access(index, picture.config.take()) {
            self.counters.late_parameter_sets += 1;
            return;
        }
        let place = match picture.order {
            PictureOrder::Rising { .. } => Place::Rising,
            PictureOrder::Earlier => Place::Earlier,
            PictureOrder::Unknown => Place::Unknown,
        };
        let highest = self.track_mut(index).and_then(|track| track.timeline.highest_pts_ticks());
        let Some(pts_ticks) = self.place(index, unit, place, (arrival_us, None)) else { return };
        let Some(connection) = &mut self.connection else { return };
        if place == Place::Earlier && highest.is_some_and(|highest| pts_ticks < highest) {
            connection.has_b_frames = true;
        }
        let Some(Some(track)) = connection.tracks.get_mut(index) else { return };
        let is_loss = std::mem::take(&mut track.is_loss_since_unit);
        match (picture.reorder_depth, picture.order) {
            (Some(depth), _) => track.decode_times.deepen(depth),
            (None, PictureOrder::Rising { skipped }) if skipped > 0 && !is_loss => {
                track.decode_times.deepen(depth_for_skipped(skipped));
            }
            _ => {}
        }
        let frame_ticks = track.timeline.frame_ticks();
        let times = track.decode_times.place(pts_ticks, frame_ticks);
        if times.is_repaired {
            self.counters.repaired_timestamps += 1;
        }
        let emission = Emission {
            dts_ticks: times.dts_ticks,
            pts_ticks: times.pts_ticks,
            is_random_access: entry == EntryPoint::RandomAccess,
        };
        self.emit(index, unit, emission, arrival_us);
    }

    /// Whether a picture can be decoded by those who get it, and as what; `None` when it can't.
    fn admit(&mut self, picture: &Picture, arrival_us: i64) -> Option<EntryPoint> {
        let connection = self.connection.as_mut()?;
        let mut entry = picture.entry;
        if entry == EntryPoint::RecoveryPoint {
            let waited_us = match connection.video {
                VideoState::Waiting { since_us } => arrival_us - since_us,
                _ => 0,
            };
            self.takes_recovery_points |= waited_us >= RECOVERY_POINT_WAIT_US;
            entry = if self.takes_recovery_points { EntryPoint::RandomAccess } else { EntryPoint::None };
        }
        match (connection.video, entry) {
            (VideoState::Waiting { .. }, EntryPoint::RandomAccess) => {
                connection.video = VideoState::AfterEntry;
                Some(entry)
            }
            (VideoState::Waiting { .. }, _) | (VideoState::AfterEntry, EntryPoint::SkippedLeading) => None,
            // Leading pictures of an H.264 open GOP refer to the one before.
            (VideoState::AfterEntry, _)
                if self.takes_recovery_points && picture.order == PictureOrder::Earlier =>
            {
                None
            }
            (VideoState::AfterEntry, _) if picture.order != PictureOrder::Earlier => {
                connection.video = VideoState::Running;
                Some(entry)
            }
            _ => Some(entry),
        }
    }

    /// A random access point: opens a new format where one is due. False when the parameter sets are
    /// not known, and it can't be used.
    fn on_random_access(&mut self, index: usize, config: Option<Box<CodecConfig>>) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let Some(Some(track)) = connection.tracks.get_mut(index) else { return false };
        let is_changed = match config {
            None if track.codec.is_none() => {
                connection.video = VideoState::Waiting { since_us: connection.started_us };
                return false;
            }
            None => false,
            Some(config) if track.codec.as_ref() == Some(&*config) => false,
            Some(config) => track.codec.replace(*config).is_some(),
        };
        if is_changed {
            self.counters.parameter_set_changes += 1;
        }
        let lacks_video = self.format.as_ref().is_none_or(|format| format.video().is_none());
        let is_discontinuous = std::mem::take(&mut connection.is_discontinuous);
        if lacks_video || is_changed || is_discontinuous {
            let late_us = if is_discontinuous {
                connection.video_late_after_jump_us()
            } else {
                connection.video_late_us()
            };
            connection.align_at_once(late_us.unwrap_or(0));
            self.announce();
        }
        true
    }

    /// Opens a format with every track whose configuration is known.
    fn announce(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        self.generation += 1;
        let mut tracks = Vec::new();
        let mut sources: Vec<&mut Track> = connection.tracks.iter_mut().flatten().collect();
        sources.sort_by_key(|track| track.kind == TrackKind::Audio);
        for track in sources {
            let Some(codec) = track.codec.clone() else { continue };
            track.id = next_id(&tracks);
            tracks.push(TrackInfo { id: track.id, timescale: track.timescale, codec, transcoded_from: None });
        }
        if let Some(twin) = transcoded_twin(&tracks) {
            tracks.push(twin);
        }
        let format = Arc::new(StreamFormat { generation: self.generation, is_slate: false, tracks });
        self.format = Some(Arc::clone(&format));
        self.events.push_back(IngestEvent::Format(format));
    }

    /// Presentation time of a unit, with the counters that go with it.
    fn place(
        &mut self,
        index: usize,
        unit: &RawUnit,
        place: Place,
        (arrival_us, duration_ticks): (i64, Option<i64>),
    ) -> Option<i64> {
        self.anchor(index, unit.rtp_timestamp, arrival_us)?;
        let connection = self.connection.as_mut()?;
        let track = connection.tracks.get_mut(index)?.as_mut()?;
        let stamp = Stamp { rtp_timestamp: unit.rtp_timestamp, place, arrival_us, duration_ticks };
        let placed = track.timeline.place(stamp);
        self.counters.stray_units += u64::from(placed.strays);
        match placed.verdict {
            Verdict::Kept => {}
            Verdict::Repaired => self.counters.repaired_timestamps += 1,
            Verdict::Jumped => {
                self.counters.discontinuities += 1;
                connection.is_discontinuous = true;
                track.reported_offset_us = None;
                connection.wall.forget_reports();
                tracing::debug!(track = index, rtp_timestamp = unit.rtp_timestamp, "timeline jumped");
            }
        }
        Some(placed.pts_ticks)
    }

    /// Puts the first unit of a track on the timeline that all tracks share: where `RTP-Info` says, if
    /// that is near where it arrived.
    fn anchor(&mut self, index: usize, rtp_timestamp: u32, arrival_us: i64) -> Option<()> {
        let connection = self.connection.as_mut()?;
        let track = connection.tracks.get_mut(index)?.as_mut()?;
        if track.timeline.is_anchored() {
            return Some(());
        }
        let since_info_us = track.rtp_info_timestamp.map(|info| {
            let ticks = timeline::extend_u32(rtp_timestamp, i64::from(info)) - i64::from(info);
            track.timescale.ticks_to_us(ticks)
        });
        let mut position_us = arrival_us;
        match (since_info_us.filter(|us| us.abs() <= RTP_INFO_AGE_MAX_US), connection.rtp_info_us) {
            (Some(since), None) => connection.rtp_info_us = Some(arrival_us - since),
            (Some(since), Some(info_us)) if (info_us + since - arrival_us).abs() <= RTP_INFO_MAX_US => {
                position_us = info_us + since;
            }
            _ => {}
        }
        let position_us = position_us.max(connection.floor_us);
        track.timeline.anchor(rtp_timestamp, track.timescale.us_to_ticks(position_us));
        Some(())
    }

    /// Hands the unit's payload on.
    fn emit(&mut self, index: usize, unit: &mut RawUnit, emission: Emission, arrival_us: i64) {
        let Some(connection) = &mut self.connection else { return };
        connection.align_gently(index);
        let Some(Some(track)) = connection.tracks.get_mut(index) else { return };
        let pts_us = track.timescale.ticks_to_us(emission.pts_ticks);
        let seen = Seen {
            pts_us,
            arrival_us,
            arrival_wall: unit.arrival_wall,
            lag_us: track.timeline.lag_us().unwrap_or(0),
        };
        if connection.wall.was_set(&seen) {
            self.counters.clock_steps += 1;
            connection.tracks.iter_mut().flatten().for_each(|track| track.last_wall = None);
        }
        let wall = connection.wall.wall_of(seen);
        let Some(Some(track)) = connection.tracks.get_mut(index) else { return };
        let wall = track.rising_wall(emission.pts_ticks, wall);
        self.end_us = self.end_us.max(pts_us);
        self.counters.units += 1;
        self.events.push_back(IngestEvent::Unit(AccessUnit {
            track: track.id,
            dts_ticks: emission.dts_ticks,
            pts_ticks: emission.pts_ticks,
            wall,
            is_random_access: emission.is_random_access,
            payload: std::mem::take(&mut unit.payload),
        }));
    }
}

/// Times of a unit that goes out.
#[derive(Clone, Copy, Debug)]
struct Emission {
    dts_ticks: i64,
    pts_ticks: i64,
    is_random_access: bool,
}

impl Connection {
    /// By how much the pictures must move ahead to match the sound, by the sender reports of both.
    fn video_late_us(&self) -> Option<i64> {
        let offset = |kind| self.tracks.iter().flatten().find(|t| t.kind == kind)?.reported_offset_us;
        let late_us = offset(TrackKind::Video)? - offset(TrackKind::Audio)?;
        (ALIGN_MIN_US..=ALIGN_MAX_US).contains(&late_us.abs()).then_some(late_us)
    }

    /// The same after a jump, which left each track where its arrivals put it; without sender reports
    /// the arrivals decide.
    fn video_late_after_jump_us(&self) -> Option<i64> {
        let lag = |kind| self.tracks.iter().flatten().find(|t| t.kind == kind)?.timeline.lag_us();
        self.video_late_us().or_else(|| {
            let late_us = lag(TrackKind::Video)? - lag(TrackKind::Audio)?;
            (ALIGN_BY_ARRIVAL_MIN_US..=ALIGN_MAX_US).contains(&late_us.abs()).then_some(late_us)
        })
    }

    /// At a new format the tracks are put right in one step: whichever is behind moves ahead.
    fn align_at_once(&mut self, video_late_us: i64) {
        let kind = if video_late_us > 0 { TrackKind::Video } else { TrackKind::Audio };
        if let Some(track) = self.tracks.iter_mut().flatten().find(|track| track.kind == kind) {
            track.shift_us(video_late_us.abs());
        }
    }

    /// Moves the pictures a little towards the sound. Sound is never moved: it would be heard.
    fn align_gently(&mut self, index: usize) {
        let Some(late_us) = self.video_late_us() else { return };
        let Some(Some(track)) = self.tracks.get_mut(index) else { return };
        if track.kind == TrackKind::Video {
            let frame_us = track.timescale.ticks_to_us(track.timeline.frame_ticks());
            let limit = (frame_us / ALIGN_SLEW_DIVISOR).max(1);
            track.shift_us(late_us.clamp(-limit, limit));
        }
    }
}

impl Track {
    fn new(ready: ReadyTrack, rtp_info_timestamp: Option<u32>, end_us: i64) -> Self {
        Self {
            kind: ready.kind,
            id: TrackId(0),
            timescale: ready.timescale,
            codec: ready.audio,
            depacketizer: ready.depacketizer,
            timeline: TrackTimeline::new(ready.timescale),
            decode_times: DecodeTimes::after(ready.timescale.us_to_ticks(end_us)),
            rtp_info_timestamp,
            reported_offset_us: None,
            last_wall: None,
            is_loss_since_unit: false,
        }
    }

    /// Moves what comes by `us`, and with it what the sender report says of it.
    fn shift_us(&mut self, us: i64) {
        let ticks = self.timescale.us_to_ticks(us);
        self.timeline.shift(ticks);
        if let Some(offset_us) = &mut self.reported_offset_us {
            *offset_us -= self.timescale.ticks_to_us(ticks);
        }
    }

    /// Keeps the wall clock from falling where the presentation time rises.
    fn rising_wall(&mut self, pts_ticks: i64, wall: WallTime) -> WallTime {
        match self.last_wall {
            Some((last_pts, last)) if pts_ticks > last_pts => {
                let wall = wall.max(last);
                self.last_wall = Some((pts_ticks, wall));
                wall
            }
            Some(_) => wall,
            None => {
                self.last_wall = Some((pts_ticks, wall));
                wall
            }
        }
    }
}

fn next_id(tracks: &[TrackInfo]) -> TrackId {
    TrackId(u8::try_from(tracks.len()).unwrap_or(u8::MAX))
}

/// The Opus twin of a track that not every reader can take: G.711 has no place in fMP4 players, AAC
/// none in WebRTC.
fn transcoded_twin(tracks: &[TrackInfo]) -> Option<TrackInfo> {
    let source = tracks.iter().find(|track| track.codec.kind() == TrackKind::Audio)?;
    let channels = match &source.codec {
        CodecConfig::Aac(config) => config.channels.clamp(1, 2),
        CodecConfig::G711 { channels, .. } => (*channels).clamp(1, 2),
        _ => return None,
    };
    Some(TrackInfo {
        id: next_id(tracks),
        timescale: Timescale::OPUS,
        codec: CodecConfig::Opus { channels },
        transcoded_from: Some(source.id),
    })
}

/// Depth of reordering that a hierarchy of `skipped` pictures between two others needs: 1 for one, 2
/// for up to three, 3 for up to seven.
fn depth_for_skipped(skipped: u32) -> usize {
    usize::try_from(u32::BITS - skipped.min(u32::MAX - 1).leading_zeros()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
