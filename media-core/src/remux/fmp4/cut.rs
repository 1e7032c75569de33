//! Cut: recorded parts as a clip needs them: other decode times, and fewer samples where it begins and ends.
//!
//! ```text
//!  decode, presentation      GOP start ──── pictures only to decode from ────┬─ asked ───── shown ───── until
//!  times of the run                                                          │
//!  times of the clip                            1/1000 as long as they were ─┤ at ──── as they were ───
//! ```
//!
//! What is decoded without being shown lies before the edit list's begin, and is squeezed together besides: ffmpeg and what
//! is built on it follow edit lists of fragmented files by shifting times only, and would show it.
//!
//! - [`rebase`] changes times in place, so that a head keeps its length: for all parts between the first and the last ones.
//! - [`Cut`] leaves samples out: the head is written anew, the payload stays as it is and some of it is not referred to.
//!
//! Payload bytes stay the camera's. Units: ticks of each track.
//! Spec: ISO/IEC 14496-12 s8.8.12 (tfdt), s8.8.8 (trun), s8.6.6 (elst).

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::fragment::{NON_SYNC_SAMPLE_FLAGS, SYNC_SAMPLE_FLAGS};
use super::read::{BOX_HEADER_BYTES, FragmentHead, ReadError, SampleHead, TrackHead, box_header};

/// How much shorter pictures last that are not to be shown: 2 s are 2 ms. Decode times stay strictly rising up to 90
/// pictures a second.
const SQUEEZE: i64 = 1000;

/// Whether what lies before the asked time is needed to decode what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Pictures: kept.
    Needed,
    /// Sound: left out.
    LeftOut,
}

/// Where a track's times of one run lie in a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackPlacement {
    /// The track.
    pub track_id: u32,
    /// What is shown first, in the run's time.
    pub asked_ticks: i64,
    /// When that is, in the clip's time.
    pub at_ticks: i64,
    /// Nothing is shown from here on, in the run's time.
    pub until_ticks: i64,
    /// What becomes of what lies before.
    pub before: Before,
}

impl TrackPlacement {
    /// The clip's time of a time of the run: rises strictly where that does.
    pub fn map(&self, ticks: i64) -> i64 {
        let from_asked = ticks.saturating_sub(self.asked_ticks);
        let moved = if from_asked < 0 { from_asked.div_euclid(SQUEEZE) } else { from_asked };
        self.at_ticks.saturating_add(moved).max(0)
    }

    /// The room, in the clip's time, that a track needs before what is shown, when its first decode time is this.
    pub fn room_ticks(&self, first_ticks: i64) -> i64 {
        let before = self.asked_ticks.saturating_sub(first_ticks).max(0);
        -(-before).div_euclid(SQUEEZE)
    }
}

/// Where the times of one run lie in a clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Each track.
    pub tracks: Vec<TrackPlacement>,
    /// Added to sequence numbers, so that they rise over runs.
    pub sequence_shift: u32,
}

impl Placement {
    /// A track's; a track that is not there stays where it is.
    fn of(&self, track_id: u32) -> TrackPlacement {
        let found = self.tracks.iter().find(|track| track.track_id == track_id);
        found.copied().unwrap_or(TrackPlacement {
            track_id,
            asked_ticks: 0,
            at_ticks: 0,
            until_ticks: i64::MAX,
            before: Before::Needed,
        })
    }
}

/// A sample with its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    /// Decode time.
    pub dts_ticks: i64,
    /// Presentation time.
    pub pts_ticks: i64,
    /// Decode time of the next.
    pub end_ticks: i64,
    /// The rest.
    pub sample: SampleHead,
}

impl TrackHead {
    /// The samples with their times.
    pub fn timed(&self) -> impl Iterator<Item = Timed> {
        let mut dts_ticks = self.base_ticks;
        self.samples.iter().map(move |sample| {
            let end_ticks = dts_ticks + i64::from(sample.duration_ticks);
            let pts_ticks = dts_ticks + i64::from(sample.composition_offset_ticks);
            let timed = Timed { dts_ticks, pts_ticks, end_ticks, sample: *sample };
            dts_ticks = end_ticks;
            timed
        })
    }

    /// Decode time behind the last sample.
    pub fn end_ticks(&self) -> i64 {
        self.base_ticks + self.samples.iter().map(|sample| i64::from(sample.duration_ticks)).sum::<i64>()
    }
}

impl FragmentHead {
    /// Whether something in it lies before what is shown.
    pub fn begins_before(&self, placement: &Placement) -> bool {
        self.tracks.iter().any(|track| {
            let asked = placement.of(track.track_id).asked_ticks;
            track.timed().any(|timed| timed.dts_ticks.min(timed.pts_ticks) < asked)
        })
    }

    /// Whether something in it lies behind what is shown.
    pub fn reaches_end(&self, placement: &Placement) -> bool {
        self.tracks.iter().any(|track| {
            let until = placement.of(track.track_id).until_ticks;
            track.timed().any(|timed| timed.pts_ticks >= until)
        })
    }

    /// Whether everything in it is decoded behind what is shown, so that nothing that follows is shown either.
    pub fn is_behind(&self, placement: &Placement) -> bool {
        self.tracks.iter().all(|track| track.base_ticks >= placement.of(track.track_id).until_ticks)
    }
}

/// Which samples of a part are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// For each track of the head, in its order.
    pub kept: Vec<Range<usize>>,
}

impl Cut {
    /// All samples.
    pub fn whole(head: &FragmentHead) -> Self {
        Self { kept: head.tracks.iter().map(|track| 0..track.samples.len()).collect() }
    }

    /// Without the sound that ends before what is shown.
    pub fn beginning(head: &FragmentHead, placement: &Placement) -> Self {
        let kept = head.tracks.iter().map(|track| {
            let place = placement.of(track.track_id);
            let is_left_out =
                |timed: &Timed| place.before == Before::LeftOut && timed.end_ticks <= place.asked_ticks;
            track.timed().take_while(is_left_out).count()..track.samples.len()
        });
        Self { kept: kept.collect() }
    }

    /// For the last parts of a clip: of each track, nothing behind its last sample that is shown. Samples before that
    /// one stay, also those shown later: it may be predicted from them.
    pub fn endings(heads: &[FragmentHead], placement: &Placement) -> Vec<Self> {
        let mut cuts: Vec<Self> = heads.iter().map(|head| Self::beginning(head, placement)).collect();
        for place in &placement.tracks {
            let mut is_shown_later = false;
            for (head, cut) in heads.iter().zip(&mut cuts).rev() {
                for (track, kept) in head.tracks.iter().zip(&mut cut.kept) {
                    if track.track_id != place.track_id || is_shown_later {
                        continue;
                    }
                    let shown: Vec<bool> =
                        track.timed().map(|timed| timed.pts_ticks < place.until_ticks).collect();
                    kept.end = shown.iter().rposition(|shown| *shown).map_or(0, |last| last + 1);
                    kept.start = kept.start.min(kept.end);
                    is_shown_later = kept.start < kept.end;
                }
            }
        }
        cuts
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.iter().all(Range::is_empty)
    }

    /// The moof of what is kept, with the clip's times; `payload_offset` is where the mdat's payload begins from the start
    /// of the moof that `head` was read from, and payload follows the new one as it did.
    pub fn moof(&self, head: &FragmentHead, placement: &Placement, payload_offset: u32) -> Bytes {
        let kept: Vec<KeptTrack> = self.tracks(head, placement).collect();
        let size = 8 + 16 + kept.iter().map(KeptTrack::traf_bytes).sum::<usize>();
        let mut out = BytesMut::with_capacity(size);
        put_header(&mut out, size, b"moof");
        put_header(&mut out, 16, b"mfhd");
        out.put_u32(0);
        out.put_u32(head.sequence_number.wrapping_add(placement.sequence_shift));
        let payload = small(size).saturating_add(small(BOX_HEADER_BYTES));
        for track in &kept {
            let in_payload = track.data_offset.saturating_sub(payload_offset);
            track.write(&mut out, payload.saturating_add(in_payload));
        }
        out.freeze()
    }

    /// What is kept of each track, with the clip's times; tracks without a sample are left out.
    pub fn tracks<'a>(
        &'a self,
        head: &'a FragmentHead,
        placement: &'a Placement,
    ) -> impl Iterator<Item = KeptTrack> {
        head.tracks.iter().zip(&self.kept).filter(|(_, kept)| !kept.is_empty()).map(move |(track, kept)| {
            let place = placement.of(track.track_id);
            let skipped = track.samples.iter().take(kept.start).map(|sample| sample.size_bytes);
            let samples = track.timed().skip(kept.start).take(kept.len());
            KeptTrack {
                track_id: track.track_id,
                data_offset: skipped.fold(track.data_offset, u32::saturating_add),
                samples: samples.map(|timed| mapped(&timed, &place)).collect(),
            }
        })
    }
}

fn mapped(timed: &Timed, place: &TrackPlacement) -> Timed {
    Timed {
        dts_ticks: place.map(timed.dts_ticks),
        pts_ticks: place.map(timed.pts_ticks),
        end_ticks: place.map(timed.end_ticks),
        sample: timed.sample,
    }
}

/// What is kept of a track, with the clip's times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTrack {
    /// The track.
    pub track_id: u32,
    /// Where the first sample begins, from the start of the recorded moof.
    pub data_offset: u32,
    /// At least one.
    pub samples: Vec<Timed>,
}

impl KeptTrack {
    fn trun_bytes(&self) -> usize {
        20 + self.samples.len() * 16
    }

    fn traf_bytes(&self) -> usize {
        8 + 16 + 20 + self.trun_bytes()
    }

    fn write(&self, out: &mut BytesMut, data_offset: u32) {
        put_header(out, self.traf_bytes(), b"traf");
        put_header(out, 16, b"tfhd");
        // default-base-is-moof
        out.put_u32(0x02_0000);
        out.put_u32(self.track_id);
        put_header(out, 20, b"tfdt");
        out.put_u32(1 << 24);
        out.put_i64(self.samples.first().map_or(0, |first| first.dts_ticks));
        put_header(out, self.trun_bytes(), b"trun");
        // Version 1: data offset, durations, sizes, flags, signed composition offsets.
        out.put_u32(0x0100_0f01);
        out.put_u32(small(self.samples.len()));
        out.put_u32(data_offset);
        for timed in &self.samples {
            out.put_u32(u32::try_from(timed.end_ticks - timed.dts_ticks).unwrap_or(0));
            out.put_u32(timed.sample.size_bytes);
            out.put_u32(if timed.sample.is_sync { SYNC_SAMPLE_FLAGS } else { NON_SYNC_SAMPLE_FLAGS });
            out.put_i32(i32::try_from(timed.pts_ticks - timed.dts_ticks).unwrap_or(0));
        }
    }
}

fn put_header(out: &mut BytesMut, size: usize, kind: &[u8; 4]) {
    out.put_u32(small(size));
    out.put_slice(kind);
}

/// A head is smaller than [`super::read::MOOF_BYTES_MAX`].
fn small(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Moves a whole moof of ours in time, in place: for parts that lie within what is shown.
///
/// # Errors
/// [`ReadError`] says what is not as we write it.
pub fn rebase(moof: &mut [u8], placement: &Placement) -> Result<(), ReadError> {
    let mut at = BOX_HEADER_BYTES;
    while at < moof.len() {
        let child = child_at(moof, at)?;
        let body = moof.get_mut(at + BOX_HEADER_BYTES..child.end).unwrap_or_default();
        match &child.kind {
            b"mfhd" => {
                let number = fixed::<4>(body, 4, "mfhd")?;
                *number = u32::from_be_bytes(*number).wrapping_add(placement.sequence_shift).to_be_bytes();
            }
            b"traf" => rebase_track(body, placement)?,
            _ => {}
        }
        at = child.end;
    }
    Ok(())
}

fn rebase_track(traf: &mut [u8], placement: &Placement) -> Result<(), ReadError> {
    let mut place = None;
    let mut at = 0;
    while at < traf.len() {
        let child = child_at(traf, at)?;
        let body = traf.get_mut(at + BOX_HEADER_BYTES..child.end).unwrap_or_default();
        match &child.kind {
            b"tfhd" => place = Some(placement.of(u32::from_be_bytes(*fixed::<4>(body, 4, "tfhd")?))),
            b"tfdt" => {
                let base = fixed::<8>(body, 4, "tfdt")?;
                let place = place.ok_or(ReadError::Missing { kind: "tfhd" })?;
                *base = place.map(i64::from_be_bytes(*base)).to_be_bytes();
            }
            _ => {}
        }
        at = child.end;
    }
    Ok(())
}

struct Child {
    kind: [u8; 4],
    end: usize,
}

fn child_at(bytes: &[u8], at: usize) -> Result<Child, ReadError> {
    let header = bytes.get(at..).and_then(box_header).ok_or(ReadError::Short { kind: "moof" })?;
    let end = usize::try_from(header.size).ok().and_then(|size| at.checked_add(size));
    let end = end.filter(|end| *end <= bytes.len()).ok_or(ReadError::Short { kind: "moof" })?;
    Ok(Child { kind: header.kind, end })
}

fn fixed<'a, const N: usize>(
    body: &'a mut [u8],
    at: usize,
    kind: &'static str,
) -> Result<&'a mut [u8; N], ReadError> {
    let field = body.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>());
    field.ok_or(ReadError::Short { kind })
}
