//! Frames: which picture of the clip some bytes are, and which of them a viewer lacks.
//!
//! A picture is known by the length and checksum of its slices, so that it counts only when it arrived
//! whole and bit exact; parameter sets, delimiters and SEI may come and go on the way. Nothing here
//! trusts what a server says.
//!
//! Spec: ITU-T H.264 table 7-1, H.265 table 7-1 (which NAL units are slices).

use std::collections::HashMap;

use anyhow::ensure;
use fixtures::{Clip, VideoCodec};

/// Length and CRC-32 of a picture's slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    bytes: usize,
    crc: u32,
}

/// Takes a picture's NAL units, in order, as they arrive.
#[derive(Debug, Clone)]
pub(crate) struct PictureHasher {
    codec: VideoCodec,
    crc: crc32fast::Hasher,
    bytes: usize,
}

impl PictureHasher {
    /// For pictures of `codec`.
    pub(crate) fn new(codec: VideoCodec) -> Self {
        Self { codec, crc: crc32fast::Hasher::new(), bytes: 0 }
    }

    /// A whole NAL unit, or the beginning of one.
    pub(crate) fn begin(&mut self, unit: &[u8]) -> Slice {
        let is_slice = unit.first().is_some_and(|header| is_slice(self.codec, *header));
        if is_slice {
            self.more(unit);
        }
        if is_slice { Slice::Yes } else { Slice::No }
    }

    /// More of a slice.
    pub(crate) fn more(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.bytes += bytes.len();
    }

    /// The picture, when there was any slice; starts anew.
    pub(crate) fn finish(&mut self) -> Option<Identity> {
        let done = std::mem::replace(self, Self::new(self.codec));
        (done.bytes > 0).then(|| Identity { bytes: done.bytes, crc: done.crc.finalize() })
    }
}

/// Whether a NAL unit is a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slice {
    /// It is, and more of it belongs to the picture.
    Yes,
    /// It is not, and is left out.
    No,
}

fn is_slice(codec: VideoCodec, header: u8) -> bool {
    match codec {
        VideoCodec::H264 => (1..=5).contains(&(header & 0x1f)),
        VideoCodec::H265 => (header >> 1) & 0x3f < 32,
    }
}

/// All pictures of a clip.
#[derive(Debug)]
pub(crate) struct FrameIndex {
    pub(crate) codec: VideoCodec,
    /// Position in decode order, by identity.
    positions: HashMap<Identity, u32>,
    /// Rank in presentation order (the number that the simulator tells), by position.
    ranks: Vec<u32>,
    /// Whether there is sound beside them.
    pub(crate) sound: Sound,
}

/// Whether a clip can be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sound {
    /// It has a sound track.
    Yes,
    /// It has none.
    No,
}

impl FrameIndex {
    /// # Errors
    /// When two pictures of the clip are alike: a loss between them could not be told.
    pub(crate) fn of_clip(clip: &Clip) -> anyhow::Result<Self> {
        let units = &clip.video.access_units;
        let mut positions = HashMap::new();
        for (position, unit) in (0..).zip(units) {
            let mut hasher = PictureHasher::new(clip.video.codec);
            for nal_unit in &unit.nal_units {
                hasher.begin(nal_unit);
            }
            if let Some(identity) = hasher.finish() {
                positions.insert(identity, position);
            }
        }
        ensure!(positions.len() == units.len(), "{} of {} pictures differ", positions.len(), units.len());
        let mut by_time: Vec<usize> = (0..units.len()).collect();
        by_time.sort_by_key(|position| units.get(*position).map(|unit| unit.pts_90k));
        let mut ranks = vec![0; units.len()];
        for (rank, position) in (0..).zip(by_time) {
            if let Some(slot) = ranks.get_mut(position) {
                *slot = rank;
            }
        }
        let sound = if clip.audio.is_some() { Sound::Yes } else { Sound::No };
        Ok(Self { codec: clip.video.codec, positions, ranks, sound })
    }

    /// Where in the clip a picture stands.
    pub(crate) fn position(&self, identity: Identity) -> Option<u32> {
        self.positions.get(&identity).copied()
    }

    /// The number by which the simulator knows the picture at `position`.
    pub(crate) fn rank(&self, position: u32) -> Option<u32> {
        self.ranks.get(usize::try_from(position).ok()?).copied()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.ranks.len()).unwrap_or(u32::MAX)
    }
}

/// What a viewer was seen to get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Pictures that arrived whole and new.
    pub(crate) frames: u64,
    /// Pictures that should stand between two that arrived.
    pub(crate) lost: u64,
    /// Pictures that arrived again, or behind a later one.
    pub(crate) repeated: u64,
    /// Pictures that are none of the clip's: incomplete or changed. They are among the lost too.
    pub(crate) damaged: u64,
}

impl Counts {
    /// Adds what another viewer got.
    pub(crate) fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.damaged += other.damaged;
    }
}

/// Follows the pictures of one camera: each must be the successor of the one before, round and round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tracker {
    last: Option<u32>,
    /// Since the last [`Tracker::take`].
    counts: Counts,
}

impl Tracker {
    /// A picture arrived. A gap of up to half the clip is loss; more is a picture from before.
    pub(crate) fn see(&mut self, index: &FrameIndex, identity: Identity) -> Option<u32> {
        let Some(position) = index.position(identity) else {
            self.counts.damaged += 1;
            return None;
        };
        let count = index.count();
        let gap = match self.last {
            None => 0,
            Some(last) => (position + count - (last + 1) % count) % count,
        };
        if gap > count / 2 {
            self.counts.repeated += 1;
            return None;
        }
        self.counts.frames += 1;
        self.counts.lost += u64::from(gap);
        self.last = Some(position);
        Some(position)
    }

    /// The counts since the last call; the place in the clip is kept.
    pub(crate) fn take(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(count: u32) -> FrameIndex {
        let positions = (0..count).map(|at| (identity(at), at)).collect();
        FrameIndex { codec: VideoCodec::H264, positions, ranks: (0..count).collect(), sound: Sound::No }
    }

    fn identity(position: u32) -> Identity {
        let mut hasher = PictureHasher::new(VideoCodec::H264);
        hasher.begin(&[&[0x41][..], &position.to_be_bytes()].concat());
        hasher.finish().unwrap()
    }

    fn check(seen: &[u32], expect: Counts) {
        let index = index(10);
        let mut tracker = Tracker::default();
        for position in seen {
            tracker.see(&index, identity(*position));
        }
        assert_eq!(tracker.take(), expect, "{seen:?}");
    }

    #[test]
    fn missing_pictures_are_counted_and_the_clips_end_is_no_gap() {
        check(&[8, 9, 0, 1], Counts { frames: 4, ..Counts::default() });
        check(&[8, 1, 2], Counts { frames: 3, lost: 2, ..Counts::default() });
        check(&[3, 4, 4, 5], Counts { frames: 3, repeated: 1, ..Counts::default() });
        check(&[3, 4, 99, 6], Counts { frames: 3, lost: 1, damaged: 1, ..Counts::default() });
    }

    #[test]
    fn a_picture_in_pieces_is_the_same_picture_and_sei_is_not_part_of_it() {
        let whole = [0x65, 1, 2, 3, 4];
        let mut hasher = PictureHasher::new(VideoCodec::H264);
        hasher.begin(&whole);
        let expect = hasher.finish();
        assert_eq!(hasher.begin(&[0x06, 9, 9]), Slice::No);
        assert_eq!(hasher.begin(&whole[..2]), Slice::Yes);
        hasher.more(&whole[2..]);
        assert_eq!(hasher.finish(), expect);
        assert_eq!(hasher.finish(), None);
    }
}
