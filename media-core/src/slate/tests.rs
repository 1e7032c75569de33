//! Tests of slates with files that ffmpeg made, and of what ingest makes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{BuiltIn, Due, FILE_BYTES_MAX, Player, Slate, SlateError};
use crate::access_unit::AccessUnit;
use crate::ingest::{Ingest, IngestEvent};
use crate::rtp::RtpPacket;
use crate::time::WallTime;
use crate::track::{CodecConfig, G711Law, SharedFormat};

const TABLES: &[u8] = include_bytes!("../../testdata/slate-tables.mp4");
const FRAGMENTS: &[u8] = include_bytes!("../../testdata/slate-fragments.mp4");

/// The pictures of both files in the order of decoding: presentation behind the first decode time in ticks of 10,240 Hz, and bytes.
const PICTURES: [(u32, usize); 10] = [
    (2048, 819),
    (5120, 101),
    (3072, 16),
    (4096, 12),
    (8192, 98),
    (6144, 16),
    (7168, 12),
    (11_264, 72),
    (9216, 14),
    (10_240, 12),
];

fn read(file: &'static [u8]) -> Arc<Slate> {
    Arc::new(Slate::read(&Bytes::from_static(file)).unwrap())
}

fn of_track(slate: &Arc<Slate>, track: usize, count: usize) -> Vec<Due> {
    Player::new(slate).filter(|due| due.track == track).take(count).collect()
}

#[test]
fn the_samples_of_a_file_are_played_at_their_times_and_over_again() {
    for file in [TABLES, FRAGMENTS] {
        let slate = read(file);
        assert_eq!(format!("{slate:?}"), "Slate(H264 and MPEG-4 Audio of 16000 Hz in 1 channel(s))");
        let pictures = of_track(&slate, 0, 20);
        for (index, due) in pictures.iter().enumerate() {
            let (pts, bytes) = PICTURES[index % 10];
            let turn = u32::try_from(index / 10).unwrap();
            let expected =
                (i64::try_from(index).unwrap() * 100_000, turn * 90_000 + pts * 90_000 / 10_240, bytes);
            assert_eq!((due.at_us, due.rtp_timestamp, due.payload.len()), expected, "picture {index}");
        }
    }
    // Seventeen frames of 64 ms, of which the first is the encoder's own silence: 136 ms behind the first picture's decode time.
    let sound = of_track(&read(TABLES), 1, 34);
    for (index, due) in (0_u32..).zip(&sound) {
        let at_us = 136_000 + i64::from(index) * 64_000;
        assert_eq!((due.at_us, due.rtp_timestamp), (at_us, 2176 + index * 1024), "frame {index}");
    }
    assert_eq!((sound[0].payload.len(), sound[1].payload.len(), sound[17].payload.len()), (174, 177, 174));
}

#[test]
fn files_that_are_no_slates_are_refused() {
    let refused = |file: Vec<u8>| Slate::read(&Bytes::from(file)).unwrap_err();
    assert!(matches!(refused(b"not an mp4 file".to_vec()), SlateError::Boxes(_)));
    assert_eq!(refused(vec![0; FILE_BYTES_MAX + 1]), SlateError::TooLong { got: FILE_BYTES_MAX + 1 });
    // All pictures at once: ten of 1024 ticks in `stts` become ten of none.
    let stts = [0, 0, 0, 10, 0, 0, 4, 0];
    let at = TABLES.windows(8).position(|bytes| bytes == stts).unwrap();
    let mut still = TABLES.to_vec();
    still[at + 6] = 0;
    assert_eq!(refused(still), SlateError::TooFast { encoding: "H264".to_owned(), samples: 10, us: 0 });
}

// correctness: S6
#[test]
fn torn_and_altered_files_do_no_harm() {
    for file in [TABLES, FRAGMENTS] {
        for end in 0..file.len() {
            drop(Slate::read(&Bytes::copy_from_slice(&file[..end])));
        }
        for at in 0..file.len() {
            let mut altered = file.to_vec();
            altered[at] ^= 0xff;
            if let Ok(slate) = Slate::read(&altered.into()) {
                assert_eq!(Player::new(&Arc::new(slate)).take(100).count(), 100);
            }
        }
    }
}

/// What ingest makes of a slate in so many seconds, when each unit comes when it is due.
fn ingested(slate: Slate, seconds: u64) -> (Vec<SharedFormat>, Vec<AccessUnit>) {
    #[expect(clippy::disallowed_methods, reason = "an Instant can be made in no other way")]
    let begin = Instant::now();
    let mut ingest = Ingest::new(begin);
    assert!(ingest.start(&slate.setups(), begin).unwrap().iter().all(|taken| *taken));
    for (track, nals) in slate.parameter_sets().enumerate() {
        ingest.handle_parameter_sets(track, nals);
    }
    let (mut formats, mut units) = (Vec::new(), Vec::new());
    let end_us = i64::try_from(seconds * 1_000_000).unwrap();
    for due in Player::new(&Arc::new(slate)).take_while(|due| due.at_us < end_us) {
        let at = Duration::from_micros(u64::try_from(due.at_us).unwrap());
        let unit = RtpPacket {
            seq: 0,
            rtp_timestamp: due.rtp_timestamp,
            marker: true,
            payload: due.payload,
            arrival: begin + at,
            arrival_wall: WallTime(due.at_us),
            lost_before: 0,
        };
        ingest.handle_unit(due.track, &unit).unwrap();
        while let Some(event) = ingest.poll_event() {
            match event {
                IngestEvent::Format(format) => formats.push(format),
                IngestEvent::Unit(unit) => units.push(unit),
            }
        }
    }
    (formats, units)
}

fn steps(units: &[AccessUnit], track: u8) -> (usize, Vec<i64>) {
    let times: Vec<i64> =
        units.iter().filter(|unit| unit.track.0 == track).map(|unit| unit.dts_ticks).collect();
    let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    steps.dedup();
    (times.len(), steps)
}

#[test]
fn the_built_in_picture_and_silence_are_one_format_without_holes() {
    let sounds = [
        (BuiltIn::Aac { sample_rate: 48_000, channels: 2 }, 1024, "MPEG-4 Audio"),
        (BuiltIn::Aac { sample_rate: 16_000, channels: 1 }, 1024, "MPEG-4 Audio"),
        (BuiltIn::Opus { channels: 2 }, 960, "Opus"),
        (BuiltIn::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 }, 160, "G711"),
        (BuiltIn::G711 { law: G711Law::Mu, sample_rate: 8000, channels: 2 }, 160, "G711"),
    ];
    for picture in [BuiltIn::H264, BuiltIn::H265] {
        for (sound, frame_ticks, name) in sounds {
            let slate = Slate::built_in(&[picture, sound]).unwrap().unwrap();
            let (formats, units) = ingested(slate, 5);
            assert_eq!(formats.len(), 1, "{picture:?}, {sound:?}");
            let size = match &formats[0].tracks[0].codec {
                CodecConfig::H264(config) => (config.width, config.height),
                CodecConfig::H265(config) => (config.width, config.height),
                other => panic!("{other:?}"),
            };
            assert_eq!((size, formats[0].tracks[1].codec.api_name()), ((1280, 720), name));
            // Five seconds of 25 pictures: the loop of two has no seam. The last waits for what follows.
            let (pictures, distances) = steps(&units, 0);
            assert!(pictures >= 124 && distances == [3600], "{pictures} pictures, {distances:?} apart");
            let keys: Vec<usize> = units
                .iter()
                .filter(|unit| unit.track.0 == 0)
                .enumerate()
                .filter_map(|(index, unit)| unit.is_random_access.then_some(index))
                .collect();
            assert_eq!(keys, [0, 50, 100]);
            let (frames, distances) = steps(&units, 1);
            assert!(frames > 60 && distances == [frame_ticks], "{frames} frames, {distances:?} apart");
        }
    }
    assert_eq!(Slate::built_in(&[BuiltIn::Aac { sample_rate: 48_000, channels: 6 }]), Ok(None));
    assert_eq!(Slate::built_in(&[BuiltIn::Aac { sample_rate: 47_000, channels: 2 }]), Ok(None));
}
