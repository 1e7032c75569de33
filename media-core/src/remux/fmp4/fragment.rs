//! Fragment: the moof box and the mdat header of one part, written in one pass.
//!
//! ```text
//!  moof { mfhd, traf { tfhd, tfdt, trun } x tracks }  mdat header │ payloads, track after track
//!  └──────────────── the head, made here ────────────────────────┘ shared with the ring
//! ```
//!
//! Invariants: every size is computed before the first byte is written, so the head is one allocation.
//! Spec: ISO/IEC 14496-12 s8.8.5 (mfhd), s8.8.7 (tfhd), s8.8.8 (trun), s8.8.12 (tfdt), s8.8.3.1 (flags).

use bytes::{BufMut as _, Bytes, BytesMut};

/// sample_depends_on = 2: no other sample is needed to decode it.
pub(super) const SYNC_SAMPLE_FLAGS: u32 = 0x0200_0000;
/// sample_depends_on = 1 and sample_is_non_sync_sample.
pub(super) const NON_SYNC_SAMPLE_FLAGS: u32 = 0x0101_0000;

/// default-base-is-moof, default-sample-flags-present.
const TFHD_FLAGS: u32 = 0x02_0020;
const TRUN_DATA_OFFSET: u32 = 0x01;
const TRUN_DURATION: u32 = 0x0100;
const TRUN_SIZE: u32 = 0x0200;
const TRUN_FLAGS: u32 = 0x0400;
const TRUN_COMPOSITION: u32 = 0x0800;

const BOX_HEADER: usize = 8;
const MFHD_SIZE: usize = 16;
const TFHD_SIZE: usize = 20;
const TFDT_SIZE: usize = 20;
const TRUN_FIXED_SIZE: usize = 20;

/// The largest mdat payload: its size field, with the header, has 32 bits.
pub const FRAGMENT_BYTES_MAX: usize = 1 << 30;

/// One access unit with its times inside a track of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// To the next sample's decode time, ticks of the track.
    pub duration_ticks: u32,
    /// Presentation minus decode time, ticks of the track.
    pub composition_offset_ticks: i32,
    /// A sync sample: decoding can start here.
    pub is_sync: bool,
    /// The access unit.
    pub payload: Bytes,
}

/// The samples of one track in a fragment, contiguous in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackRun {
    /// The track's number in the init segment.
    pub track_id: u32,
    /// Decode time of the first sample (tfdt), ticks of the track.
    pub base_ticks: u64,
    /// The samples, at least one.
    pub samples: Vec<Sample>,
}

impl TrackRun {
    fn payload_bytes(&self) -> usize {
        self.samples.iter().map(|sample| sample.payload.len()).sum()
    }

    fn has_composition_offsets(&self) -> bool {
        self.samples.iter().any(|sample| sample.composition_offset_ticks != 0)
    }

    fn has_non_sync(&self) -> bool {
        self.samples.iter().any(|sample| !sample.is_sync)
    }

    fn trun_flags(&self) -> u32 {
        let mut flags = TRUN_DATA_OFFSET | TRUN_DURATION | TRUN_SIZE;
        if self.has_non_sync() {
            flags |= TRUN_FLAGS;
        }
        if self.has_composition_offsets() {
            flags |= TRUN_COMPOSITION;
        }
        flags
    }

    fn trun_size(&self) -> usize {
        let fields = 2 + usize::from(self.has_non_sync()) + usize::from(self.has_composition_offsets());
        TRUN_FIXED_SIZE + self.samples.len() * fields * 4
    }

    fn traf_size(&self) -> usize {
        BOX_HEADER + TFHD_SIZE + TFDT_SIZE + self.trun_size()
    }

    fn write_traf(&self, out: &mut BytesMut, data_offset: usize) {
        put_header(out, self.traf_size(), b"traf");
        put_header(out, TFHD_SIZE, b"tfhd");
        out.put_u32(TFHD_FLAGS);
        out.put_u32(self.track_id);
        out.put_u32(SYNC_SAMPLE_FLAGS);
        put_header(out, TFDT_SIZE, b"tfdt");
        out.put_u32(1 << 24);
        out.put_u64(self.base_ticks);
        self.write_trun(out, data_offset);
    }

    fn write_trun(&self, out: &mut BytesMut, data_offset: usize) {
        let flags = self.trun_flags();
        put_header(out, self.trun_size(), b"trun");
        // Version 1: composition offsets are signed.
        out.put_u32((1 << 24) | flags);
        out.put_u32(size_u32(self.samples.len()));
        out.put_u32(size_u32(data_offset));
        for sample in &self.samples {
            out.put_u32(sample.duration_ticks);
            out.put_u32(size_u32(sample.payload.len()));
            if flags & TRUN_FLAGS != 0 {
                out.put_u32(if sample.is_sync { SYNC_SAMPLE_FLAGS } else { NON_SYNC_SAMPLE_FLAGS });
            }
            if flags & TRUN_COMPOSITION != 0 {
                out.put_i32(sample.composition_offset_ticks);
            }
        }
    }
}

/// The moof box and the mdat header for these runs; the payloads follow in the same order.
///
/// The payloads together must not exceed [`FRAGMENT_BYTES_MAX`].
pub fn fragment_head(sequence_number: u32, runs: &[TrackRun]) -> Bytes {
    let moof_size = BOX_HEADER + MFHD_SIZE + runs.iter().map(TrackRun::traf_size).sum::<usize>();
    let mdat_payload: usize = runs.iter().map(TrackRun::payload_bytes).sum();
    debug_assert!(mdat_payload <= FRAGMENT_BYTES_MAX);
    let mut out = BytesMut::with_capacity(moof_size + BOX_HEADER);
    put_header(&mut out, moof_size, b"moof");
    put_header(&mut out, MFHD_SIZE, b"mfhd");
    out.put_u32(0);
    out.put_u32(sequence_number);
    let mut data_offset = moof_size + BOX_HEADER;
    for run in runs {
        run.write_traf(&mut out, data_offset);
        data_offset += run.payload_bytes();
    }
    put_header(&mut out, BOX_HEADER + mdat_payload, b"mdat");
    debug_assert_eq!(out.len(), moof_size + BOX_HEADER);
    out.freeze()
}

fn put_header(out: &mut BytesMut, size: usize, kind: &[u8; 4]) {
    out.put_u32(size_u32(size));
    out.put_slice(kind);
}

/// Sizes are bounded by [`FRAGMENT_BYTES_MAX`] before they come here.
fn size_u32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
