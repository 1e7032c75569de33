//! Fuzz: recorded files that a crash, a disk or somebody with a hex editor has changed, walked as repair, playback and export walk them.

use std::io;

use media_core::remux::fmp4::read::boxes;

use crate::continuity::Continuity;
use crate::seal::Seal;
use crate::source::ReadAt;
use crate::walk::{Standing, is_sealed, part_at, seal_before, standing_at};

/// A file's bytes.
struct Image<'a>(&'a [u8]);

impl ReadAt for Image<'_> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok();
        let range = from.and_then(|from| Some(from..from.checked_add(bytes.len())?));
        let found = range.and_then(|range| self.0.get(range)).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }
}

#[test]
fn fuzz_a_recorded_file_is_walked_to_an_end_within_it() {
    gtvision_fuzz::feed("recorded_fmp4", |input| {
        Continuity::find(input);
        let (image, len) = (Image(input), u64::try_from(input.len()).unwrap());
        let head = boxes(input).take_while(|(header, _)| header.kind != *b"moof");
        let mut offset = head.map(|(header, _)| header.size).sum();
        while let Standing::Part(part) = standing_at(&image, offset, len).unwrap() {
            let end = offset + part.len_bytes;
            assert!(end > offset && end <= len, "part at {offset} ends at {end} of {len}");
            is_sealed(&image, offset, &part, Seal::first(&[])).unwrap();
            seal_before(&image, end).unwrap();
            // What a head says wrongly is told.
            if let Ok(found) = part_at(&image, offset, len) {
                assert_eq!(found.map(|part| part.offset + part.len_bytes), Some(end));
            }
            offset = end;
        }
    });
}
