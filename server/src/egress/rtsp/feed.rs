//! Feed: each access unit's packets, made once per stream and shared by all its RTSP readers.
//!
//! ```text
//!  ring   ── unit 7 ── unit 8 ── unit 9 ──►        (all tracks, in the order of the ring)
//!  slots     seq 40    seq 55    seq 56            first sequence number of each unit, never forgotten while it is in the ring
//!  blocks              █████     █                 bytes of the newest units; older ones are made again for who joins
//! ```
//!
//! Sequence numbers are given in the order of the ring, by whichever reader asks first: it packetizes what lies
//! between too, so that every reader finds the same numbers at the same unit.
//!
//! Limits: [`BLOCKS_BYTES_MAX`], [`SLOTS_MAX`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use media_core::egress::rtsp::{PacketHeader, interleave, payload_type};
use media_core::path_name::PathName;
use media_core::remux::rtp::{Packetizer, ParameterSets};
use media_core::ring::Entry;
use media_core::rtsp::server::RtpInfo;
use media_core::time::rescale;
use media_core::track::{StreamFormat, TRACKS_MAX, TrackId};
use tracing::debug;
use uuid::Uuid;

use crate::stream::{Stream, Subscription};

/// Bytes of blocks kept per stream that has readers: half a second of a 4 Mbit/s camera, which is what readers at
/// the live edge are apart. Older units are packetized again for the reader who wants them.
const BLOCKS_BYTES_MAX: usize = 256 << 10;

/// Units whose sequence numbers are remembered, eight bytes each: more than a ring with the longest GOPs holds. A reader
/// further behind has lagged.
const SLOTS_MAX: usize = 16_384;

/// The packets of one access unit.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// As they go over TCP, on [`Block::channel`].
    pub(super) bytes: Bytes,
    /// How many.
    pub(super) packets: u32,
    /// Bytes of their payloads, as sender reports count them.
    pub(super) payload_bytes: u32,
    /// Timestamp of the unit.
    pub(super) rtp_timestamp: u32,
    /// The channel that is written in them.
    pub(super) channel: u8,
}

/// One stream's packets.
#[derive(Debug)]
pub(super) struct Feed {
    packet_bytes_max: usize,
    seed: u128,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Place in the ring of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    blocks: VecDeque<(u64, Block)>,
    blocks_bytes: usize,
    /// By track id.
    next_seqs: [u16; TRACKS_MAX],
    packetizers: Vec<TrackPacketizer>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    track: TrackId,
    first_seq: u16,
}

#[derive(Debug)]
struct TrackPacketizer {
    generation: u64,
    track: TrackId,
    packetizer: Packetizer,
}

impl Feed {
    fn new(packet_bytes_max: usize, seed: u128) -> Self {
        let mut state = State::default();
        for (index, seq) in state.next_seqs.iter_mut().enumerate() {
            *seq = u16::try_from(word(seed, index) & 0x7fff).unwrap_or(0);
        }
        Self { packet_bytes_max, seed, state: Mutex::new(state) }
    }

    /// Synchronization source of a track, the same for all readers.
    pub(super) fn ssrc(&self, track: TrackId) -> u32 {
        // The track's number keeps them apart.
        (word(self.seed, 1) & !0xff) | u32::from(track.0)
    }

    /// Sequence numbers are counted from where the first reader begins.
    pub(super) fn join(&self, subscription: &Subscription) {
        let mut state = self.lock();
        if state.slots.is_empty() {
            state.first = subscription.seq();
        }
    }

    /// The packets of a unit; `None` for one of a track that is not sent, or that can't be packetized.
    ///
    /// # Errors
    /// [`Forgotten`] for a unit whose sequence numbers are not known any more.
    pub(super) fn of(&self, subscription: &Subscription, entry: &Entry) -> Result<Option<Block>, Forgotten> {
        let mut state = self.lock();
        while state.next() < entry.seq {
            let next = state.next();
            match subscription.entry_at(next) {
                Some(between) => drop(self.append(&mut state, &between)),
                // No reader came by for longer than the ring keeps: nobody knows the old numbers.
                None => state.restart(entry.seq),
            }
        }
        if state.next() == entry.seq {
            return Ok(self.append(&mut state, entry));
        }
        if let Some((_, block)) = state.blocks.iter().find(|(seq, _)| *seq == entry.seq) {
            return Ok(Some(block.clone()));
        }
        let slot = entry.seq.checked_sub(state.first).and_then(|index| usize::try_from(index).ok());
        let slot = slot.and_then(|index| state.slots.get(index)).copied().ok_or(Forgotten)?;
        Ok(self.cut(&mut state, entry, slot.first_seq))
    }

    /// Where each track of `format` begins for a reader that joins at its subscription's place.
    pub(super) fn begin(&self, subscription: &Subscription) -> Vec<RtpInfo> {
        let Some(entry) = subscription.entry_at(subscription.seq()) else { return Vec::new() };
        if self.of(subscription, &entry).is_err() {
            return Vec::new();
        }
        let Some(joined) = entry.format.track(entry.unit.track) else { return Vec::new() };
        let state = self.lock();
        let from = entry.seq.checked_sub(state.first).and_then(|index| usize::try_from(index).ok());
        let tracks = entry.format.source_tracks().enumerate();
        tracks
            .map(|(track, info)| {
                let pts = rescale(entry.unit.pts_ticks, joined.timescale.hz(), info.timescale.hz());
                let mut later = state.slots.iter().skip(from.unwrap_or(0));
                let slot = later.find(|slot| slot.track == info.id);
                let seq = slot.map_or_else(|| state.next_seq(info.id), |slot| slot.first_seq);
                RtpInfo { track, seq, rtp_timestamp: self.rtp_timestamp(info.id, pts) }
            })
            .collect()
    }

    /// Presentation time in RTP ticks. The timeline of a stream goes on rising across reconnects, and with it this.
    fn rtp_timestamp(&self, track: TrackId, pts_ticks: i64) -> u32 {
        let ticks = u32::try_from(pts_ticks.rem_euclid(1 << 32)).unwrap_or(0);
        ticks.wrapping_add(word(self.seed, 2 + usize::from(track.0 & 1)))
    }

    /// Packetizes the unit behind the newest.
    fn append(&self, state: &mut State, entry: &Entry) -> Option<Block> {
        let track = entry.unit.track;
        let first_seq = state.next_seq(track);
        state.slots.push_back(Slot { track, first_seq });
        if state.slots.len() > SLOTS_MAX {
            state.slots.pop_front();
            state.first += 1;
        }
        let block = self.cut(state, entry, first_seq)?;
        if let Some(next) = state.next_seqs.get_mut(usize::from(track.0)) {
            let packets = u16::try_from(block.packets).unwrap_or(u16::MAX);
            *next = first_seq.wrapping_add(packets);
        }
        state.keep(entry.seq, &block);
        Some(block)
    }

    fn cut(&self, state: &mut State, entry: &Entry, first_seq: u16) -> Option<Block> {
        let unit = &entry.unit;
        let (index, info) =
            entry.format.source_tracks().enumerate().find(|(_, info)| info.id == unit.track)?;
        let packetizer = state.packetizer(&entry.format, unit.track, self.packet_bytes_max)?;
        let payloads = match packetizer.packetize(unit) {
            Ok(payloads) => payloads,
            Err(error) => {
                debug!(seq = entry.seq, %error, "access unit can't be packetized");
                return None;
            }
        };
        let channel = u8::try_from(index * 2).unwrap_or(u8::MAX);
        let rtp_timestamp = self.rtp_timestamp(unit.track, unit.pts_ticks);
        let payload_type = payload_type(info).0;
        let header =
            PacketHeader { channel, payload_type, first_seq, rtp_timestamp, ssrc: self.ssrc(unit.track) };
        let payload_bytes: usize = payloads.iter().map(|payload| payload.payload.len()).sum();
        Some(Block {
            bytes: interleave(&payloads, header),
            packets: u32::try_from(payloads.len()).unwrap_or(u32::MAX),
            payload_bytes: u32::try_from(payload_bytes).unwrap_or(u32::MAX),
            rtp_timestamp,
            channel,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Held while one unit is packetized (tens of microseconds): readers of the same unit wait for it instead of
        // doing the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader asks for a unit that is too old: it has lagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forgotten;

impl State {
    /// Place in the ring of the next unit to packetize.
    fn next(&self) -> u64 {
        self.first + u64::try_from(self.slots.len()).unwrap_or(0)
    }

    fn next_seq(&self, track: TrackId) -> u16 {
        self.next_seqs.get(usize::from(track.0)).copied().unwrap_or(0)
    }

    fn restart(&mut self, at: u64) {
        self.first = at;
        self.slots.clear();
        self.blocks.clear();
        self.blocks_bytes = 0;
    }

    fn keep(&mut self, seq: u64, block: &Block) {
        self.blocks_bytes += block.bytes.len();
        self.blocks.push_back((seq, block.clone()));
        // The newest stays, however large.
        while self.blocks_bytes > BLOCKS_BYTES_MAX && self.blocks.len() > 1 {
            let Some((_, oldest)) = self.blocks.pop_front() else { break };
            self.blocks_bytes -= oldest.bytes.len();
        }
    }

    fn packetizer(
        &mut self,
        format: &StreamFormat,
        track: TrackId,
        packet_bytes_max: usize,
    ) -> Option<&Packetizer> {
        /// The fixed RTP header.
        const HEADER_BYTES: usize = 12;
        let generation = format.generation;
        let is_it = |known: &TrackPacketizer| known.generation == generation && known.track == track;
        if !self.packetizers.iter().any(is_it) {
            // Readers may still be in the format before.
            self.packetizers.retain(|known| known.generation + 1 >= generation);
            let payload_bytes_max = packet_bytes_max.saturating_sub(HEADER_BYTES);
            let made =
                Packetizer::new(format.track(track)?, payload_bytes_max, ParameterSets::BeforeRandomAccess);
            self.packetizers.push(TrackPacketizer { generation, track, packetizer: made.ok()? });
        }
        self.packetizers.iter().find(|known| is_it(known)).map(|known| &known.packetizer)
    }
}

/// One of the 32-bit words of a seed.
fn word(seed: u128, index: usize) -> u32 {
    u32::try_from((seed >> ((index % 4) * 32)) & 0xffff_ffff).unwrap_or(0)
}

/// The feeds of all streams that have a reader; forgotten with the last one.
#[derive(Debug)]
pub(super) struct Feeds {
    packet_bytes_max: usize,
    feeds: Mutex<HashMap<PathName, Owned>>,
}

/// A stream and its feed, as long as both are in use.
#[derive(Debug)]
struct Owned {
    stream: Weak<Stream>,
    feed: Weak<Feed>,
}

impl Feeds {
    /// Packets have at most `packet_bytes_max` bytes, with their RTP header.
    pub(super) fn new(packet_bytes_max: usize) -> Self {
        Self { packet_bytes_max, feeds: Mutex::default() }
    }

    /// The feed of `stream`, shared with its other readers.
    pub(super) fn of(&self, stream: &Arc<Stream>) -> Arc<Feed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owned) = feeds.get(stream.name())
            && Weak::ptr_eq(&owned.stream, &Arc::downgrade(stream))
            && let Some(feed) = owned.feed.upgrade()
        {
            return feed;
        }
        feeds.retain(|_, owned| owned.feed.strong_count() > 0);
        let feed = Arc::new(Feed::new(self.packet_bytes_max, Uuid::new_v4().as_u128()));
        let owned = Owned { stream: Arc::downgrade(stream), feed: Arc::downgrade(&feed) };
        feeds.insert(stream.name().clone(), owned);
        feed
    }
}
