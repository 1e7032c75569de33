//! Quirks of cameras, one test each.

use std::time::Duration;

use super::rig::*;
use crate::access_unit::AccessUnit;
use crate::codec::nal::length_prefixed;
use crate::ingest::{Ingest, TrackSetup, VIDEO_WAIT_US};
use crate::rtp::RtpPacket;
use crate::time::NtpTime;
use crate::track::TrackKind;

const PYRAMID: &[u8] = include_bytes!("../../../testdata/h264-pyramid.rtp");
const SLICES: &[u8] = include_bytes!("../../../testdata/h264-slices.rtp");
const NO_VUI: &[u8] = include_bytes!("../../../testdata/h264-no-vui.rtp");
const OPEN_GOP: &[u8] = include_bytes!("../../../testdata/h264-open-gop.rtp");
const H265: &[u8] = include_bytes!("../../../testdata/h265-open-gop.rtp");
const AAC: &[u8] = include_bytes!("../../../testdata/aac.rtp");
const PCMA: &[u8] = include_bytes!("../../../testdata/pcma.rtp");

/// 12.5 pictures a second, 4 slices each, no B-frames, GOP 25.
fn slices() -> (TrackSetup, Vec<Recorded>) {
    (video("H264", Some(SLICES_FMTP)), read_dump(SLICES))
}

/// Ticks between the pictures of [`slices`].
const SLICES_FRAME: u32 = 7200;

fn run(setup: TrackSetup, packets: &[Recorded]) -> Rig {
    let mut rig = Rig::new(&[setup]);
    rig.feed_all(0, packets, 90_000);
    rig.check_invariants();
    rig
}

/// Changes packets by the index of their picture (of their timestamp).
fn by_picture(mut packets: Vec<Recorded>, change: impl Fn(usize, &mut Recorded)) -> Vec<Recorded> {
    let (mut picture, mut last) = (0, packets[0].timestamp);
    for packet in &mut packets {
        if packet.timestamp != last {
            last = packet.timestamp;
            picture += 1;
        }
        change(picture, packet);
    }
    packets
}

fn payloads(rig: &Rig) -> Vec<&[u8]> {
    rig.units.iter().map(|unit| &unit.payload[..]).collect()
}

fn pts_steps(rig: &Rig) -> Vec<i64> {
    rig.units.windows(2).map(|pair| pair[1].pts_ticks - pair[0].pts_ticks).collect()
}

/// Arrivals of a camera that paces 12.5 pictures a second, whatever it stamps them.
fn feed_paced(rig: &mut Rig, packets: &[Recorded]) {
    let (mut picture, mut last) = (0_u32, packets[0].timestamp);
    for packet in packets {
        if packet.timestamp != last {
            last = packet.timestamp;
            picture += 1;
        }
        rig.feed(0, packet, Duration::from_millis(20) + Duration::from_millis(80) * picture);
    }
    rig.check_invariants();
}

#[test]
fn marker_on_every_packet_does_not_split_pictures() {
    let (setup, packets) = slices();
    let expected = run(setup.clone(), &packets);
    let marked = by_picture(packets, |_, packet| packet.marker = true);
    let rig = run(setup, &marked);
    assert_eq!(payloads(&rig), payloads(&expected)[..rig.units.len()]);
    assert!(rig.units.len() >= expected.units.len() - 1);
    assert_eq!(rig.ingest.counters().lost_units, 0);
}

#[test]
fn camera_without_markers_gives_the_same_pictures() {
    let (setup, packets) = slices();
    let expected = run(setup.clone(), &packets);
    let rig = run(setup, &by_picture(packets, |_, packet| packet.marker = false));
    assert_eq!(payloads(&rig), payloads(&expected)[..rig.units.len()]);
    assert!(rig.units.len() >= expected.units.len() - 1);
}

#[test]
fn parameter_sets_with_marker_and_the_timestamp_of_the_picture_before_go_with_the_next() {
    // GStreamer sends SPS and PPS in band; here they are stamped as the picture before and marked.
    let packets = read_dump(NO_VUI);
    let expected = run(video("H264", None), &packets);
    let mut changed = packets.clone();
    for n in 1..changed.len() {
        if matches!(changed[n].payload[0] & 0x1f, 7 | 8 | 24) {
            changed[n].timestamp = changed[n - 1].timestamp;
            changed[n].marker = true;
        }
    }
    let rig = run(video("H264", None), &changed);
    assert_eq!(payloads(&rig), payloads(&expected));
}

// correctness: R2
#[test]
fn lost_packet_takes_its_whole_picture_and_no_other() {
    let (setup, packets) = slices();
    let whole = run(setup.clone(), &packets);
    for lost in 12..packets.len() - 1 {
        let mut rig = Rig::new(std::slice::from_ref(&setup));
        for (n, (packet, at)) in packets.iter().zip(arrivals(&packets, 90_000)).enumerate() {
            if n != lost {
                rig.feed_after_loss(0, packet, at, u32::from(n == lost + 1));
            }
        }
        rig.check_invariants();
        let all = payloads(&whole);
        // What comes is always one of the whole pictures, in order.
        let mut next = all.iter();
        for (n, payload) in payloads(&rig).iter().enumerate() {
            assert!(next.any(|whole| whole == payload), "lost packet {lost}: unit {n} is not whole");
        }
        let missing = whole.units.len() - rig.units.len();
        let held_back = usize::try_from(rig.ingest.counters().undecodable_units).unwrap();
        assert_eq!(missing, 1 + held_back, "lost packet {lost}");
        assert_eq!(rig.ingest.counters().lost_packets, 1);
    }
}

#[test]
fn lost_key_picture_holds_back_what_refers_to_it() {
    let packets = read_dump(PYRAMID);
    let key = packets.iter().position(|p| p.timestamp.wrapping_sub(packets[0].timestamp) == 90_000).unwrap();
    let mut rig = Rig::new(&[video("H264", Some(PYRAMID_FMTP))]);
    for (n, (packet, at)) in packets.iter().zip(arrivals(&packets, 90_000)).enumerate() {
        if n != key + 1 {
            rig.feed_after_loss(0, packet, at, u32::from(n == key + 2));
        }
    }
    rig.check_invariants();
    let (units, counters) = (&rig.units, rig.ingest.counters());
    assert_eq!((counters.lost_units, counters.undecodable_units), (1, 29));
    assert_eq!(units.iter().filter(|unit| unit.is_random_access).count(), 3);
    let origin = units[0].pts_ticks;
    assert!(units.iter().all(|unit| !(90_000..180_000).contains(&(unit.pts_ticks - origin))));
    assert_eq!(rig.formats.len(), 1);
}

#[test]
fn intelbras_picture_stamped_hours_away_is_put_back_without_a_discontinuity() {
    for offset in [5 * 3600 * 90_000, 0_u32.wrapping_sub(5 * 3600 * 90_000)] {
        let (setup, packets) = slices();
        let strayed = by_picture(packets, |picture, packet| {
            if picture % 10 == 7 {
                packet.timestamp = packet.timestamp.wrapping_add(offset);
            }
        });
        let mut rig = Rig::new(&[setup]);
        feed_paced(&mut rig, &strayed);
        let counters = rig.ingest.counters();
        assert_eq!((counters.stray_units, counters.discontinuities, rig.formats.len()), (5, 0, 1));
        assert_eq!(counters.repaired_timestamps, 5);
        assert_eq!(rig.units.len(), 50);
        assert!(pts_steps(&rig).iter().all(|step| (step - 7200).abs() <= 900), "{:?}", pts_steps(&rig));
    }
}

#[test]
fn jump_that_goes_on_is_one_discontinuity_at_the_next_random_access_point() {
    for offset in [1000 * 90_000, 0_u32.wrapping_sub(1000 * 90_000)] {
        let (setup, packets) = slices();
        let jumped = by_picture(packets, |picture, packet| {
            if picture >= 10 {
                packet.timestamp = packet.timestamp.wrapping_add(offset);
            }
        });
        let mut rig = Rig::new(&[setup]);
        feed_paced(&mut rig, &jumped);
        let counters = rig.ingest.counters();
        assert_eq!((counters.discontinuities, counters.stray_units, rig.formats.len()), (1, 0, 2));
        assert_eq!(rig.units.len(), 50, "no picture is lost");
        assert_eq!(rig.generations.iter().filter(|g| **g == 1).count(), 25);
        assert!(pts_steps(&rig).iter().all(|step| (step - 7200).abs() <= 900), "{:?}", pts_steps(&rig));
    }
}

#[test]
fn camera_that_pauses_is_not_a_jump() {
    let (setup, packets) = slices();
    let paused = by_picture(packets, |picture, packet| {
        if picture >= 10 {
            packet.timestamp = packet.timestamp.wrapping_add(9 * 90_000);
        }
    });
    let rig = run(setup, &paused); // arrives as stamped
    let counters = rig.ingest.counters();
    assert_eq!((counters.discontinuities, counters.repaired_timestamps, rig.formats.len()), (0, 0, 1));
    assert_eq!(pts_steps(&rig)[9], 7200 + 9 * 90_000);
}

#[test]
fn stalled_network_that_catches_up_is_not_a_jump() {
    let (setup, packets) = slices();
    let mut rig = Rig::new(&[setup]);
    for (packet, at) in packets.iter().zip(arrivals(&packets, 90_000)) {
        // Everything from 1 s on arrives at 6 s in one go.
        let at = if at > Duration::from_secs(1) { Duration::from_secs(6) } else { at };
        rig.feed(0, packet, at);
    }
    rig.check_invariants();
    let counters = rig.ingest.counters();
    assert_eq!((counters.discontinuities, counters.repaired_timestamps), (0, 0));
    assert!(pts_steps(&rig).iter().all(|step| *step == 7200));
}

#[test]
fn repeated_timestamps_are_spread_and_counted() {
    let (setup, packets) = slices();
    // Two pictures share a timestamp: the clock has half the rate of the pictures.
    let repeated = by_picture(packets, |picture, packet| {
        if picture % 2 == 1 {
            packet.timestamp = packet.timestamp.wrapping_sub(SLICES_FRAME);
        }
    });
    let expected = {
        let (setup, packets) = slices();
        run(setup, &packets)
    };
    let rig = run(setup, &repeated);
    assert_eq!(payloads(&rig), payloads(&expected)[..rig.units.len()]);
    assert!(rig.units.len() >= 49);
    let counters = rig.ingest.counters();
    assert_eq!((counters.discontinuities, rig.formats.len()), (0, 1));
    assert!(counters.repaired_timestamps >= 20, "{counters:?}");
}

#[test]
fn frozen_timestamps_are_played_at_the_pace_of_arrivals() {
    let (setup, packets) = slices();
    let first = packets[0].timestamp;
    let times = arrivals(&packets, 90_000);
    let mut rig = Rig::new(&[setup]);
    for (packet, at) in packets.iter().zip(times) {
        rig.feed(0, &Recorded { timestamp: first, ..packet.clone() }, at);
    }
    rig.check_invariants();
    assert!(rig.units.len() >= 49, "{}", rig.units.len());
    let span = rig.units.last().unwrap().pts_ticks - rig.units[0].pts_ticks;
    // 49 pictures of 80 ms take 3.9 s.
    assert!((3 * 90_000..5 * 90_000).contains(&span), "{span}");
    assert_eq!(rig.ingest.counters().discontinuities, 0);
}

#[test]
fn small_step_back_of_the_clock_goes_on_without_holding_pictures_back() {
    let (setup, packets) = slices();
    let stepped = by_picture(packets, |picture, packet| {
        if picture >= 10 {
            packet.timestamp = packet.timestamp.wrapping_sub(27_000);
        }
    });
    let mut rig = Rig::new(&[setup]);
    feed_paced(&mut rig, &stepped);
    assert_eq!(rig.units.len(), 50);
    let span = rig.units[49].pts_ticks - rig.units[0].pts_ticks;
    assert!((span - 49 * 7200).abs() < 14_400, "{span}");
    assert!(pts_steps(&rig).iter().all(|step| (1..=14_400).contains(step)), "{:?}", pts_steps(&rig));
}

#[test]
fn parameter_sets_that_come_late_are_waited_for_and_counted() {
    let (setup, packets) = slices();
    let setup = TrackSetup { fmtp: Some("96 packetization-mode=1".to_owned()), ..setup };
    let mut rig = Rig::new(&[setup]);
    rig.feed_all(0, &packets, 90_000);
    assert!(rig.formats.is_empty() && rig.units.is_empty());
    assert_eq!(rig.ingest.counters().late_parameter_sets, 2);
    let mut late = packets[0].clone();
    let at = Duration::from_secs(5);
    for nal in [&b"\x67\x42\xc0\x0c\xd9\x01\x81\xdf\x96\x6a\x0c\x0c\x0c\x80\x00\x00\x03\x01\x00\x00\x03\x00\x19\x07\x8a\x15\x24"[..], b"\x68\xcb\x81\x32\xc8"] {
        late.payload = bytes::Bytes::from_static(nal);
        late.marker = false;
        late.timestamp = packets.last().unwrap().timestamp.wrapping_add(SLICES_FRAME);
        rig.feed(0, &late, at);
    }
    for packet in by_picture(packets, |_, p| p.timestamp = p.timestamp.wrapping_add(5 * 90_000)) {
        rig.feed(0, &packet, at);
    }
    rig.check_invariants();
    assert_eq!((rig.formats.len(), rig.units.len()), (1, 50));
    // The parameter sets are part of the first unit, as the camera sent them.
    assert_eq!(length_prefixed(&rig.units[0].payload).next().map(|nal| nal[0]), Some(0x67));
}

#[test]
fn parameter_sets_that_change_midway_open_a_new_format_and_repeats_do_not() {
    let packets = read_dump(NO_VUI);
    let mut rig = Rig::new(&[video("H264", None)]);
    rig.feed_all(0, &packets, 90_000);
    let before = rig.formats.len();
    assert_eq!(before, 1, "repeated parameter sets do nothing");
    let last = packets.last().unwrap().timestamp;
    let other = read_dump(SLICES);
    let start = last.wrapping_add(18_000).wrapping_sub(other[0].timestamp);
    let mut sets = other[0].clone();
    sets.marker = false;
    sets.payload = bytes::Bytes::from_static(
        b"\x18\x00\x1b\x67\x42\xc0\x0c\xd9\x01\x81\xdf\x96\x6a\x0c\x0c\x0c\x80\x00\x00\x03\x01\x00\x00\x03\x00\x19\x07\x8a\x15\x24\x00\x05\x68\xcb\x81\x32\xc8",
    );
    let at = Duration::from_millis(6_100);
    for mut packet in std::iter::once(sets).chain(other) {
        packet.timestamp = packet.timestamp.wrapping_add(start);
        rig.feed(0, &packet, at);
    }
    rig.check_invariants();
    assert_eq!((rig.formats.len(), rig.ingest.counters().parameter_set_changes), (2, 1));
    assert_eq!(rig.units.len(), 61 + 50);
    assert_eq!(rig.generations.iter().filter(|g| **g == 2).count(), 50);
}

#[test]
fn joining_h265_at_a_cra_passes_over_its_leading_pictures() {
    let packets = read_dump(H265);
    // The second random access picture is a CRA; drop everything before.
    let cra = packets
        .iter()
        .position(|p| {
            p.payload[0] >> 1 & 0x3f == 21
                || (p.payload[0] >> 1 & 0x3f == 49 && p.payload[2] & 0xbf == 0x80 | 21)
        })
        .unwrap();
    let rig = run(video("H265", Some(H265_FMTP)), &packets[cra..]);
    assert!(rig.units[0].is_random_access);
    let first = rig.units[0].pts_ticks;
    assert!(rig.units.iter().all(|unit| unit.pts_ticks >= first), "no picture is shown before the first");
    assert!(rig.ingest.counters().undecodable_units > 0);
}

#[test]
fn sound_waits_for_the_picture_and_both_share_their_origin() {
    let (setup, packets) = slices();
    let sound =
        TrackSetup { clock_rate: 48_000, channels: Some(2), ..video("mpeg4-generic", Some(AAC_FMTP)) };
    let mut rig = Rig::new(&[sound, setup]);
    let aac = read_dump(AAC);
    rig.feed(0, &aac[0], Duration::from_millis(5));
    assert!(rig.units.is_empty());
    let mut all: Vec<(Duration, usize, &Recorded)> = Vec::new();
    all.extend(aac[1..].iter().zip(arrivals(&aac[1..], 48_000)).map(|(p, at)| (at, 0, p)));
    all.extend(packets.iter().zip(arrivals(&packets, 90_000)).map(|(p, at)| (at, 1, p)));
    all.sort_by_key(|(at, ..)| *at);
    for (at, track, packet) in all {
        rig.feed(track, packet, at);
    }
    rig.check_invariants();
    let format = &rig.formats[0];
    let kinds: Vec<_> = format.tracks.iter().map(|track| (track.id.0, track.codec.kind())).collect();
    assert_eq!(kinds, [(0, TrackKind::Video), (1, TrackKind::Audio), (2, TrackKind::Audio)]);
    let start = |id: u8, hz: i64| {
        let first = rig.units.iter().find(|unit| unit.track.0 == id).unwrap();
        first.pts_ticks * 1000 / hz
    };
    // A packet of AAC holds 6 frames of 21 ms, the next may come that much later.
    assert!((start(1, 48_000) - start(0, 90_000)).abs() < 150);
}

#[test]
fn camera_without_pictures_is_heard_after_a_while() {
    let sound = TrackSetup { clock_rate: 8_000, ..video("PCMA", None) };
    let mut rig = Rig::new(&[video("H264", None), sound]);
    let packets = read_dump(PCMA);
    rig.feed(1, &packets[0], Duration::from_secs(1));
    assert!(rig.formats.is_empty());
    let late = Duration::from_micros(u64::try_from(VIDEO_WAIT_US).unwrap());
    rig.feed(1, &packets[1], late);
    assert_eq!((rig.formats.len(), rig.units.len()), (1, 1));
    assert_eq!(rig.formats[0].video(), None);
}

#[test]
fn rtp_info_aligns_the_tracks_where_it_is_sane() {
    let check = |audio_info: u32, expect_ms: i64| {
        let (setup, packets) = slices();
        let pcma = read_dump(PCMA);
        let sound = TrackSetup {
            clock_rate: 8_000,
            rtp_info_timestamp: Some(pcma[0].timestamp.wrapping_sub(audio_info)),
            ..video("PCMA", None)
        };
        let setup = TrackSetup { rtp_info_timestamp: Some(packets[0].timestamp), ..setup };
        let mut rig = Rig::new(&[setup, sound]);
        for packet in &packets[..20] {
            rig.feed(0, packet, Duration::from_millis(100));
        }
        rig.feed(1, &pcma[0], Duration::from_millis(400));
        let of = |id: u8| rig.units.iter().find(|unit| unit.track.0 == id).unwrap().pts_ticks;
        assert_eq!(of(1) / 8 - of(0) / 90, expect_ms);
    };
    // It says that the first sample is 200 ms after the first picture, though it arrived 300 ms after.
    check(1600, 200);
    // It says one minute: not believed, the arrival counts.
    check(60 * 8000, 300);
}

#[test]
fn sender_reports_give_the_wall_clock_and_the_cameras_offset() {
    let (setup, packets) = slices();
    let mut rig = Rig::new(&[setup]);
    let first = packets[0].timestamp;
    // The picture arrives 220 ms after it was taken by the camera's clock.
    let taken =
        |ticks: u32| NtpTime::from_wall(WALL_START.plus_us(-200_000 + i64::from(ticks) * 1_000_000 / 90_000));
    for (packet, at) in packets.iter().zip(arrivals(&packets, 90_000)) {
        let since = packet.timestamp.wrapping_sub(first);
        if since.is_multiple_of(90_000) {
            rig.ingest.handle_sender_report(0, taken(since), packet.timestamp);
        }
        rig.feed(0, packet, at);
    }
    rig.check_invariants();
    let offset = rig.ingest.camera_clock_offset_us().unwrap();
    assert!((offset + 220_000).abs() < 2_000, "{offset}");
    let last = rig.units.last().unwrap();
    let expected = WALL_START.plus_us(-200_000 + 49 * 80_000);
    assert!(last.wall.us_since(expected).abs() < 2_000, "{}", last.wall.us_since(expected));
    assert!(rig.units.windows(2).all(|pair| pair[0].wall <= pair[1].wall));
}

#[test]
fn insane_sender_reports_leave_the_wall_clock_with_the_arrivals() {
    let (setup, packets) = slices();
    let mut rig = Rig::new(&[setup]);
    for (n, (packet, at)) in packets.iter().zip(arrivals(&packets, 90_000)).enumerate() {
        if n % 20 == 5 {
            rig.ingest.handle_sender_report(0, NtpTime(0x1234 << 32), packet.timestamp);
        }
        rig.feed(0, packet, at);
    }
    let last = rig.units.last().unwrap();
    let expected = WALL_START.plus_us(20_000 + 49 * 80_000);
    assert!(last.wall.us_since(expected).abs() < 2_000);
    assert!(rig.ingest.camera_clock_offset_us().is_some());
}

#[test]
fn reconnect_opens_a_new_format_and_times_go_on_by_the_wall_clock() {
    let (setup, packets) = slices();
    let mut rig = Rig::new(std::slice::from_ref(&setup));
    rig.feed_all(0, &packets, 90_000);
    let before = rig.units.last().unwrap().clone();
    let gap = Duration::from_secs(30);
    rig.ingest.start(&[setup], rig.epoch + gap).unwrap();
    for (packet, at) in packets.iter().zip(arrivals(&packets, 90_000)) {
        let packet = Recorded { timestamp: packet.timestamp.wrapping_add(123_456_789), ..packet.clone() };
        rig.feed(0, &packet, at + gap);
        if rig.formats.len() == 2 && !rig.units.is_empty() {
            break;
        }
    }
    rig.check_invariants();
    assert_eq!(rig.formats.iter().map(|format| format.generation).collect::<Vec<_>>(), [1, 2]);
    let after = rig.units.last().unwrap();
    let seconds = (after.pts_ticks - before.pts_ticks) / 90_000;
    assert!((25..=27).contains(&seconds), "{seconds}");
}

#[test]
fn second_video_and_unknown_tracks_are_ignored_without_harm() {
    let (setup, packets) = slices();
    let metadata = video("vnd.onvif.metadata", None);
    let epoch = epoch();
    let mut ingest = Ingest::new(epoch);
    let taken = ingest.start(&[metadata.clone(), setup.clone(), setup], epoch).unwrap();
    assert_eq!(taken, [false, true, false]);
    let packet = RtpPacket {
        seq: 0,
        rtp_timestamp: 0,
        marker: true,
        payload: packets[0].payload.clone(),
        arrival: epoch,
        arrival_wall: WALL_START,
        lost_before: 0,
    };
    for ignored in [0, 2, 99] {
        ingest.handle_rtp(ignored, &packet).unwrap();
    }
    assert_eq!((ingest.poll_event(), ingest.counters().packets), (None, 0));
    assert!(ingest.start(&[metadata], epoch).is_err());
}

#[test]
fn h264_stream_without_idr_starts_at_a_recovery_point_after_a_while() {
    let packets = read_dump(OPEN_GOP);
    // All but the first GOP: no IDR any more.
    let from = packets.iter().position(|p| p.timestamp.wrapping_sub(packets[0].timestamp) > 60_000).unwrap();
    let mut rig = Rig::new(&[video("H264", Some(OPEN_GOP_FMTP))]);
    let packets = &packets[from..];
    for (packet, at) in packets.iter().zip(arrivals(packets, 90_000)) {
        rig.feed(0, packet, at + Duration::from_secs(4));
    }
    rig.check_invariants();
    let first = rig.units[0].pts_ticks;
    assert!(rig.units[0].is_random_access);
    assert!(rig.units.iter().all(|unit| unit.pts_ticks >= first), "leading pictures are passed over");
    // The recovery point at 1 s is taken for one because 5 s have passed; the two after it as well.
    assert_eq!(rig.units.iter().filter(|unit| unit.is_random_access).count(), 2);
    assert_eq!(rig.ingest.counters().repaired_timestamps, 0);
}

#[test]
fn recovery_points_of_a_stream_with_idr_are_no_random_access_points() {
    let rig = run(video("H264", None), &read_dump(OPEN_GOP));
    assert_eq!(rig.units.iter().filter(|unit| unit.is_random_access).count(), 1);
    assert!(rig.units.len() >= 119);
}

#[test]
fn tracks_that_sender_reports_put_apart_are_drawn_together() {
    let (setup, packets) = slices();
    let pcma = read_dump(PCMA);
    let sound = TrackSetup { clock_rate: 8_000, ..video("PCMA", None) };
    let mut rig = Rig::new(&[setup, sound]);
    let (first, first_sample) = (packets[0].timestamp, pcma[0].timestamp);
    for packet in &packets[..12] {
        rig.feed(0, packet, Duration::from_millis(20));
    }
    rig.feed(1, &pcma[0], Duration::from_millis(20));
    assert_eq!(rig.units.last().unwrap().track.0, 1);
    // Taken at the same time as they arrived, but the reports say that pictures were taken 50 ms later.
    for (packet, at) in packets.iter().zip(arrivals(&packets, 90_000)).skip(12) {
        rig.ingest.handle_sender_report(0, NtpTime::from_wall(WALL_START.plus_us(50_000)), first);
        rig.ingest.handle_sender_report(1, NtpTime::from_wall(WALL_START), first_sample);
        rig.feed(0, packet, at);
    }
    rig.check_invariants();
    let pictures: Vec<_> = rig.units.iter().filter(|unit| unit.track.0 == 0).collect();
    let moved = pictures.last().unwrap().pts_ticks - pictures[0].pts_ticks - 49 * 7200;
    // 1/200 of 4 s is 20 ms, towards the 50 ms.
    assert!((1_500..=1_900).contains(&moved), "{moved}");
    assert_eq!(rig.ingest.counters().repaired_timestamps, 0);
}

#[test]
fn marker_that_begins_to_lie_in_a_key_picture_costs_one_gop_once() {
    // Pictures of one packet come first, so markers are trusted; then every packet of one is marked.
    let (setup, packets) = slices();
    let expected = run(setup.clone(), &packets);
    let marked = by_picture(packets, |picture, packet| packet.marker |= picture >= 10);
    let again = {
        let span = marked.last().unwrap().timestamp.wrapping_sub(marked[0].timestamp) + SLICES_FRAME;
        by_picture(marked.clone(), |_, packet| packet.timestamp = packet.timestamp.wrapping_add(span))
    };
    let rig = run(setup, &[marked, again].concat());
    assert_eq!(rig.ingest.counters().lost_units, 1);
    let (got, expected) = (payloads(&rig), payloads(&expected));
    assert_eq!(got[got.len() - 49..], expected[..49], "the second time all come out whole");
}

#[test]
fn a_clock_of_ours_that_is_set_moves_the_times_of_what_comes_at_once() {
    const HOUR_US: i64 = 3_600_000_000;
    let (setup, packets) = slices();
    for set_us in [HOUR_US, -HOUR_US] {
        let mut rig = Rig::new(std::slice::from_ref(&setup));
        let half = packets.len() / 2;
        let arrivals = arrivals(&packets, 90_000);
        for (number, (packet, at)) in packets.iter().zip(arrivals).enumerate() {
            rig.set_clock(if number < half { 0 } else { set_us });
            rig.feed(0, packet, at);
        }
        rig.check_invariants();
        let wall_us = |unit: &AccessUnit| unit.wall.us_since(WALL_START) - unit.pts_ticks * 100 / 9;
        let (first, last) = (rig.units.first().unwrap(), rig.units.last().unwrap());
        let moved_us = wall_us(last) - wall_us(first);
        assert!((moved_us - set_us).abs() < 100_000, "{moved_us}");
        assert_eq!((rig.ingest.counters().clock_steps, rig.ingest.counters().discontinuities), (1, 0));
    }
}
