//! Part: one fragment with its place and times, made once per stream and shared by all readers.

use std::sync::Arc;

use bytes::Bytes;

use super::fragment::{TrackRun, fragment_head};
use super::init::InitSegment;
use crate::time::{Timescale, WallTime};

/// Exactly one moof + mdat: an LL-HLS partial segment, and a piece of a recording. Immutable.
#[derive(Clone, Debug)]
pub struct Part {
    /// Media sequence number of the segment it belongs to.
    pub msn: u64,
    /// Its position in the segment.
    pub index: u32,
    /// moof and the mdat header.
    pub head: Bytes,
    /// The mdat payload, one entry per access unit, shared with the ring.
    pub payloads: Vec<Bytes>,
    /// Head and payloads together.
    pub len_bytes: usize,
    /// Decode time of its first sample of the leading track (video, else audio), ticks of `timescale`.
    pub start_ticks: i64,
    /// Duration of the leading track, ticks of `timescale`.
    pub duration_ticks: i64,
    /// The leading track's.
    pub timescale: Timescale,
    /// Presentation minus decode time of that sample, ticks of `timescale`.
    pub composition_offset_ticks: i64,
    /// It begins with a random access point.
    pub is_independent: bool,
    /// When its first picture was taken.
    pub wall: WallTime,
    /// What a decoder needs first.
    pub init: Arc<InitSegment>,
}

/// The facts of a part that are known before its bytes are written.
#[derive(Clone, Debug)]
pub(super) struct PartHeader {
    pub(super) msn: u64,
    pub(super) index: u32,
    pub(super) start_ticks: i64,
    pub(super) duration_ticks: i64,
    pub(super) timescale: Timescale,
    pub(super) is_independent: bool,
    pub(super) wall: WallTime,
}

impl Part {
    pub(super) fn new(
        header: PartHeader,
        sequence_number: u32,
        runs: Vec<TrackRun>,
        init: &Arc<InitSegment>,
    ) -> Self {
        let head = fragment_head(sequence_number, &runs);
        let lead = runs.first().and_then(|run| run.samples.first());
        let composition_offset_ticks = lead.map_or(0, |sample| i64::from(sample.composition_offset_ticks));
        let payloads: Vec<Bytes> =
            runs.into_iter().flat_map(|run| run.samples).map(|sample| sample.payload).collect();
        let len_bytes = head.len() + payloads.iter().map(Bytes::len).sum::<usize>();
        let PartHeader { msn, index, start_ticks, duration_ticks, timescale, is_independent, wall } = header;
        Self {
            msn,
            index,
            head,
            payloads,
            len_bytes,
            start_ticks,
            duration_ticks,
            timescale,
            composition_offset_ticks,
            is_independent,
            wall,
            init: Arc::clone(init),
        }
    }

    /// Its bytes in order, without copying: head, then payloads.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.head).chain(&self.payloads)
    }

    /// Its duration in microseconds, rounded down.
    pub fn duration_us(&self) -> i64 {
        self.timescale.ticks_to_us(self.duration_ticks)
    }
}
