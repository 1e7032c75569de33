//! Reader: one playing session's media, from its place in the ring to its connection's outbox.
//!
//! ```text
//!  CatchingUp (backlog, as fast as it is taken) ─all taken─► Live ─queue full for long─► cut
//! ```
//!
//! A reader begins at the newest random access point, however long ago that was, and gets everything since at once, with
//! the same timestamps as everybody.
//!
//! Limits: `writeQueueSize` packets wait at most, and what came within [`QUEUE_AGE_MIN`]; a live reader beyond both is cut, and one
//! that is still catching up gets no more until it has taken some.
//! Spec: RFC 3550 s6.4.1 (sender reports).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::egress::rtsp::can_go_on;
use media_core::ring::{Entry, JoinAt, Read};
use media_core::rtsp::SenderReport;
use media_core::rtsp::server::{RtpInfo, SetUpTrack};
use media_core::time::NtpTime;
use media_core::track::{SharedFormat, TrackInfo, TrackKind};

use super::feed::{Block, Feed};
use super::out::Out;
use super::source_clock::SourceClock;
use super::stats::SessionRecord;
use crate::stream::{Stream, Subscription};

/// Time between sender reports of a track (RFC 3550 s6.2's minimum).
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// A full queue is no fault while its oldest packet has waited less than this: a key frame alone may be longer than the
/// queue.
const QUEUE_AGE_MIN: Duration = Duration::from_secs(1);

/// Why a reader's session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReaderEnd {
    /// It does not take its media in time.
    #[error("reader is too slow: {packets} packets wait (writeQueueSize), the oldest for {} ms", .age.as_millis())]
    TooSlow {
        /// Packets in its queue.
        packets: usize,
        /// How long the oldest has waited.
        age: Duration,
    },
    /// What it was told in DESCRIBE is not so any more.
    #[error("the camera changed its codec")]
    FormatChanged,
}

/// One set-up track on its way out.
#[derive(Debug)]
struct Outgoing {
    set_up: SetUpTrack,
    info: TrackInfo,
    ssrc: u32,
    packets: u32,
    payload_bytes: u32,
    reported_at: Option<Instant>,
}

/// One reader's media.
#[derive(Debug)]
pub(super) struct Reader {
    subscription: Subscription,
    feed: Arc<Feed>,
    record: Arc<SessionRecord>,
    format: SharedFormat,
    tracks: Vec<Outgoing>,
    clock: SourceClock,
    queue_packets_max: usize,
    is_live: bool,
}

/// What a reader is made of.
#[derive(Debug)]
pub(super) struct ReaderParts {
    /// Its place in the stream.
    pub(super) subscription: Subscription,
    /// The stream's packets.
    pub(super) feed: Arc<Feed>,
    /// Its session.
    pub(super) record: Arc<SessionRecord>,
    /// The format that its SDP described.
    pub(super) format: SharedFormat,
    /// Packets that may wait.
    pub(super) queue_packets_max: usize,
}

impl Reader {
    /// A reader of these tracks.
    pub(super) fn new(parts: ReaderParts, set_up: &[SetUpTrack]) -> Self {
        let ReaderParts { subscription, feed, record, format, queue_packets_max } = parts;
        feed.join(&subscription);
        let tracks = set_up.iter().filter_map(|set_up| {
            let info = format.source_tracks().nth(set_up.track)?.clone();
            let ssrc = feed.ssrc(info.id);
            Some(Outgoing { set_up: *set_up, info, ssrc, packets: 0, payload_bytes: 0, reported_at: None })
        });
        let tracks = tracks.collect();
        let clock = SourceClock::default();
        Self { subscription, feed, record, format, tracks, clock, queue_packets_max, is_live: false }
    }

    /// The stream it reads.
    pub(super) fn stream(&self) -> &Arc<Stream> {
        self.subscription.stream()
    }

    /// Where its tracks begin.
    pub(super) fn begin(&self) -> Vec<RtpInfo> {
        let mut infos = self.feed.begin(&self.subscription);
        infos.retain(|info| self.tracks.iter().any(|track| track.set_up.track == info.track));
        infos
    }

    /// Moves what the stream has into the way out.
    ///
    /// # Errors
    /// [`ReaderEnd`]: the session is to be ended.
    pub(super) fn pull(&mut self, out: &mut Out, now: Instant) -> Result<(), ReaderEnd> {
        loop {
            let packets = out.packets();
            if packets > self.queue_packets_max && !self.may_queue_more(out, now)? {
                return Ok(());
            }
            match self.subscription.try_next() {
                Read::Empty => {
                    self.is_live |= packets == 0;
                    return Ok(());
                }
                Read::Entry(entry) => self.forward(&entry, out, now)?,
                // The ring went on without it. It is not to blame when nothing waits for it: then this server was.
                Read::Lagged { .. } if packets > 0 && out.udp.is_none() => {
                    return Err(ReaderEnd::TooSlow { packets, age: out.tcp.age(now) });
                }
                Read::Lagged { .. } => {}
            }
        }
    }

    /// The queue is full: whether that is to be borne, and more queued.
    fn may_queue_more(&self, out: &mut Out, now: Instant) -> Result<bool, ReaderEnd> {
        if let Some(udp) = &mut out.udp {
            // Over UDP it is our pace that holds a reader up, never the reader.
            udp.wake_soon(now);
            return Ok(false);
        }
        let age = out.tcp.age(now);
        match (self.is_live, age > QUEUE_AGE_MIN) {
            (true, true) => Err(ReaderEnd::TooSlow { packets: out.tcp.packets(), age }),
            (true, false) => Ok(true),
            (false, _) => Ok(false),
        }
    }

    fn forward(&mut self, entry: &Entry, out: &mut Out, now: Instant) -> Result<(), ReaderEnd> {
        self.adopt(&entry.format)?;
        let Ok(block) = self.feed.of(&self.subscription, entry) else {
            self.subscription.rejoin(JoinAt::NewestRandomAccess);
            return Ok(());
        };
        let track = self.tracks.iter_mut().find(|track| track.info.id == entry.unit.track);
        let (Some(block), Some(track)) = (block, track) else { return Ok(()) };
        let counters = &self.record.counters;
        if let Some(report) = track.report_due(&block, entry, (&mut self.clock, now)) {
            counters.outbound_rtcp_packets.fetch_add(1, Ordering::Relaxed);
            out.push_report(track.set_up.transport, &report, now);
        }
        track.packets = track.packets.wrapping_add(block.packets);
        track.payload_bytes = track.payload_bytes.wrapping_add(block.payload_bytes);
        let length = u64::try_from(block.bytes.len()).unwrap_or(0);
        counters.outbound_rtp_packets.fetch_add(block.packets.into(), Ordering::Relaxed);
        counters.outbound_bytes.fetch_add(length, Ordering::Relaxed);
        self.subscription.stream().counters.outbound_bytes.fetch_add(length, Ordering::Relaxed);
        out.push_block(track.set_up.transport, block, now);
        Ok(())
    }

    /// Follows the stream into another format.
    fn adopt(&mut self, format: &SharedFormat) -> Result<(), ReaderEnd> {
        if Arc::ptr_eq(&self.format, format) {
            return Ok(());
        }
        self.format = Arc::clone(format);
        let goes_on =
            |track: &Outgoing| format.track(track.info.id).is_some_and(|now| can_go_on(&track.info, now));
        let is_video = |track: &Outgoing| track.info.codec.kind() == TrackKind::Video;
        if self.tracks.iter().any(|track| is_video(track) && !goes_on(track)) {
            return Err(ReaderEnd::FormatChanged);
        }
        // Sound that changed falls silent; the picture goes on.
        self.tracks.retain(goes_on);
        if self.tracks.is_empty() { Err(ReaderEnd::FormatChanged) } else { Ok(()) }
    }
}

impl Outgoing {
    /// The sender report that stands before this unit, if one is due: the unit's RTP time and the source's clock when it was
    /// taken (correctness: R3).
    fn report_due(
        &mut self,
        block: &Block,
        entry: &Entry,
        (clock, now): (&mut SourceClock, Instant),
    ) -> Option<Bytes> {
        if self.reported_at.is_some_and(|at| now.saturating_duration_since(at) < REPORT_INTERVAL) {
            return None;
        }
        self.reported_at = Some(now);
        let position_us = self.info.timescale.ticks_to_us(entry.unit.pts_ticks);
        let ntp = NtpTime::from_wall(clock.tell(position_us, entry.unit.wall, now));
        let report = SenderReport { ssrc: self.ssrc, ntp, rtp_timestamp: block.rtp_timestamp };
        Some(report.to_bytes(self.packets, self.payload_bytes))
    }
}
