//! Stored: a whole MP4 file as samples, in tables behind each other or in fragments.
//!
//! Spec: ISO/IEC 14496-12 s8.6.1 (`stts`, `ctts`), s8.7.3 to s8.7.5 (`stsz`, `stsc`, `stco`, `co64`). Not taken: `stz2`, samples in other files.
//! Limits: `SAMPLES_MAX` of all tracks together; more is a [`Fmp4Error`].

use bytes::Bytes;

use super::demux::Raw;
use super::fmp4::{Fields, Fmp4Demuxer, Fmp4Error, Result, Run, SAMPLES_MAX, after_times, boxes, find};

impl Fmp4Demuxer {
    /// Takes the file apart whose `moov` this is, track by track.
    pub(crate) fn file(&self, file: &Bytes, out: &mut Vec<Raw>) -> Result<()> {
        let (_, moov) = find(file, *b"moov").ok_or(Fmp4Error::Short { kind: "moov" })?;
        if find(moov, *b"mvex").is_some() {
            return self.segment(file, out);
        }
        for (_, trak) in boxes(moov).filter(|(kind, _)| kind == b"trak") {
            let (_, tkhd) = find(trak, *b"tkhd").ok_or(Fmp4Error::Short { kind: "tkhd" })?;
            let Some(track) = self.track(after_times(tkhd, "tkhd")?) else { continue };
            let tables = [*b"mdia", *b"minf", *b"stbl"];
            let stbl = tables.into_iter().try_fold(trak, |parent, kind| Some(find(parent, kind)?.1));
            samples(self.run(track), stbl.ok_or(Fmp4Error::Short { kind: "stbl" })?, file, out)?;
        }
        Ok(())
    }
}

fn samples(mut run: Run<'_>, stbl: &[u8], file: &Bytes, out: &mut Vec<Raw>) -> Result<()> {
    let sizes = sizes(stbl, SAMPLES_MAX.saturating_sub(out.len()))?;
    let durations = run_lengths(table(stbl, *b"stts", "stts")?, sizes.len())?;
    let offsets = match table(stbl, *b"ctts", "ctts") {
        Ok(fields) => run_lengths(fields, sizes.len())?,
        Err(_) => vec![0; sizes.len()],
    };
    let mut samples = durations.into_iter().zip(sizes).zip(offsets);
    let mut per_chunk = chunk_lengths(stbl)?.into_iter().peekable();
    let mut length = 0;
    for (number, at) in (1_u32..).zip(chunks(stbl)?) {
        while let Some((_, samples)) = per_chunk.next_if(|(first, _)| *first <= number) {
            length = samples;
        }
        run.at = at;
        for ((duration, size), offset) in samples.by_ref().take(length) {
            // What is unsigned by version 0 is meant signed by many.
            run.take((duration, size, offset.cast_signed()), file, out)?;
        }
    }
    Ok(())
}

/// A table behind its version and flags.
fn table<'a>(stbl: &'a [u8], kind: [u8; 4], name: &'static str) -> Result<Fields<'a>> {
    let (_, body) = find(stbl, kind).ok_or(Fmp4Error::Short { kind: name })?;
    let mut fields = Fields { rest: body, kind: name };
    fields.skip(4)?;
    Ok(fields)
}

fn sizes(stbl: &[u8], max: usize) -> Result<Vec<u32>> {
    let mut fields = table(stbl, *b"stsz", "stsz")?;
    let (same, count) = (fields.u32()?, fields.u32()?);
    let count = usize::try_from(count).ok().filter(|count| *count <= max);
    let count = count.ok_or(Fmp4Error::TooMany { what: "samples of a file", max: SAMPLES_MAX })?;
    if same != 0 {
        return Ok(vec![same; count]);
    }
    (0..count).map(|_| fields.u32()).collect()
}

/// A value for each sample, of a table that says how many in a row have it.
fn run_lengths(mut fields: Fields<'_>, samples: usize) -> Result<Vec<u32>> {
    let mut values = Vec::with_capacity(samples);
    for _ in 0..fields.u32()? {
        let (count, value) = (fields.u32()?, fields.u32()?);
        let left = samples - values.len();
        values.extend(std::iter::repeat_n(value, usize::try_from(count).unwrap_or(left).min(left)));
    }
    if values.len() < samples { Err(Fmp4Error::Short { kind: fields.kind }) } else { Ok(values) }
}

/// From which chunk on a chunk has how many samples.
fn chunk_lengths(stbl: &[u8]) -> Result<Vec<(u32, usize)>> {
    let mut fields = table(stbl, *b"stsc", "stsc")?;
    let mut lengths = Vec::new();
    for _ in 0..fields.u32()? {
        let (first, samples) = (fields.u32()?, fields.u32()?);
        fields.skip(4)?;
        lengths.push((first, usize::try_from(samples).unwrap_or(usize::MAX)));
    }
    Ok(lengths)
}

/// Where each chunk begins in the file.
fn chunks(stbl: &[u8]) -> Result<Vec<u64>> {
    let mut at = Vec::new();
    if let Ok(mut fields) = table(stbl, *b"stco", "stco") {
        for _ in 0..fields.u32()? {
            at.push(fields.u32()?.into());
        }
        return Ok(at);
    }
    let mut fields = table(stbl, *b"co64", "stco or co64")?;
    for _ in 0..fields.u32()? {
        at.push(fields.u64()?);
    }
    Ok(at)
}
