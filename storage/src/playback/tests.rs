//! Tests of clips, with pictures that say their number.

use std::sync::Arc;
use std::time::Duration;

use media_core::remux::fmp4::read::{boxes, fragment_head};

use super::{Clip, ClipFormat, ClipRequest, GapRule, Recordings};
use crate::Storage;
use crate::tests::{CLOCK, Place, START, grant};

async fn clip(recordings: &Recordings, from_ms: i64, for_ms: u64, format: ClipFormat) -> Option<Arc<Clip>> {
    let request = ClipRequest {
        start: START.plus_us(from_ms * 1000),
        duration: Duration::from_millis(for_ms),
        format,
        gaps: GapRule::Stop,
    };
    let plan = recordings.plan_clip(&grant(), request).await.unwrap()?;
    plan.clip(&grant()).unwrap().map(Arc::new)
}

async fn bytes(recordings: &Recordings, clip: &Arc<Clip>, from: u64, to: u64) -> Vec<u8> {
    let mut reader = recordings.reader(&grant(), Arc::clone(clip), from..to).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// Decode times in ticks and numbers of a fragmented clip's pictures; each payload is full of its number.
fn pictures(clip: &[u8]) -> Vec<(i64, u8)> {
    let mut pictures = Vec::new();
    let mut moof = None;
    for (header, bytes) in boxes(clip) {
        match &header.kind {
            b"moof" => moof = Some(fragment_head(bytes).unwrap()),
            b"mdat" => {
                let head = moof.take().expect("a moof before each mdat");
                let mut at = 8;
                for timed in head.tracks[0].timed() {
                    // Behind the NAL unit's length.
                    pictures.push((timed.dts_ticks, bytes[at + 4]));
                    at += usize::try_from(timed.sample.size_bytes).unwrap();
                }
            }
            _ => {}
        }
    }
    pictures
}

#[tokio::test]
async fn a_clip_shows_exactly_the_pictures_asked_for() {
    let place = Place::new();
    place.record(10 * 25, 3).await;
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let recordings = storage.recordings();
    // (from, for) in ms, then the number of the first picture that is decoded, of the first shown and behind the last.
    for (from_ms, for_ms, decoded, first, end) in [
        (0, 200, 0, 0, 5),
        (0, 201, 0, 0, 6),
        (1_300, 400, 25, 32, 43),
        (2_900, 300, 50, 72, 80),
        (5_999, 3_002, 125, 149, 226),
        (9_900, 60_000, 225, 247, 250),
        // Within the last picture.
        (9_970, 10, 225, 249, 250),
        (-5_000, 5_300, 0, 0, 8),
    ] {
        let what = format!("{from_ms} ms for {for_ms} ms");
        let clip = clip(&recordings, from_ms, for_ms, ClipFormat::Fragmented).await.unwrap();
        let pictures = pictures(&bytes(&recordings, &clip, 0, u64::MAX).await);
        let numbers: Vec<u8> = pictures.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers, (decoded..end).collect::<Vec<u8>>(), "{what}");
        let shown = pictures.iter().position(|(_, number)| *number == first).unwrap();
        let begin = pictures[shown].0;
        assert!(begin <= 180, "{what}: shown after {begin} ticks");
        assert!(pictures.windows(2).all(|pair| pair[0].0 < pair[1].0), "{what}: {pictures:?}");
        let at = |position: usize| begin + 3600 * i64::try_from(position - shown).unwrap();
        assert!((shown..pictures.len()).all(|place| pictures[place].0 == at(place)), "{what}: {pictures:?}");
    }
    assert!(clip(&recordings, -5_000, 5_000, ClipFormat::Fragmented).await.is_none());
    assert!(clip(&recordings, 10_000, 5_000, ClipFormat::Fragmented).await.is_none());
}

#[tokio::test]
async fn any_range_of_a_clip_is_the_bytes_that_it_has_there() {
    let place = Place::new();
    place.record(10 * 25, 3).await;
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let recordings = storage.recordings();
    for format in [ClipFormat::Fragmented, ClipFormat::Progressive] {
        let clip = clip(&recordings, 1_300, 8_000, format).await.unwrap();
        let len_bytes = clip.len_bytes();
        let whole = bytes(&recordings, &clip, 0, len_bytes).await;
        assert_eq!(u64::try_from(whole.len()).unwrap(), len_bytes);
        for from in (0..len_bytes).step_by(101) {
            let to = (from + 1500).min(len_bytes);
            let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
            assert_eq!(bytes(&recordings, &clip, from, to).await, whole[range], "{from} to {to}");
        }
    }
}
