//! Sender: one viewer's media: reads the stream, stamps its units and writes them into the peer connection.
//!
//! ```text
//!  Waiting ─connected─► Joining (backlog, paced) ─nothing newer waits─► Live
//!                           ▲                                             │
//!                           └──── lagged, key frame asked for ◄───────────┘
//! ```
//!
//! A unit is sent past str0m (-> direct), or written into the peer connection where AES-GCM was not agreed on.
//! Sound is not part of a backlog: it begins with the live pictures and never repeats.
//!
//! Limits: [`READ_AHEAD_UNITS`]; [`RESTART_INTERVAL_MIN`]; those of what is kept for viewers who miss some (-> history).
//! Spec: RFC 3550 s5.1.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use media_core::egress::webrtc::pacing::{BacklogRate, Delivery, Timeline};
use media_core::egress::webrtc::track_map::{MappedTrack, TrackMap, WireCodec};
use media_core::ring::{Entry, JoinAt, Read};
use media_core::time::{Timescale, WallTime};
use media_core::track::{CodecConfig, G711Law, SharedFormat, StreamFormat, TrackId, TrackInfo};
use str0m::Rtc;
use str0m::media::{MediaTime, Mid, Pt};
use str0m::rtp::rtcp::Nack;
use str0m::rtp::{AbsCaptureTime, ExtensionValues, RtpWrite};

use super::direct::{Direct, DueUnit, Lane, OnLoss, Stamp};
use super::history;
use super::keys::Tap;
use super::negotiate::mid_of;
use super::outbox::Outbox;
use super::packets::StreamPackets;
use crate::events::Reader;
use crate::runtime::clock;
use crate::stream::Subscription;

/// Units read ahead while a backlog goes out; what the ring holds beyond them is read later. They are
/// the ring's own units, so they cost their handles only, until the ring drops them.
const READ_AHEAD_UNITS: usize = 4096;
/// A viewer is started again from a random access point at most so often: its key frame requests
/// come each few hundred milliseconds while it waits, and each restart sends a GOP.
const RESTART_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// str0m drops retransmissions beyond this share of all bytes of a second.
const RTX_SHARE_MAX: f32 = 0.5;
/// Losses reported within this time are one event for the rate of the backlog.
const LOSS_EVENT: Duration = Duration::from_millis(50);
/// Time and delay extensions go out each second and on key frames: receivers interpolate.
const EXTENSION_INTERVAL: Duration = Duration::from_secs(1);

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wrote an access unit into the peer connection, which must be drained now.
    Wrote,
    /// Put so many packets of an access unit into the outbox.
    Sent(u64),
    /// The backlog waits for its rate.
    WaitUntil(Instant),
    /// Nothing to send until the stream has more.
    Idle,
    /// The stream became something that this session can't carry.
    Close(&'static str),
}

#[derive(Debug)]
enum Phase {
    Waiting,
    Joining(BacklogRate),
    Live,
}

/// A unit whose turn it is.
#[derive(Clone, Copy, Debug)]
struct Due<'a> {
    entry: &'a Entry,
    delivery: Delivery,
    now: Instant,
}

/// The ways out.
struct Exit<'a> {
    rtc: &'a mut Rtc,
    direct: Option<&'a mut Direct>,
    outbox: &'a mut Outbox,
}

/// One track on its way out.
#[derive(Debug)]
struct Outgoing {
    track: Option<TrackId>,
    codec: WireCodec,
    mid: Mid,
    pt: Pt,
    rtx_pt: Option<u8>,
    timeline: Timeline,
    /// Of the packets that str0m sends; of the others it is the first.
    next_seq: u64,
    last_dts: Option<i64>,
    extended_at: Option<Instant>,
}

/// One viewer's media.
#[derive(Debug)]
pub(crate) struct MediaSender {
    subscription: Subscription,
    packets: Arc<StreamPackets>,
    video: Option<Outgoing>,
    audio: Option<Outgoing>,
    /// Sends them, unless str0m must.
    direct: Option<Direct>,
    queue: VecDeque<Entry>,
    phase: Phase,
    format: Option<SharedFormat>,
    round_trip: Duration,
    run_start_seq: u64,
    run_started_at: Option<Instant>,
    /// The last loss that the viewer reported since it was started.
    lost_at: Option<Instant>,
    discarded_units: u64,
}

impl MediaSender {
    /// A sender that waits for [`MediaSender::start`]. `seed` is random: first sequence numbers and
    /// timestamps come from it.
    pub(crate) fn new(
        mut subscription: Subscription,
        packets: Arc<StreamPackets>,
        map: &TrackMap,
        seed: u128,
    ) -> Self {
        if map.wants_transcoded_audio {
            subscription.want_transcoded_audio();
        }
        let word = |n: u32| u32::try_from((seed >> (n * 32)) & 0xffff_ffff).unwrap_or(0);
        Self {
            subscription,
            packets,
            video: map.video.as_ref().map(|track| Outgoing::new(track, word(0), word(1))),
            audio: map.audio.as_ref().map(|track| Outgoing::new(track, word(2), word(3))),
            direct: None,
            queue: VecDeque::new(),
            phase: Phase::Waiting,
            format: None,
            round_trip: Duration::ZERO,
            run_start_seq: 0,
            run_started_at: None,
            lost_at: None,
            discarded_units: 0,
        }
    }

    /// The viewer is connected, about `round_trip` away: joins the stream.
    pub(crate) fn start(&mut self, rtc: &mut Rtc, tap: &Arc<Tap>, round_trip: Duration, now: Instant) {
        let lanes: Vec<Lane> = [&self.video, &self.audio].into_iter().flatten().map(Outgoing::lane).collect();
        self.direct = Direct::new(rtc, tap, &lanes);
        if self.direct.is_none()
            && let Some(video) = &self.video
            && let Some(stream) = rtc.direct_api().stream_tx_by_mid(video.mid, None)
        {
            stream.set_rtx_cache(history::PACKETS_MAX, history::AGE_MAX, Some(RTX_SHARE_MAX));
        }
        self.round_trip = round_trip;
        self.join(now);
    }

    /// Tells that its viewer watches.
    pub(crate) fn tell(&mut self, viewer: &Reader) {
        self.subscription.tell(viewer);
    }

    /// Whether units are wanted: the session waits for the stream only then.
    pub(crate) fn is_hungry(&self) -> bool {
        self.queue.is_empty() && !matches!(self.phase, Phase::Waiting)
    }

    /// Waits for the stream's next unit. Cancel-safe.
    pub(crate) async fn read(&mut self) -> Read {
        self.subscription.next().await
    }

    /// Takes what [`MediaSender::read`] returned.
    pub(crate) fn take(&mut self, read: Read, now: Instant) {
        match read {
            Read::Entry(entry) => self.queue.push_back(entry),
            Read::Empty => {}
            Read::Lagged { from, to } => {
                self.discarded_units += to.saturating_sub(from);
                self.join(now);
            }
        }
    }

    /// Sends the next unit that is due.
    pub(crate) fn step(&mut self, rtc: &mut Rtc, outbox: &mut Outbox, now: Instant) -> Step {
        loop {
            if matches!(self.phase, Phase::Waiting) {
                return Step::Idle;
            }
            self.read_ahead(now);
            let Some(entry) = self.queue.front().cloned() else { return Step::Idle };
            if let Err(reason) = self.adopt(&entry) {
                return Step::Close(reason);
            }
            if self.is_of(&entry, self.video.as_ref()) {
                return self.step_video(rtc, outbox, &entry, now);
            }
            self.queue.pop_front();
            if self.is_of(&entry, self.audio.as_ref())
                && let Some(step) = self.send_audio(rtc, outbox, &entry, now)
            {
                return step;
            }
        }
    }

    /// The viewer asks for packets again; says how many it gets, unless str0m sent them.
    pub(crate) fn answer(&mut self, nack: &Nack, outbox: &mut Outbox, now: Instant) -> Option<u64> {
        Some(self.direct.as_mut()?.answer(nack, outbox, now))
    }

    /// The viewer reported on a stream.
    pub(crate) fn reported(&mut self, ssrc: u32) {
        if let Some(direct) = &mut self.direct {
            direct.reported(ssrc);
        }
    }

    /// The viewer asked for a key frame (PLI, FIR). Nothing can be asked of the camera: if the ring
    /// has a newer random access point than the viewer was started from, or it has shown nothing
    /// useful for long, it is started again. Says whether it was.
    pub(crate) fn key_frame_requested(&mut self, now: Instant) -> bool {
        let Some(started_at) = self.run_started_at else { return false };
        if self.video.is_none() || now.saturating_duration_since(started_at) < RESTART_INTERVAL_MIN {
            return false;
        }
        let has_newer = self.subscription.newest_join_seq() > self.run_start_seq;
        if !has_newer && !matches!(self.phase, Phase::Live) {
            return false;
        }
        self.join(now);
        true
    }

    /// The viewer reported a loss: the backlog slows down.
    pub(crate) fn lost(&mut self, now: Instant) {
        if self.lost_at.is_some_and(|at| now.saturating_duration_since(at) < LOSS_EVENT) {
            return;
        }
        self.lost_at = Some(now);
        if let Phase::Joining(rate) = &mut self.phase {
            rate.lost();
        }
    }

    /// Units that the ring had dropped before they were read; reset by reading.
    pub(crate) fn take_discarded_units(&mut self) -> u64 {
        std::mem::take(&mut self.discarded_units)
    }

    fn join(&mut self, now: Instant) {
        self.queue.clear();
        let rate = match self.lost_at.take() {
            Some(_) => BacklogRate::again(now),
            None => BacklogRate::new(self.round_trip, now),
        };
        let (at, phase) = match self.video {
            Some(_) => (JoinAt::NewestRandomAccess, Phase::Joining(rate)),
            None => (JoinAt::LiveEdge, Phase::Live),
        };
        self.subscription.rejoin(at);
        self.run_start_seq = self.subscription.newest_join_seq();
        self.run_started_at = Some(now);
        self.phase = phase;
    }

    fn read_ahead(&mut self, now: Instant) {
        while self.queue.len() < READ_AHEAD_UNITS {
            match self.subscription.try_next() {
                Read::Empty => return,
                // A lag empties the queue: what waited there is older than the place to go on from.
                read => self.take(read, now),
            }
        }
    }

    fn is_of(&self, entry: &Entry, outgoing: Option<&Outgoing>) -> bool {
        outgoing.is_some_and(|outgoing| outgoing.track == Some(entry.unit.track))
    }

    /// Follows the stream to another format: same codecs go on, a new timeline is stamped by the clock.
    fn adopt(&mut self, entry: &Entry) -> Result<(), &'static str> {
        if self.format.as_ref().is_some_and(|format| Arc::ptr_eq(format, &entry.format)) {
            return Ok(());
        }
        let is_first = self.format.is_none();
        for outgoing in [&mut self.video, &mut self.audio].into_iter().flatten() {
            outgoing.track = track_with_codec(&entry.format, outgoing.codec);
            outgoing.last_dts = None;
            if !is_first {
                outgoing.timeline.rebase();
            }
        }
        if self.video.as_ref().is_some_and(|video| video.track.is_none()) {
            return Err("the camera changed its video codec");
        }
        self.format = Some(Arc::clone(&entry.format));
        Ok(())
    }

    fn step_video(&mut self, rtc: &mut Rtc, outbox: &mut Outbox, entry: &Entry, now: Instant) -> Step {
        if entry.is_join_point && self.subscription.stream().has_b_frames() {
            return Step::Close("the stream has B-frames");
        }
        let newer_waits = self.queue.iter().skip(1).any(|other| other.unit.track == entry.unit.track);
        let delivery = match &mut self.phase {
            Phase::Joining(rate) => {
                if let Err(later) = rate.admit(entry.unit.payload.len(), now) {
                    return Step::WaitUntil(later);
                }
                if newer_waits { Delivery::Backlog } else { Delivery::Live }
            }
            Phase::Waiting | Phase::Live => Delivery::Live,
        };
        if delivery == Delivery::Live {
            self.phase = Phase::Live;
        }
        self.queue.pop_front();
        self.count_outbound(entry);
        let exit = Exit { rtc, direct: self.direct.as_mut(), outbox };
        let due = Due { entry, delivery, now };
        self.video.as_mut().map_or(Step::Wrote, |video| video.send(exit, due, &self.packets))
    }

    fn count_outbound(&self, entry: &Entry) {
        let bytes = u64::try_from(entry.unit.payload.len()).unwrap_or(0);
        self.subscription.stream().counters.outbound_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn send_audio(
        &mut self,
        rtc: &mut Rtc,
        outbox: &mut Outbox,
        entry: &Entry,
        now: Instant,
    ) -> Option<Step> {
        let audio = self.audio.as_mut()?;
        let is_repeated = audio.last_dts.is_some_and(|last| entry.unit.dts_ticks <= last);
        // Sound of a backlog is the past: it begins when the picture is live.
        if is_repeated || !matches!(self.phase, Phase::Live) {
            return None;
        }
        let exit = Exit { rtc, direct: self.direct.as_mut(), outbox };
        let step = audio.send(exit, Due { entry, delivery: Delivery::Live, now }, &self.packets);
        self.count_outbound(entry);
        Some(step)
    }
}

impl Outgoing {
    fn new(mapped: &MappedTrack, first_seq: u32, first_rtp_timestamp: u32) -> Self {
        Self {
            track: Some(mapped.track),
            codec: mapped.codec,
            mid: mid_of(mapped),
            pt: Pt::new_with_value(mapped.payload.pt),
            rtx_pt: mapped.payload.rtx_pt,
            timeline: Timeline::new(rtp_clock(mapped.codec), first_rtp_timestamp),
            // The lower half, so that the receiver does not meet a roll-over in its first packets
            // (RFC 3711 s3.3.1 begins at roll-over 0).
            next_seq: u64::from(first_seq & 0x7fff),
            last_dts: None,
            extended_at: None,
        }
    }

    /// As it was negotiated.
    fn lane(&self) -> Lane {
        let loss = match self.rtx_pt {
            _ if !self.is_video() => OnLoss::Gone,
            None => OnLoss::Same,
            Some(pt) => OnLoss::Rtx(pt),
        };
        Lane { mid: self.mid, pt: *self.pt, clock: rtp_clock(self.codec), first_seq: self.next_seq, loss }
    }

    fn send(&mut self, exit: Exit<'_>, due: Due<'_>, packets: &StreamPackets) -> Step {
        let Due { entry, delivery, now } = due;
        let unit = &entry.unit;
        let Some(info) = entry.format.track(unit.track) else { return Step::Sent(0) };
        let rtp_timestamp = self.timeline.stamp(unit.pts_ticks, info.timescale, delivery, now);
        self.last_dts = Some(unit.dts_ticks);
        let (payloads, stamp) = (packets.of(entry), self.stamp(due));
        let unit = DueUnit { payloads, rtp_timestamp, wall: unit.wall, stamp };
        match exit.direct {
            Some(direct) => Step::Sent(direct.send(self.mid, &unit, exit.outbox, now)),
            None => {
                self.write(exit.rtc, &unit, now);
                Step::Wrote
            }
        }
    }

    /// Hands a unit to str0m.
    fn write(&mut self, rtc: &mut Rtc, unit: &DueUnit, now: Instant) {
        let wallclock = capture_instant(unit.wall, now);
        let mut extensions = extension_values(unit.stamp);
        let mut api = rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(self.mid, None) else { return };
        for payload in unit.payloads.iter() {
            let write = RtpWrite::new(
                self.pt,
                self.next_seq.into(),
                unit.rtp_timestamp.wrapping_add(payload.offset_ticks),
                wallclock,
                Arc::clone(&payload.payload),
            );
            stream.write_rtp(
                write
                    .marker(payload.marker)
                    .nackable(self.is_video())
                    .ext_vals(std::mem::take(&mut extensions)),
            );
            self.next_seq += 1;
        }
    }

    fn is_video(&self) -> bool {
        matches!(self.codec, WireCodec::H264 | WireCodec::H265)
    }

    /// For a unit's first packet. Those of the backlog carry none but the delay: receivers would
    /// interpolate capture times over compressed timestamps.
    fn stamp(&mut self, due: Due<'_>) -> Stamp {
        let Due { entry, delivery, now } = due;
        let is_due =
            self.extended_at.is_none_or(|at| now.saturating_duration_since(at) >= EXTENSION_INTERVAL);
        let is_key = self.is_video() && entry.is_join_point;
        if !is_due && !is_key {
            return Stamp::default();
        }
        let captured = (delivery == Delivery::Live).then_some(entry.unit.wall);
        if captured.is_some() {
            self.extended_at = Some(now);
        }
        Stamp { is_urgent: self.is_video(), captured }
    }
}

fn rtp_clock(codec: WireCodec) -> Timescale {
    match codec {
        WireCodec::H264 | WireCodec::H265 => Timescale::VIDEO,
        WireCodec::Opus => Timescale::OPUS,
        WireCodec::Pcma | WireCodec::Pcmu => Timescale::new(8000).unwrap_or(Timescale::OPUS),
    }
}

fn extension_values(stamp: Stamp) -> ExtensionValues {
    let capture_time = |wall| AbsCaptureTime { capture_time: system_time(wall), clock_offset: None };
    let delay = stamp.is_urgent.then_some(MediaTime::ZERO);
    let mut values = ExtensionValues::default();
    (values.play_delay_min, values.play_delay_max) = (delay, delay);
    values.abs_capture_time = stamp.captured.map(capture_time);
    values
}

/// The instant at which a unit was captured, from which str0m draws its sender reports of what it sends (RFC 3550 s6.4.1).
///
/// A capture time ahead of our clock counts as now: str0m pairs our clock's now with the RTP time of now, and has no RTP
/// time for a picture of the future. So the reports of a camera whose clock is ahead say our clock instead of the camera's, by
/// what it is ahead: less than `CAMERA_OFFSET_MAX_US` (1 s), beyond which ingest does not believe it either. One that is behind
/// is carried exactly, and abs-capture-time carries both.
fn capture_instant(wall: WallTime, now: Instant) -> Instant {
    let age_us = u64::try_from(clock::wall_now().us_since(wall)).unwrap_or(0);
    now.checked_sub(Duration::from_micros(age_us)).unwrap_or(now)
}

fn system_time(wall: WallTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(wall.unix_us()).unwrap_or(0))
}

fn track_with_codec(format: &StreamFormat, codec: WireCodec) -> Option<TrackId> {
    let carries = |track: &&TrackInfo| match &track.codec {
        CodecConfig::H264(_) => codec == WireCodec::H264,
        CodecConfig::H265(_) => codec == WireCodec::H265,
        CodecConfig::Opus { .. } => codec == WireCodec::Opus,
        CodecConfig::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 } => codec == WireCodec::Pcma,
        CodecConfig::G711 { law: G711Law::Mu, sample_rate: 8000, channels: 1 } => codec == WireCodec::Pcmu,
        CodecConfig::G711 { .. } | CodecConfig::Aac(_) => false,
    };
    format.tracks.iter().find(carries).map(|track| track.id)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media_core::access_unit::AccessUnit;
    use media_core::egress::webrtc::track_map::{Offer, PictureOrder};
    use media_core::gate::{Action, Gate};
    use media_core::path_name::PathName;
    use media_core::ring::Retention;
    use media_core::track::H264Config;

    use super::super::candidates::host_candidates;
    use super::super::negotiate::{Identity, negotiate};
    use super::*;
    use crate::stream::{HasBFrames, Publisher, ReaderKind, Stream};

    const OFFER: &str =
        include_str!("../../../../media-core/src/egress/webrtc/track_map/offers/chromium.sdp");

    /// A camera of 25 pictures a second with G.711, and one viewer of it.
    struct Scene {
        publisher: Publisher,
        stream: Arc<Stream>,
        format: SharedFormat,
        pictures: i64,
        rtc: Box<Rtc>,
        outbox: Outbox,
        sender: MediaSender,
        now: Instant,
    }

    fn format(generation: u64, video: CodecConfig) -> SharedFormat {
        let hz = |hz| Timescale::new(hz).unwrap();
        let audio = CodecConfig::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 };
        let track =
            |id, timescale, codec| TrackInfo { id: TrackId(id), timescale, codec, transcoded_from: None };
        let tracks = vec![track(0, hz(90_000), video), track(1, hz(8000), audio)];
        Arc::new(StreamFormat { generation, is_slate: false, tracks })
    }

    fn h264() -> CodecConfig {
        CodecConfig::H264(H264Config {
            sps: Bytes::from_static(&[0x67, 0x42, 0xe0, 0x1f]),
            pps: Bytes::from_static(&[0x68]),
            width: 640,
            height: 360,
            profile_idc: 66,
            constraint_flags: 0xe0,
            level_idc: 31,
        })
    }

    impl Scene {
        /// A camera that has sent `pictures` pictures, a key frame each 50.
        fn after(pictures: i64) -> Self {
            let name = PathName::parse("cam_1").unwrap();
            let stream = Stream::new(name.clone(), Retention::default(), WallTime(0));
            let format = format(0, h264());
            let map = Offer::parse(OFFER).unwrap().choose(&format, PictureOrder::InOrder).unwrap();
            let grant = Gate::on_own_behalf(Action::Read, &name);
            let subscription = stream.subscribe(&grant, JoinAt::LiveEdge, ReaderKind::WebRtcSession).unwrap();
            let sender = MediaSender::new(subscription, Arc::default(), &map, 42);
            let now = clock::now();
            let candidates = host_candidates(&[[127, 0, 0, 1].into()], Some(8189), None);
            let offer = Offer::parse(OFFER).unwrap();
            let identity = Identity::generate().unwrap();
            let rtc = negotiate(&identity, &offer, &map, candidates, now).unwrap().rtc;
            let publisher = Publisher::new(&stream);
            let outbox = Outbox::new(1);
            let mut scene = Self { publisher, stream, format, pictures: 0, rtc, outbox, sender, now };
            scene.run(pictures);
            scene
        }

        /// The camera sends more pictures, each with its sound.
        fn run(&mut self, pictures: i64) {
            for n in self.pictures..self.pictures + pictures {
                let payload = Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]);
                let wall = WallTime(n * 40_000);
                let (is_random_access, dts_ticks) = (n % 50 == 0, n * 3600);
                let picture = AccessUnit {
                    track: TrackId(0),
                    dts_ticks,
                    pts_ticks: dts_ticks,
                    wall,
                    is_random_access,
                    payload,
                };
                let sound = AccessUnit {
                    track: TrackId(1),
                    dts_ticks: n * 320,
                    pts_ticks: n * 320,
                    is_random_access: true,
                    payload: Bytes::from_static(&[0xd5; 320]),
                    ..picture.clone()
                };
                self.publisher.publish(&self.format, picture);
                self.publisher.publish(&self.format, sound);
            }
            self.pictures += pictures;
        }

        fn start(&mut self) {
            // Before the handshake there are no keys: str0m sends.
            self.sender.start(&mut self.rtc, &Arc::default(), Duration::ZERO, self.now);
        }

        /// Steps until nothing is left to send; says how many units were written and how it ended.
        fn send_all(&mut self) -> (usize, Step) {
            let mut written = 0;
            loop {
                match self.sender.step(&mut self.rtc, &mut self.outbox, self.now) {
                    Step::Wrote => written += 1,
                    Step::WaitUntil(later) => self.now = later,
                    step => return (written, step),
                }
            }
        }

        fn rtp_timestamp(&mut self) -> u32 {
            let video = self.sender.video.as_mut().unwrap();
            // A stamp of no time further would be one backlog step on.
            video.timeline.clone().stamp(0, Timescale::VIDEO, Delivery::Backlog, self.now)
        }
    }

    #[test]
    fn joining_viewer_gets_the_open_gop_and_sound_from_the_live_picture_on() {
        let mut scene = Scene::after(130);
        assert_eq!(scene.send_all(), (0, Step::Idle), "nothing before the viewer is connected");
        scene.start();
        // Pictures 100 to 129, and the sound of the last one.
        assert_eq!(scene.send_all(), (31, Step::Idle));
        let before = scene.rtp_timestamp();
        scene.run(1);
        assert_eq!(scene.send_all(), (2, Step::Idle));
        assert_eq!(scene.rtp_timestamp().wrapping_sub(before), 3600, "live spacing after the backlog");
    }

    #[test]
    fn viewer_that_lags_goes_on_at_the_newest_random_access_point_with_rising_timestamps() {
        let mut scene = Scene::after(10);
        scene.start();
        scene.send_all();
        let before = scene.rtp_timestamp();
        scene.run(200);
        let (written, step) = scene.send_all();
        // Pictures 200 to 209, and their sound from the live one on.
        assert_eq!((written, step), (11, Step::Idle));
        assert!(scene.sender.take_discarded_units() > 0);
        let forward = scene.rtp_timestamp().wrapping_sub(before);
        assert!((1..90_000).contains(&forward), "{forward} ticks");
    }

    #[test]
    fn key_frame_request_restarts_from_a_newer_random_access_point_but_not_too_often() {
        let mut scene = Scene::after(10);
        scene.start();
        scene.send_all();
        scene.run(50);
        scene.send_all();
        let early = scene.now + RESTART_INTERVAL_MIN / 2;
        assert!(!scene.sender.key_frame_requested(early), "too early");
        let late = scene.now + RESTART_INTERVAL_MIN;
        assert!(scene.sender.key_frame_requested(late));
        assert!(!scene.sender.key_frame_requested(late), "not twice at once");
        scene.now = late;
        // Pictures 50 to 59 again; their sound was heard already.
        assert_eq!(scene.send_all(), (10, Step::Idle));
    }

    #[test]
    fn new_format_of_the_same_codec_goes_on_and_another_codec_ends_the_session() {
        let mut scene = Scene::after(10);
        scene.start();
        scene.send_all();
        scene.format = format(1, h264());
        scene.pictures = 0;
        scene.run(3);
        assert_eq!(scene.send_all(), (6, Step::Idle));
        scene.format = format(2, CodecConfig::Opus { channels: 2 });
        scene.run(1);
        assert!(matches!(scene.send_all(), (0, Step::Close(_))));
    }

    #[test]
    fn stream_that_turns_out_to_have_b_frames_ends_the_session() {
        let mut scene = Scene::after(10);
        scene.start();
        scene.send_all();
        Publisher::new(&scene.stream).set_has_b_frames(HasBFrames::Yes);
        scene.run(41);
        assert!(matches!(scene.send_all().1, Step::Close(_)));
    }

    #[test]
    fn reported_losses_slow_the_backlog() {
        let mut scene = Scene::after(1);
        scene.start();
        let bps = |scene: &Scene| match &scene.sender.phase {
            Phase::Joining(rate) => rate.bps(),
            other => panic!("{other:?}"),
        };
        let before = bps(&scene);
        scene.sender.lost(scene.now);
        scene.sender.lost(scene.now);
        assert_eq!(bps(&scene), before / 2, "one event");
    }
}
