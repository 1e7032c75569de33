//! Clip: media made by ffmpeg at test time, read into access units by a reader that is not ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use mp4_atom::{Codec, Decode as _, Moov, StszSamples, Trak};

use crate::access_unit::AccessUnit;
use crate::time::{Timescale, WallTime};
use crate::track::{
    AacConfig, CodecConfig, H264Config, H265Config, SharedFormat, StreamFormat, TrackId, TrackInfo,
};

/// 2026-01-01T00:00:00Z, when every clip was taken.
pub(crate) const CLIP_WALL: WallTime = WallTime(1_767_225_600_000_000);

/// Tracks and access units of a file in decode order.
pub(crate) struct Clip {
    pub(crate) format: SharedFormat,
    pub(crate) units: Vec<Arc<AccessUnit>>,
}

/// A folder that nobody else has: tests run side by side.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("media-core-{}-{number}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a tool that must succeed and say nothing on stderr.
pub(crate) fn run_silent(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

impl Clip {
    /// Runs ffmpeg with `args` (inputs and codecs) and reads the mp4 it writes.
    pub(crate) fn make(name: &str, args: &str) -> Self {
        let file = scratch("clips").join(format!("{name}.mp4"));
        let mut all = vec!["-v", "error", "-y"];
        all.extend(args.split_whitespace());
        all.extend(["-video_track_timescale", "90000", file.to_str().unwrap()]);
        run_silent("ffmpeg", &all);
        let clip = Self::read(&file);
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
        clip
    }

    /// Reads a progressive mp4.
    pub(crate) fn read(file: &Path) -> Self {
        let bytes = Bytes::from(std::fs::read(file).unwrap());
        let moov = find_moov(&bytes);
        let mut tracks = Vec::new();
        let mut units = Vec::new();
        for (position, trak) in moov.trak.iter().enumerate() {
            let id = TrackId(u8::try_from(position).unwrap());
            let timescale = Timescale::new(trak.mdia.mdhd.timescale).unwrap();
            tracks.push(TrackInfo { id, timescale, codec: codec(trak), transcoded_from: None });
            units.extend(read_units(trak, id, timescale, &bytes));
        }
        units.sort_by_key(|(at_us, _)| *at_us);
        let units = units.into_iter().map(|(_, unit)| Arc::new(unit)).collect();
        Self { format: Arc::new(StreamFormat { generation: 1, is_slate: false, tracks }), units }
    }

    /// The units of one track.
    pub(crate) fn of_track(&self, id: TrackId) -> Vec<Arc<AccessUnit>> {
        self.units.iter().filter(|unit| unit.track == id).cloned().collect()
    }
}

fn find_moov(bytes: &[u8]) -> Moov {
    let mut at = 0;
    loop {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if &bytes[at + 4..at + 8] == b"moov" {
            return Moov::decode(&mut &bytes[at..at + size]).unwrap();
        }
        at += size;
    }
}

fn codec(trak: &Trak) -> CodecConfig {
    match &trak.mdia.minf.stbl.stsd.codecs[0] {
        Codec::Avc1(entry) => CodecConfig::H264(H264Config {
            sps: entry.avcc.sequence_parameter_sets[0].clone().into(),
            pps: entry.avcc.picture_parameter_sets[0].clone().into(),
            width: entry.visual.width.into(),
            height: entry.visual.height.into(),
            profile_idc: entry.avcc.avc_profile_indication,
            constraint_flags: entry.avcc.profile_compatibility,
            level_idc: entry.avcc.avc_level_indication,
        }),
        Codec::Hvc1(entry) => CodecConfig::H265(h265(&entry.visual, &entry.hvcc)),
        Codec::Hev1(entry) => CodecConfig::H265(h265(&entry.visual, &entry.hvcc)),
        Codec::Mp4a(entry) => CodecConfig::Aac(AacConfig {
            audio_specific_config: entry
                .esds
                .es_desc
                .dec_config
                .dec_specific
                .as_ref()
                .unwrap()
                .raw
                .clone()
                .into(),
            object_type: 2,
            sample_rate: entry.audio.sample_rate.integer().into(),
            channels: u8::try_from(entry.audio.channel_count).unwrap(),
        }),
        Codec::Opus(entry) => CodecConfig::Opus { channels: entry.dops.output_channel_count },
        other => panic!("a clip with {other:?}"),
    }
}

fn h265(visual: &mp4_atom::Visual, hvcc: &mp4_atom::Hvcc) -> H265Config {
    let nal = |kind: u8| -> Bytes {
        hvcc.arrays.iter().find(|array| array.nal_unit_type == kind).unwrap().nalus[0].clone().into()
    };
    H265Config {
        vps: nal(32),
        sps: nal(33),
        pps: nal(34),
        width: visual.width.into(),
        height: visual.height.into(),
        general_profile: (hvcc.general_profile_space << 6)
            | (u8::from(hvcc.general_tier_flag) << 5)
            | hvcc.general_profile_idc,
        profile_compatibility: u32::from_be_bytes(hvcc.general_profile_compatibility_flags),
        constraint_indicator: hvcc.general_constraint_indicator_flags,
        level_idc: hvcc.general_level_idc,
        chroma_format_idc: hvcc.chroma_format_idc,
        bit_depth_luma_minus8: hvcc.bit_depth_luma_minus8,
        bit_depth_chroma_minus8: hvcc.bit_depth_chroma_minus8,
    }
}

fn read_units(trak: &Trak, id: TrackId, scale: Timescale, bytes: &Bytes) -> Vec<(i64, AccessUnit)> {
    let stbl = &trak.mdia.minf.stbl;
    let sizes: Vec<usize> = match &stbl.stsz.samples {
        StszSamples::Identical { count, size } => vec![*size as usize; *count as usize],
        StszSamples::Different { sizes } => sizes.iter().map(|size| *size as usize).collect(),
    };
    let deltas =
        stbl.stts.entries.iter().flat_map(|e| vec![i64::from(e.sample_delta); e.sample_count as usize]);
    let offsets: Vec<i64> = stbl.ctts.as_ref().map_or(vec![0; sizes.len()], |ctts| {
        ctts.entries.iter().flat_map(|e| vec![e.sample_offset; e.sample_count as usize]).collect()
    });
    let edit = trak.edts.as_ref().and_then(|edts| edts.elst.as_ref());
    let media_time = edit.and_then(|elst| elst.entries.last()?.media_time).unwrap_or(0);
    let mut dts = -i64::try_from(media_time).unwrap();
    let positions = positions(trak, &sizes);
    let mut units = Vec::new();
    for (index, delta) in deltas.enumerate() {
        let at_us = scale.ticks_to_us(dts);
        let is_sync =
            stbl.stss.as_ref().is_none_or(|s| s.entries.contains(&(u32::try_from(index).unwrap() + 1)));
        let unit = AccessUnit {
            track: id,
            dts_ticks: dts,
            pts_ticks: dts + offsets[index],
            wall: CLIP_WALL.plus_us(at_us),
            is_random_access: is_sync,
            payload: bytes.slice(positions[index]..positions[index] + sizes[index]),
        };
        units.push((at_us, unit));
        dts += delta;
    }
    units
}

fn positions(trak: &Trak, sizes: &[usize]) -> Vec<usize> {
    let stbl = &trak.mdia.minf.stbl;
    let chunks = &stbl.stco.as_ref().unwrap().entries;
    let mut positions = Vec::new();
    for (chunk, offset) in chunks.iter().enumerate() {
        let rule = stbl.stsc.entries.iter().rev().find(|e| e.first_chunk as usize <= chunk + 1).unwrap();
        let mut at = *offset as usize;
        for _ in 0..rule.samples_per_chunk {
            let Some(size) = sizes.get(positions.len()) else { break };
            positions.push(at);
            at += size;
        }
    }
    positions
}
