//! Fragmented MP4: a recorded file that a disk, or somebody with a hex editor, has changed.

use bytes::Bytes;
use media_core::remux::fmp4::cut::{Before, Cut, Placement, TrackPlacement, rebase};
use media_core::remux::fmp4::progressive::Tables;
use media_core::remux::fmp4::read::{FragmentHead, MOOF_BYTES_MAX, boxes, fragment_head, fragment_summary};
use media_core::remux::fmp4::seek::{
    TrackEdit, clip_init, lead_timescale, picture_sets, plain_init, presented_from, tracks,
};

/// The most that a head grows by what is written into it: an edit list, times, tables.
const HEAD_GROWTH_BYTES_MAX: usize = 4096;

/// A file is read, cut and moved in time as playback and export do it.
pub(super) fn recorded(input: &[u8]) {
    init(input);
    let mut heads = Vec::new();
    for (header, bytes) in boxes(input).filter(|(header, _)| header.kind == *b"moof") {
        assert!(header.size <= MOOF_BYTES_MAX, "a box beyond its file");
        fragment_summary(bytes).ok();
        let Ok(head) = fragment_head(bytes) else { continue };
        moved(bytes, &head);
        heads.push(head);
    }
    cut(input, &heads);
}

fn init(input: &[u8]) {
    tracks(input).ok();
    lead_timescale(input).ok();
    picture_sets(input).ok();
    let written = [
        presented_from(input, 90_000, Some(std::time::Duration::from_secs(7))),
        presented_from(input, i64::MAX, None),
        clip_init(input, &[TrackEdit { track_id: 1, empty_ticks: 5, media_ticks: -7 }], 90_000),
        plain_init(input),
    ];
    for init in written.iter().flatten() {
        assert!(
            init.len() <= 2 * input.len() + HEAD_GROWTH_BYTES_MAX,
            "{} bytes of {}",
            init.len(),
            input.len()
        );
        assert_eq!(tracks(init).is_ok(), tracks(input).is_ok(), "what we wrote reads otherwise");
    }
}

fn placement(asked_ticks: i64, until_ticks: i64) -> Placement {
    let track =
        |track_id, before| TrackPlacement { track_id, asked_ticks, at_ticks: 1000, until_ticks, before };
    Placement { tracks: vec![track(1, Before::Needed), track(2, Before::LeftOut)], sequence_shift: 3 }
}

/// Moving changes times and nothing else.
fn moved(moof: &[u8], head: &FragmentHead) {
    let mut moved = moof.to_vec();
    if rebase(&mut moved, &placement(90_000, i64::MAX)).is_err() {
        return;
    }
    let moved = fragment_head(&moved).expect("a head that only moved");
    assert_eq!(moved.sequence_number, head.sequence_number.wrapping_add(3));
    let samples =
        |head: &FragmentHead| head.tracks.iter().map(|track| track.samples.clone()).collect::<Vec<_>>();
    assert_eq!(samples(&moved), samples(head));
}

/// Cutting keeps no more samples than there were, and its heads read back.
fn cut(input: &[u8], heads: &[FragmentHead]) {
    let placement = placement(0, 200_000);
    let samples = |head: &FragmentHead| head.tracks.iter().map(|track| track.samples.len()).sum::<usize>();
    let mut tables = Tables::default();
    for (head, cut) in heads.iter().zip(Cut::endings(heads, &placement)) {
        head.begins_before(&placement);
        head.reaches_end(&placement);
        head.is_behind(&placement);
        if cut.is_empty() {
            continue;
        }
        let moof = cut.moof(head, &placement, 100);
        let read = fragment_head(&moof).expect("our own moof");
        assert!(samples(&read) <= samples(head));
        tables.push(cut.tracks(head, &placement), 0, 100).expect("few samples");
    }
    let plain: Option<Bytes> = tables.head(input, &[], 200_000, 1_000_000).ok();
    let count: usize = heads.iter().map(samples).sum();
    let bytes_max = 2 * input.len() + 64 * count + HEAD_GROWTH_BYTES_MAX;
    assert!(plain.is_none_or(|plain| plain.len() <= bytes_max), "tables longer than what they tell of");
}
