//! Bitstream: whether what a viewer got is what the camera sent, NAL unit by NAL unit.
//!
//! The clip is taken apart by ffmpeg; what a viewer got comes from `fmp4` or from aiortc. Only units that must survive untouched are compared: slices
//! and SEI (rule F4). Parameter sets may be repeated or moved, delimiters left out.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::fmp4::{self, Init, Kind, Sample};

/// SHA-256 of one NAL unit without its framing.
pub type UnitHash = [u8; 32];

/// Hashes of a clip's slices and SEI in decode order, from beginning to end.
///
/// ffmpeg only cuts the file into fragments here. Its filters to annex B are not used: they
/// put the SEI of the sample description in front of every key frame.
///
/// # Errors
/// When ffmpeg can't read it.
pub async fn of_clip(clip: &Path) -> anyhow::Result<Vec<UnitHash>> {
    Ok(frames_of_clip(clip).await?.concat())
}

/// The same, picture by picture in decode order.
///
/// # Errors
/// When ffmpeg can't read it.
pub async fn frames_of_clip(clip: &Path) -> anyhow::Result<Vec<Vec<UnitHash>>> {
    let mut command = tokio::process::Command::new("ffmpeg");
    let flags = "frag_keyframe+empty_moov+default_base_moof+skip_trailer";
    command
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(clip)
        .args(["-map", "0:v:0", "-c", "copy", "-movflags", flags, "-f", "mp4", "-"])
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await??;
    ensure!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
    let (init, media) = fmp4::split_init(&Bytes::from(output.stdout))?;
    let init = Init::parse(&init)?;
    let samples = init.fragments(&media)?.into_iter().flat_map(|fragment| fragment.samples);
    samples.map(|sample| of_samples(&init, &[sample])).collect()
}

/// The same of samples that a viewer got.
///
/// # Errors
/// When a sample is not made of NAL units.
pub fn of_samples(init: &Init, samples: &[Sample]) -> anyhow::Result<Vec<UnitHash>> {
    let video = init.video()?;
    let mut hashes = Vec::new();
    for sample in samples.iter().filter(|sample| sample.track == video.id) {
        let units = fmp4::nal_units(&sample.data)?;
        let kept = units.iter().filter(|unit| must_survive(video.kind, unit));
        hashes.extend(kept.map(|unit| hash(unit)));
    }
    Ok(hashes)
}

/// The same of a byte stream (ITU-T H.264 annex B, H.265 annex B), as ffmpeg writes what it reads over RTSP.
#[must_use]
pub fn of_byte_stream(kind: Kind, stream: &[u8]) -> Vec<UnitHash> {
    let mut starts: Vec<usize> = Vec::new();
    for (at, window) in stream.windows(3).enumerate() {
        if window == [0, 0, 1] {
            starts.push(at + 3);
        }
    }
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([stream.len()]);
    let units = starts.iter().zip(ends).map(|(start, end)| {
        let unit = &stream[*start..end];
        // A start code may have another zero in front; a NAL unit never ends with one.
        let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &unit[..length]
    });
    units.filter(|unit| must_survive(kind, unit)).map(hash).collect()
}

/// Holds what was received against the clip, which the camera plays over and over: every
/// unit of the clip in its order, without a gap, from wherever it began.
///
/// # Errors
/// Where the first unit is missing, added or changed.
pub fn check_same(clip: &[UnitHash], received: &[UnitHash]) -> anyhow::Result<()> {
    let first = received.first().context("nothing was received")?;
    let starts = clip.iter().enumerate().filter(|(_, unit)| *unit == first);
    let mut best = 0;
    for (start, _) in starts {
        let due = clip.iter().cycle().skip(start);
        let same = received.iter().zip(due).take_while(|(got, due)| got == due).count();
        if same == received.len() {
            return Ok(());
        }
        best = best.max(same);
    }
    let at = received.get(best);
    let fate = match at.map(|unit| clip.contains(unit)) {
        Some(true) => "is another unit of the clip: something is missing or out of order",
        _ => "is not in the clip: it was added or changed",
    };
    bail!("{best} of {} units are the clip's, the next one {fate}", received.len())
}

/// Slices and SEI, by type: H.264 table 7-1, H.265 table 7-1.
#[must_use]
pub fn must_survive(kind: Kind, unit: &[u8]) -> bool {
    match (kind, unit.first()) {
        (Kind::H264, Some(head)) => matches!(head & 0x1f, 1..=6),
        (Kind::H265, Some(head)) => matches!((head >> 1) & 0x3f, 0..=31 | 39 | 40),
        _ => false,
    }
}

/// The hash of one unit.
#[must_use]
pub fn hash(unit: &[u8]) -> UnitHash {
    Sha256::digest(unit).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(numbers: &[u8]) -> Vec<UnitHash> {
        numbers.iter().map(|number| hash(&[*number])).collect()
    }

    #[test]
    fn a_run_over_the_clips_end_is_the_clip() {
        check_same(&units(&[1, 2, 3, 4]), &units(&[3, 4, 1, 2, 3, 4, 1])).unwrap();
    }

    #[test]
    fn units_of_a_byte_stream_are_told_apart() {
        let stream = [0, 0, 0, 1, 0x67, 9, 0, 0, 1, 0x65, 1, 0, 0, 0, 1, 0x41, 2];
        assert_eq!(of_byte_stream(Kind::H264, &stream), [hash(&[0x65, 1]), hash(&[0x41, 2])]);
    }

    #[test]
    fn a_missing_unit_is_found() {
        let error = check_same(&units(&[1, 2, 3, 4]), &units(&[3, 4, 2])).unwrap_err();
        assert!(error.to_string().contains("2 of 3"), "{error}");
        assert!(error.to_string().contains("missing"), "{error}");
    }

    #[test]
    fn a_changed_unit_is_found() {
        let error = check_same(&units(&[1, 2, 3]), &units(&[1, 9, 3])).unwrap_err();
        assert!(error.to_string().contains("changed"), "{error}");
    }
}
