//! Tests of the ring: order, retention, lag.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::time::{Timescale, WallTime};
use crate::track::{CodecConfig, G711Law, H264Config, StreamFormat, TrackId, TrackInfo};

fn video_format(generation: u64) -> SharedFormat {
    let codec = CodecConfig::H264(H264Config {
        sps: Bytes::from_static(&[0x67]),
        pps: Bytes::from_static(&[0x68]),
        width: 640,
        height: 360,
        profile_idc: 77,
        constraint_flags: 0,
        level_idc: 30,
    });
    let video = TrackInfo { id: TrackId(0), timescale: Timescale::VIDEO, codec, transcoded_from: None };
    let codec = CodecConfig::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 };
    let audio =
        TrackInfo { id: TrackId(1), timescale: Timescale::new(8000).unwrap(), codec, transcoded_from: None };
    Arc::new(StreamFormat { generation, is_slate: false, tracks: vec![video, audio] })
}

/// A delta picture of 100 bytes.
fn delta(n: i64) -> AccessUnit {
    let dts_ticks = n * 3600;
    AccessUnit {
        track: TrackId(0),
        dts_ticks,
        pts_ticks: dts_ticks,
        wall: WallTime(n * 40_000),
        is_random_access: false,
        payload: Bytes::from(vec![0; 100]),
    }
}

/// A random access point of 100 bytes.
fn key(n: i64) -> AccessUnit {
    AccessUnit { is_random_access: true, ..delta(n) }
}

/// The `n`-th picture of GOPs with `gop` pictures.
fn picture(n: i64, gop: i64) -> AccessUnit {
    if n % gop == 0 { key(n) } else { delta(n) }
}

fn sound(n: i64) -> AccessUnit {
    AccessUnit { track: TrackId(1), ..key(n) }
}

/// A ring with GOPs of `gop` units, `count` units long.
fn filled(retention: Retention, gop: i64, count: i64) -> (Ring, SharedFormat) {
    let mut ring = Ring::new(retention);
    let format = video_format(0);
    for n in 0..count {
        ring.push(&format, picture(n, gop));
    }
    (ring, format)
}

fn read_all(ring: &Ring, cursor: &mut Cursor) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Read::Entry(entry) = ring.read(cursor) {
        seqs.push(entry.seq);
    }
    seqs
}

#[test]
fn joining_viewer_starts_at_the_newest_random_access_point() {
    let (ring, _) = filled(Retention::default(), 10, 27);
    let mut cursor = ring.cursor(JoinAt::NewestRandomAccess);
    assert_eq!(read_all(&ring, &mut cursor), (20..27).collect::<Vec<_>>());
    assert!(matches!(ring.read(&mut cursor), Read::Empty));
}

#[test]
fn retention_keeps_whole_gops_and_always_begins_at_a_random_access_point() {
    let (ring, _) = filled(Retention { gops: 1, bytes_max: 1 << 20 }, 10, 35);
    let first = ring.entries().next().unwrap();
    assert_eq!(first.seq, 20);
    assert!(first.unit.is_random_access);
    assert_eq!(ring.bytes(), 15 * 100);
}

#[test]
fn slow_reader_is_told_what_it_lost_and_goes_on_at_a_random_access_point() {
    let (mut ring, format) = filled(Retention { gops: 1, bytes_max: 1 << 20 }, 10, 5);
    let mut cursor = ring.cursor(JoinAt::Oldest);
    assert!(matches!(ring.read(&mut cursor), Read::Entry(e) if e.seq == 0));
    for n in 5..35 {
        ring.push(&format, picture(n, 10));
    }
    assert!(matches!(ring.read(&mut cursor), Read::Lagged { from: 1, to: 20 }));
    assert_eq!(read_all(&ring, &mut cursor), (20..35).collect::<Vec<_>>());
}

#[test]
fn bytes_stay_under_the_limit_when_a_gop_never_ends() {
    let retention = Retention { gops: 1, bytes_max: 5_000 };
    let mut ring = Ring::new(retention);
    let format = video_format(0);
    for n in 0..1_000 {
        ring.push(&format, picture(n, 900));
        assert!(ring.bytes() <= 5_000);
    }
    assert!(ring.dropped_units() > 0);
    let mut cursor = ring.cursor(JoinAt::Oldest);
    assert!(matches!(ring.read(&mut cursor), Read::Empty), "no join point is left after the endless GOP");
}

#[test]
fn units_that_nobody_can_decode_are_not_kept() {
    let mut ring = Ring::new(Retention::default());
    let format = video_format(0);
    ring.push(&format, delta(0));
    ring.push(&format, sound(0));
    assert_eq!((ring.bytes(), ring.dropped_units()), (0, 2));
    ring.push(&format, key(1));
    ring.push(&format, sound(1));
    // A new format's units count only from its own random access point on.
    let next = video_format(1);
    ring.push(&next, delta(2));
    assert_eq!(ring.next_seq(), 2);
    ring.push(&next, key(3));
    assert_eq!(ring.next_seq(), 3);
}

#[test]
fn stream_without_video_can_be_joined_anywhere() {
    let mut ring = Ring::new(Retention { gops: 50, bytes_max: 1 << 20 });
    let audio = video_format(0).tracks[1].clone();
    let format = Arc::new(StreamFormat { generation: 0, is_slate: false, tracks: vec![audio] });
    for n in 0..100 {
        ring.push(&format, sound(n));
    }
    assert_eq!(ring.entries().count(), 51);
    assert_eq!(ring.cursor(JoinAt::NewestRandomAccess).seq(), 99);
}
