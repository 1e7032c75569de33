//! Packets: each access unit cut into RTP payloads once per stream, shared by all its viewers.
//!
//! Keyed by the unit's place in the ring. A viewer at the live edge finds the newest units here; one
//! that joins takes the open GOP from here as far as it is kept, and cuts the rest itself.
//!
//! Limits: [`CACHE_BYTES_MAX`] per stream (the oldest go first).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use media_core::path_name::PathName;
use media_core::remux::rtp::{Packetizer, ParameterSets, RtpPayload};
use media_core::ring::Entry;
use media_core::track::TrackId;
use tracing::debug;

use crate::stream::Stream;

/// Payload bytes of one RTP packet: 1200 bytes of UDP, the size that passes every tunnel (RFC 8834 and
/// browsers keep to it), less RTP header (12), our extensions (32), SRTP tag (16) and the
/// retransmission's sequence number (2).
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1200 - 12 - 32 - 16 - 2;

/// Bytes of payload kept per stream that has viewers: 8 s of a 4 Mbit/s camera. A unit no longer kept
/// is cut again by the viewer who wants it.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// All payloads of one access unit.
pub(crate) type UnitPayloads = Arc<[RtpPayload]>;

/// The payloads of one stream's newest units.
#[derive(Debug, Default)]
pub(crate) struct StreamPackets {
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    units: BTreeMap<u64, UnitPayloads>,
    bytes: usize,
    packetizers: Vec<TrackPacketizer>,
}

#[derive(Debug)]
struct TrackPacketizer {
    generation: u64,
    track: TrackId,
    packetizer: Packetizer,
}

impl StreamPackets {
    /// The payloads of a unit; empty for a track that is not in the entry's format.
    pub(crate) fn of(&self, entry: &Entry) -> UnitPayloads {
        // Held while cutting one unit (tens of microseconds): viewers of the same unit wait for it
        // instead of doing the same.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(payloads) = cache.units.get(&entry.seq) {
            return Arc::clone(payloads);
        }
        let payloads = cache.cut(entry);
        cache.keep(entry.seq, &payloads);
        payloads
    }
}

impl Cache {
    fn cut(&mut self, entry: &Entry) -> UnitPayloads {
        let none = || Arc::from([]);
        let (generation, track) = (entry.format.generation, entry.unit.track);
        let is_known = |known: &&TrackPacketizer| known.generation == generation && known.track == track;
        if !self.packetizers.iter().any(|known| is_known(&known)) {
            let Some(info) = entry.format.track(track) else { return none() };
            // Viewers may still read the format before this one.
            self.packetizers.retain(|known| known.generation + 1 >= generation);
            let made = Packetizer::new(info, PAYLOAD_BYTES_MAX, ParameterSets::BeforeRandomAccess);
            let Ok(packetizer) = made else { return none() };
            self.packetizers.push(TrackPacketizer { generation, track, packetizer });
        }
        let Some(known) = self.packetizers.iter().find(is_known) else { return none() };
        match known.packetizer.packetize(&entry.unit) {
            Ok(payloads) => payloads.into(),
            Err(error) => {
                debug!(seq = entry.seq, %error, "access unit can't be packetized");
                none()
            }
        }
    }

    fn keep(&mut self, seq: u64, payloads: &UnitPayloads) {
        let bytes = size_of_unit(payloads);
        // An old unit, asked for by a viewer who joins, must not push out what the others want next.
        let is_old = self.units.first_key_value().is_some_and(|(oldest, _)| seq < *oldest);
        if is_old && self.bytes + bytes > CACHE_BYTES_MAX {
            return;
        }
        self.units.insert(seq, Arc::clone(payloads));
        self.bytes += bytes;
        while self.bytes > CACHE_BYTES_MAX {
            let Some((_, oldest)) = self.units.pop_first() else { break };
            self.bytes -= size_of_unit(&oldest);
        }
    }
}

fn size_of_unit(payloads: &UnitPayloads) -> usize {
    payloads.iter().map(|payload| payload.payload.len()).sum()
}

/// The packets of every stream that has a viewer; forgotten with the last one.
#[derive(Debug, Default)]
pub(crate) struct PacketStore {
    streams: Mutex<HashMap<PathName, Owned>>,
}

/// A stream and its packets, as long as both are in use.
#[derive(Debug)]
struct Owned {
    stream: Weak<Stream>,
    packets: Weak<StreamPackets>,
}

impl PacketStore {
    /// The packets of `stream`, shared with its other viewers.
    pub(crate) fn of(&self, stream: &Arc<Stream>) -> Arc<StreamPackets> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|_, owned| owned.packets.strong_count() > 0);
        if let Some(owned) = streams.get(stream.name())
            && Weak::ptr_eq(&owned.stream, &Arc::downgrade(stream))
            && let Some(packets) = owned.packets.upgrade()
        {
            return packets;
        }
        let packets = Arc::new(StreamPackets::default());
        let owned = Owned { stream: Arc::downgrade(stream), packets: Arc::downgrade(&packets) };
        streams.insert(stream.name().clone(), owned);
        packets
    }
}
