//! Cursor: a reader's place in a ring, a sequence number and nothing more.

use super::Entry;

/// Where a new reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinAt {
    /// The oldest unit kept (always a random access point): for remuxers that want history.
    Oldest,
    /// The newest random access point: for viewers who want a picture now.
    NewestRandomAccess,
    /// Only what comes from now on.
    LiveEdge,
}

/// A reader's place: the sequence number it wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    seq: u64,
}

impl Cursor {
    pub(super) fn new(seq: u64) -> Self {
        Self { seq }
    }

    pub(super) fn move_to(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// The sequence number it wants next.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// What a read found.
#[derive(Clone, Debug)]
pub enum Read {
    /// The next entry.
    Entry(Entry),
    /// Nothing new yet: wait for the writer.
    Empty,
    /// The reader was too slow: units `from..to` are gone, the cursor now stands at a random access
    /// point (or at the live edge when none is kept).
    Lagged {
        /// The first unit missed.
        from: u64,
        /// Where the cursor stands now.
        to: u64,
    },
}
