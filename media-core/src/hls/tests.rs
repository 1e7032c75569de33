//! Tests of HLS as a client with what ffmpeg has cut: counts and times are ffprobe's.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::codec::nal::length_prefixed;

const TS: [&[u8]; 2] =
    [include_bytes!("../../../fixtures/hls/ts0.ts"), include_bytes!("../../../fixtures/hls/ts1.ts")];
const INIT: &[u8] = include_bytes!("../../../fixtures/hls/init.mp4");
const FRAGMENTS: [&[u8]; 2] =
    [include_bytes!("../../../fixtures/hls/f0.m4s"), include_bytes!("../../../fixtures/hls/f1.m4s")];

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn now() -> Instant {
    Instant::now()
}

fn units(brought: &[Brought], track: usize) -> Vec<&Unit> {
    let units = brought.iter().filter_map(|one| match one {
        Brought::Unit(unit) if unit.track == track => Some(unit),
        _ => None,
    });
    units.collect()
}

fn demuxed(demuxer: &mut Demuxer, segment: &[u8]) -> Vec<Brought> {
    let mut out = Vec::new();
    demuxer.segment(&Bytes::copy_from_slice(segment), &mut out).unwrap();
    out
}

/// Tracks are told so often; then pictures and sound with these counts and first presentation times.
fn check(brought: &[Brought], told: usize, pictures: (usize, u32), sound: (usize, u32)) {
    let names: Vec<_> = brought
        .iter()
        .filter_map(|one| match one {
            Brought::Tracks(setups) => {
                Some(setups.iter().map(|s| (s.encoding.as_str(), s.clock_rate)).collect())
            }
            _ => None,
        })
        .collect::<Vec<Vec<_>>>();
    let expected = vec![("H264", 90_000), ("mpeg4-generic", 48_000)];
    assert_eq!(names, vec![expected; told]);
    for (track, (count, first)) in [pictures, sound].into_iter().enumerate() {
        let units = units(brought, track);
        assert_eq!((units.len(), units[0].rtp_timestamp), (count, first), "track {track}");
        assert!(units.windows(2).all(|pair| pair[0].at_us < pair[1].at_us), "track {track}");
    }
    let times: Vec<_> =
        [0, 1].iter().flat_map(|track| units(brought, *track)).map(|unit| unit.at_us).collect();
    let all =
        brought.iter().filter_map(|one| if let Brought::Unit(unit) = one { Some(unit.at_us) } else { None });
    assert!(all.clone().is_sorted() && all.count() == times.len());
}

#[test]
fn ts_and_fmp4_hold_the_same_pictures_and_sound() {
    let mut ts = Demuxer::default();
    let from_ts = TS.map(|segment| demuxed(&mut ts, segment));
    assert_eq!(ts.take_malformed(), 0);
    check(&from_ts[0], 1, (25, 133_200), (45, 131_280 * 48 / 90));
    check(&from_ts[1], 0, (25, 223_200), (50, 217_680 * 48 / 90));
    let mut fmp4 = Demuxer::default();
    fmp4.init(&Bytes::from_static(INIT)).unwrap();
    let from_fmp4 = FRAGMENTS.map(|segment| demuxed(&mut fmp4, segment));
    check(&from_fmp4[0], 1, (25, 1024 * 90_000 / 12_800), (45, 2784));
    check(&from_fmp4[1], 0, (25, 13_824 * 90_000 / 12_800), (50, 2784 + 45 * 1024));
    let sets = from_fmp4[0].iter().find_map(|one| match one {
        Brought::ParameterSets { track: 0, nals } => Some(nals.iter().map(|nal| nal[0] & 0x1f).collect()),
        _ => None,
    });
    assert_eq!(sets, Some(vec![7, 8]));
    // Slices and SEI, byte for byte, in their order.
    let slices = |brought: &[Vec<Brought>; 2]| -> Vec<Vec<u8>> {
        let payloads = brought.iter().flat_map(|segment| units(segment, 0)).map(|unit| unit.payload.clone());
        let nals =
            payloads.flat_map(|payload| length_prefixed(&payload).map(<[u8]>::to_vec).collect::<Vec<_>>());
        nals.filter(|nal| matches!(nal[0] & 0x1f, 1..=6)).collect()
    };
    assert_eq!(slices(&from_ts), slices(&from_fmp4));
    let sound = |brought: &[Vec<Brought>; 2]| -> Vec<Bytes> {
        brought.iter().flat_map(|segment| units(segment, 1)).map(|unit| unit.payload.clone()).collect()
    };
    assert_eq!(sound(&from_ts), sound(&from_fmp4));
}

#[test]
fn after_a_discontinuity_tracks_are_told_anew() {
    let mut demuxer = Demuxer::default();
    demuxed(&mut demuxer, TS[0]);
    demuxer.discontinuity();
    check(&demuxed(&mut demuxer, TS[1]), 1, (25, 223_200), (50, 217_680 * 48 / 90));
}

#[test]
fn damaged_segments_lose_what_is_damaged_and_hostile_ones_never_panic() {
    let mut damaged = TS[0].to_vec();
    damaged.drain(1000..1100);
    let mut demuxer = Demuxer::default();
    let brought = demuxed(&mut demuxer, &damaged);
    assert!(demuxer.take_malformed() > 0 && units(&brought, 0).len() >= 23, "{}", units(&brought, 0).len());
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    for _ in 0..3000 {
        let mut changed = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            for _ in 0..1 + next() % 8 {
                let at = next() % bytes.len();
                bytes[at] = next().to_le_bytes()[0];
            }
            bytes.truncate(next() % (bytes.len() * 2));
            Bytes::from(bytes)
        };
        let (init, fragment, ts) = (changed(INIT), changed(FRAGMENTS[0]), changed(TS[0]));
        let mut out = Vec::new();
        let mut demuxer = Demuxer::default();
        drop((demuxer.segment(&ts, &mut out), demuxer.segment(&fragment, &mut out)));
        if demuxer.init(&init).is_err() {
            demuxer.init(&Bytes::from_static(INIT)).unwrap();
        }
        drop(demuxer.segment(&fragment, &mut out));
        let text = String::from_utf8_lossy(&ts).into_owned();
        drop(Playlist::parse(&format!("#EXTM3U\n{text}")));
    }
}

#[test]
fn what_is_no_segment_is_told() {
    let mut out = Vec::new();
    let mut demuxer = Demuxer::default();
    let html = Bytes::from_static(b"<html>not found</html>");
    assert_eq!(demuxer.segment(&html, &mut out), Err(DemuxError::Unknown));
    assert!(matches!(demuxer.init(&html), Err(DemuxError::Fmp4(_))));
    // A trun of four billion samples.
    demuxer.init(&Bytes::from_static(INIT)).unwrap();
    let at = FRAGMENTS[0].windows(4).position(|window| window == b"trun").unwrap() + 8;
    let mut many = FRAGMENTS[0].to_vec();
    many[at..at + 4].fill(0xff);
    assert!(matches!(demuxer.segment(&Bytes::from(many), &mut out), Err(DemuxError::Fmp4(_))));
}

fn media(text: &str) -> MediaPlaylist {
    match Playlist::parse(&format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{text}")).unwrap() {
        Playlist::Media(playlist) => playlist,
        Playlist::Multivariant(_) => panic!("multivariant"),
    }
}

#[test]
fn playlists_say_where_segments_are() {
    let playlist = media(
        "#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"100@0\"\n#EXTINF:2.0,\n#EXT-X-BYTERANGE:50@100\na.mp4\n\
         #EXTINF:1.5,title\n#EXT-X-BYTERANGE:60\na.mp4\n#EXT-X-PART:DURATION=0.2,URI=\"p\"\n#EXT-X-DISCONTINUITY\n#EXT-X-GAP\n\
         #EXTINF:2,\r\nb.mp4?x=1\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"q\"\n#EXT-X-ENDLIST\n",
    );
    let seen: Vec<_> = playlist.segments.iter().map(|one| (one.msn, one.uri.as_str(), one.range)).collect();
    let range = |start, bytes| Some(ByteRange { start, bytes });
    assert_eq!(seen, [(7, "a.mp4", range(100, 50)), (8, "a.mp4", range(150, 60)), (9, "b.mp4?x=1", None)]);
    let init = playlist.segments[1].init.as_deref().unwrap();
    assert_eq!((init.uri.as_str(), init.range), ("i.mp4", range(0, 100)));
    let last = &playlist.segments[2];
    assert!(
        last.is_discontinuous && last.is_gap && playlist.is_ended && !playlist.segments[1].is_discontinuous
    );
    assert_eq!(playlist.segments[1].duration, Duration::from_millis(1500));
}

#[test]
fn the_best_variant_that_is_carried_is_taken_with_its_sound() {
    let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x, y\",DEFAULT=NO,URI=\"en.m3u8\"\n\
                #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"pt\",DEFAULT=YES,URI=\"pt.m3u8\"\n\
                #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"a\",NAME=\"s\",URI=\"s.m3u8\"\n\
                #EXT-X-STREAM-INF:BANDWIDTH=100,CODECS=\"avc1.42c01e,mp4a.40.2\"\nlow.m3u8\n\
                #EXT-X-STREAM-INF:CODECS=\"avc1.42c01e\",BANDWIDTH=300,AUDIO=\"a\"\nhigh.m3u8\n\
                #EXT-X-STREAM-INF:BANDWIDTH=900,CODECS=\"av01.0.04M.08\"\nav1.m3u8\n";
    let Ok(Playlist::Multivariant(playlist)) = Playlist::parse(text) else { panic!("not multivariant") };
    let choice = playlist.choose().unwrap();
    assert_eq!((choice.uri.as_str(), choice.sound_uri.as_deref()), ("high.m3u8", Some("pt.m3u8")));
    let Ok(Playlist::Multivariant(playlist)) =
        Playlist::parse("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"vp09.00\"\nx.m3u8\n")
    else {
        panic!("not multivariant")
    };
    assert_eq!(playlist.choose(), Err(PlaylistError::NoVariant));
}

// correctness: S6
#[test]
fn playlists_beyond_a_limit_or_encrypted_are_refused() {
    let fails = |text: &str| Playlist::parse(text).unwrap_err().to_string();
    let head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n";
    assert!(fails("<html>").contains("no playlist"));
    assert!(fails("#EXTM3U\na.ts\n").contains("TARGETDURATION"));
    assert!(fails(&format!("{head}#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n")).contains("encrypted (AES-128)"));
    assert!(Playlist::parse(&format!("{head}#EXT-X-KEY:METHOD=NONE\n")).is_ok());
    assert!(fails(&format!("{head}{}\n", "x".repeat(URI_BYTES_MAX + 1))).contains("URI of 8193 bytes"));
    assert!(fails(&format!("{head}{}", "a\n".repeat(SEGMENTS_MAX + 1))).contains("more than 50000 segments"));
    assert!(fails(&format!("{head}#EXTINF:-1,\n")).contains("EXTINF"));
    assert!(fails(&format!("{head}#EXT-X-BYTERANGE:0@5\na\n")).contains("BYTERANGE"));
    assert!(fails(&format!("{head}#EXTINF:2,\na\n#EXT-X-MEDIA-SEQUENCE:7\n")).contains("MEDIA-SEQUENCE"));
    // What a day would take is not waited for.
    assert_eq!(media("#EXT-X-TARGETDURATION:86400\n").target_duration, Duration::from_secs(60));
}

fn live(first: u64, count: u64) -> MediaPlaylist {
    let segments: String = (0..count).map(|number| format!("#EXTINF:2,\n{}.ts\n", first + number)).collect();
    media(&format!("#EXT-X-MEDIA-SEQUENCE:{first}\n{segments}"))
}

/// Takes all that is listed; says the numbers, those after a break negative.
fn fetched(follower: &mut Follower) -> Vec<i64> {
    let mut numbers = Vec::new();
    while let Step::Fetch(segment) = follower.step() {
        let msn = i64::try_from(segment.msn).unwrap();
        numbers.push(if segment.is_discontinuous { -msn } else { msn });
    }
    numbers
}

#[test]
fn a_live_playlist_is_begun_three_target_durations_from_its_end_and_followed() {
    let now = now();
    let mut follower = Follower::new(now);
    follower.handle_playlist(live(10, 6), now);
    assert_eq!(fetched(&mut follower), [13, 14, 15]);
    let seconds = |n: u64| now + Duration::from_secs(n);
    assert_eq!(follower.step(), Step::ReloadAt(seconds(2)));
    follower.handle_playlist(live(10, 6), seconds(2));
    assert_eq!(follower.step(), Step::ReloadAt(seconds(3)), "unchanged: half as long");
    follower.handle_playlist(live(11, 7), seconds(3));
    assert_eq!(fetched(&mut follower), [16, 17]);
    // A copy that is older; then one that lost what was not fetched; then a server that begins anew.
    follower.handle_playlist(live(10, 6), seconds(5));
    assert_eq!(fetched(&mut follower), [0; 0]);
    follower.handle_playlist(live(20, 3), seconds(6));
    assert_eq!(fetched(&mut follower), [-20, 21, 22]);
    follower.handle_playlist(live(0, 4), seconds(8));
    assert_eq!(fetched(&mut follower), [-1, 2, 3]);
    follower.handle_playlist(live(0, 5), seconds(9));
    assert_eq!(fetched(&mut follower), [4]);
}

#[test]
fn what_is_over_is_read_from_its_beginning_to_its_end() {
    let now = now();
    let mut follower = Follower::new(now);
    follower.handle_playlist(MediaPlaylist { is_ended: true, ..live(0, 9) }, now);
    assert_eq!(fetched(&mut follower).len(), 9);
    assert_eq!(follower.step(), Step::Over);
}

#[test]
fn a_zero_target_duration_is_not_asked_for_without_end() {
    let now = now();
    let mut follower = Follower::new(now);
    follower.handle_playlist(media("#EXT-X-TARGETDURATION:0\n"), now);
    assert_eq!(follower.step(), Step::ReloadAt(now + Duration::from_millis(500)));
}

#[test]
fn units_are_due_as_far_apart_as_their_times_are() {
    let now = now();
    let ms = |n: u64| now + Duration::from_millis(n);
    let mut pacer = Pacer::default();
    assert_eq!(pacer.due(5_000_000, Haste::None, now), now);
    assert_eq!(pacer.due(5_040_000, Haste::None, now), ms(40));
    // Sound of a moment before; then the next picture.
    assert_eq!(pacer.due(5_030_000, Haste::None, now), ms(30));
    assert_eq!(pacer.due(5_080_000, Haste::None, now), ms(80));
    // A backlog: a twentieth faster. A clock that jumps, and one that is late, go on from now.
    assert_eq!(pacer.due(6_080_000, Haste::Some, now), ms(80 + 950));
    assert_eq!(pacer.due(90_000_000, Haste::None, ms(500)), ms(500));
    assert_eq!(pacer.due(90_040_000, Haste::None, ms(9_000)), ms(9_000));
    assert_eq!(rtp_time(90_040_000, 48_000), 4_321_920);
}
