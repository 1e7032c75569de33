//! Packets: each access unit cut into RTP payloads once per stream, shared by all its viewers.
//!
//! Keyed by the unit's place in the ring. A viewer at the live edge finds the newest units here; one
//! that joins takes the open GOP from here as far as it is kept, and cuts the rest itself.
//!
//! Limits: [`CACHE_BYTES_MAX`] per stream (the oldest go first).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use media_core::path_name::PathName;
use media_core::ring::Entry;
use media_core::track::TrackId;

use super::packetizer::Packetizer;
use crate::stream::Stream;

/// Payload bytes of one RTP packet: 1200 bytes of UDP, the size that passes every tunnel (RFC 8834 and
/// browsers keep to it), less RTP header (12), our extensions (32), SRTP tag (16) and the
/// retransmission's sequence number (2).
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1200 - 12 - 32 - 16 - 2;

/// Bytes of payload kept per stream that has viewers: 8 s of a 4 Mbit/s camera. A unit no longer kept
/// is cut again by the viewer who wants it.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// One RTP payload, shared with str0m's retransmission caches.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// What follows the RTP header.
    pub(crate) bytes: Arc<[u8]>,
    /// The access unit's last packet.
    pub(crate) marker: bool,
}

/// All payloads of one access unit.
pub(crate) type UnitPayloads = Arc<[Payload]>;

/// The payloads of one stream's newest units.
#[derive(Debug, Default)]
pub(crate) struct StreamPackets {
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    units: BTreeMap<u64, UnitPayloads>,
    bytes: usize,
    packetizers: Vec<(u64, TrackId, Packetizer)>,
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
        let (generation, track) = (entry.format.generation, entry.unit.track);
        let known = self.packetizers.iter().position(|(g, t, _)| *g == generation && *t == track);
        let index = match known {
            Some(index) => index,
            None => {
                let Some(info) = entry.format.track(track) else { return Arc::from([]) };
                self.packetizers.retain(|(g, ..)| *g + 1 >= generation);
                self.packetizers.push((generation, track, Packetizer::new(info, PAYLOAD_BYTES_MAX)));
                self.packetizers.len() - 1
            }
        };
        let Some((.., packetizer)) = self.packetizers.get_mut(index) else { return Arc::from([]) };
        let payloads = packetizer.packetize(&entry.unit);
        payloads.into_iter().map(|p| Payload { bytes: Arc::from(&p.payload[..]), marker: p.marker }).collect()
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
    payloads.iter().map(|payload| payload.bytes.len()).sum()
}

/// The packets of every stream that has a viewer; forgotten with the last one.
#[derive(Debug, Default)]
pub(crate) struct PacketStore {
    streams: Mutex<HashMap<PathName, (Weak<Stream>, Weak<StreamPackets>)>>,
}

impl PacketStore {
    /// The packets of `stream`, shared with its other viewers.
    pub(crate) fn of(&self, stream: &Arc<Stream>) -> Arc<StreamPackets> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|_, (_, packets)| packets.strong_count() > 0);
        if let Some((owner, packets)) = streams.get(stream.name())
            && Weak::ptr_eq(owner, &Arc::downgrade(stream))
            && let Some(packets) = packets.upgrade()
        {
            return packets;
        }
        let packets = Arc::new(StreamPackets::default());
        streams.insert(stream.name().clone(), (Arc::downgrade(stream), Arc::downgrade(&packets)));
        packets
    }
}
