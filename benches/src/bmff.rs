//! BMFF: the video samples of a fragment, and the NAL units of a sample.
//!
//! Read here by hand, not with a library: a viewer must cost less than what it measures, so nothing is
//! copied. Belongs here: the few boxes that say where samples are. Does not: whether a fragment keeps
//! the rules (-> tests/src/fmp4.rs).
//! Spec: ISO/IEC 14496-12 s8.8; ISO/IEC 14496-15 s4.3.3. Limits: NAL lengths of 4 bytes, as both
//! servers write.

use anyhow::{Context as _, ensure};

use crate::frames::{Identity, PictureHasher};

/// A box: its type, where it starts, its content.
struct Box<'a> {
    kind: [u8; 4],
    start: usize,
    content: &'a [u8],
}

struct Boxes<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Boxes<'a> {
    fn of(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    fn read(&mut self) -> anyhow::Result<Option<Box<'a>>> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let (size, kind) =
            (u32_at(rest, 0)?, *rest.get(4..).and_then(|rest| rest.first_chunk()).context("box")?);
        let size = usize::try_from(size)?;
        let content = rest.get(8..size).with_context(|| format!("a box of {size} bytes at {start}"))?;
        self.at += size;
        Ok(Some(Box { kind, start, content }))
    }

    fn find(mut self, kind: [u8; 4]) -> anyhow::Result<Option<&'a [u8]>> {
        while let Some(found) = self.read()? {
            if found.kind == kind {
                return Ok(Some(found.content));
            }
        }
        Ok(None)
    }
}

fn find<'a>(data: &'a [u8], kind: &[u8; 4]) -> anyhow::Result<&'a [u8]> {
    let found = Boxes::of(data).find(*kind)?;
    found.with_context(|| format!("no {}", String::from_utf8_lossy(kind)))
}

fn u32_at(data: &[u8], at: usize) -> anyhow::Result<u32> {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk()).context("a box ends early")?;
    Ok(u32::from_be_bytes(*bytes))
}

/// Id of the video track of an init segment; `None` when it has none.
///
/// # Errors
/// When it is no init segment.
pub(crate) fn video_track(init: &[u8]) -> anyhow::Result<Option<u32>> {
    let mut boxes = Boxes::of(find(init, b"moov")?);
    while let Some(found) = boxes.read()? {
        if found.kind != *b"trak" {
            continue;
        }
        let handler = find(find(found.content, b"mdia")?, b"hdlr")?;
        if handler.get(8..12) == Some(b"vide") {
            let head = find(found.content, b"tkhd")?;
            // Version 1 has times of 8 bytes.
            return u32_at(head, if head.first() == Some(&1) { 20 } else { 12 }).map(Some);
        }
    }
    Ok(None)
}

/// Gives each sample of a track to `take`, in order. `data` is a part, a segment or a file.
///
/// # Errors
/// When it is not whole fragments.
pub(crate) fn each_sample<'a>(
    data: &'a [u8],
    track: u32,
    mut take: impl FnMut(&'a [u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut boxes = Boxes::of(data);
    while let Some(moof) = boxes.read()? {
        if moof.kind != *b"moof" {
            continue;
        }
        let mut inner = Boxes::of(moof.content);
        while let Some(traf) = inner.read()? {
            if traf.kind == *b"traf" && u32_at(find(traf.content, b"tfhd")?, 4)? == track {
                each_of_traf(data, moof.start, traf.content, &mut take)?;
            }
        }
    }
    Ok(())
}

fn each_of_traf<'a>(
    data: &'a [u8],
    moof_start: usize,
    traf: &[u8],
    take: &mut impl FnMut(&'a [u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let default_size = default_sample_size(find(traf, b"tfhd")?)?;
    let mut boxes = Boxes::of(traf);
    while let Some(run) = boxes.read()? {
        if run.kind != *b"trun" {
            continue;
        }
        let flags = u32_at(run.content, 0)? & 0xff_ffff;
        let count = u32_at(run.content, 4)?;
        ensure!(flags & 1 != 0, "a trun without data-offset");
        let mut at = moof_start + usize::try_from(u32_at(run.content, 8)?)?;
        let mut entry = if flags & 4 == 0 { 12 } else { 16 };
        let field = |bit: u32| if flags & bit == 0 { 0 } else { 4 };
        for _ in 0..count {
            let size = match field(0x200) {
                0 => default_size.context("a sample without size")?,
                _ => u32_at(run.content, entry + field(0x100))?,
            };
            entry += field(0x100) + field(0x200) + field(0x400) + field(0x800);
            let end = at + usize::try_from(size)?;
            take(data.get(at..end).with_context(|| format!("a sample ends at {end} of {}", data.len()))?)?;
            at = end;
        }
    }
    Ok(())
}

fn default_sample_size(tfhd: &[u8]) -> anyhow::Result<Option<u32>> {
    let flags = u32_at(tfhd, 0)? & 0xff_ffff;
    if flags & 0x10 == 0 {
        return Ok(None);
    }
    let field = |bit: u32, bytes: usize| if flags & bit == 0 { 0 } else { bytes };
    u32_at(tfhd, 8 + field(1, 8) + field(2, 4) + field(8, 4)).map(Some)
}

/// Which picture a sample is.
///
/// # Errors
/// When it is not length-prefixed NAL units.
pub(crate) fn picture(sample: &[u8], hasher: &mut PictureHasher) -> anyhow::Result<Option<Identity>> {
    let mut rest = sample;
    while !rest.is_empty() {
        let length = usize::try_from(u32_at(rest, 0)?)?;
        let unit = rest.get(4..4 + length).with_context(|| format!("a NAL unit of {length} bytes"))?;
        hasher.begin(unit);
        rest = rest.get(4 + length..).unwrap_or_default();
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).unwrap();
        [&size.to_be_bytes()[..], kind, content].concat()
    }

    fn traf(track: u8, offset: u32, sizes: &[u32]) -> Vec<u8> {
        let head = boxed(b"tfhd", &[0, 2, 0, 0, 0, 0, 0, track]);
        let count = u32::try_from(sizes.len()).unwrap();
        let words = [0x201, count, offset].into_iter().chain(sizes.iter().copied());
        let run = boxed(b"trun", &words.flat_map(u32::to_be_bytes).collect::<Vec<u8>>());
        boxed(b"traf", &[head, run].concat())
    }

    #[test]
    fn samples_of_the_asked_track_are_found_where_the_run_says() {
        let moof = |offset| boxed(b"moof", &[traf(2, offset + 5, &[1]), traf(1, offset, &[3, 2])].concat());
        let offset = u32::try_from(moof(0).len() + 8).unwrap();
        let fragment = [moof(offset), boxed(b"mdat", &[1, 2, 3, 4, 5, 9])].concat();
        let twice = [fragment.clone(), fragment].concat();
        let mut found = Vec::new();
        each_sample(&twice, 1, |sample| {
            found.push(sample.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [vec![1, 2, 3], vec![4, 5], vec![1, 2, 3], vec![4, 5]]);
        let cut = twice.get(..twice.len() - 2).unwrap();
        each_sample(cut, 1, |_| Ok(())).unwrap_err();
    }
}
