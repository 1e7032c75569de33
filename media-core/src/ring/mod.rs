//! Ring: the newest access units of one stream, from a random access point, for any number of readers.
//!
//! ```text
//!   oldest                                             next_seq
//!     │ K . . . . . . │ K . . . . . . . │ K . . .         │
//!     └── GOP ────────┴── GOP ──────────┴── open GOP ─────┘
//!            ▲ cursor (a sequence number)      ▲ cursor
//! ```
//!
//! A writer pushes; readers hold a [`Cursor`] and pull. Nobody can slow the writer: a reader that falls
//! behind what is retained is told [`Read::Lagged`] and goes on at the next random access point.
//!
//! Belongs here: retention and reading order. Does not: locking and waking (-> server::stream),
//! codecs, time repair (-> ingest).
//!
//! Invariants: the first entry is a random access point whenever the ring is not empty;
//! `oldest_seq <= cursor <= next_seq`; `bytes` is the sum of the payload lengths and <= [`Retention::bytes_max`].
//! Limits: [`Retention`]. A GOP that alone exceeds `bytes_max` empties the ring until the next
//! random access point (counted in [`Ring::dropped_units`]); the live readers have already had its units.

mod cursor;

use std::collections::VecDeque;
use std::sync::Arc;

pub use cursor::{Cursor, JoinAt, Read};

use crate::access_unit::AccessUnit;
use crate::track::{SharedFormat, TrackKind};

/// How much a ring keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whole GOPs kept besides the open one.
    pub gops: usize,
    /// The most payload bytes kept; the oldest GOPs go first.
    pub bytes_max: usize,
}

impl Default for Retention {
    /// One whole GOP besides the open one; 32 MiB, which is 20 s at 12 Mbit/s.
    fn default() -> Self {
        Self { gops: 1, bytes_max: 32 << 20 }
    }
}

/// One access unit in the ring with the format it belongs to.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Position in the stream since the ring was made; rises by one.
    pub seq: u64,
    /// The format in force; compare with [`Arc::ptr_eq`].
    pub format: SharedFormat,
    /// The access unit.
    pub unit: Arc<AccessUnit>,
    /// A reader may start here: a video random access point, or any unit of a stream without video.
    pub is_join_point: bool,
}

/// GOP-indexed window of the newest access units.
#[derive(Debug)]
pub struct Ring {
    retention: Retention,
    entries: VecDeque<Entry>,
    join_points: VecDeque<u64>,
    next_seq: u64,
    bytes: usize,
    dropped_units: u64,
}

impl Ring {
    /// An empty ring.
    pub fn new(retention: Retention) -> Self {
        Self {
            retention,
            entries: VecDeque::new(),
            join_points: VecDeque::new(),
            next_seq: 0,
            bytes: 0,
            dropped_units: 0,
        }
    }

    /// Adds the newest access unit and says where; amortised O(1).
    ///
    /// Units before the first random access point can't be decoded by anyone: they are not kept, which is `None`.
    pub fn push(&mut self, format: &SharedFormat, unit: AccessUnit) -> Option<(u64, Arc<AccessUnit>)> {
        let is_join_point = match format.video() {
            Some(video) => unit.track == video.id && unit.is_random_access,
            None => format.track(unit.track).is_some_and(|t| t.codec.kind() == TrackKind::Audio),
        };
        let format_changed = self.entries.back().is_none_or(|last| !Arc::ptr_eq(&last.format, format));
        if !is_join_point && (self.entries.is_empty() || (format_changed && format.video().is_some())) {
            self.dropped_units += 1;
            return None;
        }
        if is_join_point {
            self.join_points.push_back(self.next_seq);
        }
        self.bytes += unit.payload.len();
        let (seq, unit) = (self.next_seq, Arc::new(unit));
        let entry = Entry { seq, format: Arc::clone(format), unit: Arc::clone(&unit), is_join_point };
        self.entries.push_back(entry);
        self.next_seq += 1;
        self.prune();
        self.check_invariants();
        Some((seq, unit))
    }

    /// Forgets everything; cursors that were behind get [`Read::Lagged`]. For a camera that is removed.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.join_points.clear();
        self.bytes = 0;
    }

    /// A cursor for a new reader.
    pub fn cursor(&self, at: JoinAt) -> Cursor {
        let seq = match at {
            JoinAt::Oldest => self.entries.front().map(|entry| entry.seq),
            JoinAt::NewestRandomAccess => self.join_points.back().copied(),
            JoinAt::LiveEdge => None,
        };
        Cursor::new(seq.unwrap_or(self.next_seq))
    }

    /// The next entry for `cursor`, without waiting; advances the cursor.
    pub fn read(&self, cursor: &mut Cursor) -> Read {
        let from = cursor.seq();
        if from >= self.next_seq {
            return Read::Empty;
        }
        let oldest = self.entries.front().map_or(self.next_seq, |entry| entry.seq);
        if from < oldest {
            let to = self.join_points.front().copied().unwrap_or(self.next_seq);
            cursor.move_to(to);
            return Read::Lagged { from, to };
        }
        let index = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        match self.entries.get(index) {
            Some(entry) => {
                cursor.move_to(from + 1);
                Read::Entry(entry.clone())
            }
            None => Read::Empty,
        }
    }

    /// The entry at `seq`, if it is still kept; answers retransmission requests.
    pub fn get(&self, seq: u64) -> Option<&Entry> {
        let oldest = self.entries.front()?.seq;
        self.entries.get(usize::try_from(seq.checked_sub(oldest)?).ok()?)
    }

    /// The entries now kept, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The sequence number the next unit will get.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Payload bytes now kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Units that were not kept: before the first random access point, or of a GOP too large.
    pub fn dropped_units(&self) -> u64 {
        self.dropped_units
    }

    fn prune(&mut self) {
        while self.join_points.len() > self.retention.gops + 1 || self.bytes > self.retention.bytes_max {
            self.drop_oldest_gop();
        }
    }

    /// Drops from the front up to the second join point, or everything when there is none.
    fn drop_oldest_gop(&mut self) {
        self.join_points.pop_front();
        let keep_from = self.join_points.front().copied();
        if keep_from.is_none() {
            self.dropped_units += u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        }
        while let Some(entry) = self.entries.front() {
            if keep_from.is_some_and(|seq| entry.seq >= seq) {
                break;
            }
            self.bytes -= entry.unit.payload.len();
            self.entries.pop_front();
        }
    }

    fn check_invariants(&self) {
        debug_assert!(self.bytes <= self.retention.bytes_max);
        debug_assert!(self.entries.front().is_none_or(|entry| entry.is_join_point));
        debug_assert!(self.entries.back().is_none_or(|entry| entry.seq + 1 == self.next_seq));
        debug_assert_eq!(self.entries.front().map(|e| e.seq), self.join_points.front().copied());
    }
}

#[cfg(test)]
mod tests;
