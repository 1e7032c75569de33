//! fMP4: what an init segment and the fragments after it say, read with `mp4-atom`.
//!
//! Belongs here: reading, and the rules F1 to F3 that no other validator sees (sync flags,
//! contiguous tfdt, codec strings). Does not: playlists (-> llhls).
//! Spec: ISO/IEC 14496-12 s8.8, ISO/IEC 14496-15, RFC 6381.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes};
use mp4_atom::{Any, Codec, Decode as _, Hvcc, Moof, Traf};

/// `sample_is_non_sync_sample`, ISO/IEC 14496-12 s8.8.3.1.
const NON_SYNC: u32 = 0x0001_0000;

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// H.264
    H264,
    /// H.265
    H265,
    /// AAC, Opus: each sample is one frame, all are sync samples.
    Audio,
}

/// A track of an init segment.
#[derive(Debug, Clone)]
pub struct Track {
    /// track_ID
    pub id: u32,
    /// Ticks per second.
    pub timescale: u32,
    /// What it carries.
    pub kind: Kind,
    /// RFC 6381 string that its sample entry calls for.
    pub codec: String,
    /// Parameter sets of the sample entry, in order.
    pub parameter_sets: Vec<Vec<u8>>,
    defaults: Defaults,
}

#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// An init segment.
#[derive(Debug, Clone)]
pub struct Init {
    /// Its tracks by id.
    pub tracks: BTreeMap<u32, Track>,
}

/// One sample of a fragment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its track.
    pub track: u32,
    /// Decode time, ticks of the track's timescale.
    pub dts: u64,
    /// Ticks.
    pub duration: u32,
    /// Composition offset, ticks.
    pub offset: i64,
    /// Marked as a sync sample.
    pub sync: bool,
    /// Its bytes.
    pub data: Bytes,
}

/// One moof with its mdat.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// mfhd.sequence_number
    pub sequence_number: u32,
    /// Samples of all tracks, track by track.
    pub samples: Vec<Sample>,
}

impl Init {
    /// Reads ftyp + moov.
    ///
    /// # Errors
    /// When it is not an init segment, or not one of the codecs that we serve.
    pub fn parse(data: &Bytes) -> anyhow::Result<Self> {
        let mut moov = None;
        for (atom, _) in atoms(data)? {
            match atom {
                Any::Ftyp(_) => {}
                Any::Moov(found) => moov = Some(found),
                other => bail!("{other:?} in an init segment"),
            }
        }
        let moov = moov.context("no moov")?;
        let mvex = moov.mvex.context("no mvex: not a fragmented file")?;
        let mut tracks = BTreeMap::new();
        for trak in moov.trak {
            let id = trak.tkhd.track_id;
            let trex = mvex.trex.iter().find(|trex| trex.track_id == id).context("no trex")?;
            let entries = &trak.mdia.minf.stbl.stsd.codecs;
            ensure!(entries.len() == 1, "{} sample entries", entries.len());
            let (kind, codec, parameter_sets) = entry(&entries[0])?;
            let defaults = Defaults {
                duration: trex.default_sample_duration,
                size: trex.default_sample_size,
                flags: trex.default_sample_flags,
            };
            let timescale = trak.mdia.mdhd.timescale;
            let track = Track { id, timescale, kind, codec, parameter_sets, defaults };
            ensure!(tracks.insert(id, track).is_none(), "track {id} twice");
        }
        Ok(Self { tracks })
    }

    /// The video track.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn video(&self) -> anyhow::Result<&Track> {
        let mut video = self.tracks.values().filter(|track| track.kind != Kind::Audio);
        let first = video.next().context("no video track")?;
        ensure!(video.next().is_none(), "two video tracks");
        Ok(first)
    }

    /// Reads the fragments of a part or a segment. Rules of the fragment itself are checked
    /// on the way: one moof and one mdat each, default-base-is-moof, tfdt in every traf, and
    /// samples that fill the mdat exactly.
    ///
    /// # Errors
    /// When one of them does not hold, or the bytes are not fragments.
    pub fn fragments(&self, data: &Bytes) -> anyhow::Result<Vec<Fragment>> {
        let mut fragments = Vec::new();
        let mut open: Option<(Moof, usize)> = None;
        for (atom, at) in atoms(data)? {
            match atom {
                Any::Moof(moof) => {
                    ensure!(open.is_none(), "two moof without an mdat between");
                    open = Some((moof, at));
                }
                Any::Mdat(mdat) => {
                    let (moof, moof_at) = open.take().context("an mdat without its moof")?;
                    let mdat_at = at..at + 8 + mdat.data.len();
                    fragments.push(self.fragment(data, &moof, moof_at, mdat_at)?);
                }
                Any::Styp(_) | Any::Prft(_) | Any::Emsg(_) | Any::Uuid(_) => {}
                other => bail!("{:?} between fragments", other.kind()),
            }
        }
        ensure!(open.is_none(), "a moof without its mdat");
        Ok(fragments)
    }

    fn fragment(
        &self,
        data: &Bytes,
        moof: &Moof,
        moof_at: usize,
        mdat: std::ops::Range<usize>,
    ) -> anyhow::Result<Fragment> {
        let mut samples = Vec::new();
        for traf in &moof.traf {
            self.read_traf(data, traf, moof_at, &mut samples)?;
        }
        let first = data.as_ptr() as usize;
        let mut ranges: Vec<_> = samples
            .iter()
            .map(|sample| {
                let start = sample.data.as_ptr() as usize - first;
                start..start + sample.data.len()
            })
            .collect();
        ranges.sort_by_key(|range| range.start);
        let mut at = mdat.start + 8;
        for range in ranges {
            ensure!(range.start == at, "a sample at byte {} where {at} is due", range.start);
            at = range.end;
        }
        ensure!(at == mdat.end, "samples end at byte {at}, the mdat at {}", mdat.end);
        Ok(Fragment { sequence_number: moof.mfhd.sequence_number, samples })
    }

    fn read_traf(
        &self,
        data: &Bytes,
        traf: &Traf,
        moof_at: usize,
        samples: &mut Vec<Sample>,
    ) -> anyhow::Result<()> {
        let head = &traf.tfhd;
        let track = self.tracks.get(&head.track_id).context("a traf of an unknown track")?;
        ensure!(head.default_base_is_moof, "default-base-is-moof is not set");
        ensure!(head.base_data_offset.is_none(), "base-data-offset is set");
        let tfdt = traf.tfdt.as_ref().context("no tfdt")?;
        let mut dts = tfdt.base_media_decode_time;
        for run in &traf.trun {
            let offset = run.data_offset.context("a trun without data-offset")?;
            let mut at = moof_at + usize::try_from(offset)?;
            for entry in &run.samples {
                let duration =
                    entry.duration.or(head.default_sample_duration).unwrap_or(track.defaults.duration);
                let size = entry.size.or(head.default_sample_size).unwrap_or(track.defaults.size);
                let flags = entry.flags.or(head.default_sample_flags).unwrap_or(track.defaults.flags);
                let end = at + usize::try_from(size)?;
                ensure!(end <= data.len(), "a sample ends at byte {end} of {}", data.len());
                samples.push(Sample {
                    track: track.id,
                    dts,
                    duration,
                    offset: entry.cts.unwrap_or_default(),
                    sync: flags & NON_SYNC == 0,
                    data: data.slice(at..end),
                });
                dts += u64::from(duration);
                at = end;
            }
        }
        Ok(())
    }
}

/// Every box at the top level with the byte at which it begins.
fn atoms(data: &Bytes) -> anyhow::Result<Vec<(Any, usize)>> {
    let mut rest: &[u8] = data;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let at = data.len() - rest.len();
        let atom = Any::decode(&mut rest).with_context(|| format!("box at byte {at}"))?;
        found.push((atom, at));
    }
    Ok(found)
}

/// Parts a whole file into its init segment and what follows.
///
/// # Errors
/// When there is no moov, or a box is longer than the file.
pub fn split_init(file: &Bytes) -> anyhow::Result<(Bytes, Bytes)> {
    let mut at = 0;
    loop {
        let mut head = file.get(at..at + 8).context("no moov")?;
        let (size, kind) = (usize::try_from(head.get_u32())?, head);
        ensure!(size >= 8 && at + size <= file.len(), "a box of {size} bytes at byte {at}");
        at += size;
        if kind == b"moov" {
            return Ok((file.slice(..at), file.slice(at..)));
        }
    }
}

type Entry = (Kind, String, Vec<Vec<u8>>);

fn entry(codec: &Codec) -> anyhow::Result<Entry> {
    let hevc_sets =
        |config: &Hvcc| config.arrays.iter().flat_map(|array| array.nalus.clone()).collect::<Vec<_>>();
    Ok(match codec {
        Codec::Avc1(entry) => {
            let config = &entry.avcc;
            let mut sets = config.sequence_parameter_sets.clone();
            sets.extend(config.picture_parameter_sets.clone());
            ensure!(config.length_size == 4, "NAL lengths of {} bytes", config.length_size);
            let codec = format!(
                "avc1.{:02x}{:02x}{:02x}",
                config.avc_profile_indication, config.profile_compatibility, config.avc_level_indication
            );
            (Kind::H264, codec, sets)
        }
        Codec::Hvc1(entry) => (Kind::H265, hevc_codec("hvc1", &entry.hvcc), hevc_sets(&entry.hvcc)),
        Codec::Hev1(entry) => (Kind::H265, hevc_codec("hev1", &entry.hvcc), hevc_sets(&entry.hvcc)),
        Codec::Mp4a(entry) => {
            let config = &entry.esds.es_desc.dec_config;
            let profile = config.dec_specific.as_ref().context("no AudioSpecificConfig")?.profile;
            let codec = format!("mp4a.{:02x}.{profile}", config.object_type_indication);
            (Kind::Audio, codec, Vec::new())
        }
        Codec::Opus(_) => (Kind::Audio, "opus".to_owned(), Vec::new()),
        other => bail!("sample entry {other:?}"),
    })
}

/// ISO/IEC 14496-15 annex E.3: profile space and idc, compatibility flags in reverse bit
/// order, tier and level, constraint bytes without trailing zeros.
fn hevc_codec(entry: &str, config: &Hvcc) -> String {
    let space = ["", "A", "B", "C"][usize::from(config.general_profile_space & 3)];
    let compatibility = u32::from_be_bytes(config.general_profile_compatibility_flags);
    let tier = if config.general_tier_flag { 'H' } else { 'L' };
    let mut codec = format!(
        "{entry}.{space}{}.{:X}.{tier}{}",
        config.general_profile_idc,
        compatibility.reverse_bits(),
        config.general_level_idc
    );
    let constraints = &config.general_constraint_indicator_flags;
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        codec += &format!(".{byte:X}");
    }
    codec
}

/// The NAL units of a video sample (4-byte lengths, ISO/IEC 14496-15 s4.3.2).
///
/// # Errors
/// When the lengths do not fill the sample.
pub fn nal_units(sample: &Bytes) -> anyhow::Result<Vec<Bytes>> {
    let mut rest = sample.clone();
    let mut units = Vec::new();
    while rest.has_remaining() {
        ensure!(rest.remaining() >= 4, "{} bytes after the last NAL unit", rest.remaining());
        let length = usize::try_from(rest.get_u32())?;
        ensure!(length > 0 && length <= rest.remaining(), "NAL unit of {length} bytes");
        units.push(rest.split_to(length));
    }
    Ok(units)
}

/// Whether a NAL unit begins a random access point by its type: H.264 IDR (table 7-1), H.265
/// IRAP types 16 to 21 (table 7-1).
#[must_use]
pub fn is_random_access(kind: Kind, unit: &[u8]) -> bool {
    match (kind, unit.first()) {
        (Kind::H264, Some(head)) => head & 0x1f == 5,
        (Kind::H265, Some(head)) => (16..=21).contains(&((head >> 1) & 0x3f)),
        _ => false,
    }
}

/// Per track: DTS strictly rising and each sample beginning where the one before it ended
/// (F1), except where `breaks_at` names a DTS at which a discontinuity is declared.
///
/// # Errors
/// The first sample that does not.
pub fn check_contiguous(samples: &[Sample]) -> anyhow::Result<()> {
    let mut due: BTreeMap<u32, u64> = BTreeMap::new();
    for sample in samples {
        ensure!(sample.duration > 0, "a sample of no duration at dts {}", sample.dts);
        if let Some(due) = due.get(&sample.track) {
            ensure!(sample.dts == *due, "track {}: dts {} where {due} is due", sample.track, sample.dts);
        }
        due.insert(sample.track, sample.dts + u64::from(sample.duration));
    }
    Ok(())
}

/// Each video sample is marked as sync exactly when it holds a random access point (F2).
///
/// # Errors
/// The first sample whose mark is wrong.
pub fn check_sync_flags(init: &Init, samples: &[Sample]) -> anyhow::Result<()> {
    for sample in samples {
        let kind = init.tracks.get(&sample.track).context("unknown track")?.kind;
        if kind == Kind::Audio {
            ensure!(sample.sync, "an audio sample that is not sync at dts {}", sample.dts);
            continue;
        }
        let units = nal_units(&sample.data)?;
        let random_access = units.iter().any(|unit| is_random_access(kind, unit));
        ensure!(
            sample.sync == random_access,
            "dts {}: marked sync {}, holds a random access point {random_access}",
            sample.dts,
            sample.sync
        );
    }
    Ok(())
}

/// Presentation times of a track are distinct, and none is before its decode time by more
/// than the reordering allows: sorted by time they are as evenly spaced as decode times (F2).
///
/// # Errors
/// Two samples of one presentation time.
pub fn check_composition(samples: &[Sample]) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for sample in samples {
        let pts = i64::try_from(sample.dts)? + sample.offset;
        ensure!(
            seen.insert((sample.track, pts)),
            "track {}: two samples at presentation time {pts}",
            sample.track
        );
    }
    Ok(())
}
