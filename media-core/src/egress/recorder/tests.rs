//! Tests of the recorder's decisions, with cameras made of numbers and a clock of their own.

use std::sync::Arc;
use std::time::Duration;

use super::index::{GopEntry, IndexBuilder, IndexedPart, decode, encode, place};
use super::{Command, Gap, GapReason, Recorder};
use crate::remux::fmp4::synth::{self, Camera, START};
use crate::remux::fmp4::{Event, Part, Segmenter};
use crate::time::Timescale;

/// 25 pictures a second, a key frame each second.
const STEP_TICKS: i64 = 3600;
const GOP: u64 = 25;

/// A camera, its segmenter and its recorder.
struct Rig {
    camera: Camera,
    segmenter: Segmenter,
    recorder: Recorder,
}

impl Rig {
    fn new(segment_duration: Duration, left: Option<Gap>) -> Self {
        Self {
            camera: Camera::new(1),
            segmenter: Segmenter::new(synth::config()),
            recorder: Recorder::new(segment_duration, left),
        }
    }

    /// Events of so many pictures.
    fn events(&mut self, pictures: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..pictures {
            let unit = self.camera.unit(STEP_TICKS, GOP);
            events.extend(synth::push(&mut self.segmenter, &self.camera.format, &unit));
        }
        events
    }

    /// The same by a clock that was set by so much.
    fn record_set(&mut self, pictures: usize, set_us: i64) -> Vec<Command> {
        let mut events = Vec::new();
        for _ in 0..pictures {
            let mut unit = self.camera.unit(STEP_TICKS, GOP);
            let set = Arc::make_mut(&mut unit);
            set.wall = set.wall.plus_us(set_us);
            events.extend(synth::push(&mut self.segmenter, &self.camera.format, &unit));
        }
        self.take(&events)
    }

    /// Commands of so many pictures, all of them carried out.
    fn record(&mut self, pictures: usize) -> Vec<Command> {
        let events = self.events(pictures);
        self.take(&events)
    }

    fn take(&mut self, events: &[Event]) -> Vec<Command> {
        events.iter().flat_map(|event| self.recorder.handle_event(event)).collect()
    }

    fn pause(&mut self, reason: GapReason) -> Vec<Command> {
        self.segmenter.finish().unwrap();
        let events: Vec<Event> = std::iter::from_fn(|| self.segmenter.poll_event()).collect();
        let mut commands = self.take(&events);
        commands.extend(self.recorder.stop(reason));
        commands
    }

    /// The camera is away for so long and comes back with another format.
    fn away(&mut self, pictures: i64) {
        self.camera.dts_ticks += pictures * STEP_TICKS;
        self.camera.format = synth::format(self.camera.format.generation + 1);
        self.camera.frame = 0;
    }
}

/// Commands in short: `O0` opens the file of number 0, `.` appends a part, `C` closes, `G` is a gap.
fn short(commands: &[Command]) -> String {
    let one = |command: &Command| match command {
        Command::Open(start) => format!("O{}", start.number),
        Command::Append(_) => ".".to_owned(),
        Command::Close => "C".to_owned(),
        Command::Gap(gap) => {
            let end = if gap.until.is_some() { ")" } else { "" };
            format!("(G{}{end}", gap.reason.as_str())
        }
    };
    commands.iter().map(one).collect()
}

fn without_parts(commands: &[Command]) -> String {
    short(commands).replace('.', "")
}

fn gaps(commands: &[Command]) -> Vec<Gap> {
    let gap = |command: &Command| match command {
        Command::Gap(gap) => Some(*gap),
        _ => None,
    };
    commands.iter().filter_map(gap).collect()
}

fn runs(commands: &[Command]) -> Vec<i64> {
    let run = |command: &Command| match command {
        Command::Open(start) => Some(start.run.0),
        _ => None,
    };
    commands.iter().filter_map(run).collect()
}

/// Where the parts of all files lie in file time, in milliseconds.
fn end_ms(parts: &[Arc<Part>]) -> i64 {
    parts.last().map_or(0, |part| part.timescale.ticks_to_us(part.start_ticks + part.duration_ticks) / 1000)
}

#[test]
fn a_file_ends_at_the_first_segment_after_its_duration_and_the_run_goes_on() {
    let mut rig = Rig::new(Duration::from_secs(3), None);
    let mut commands = rig.record(10 * 25);
    commands.extend(rig.pause(GapReason::Server));
    assert_eq!(without_parts(&commands), "O0CO1CO2CO3C(Gserver");
    let runs = runs(&commands);
    assert!(runs.iter().all(|run| *run == START.0), "{runs:?}");
    // Every picture is in some file.
    let parts: Vec<_> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Append(part) => Some(Arc::clone(part)),
            _ => None,
        })
        .collect();
    assert_eq!(end_ms(&parts), 10_000);
    assert_eq!(rig.recorder.stats().dropped_parts, 0);
}

#[test]
fn a_slate_is_a_gap_whether_it_follows_the_camera_or_comes_first() {
    let mut rig = Rig::new(Duration::from_secs(60), None);
    let slate = |rig: &mut Rig| {
        rig.away(25);
        Arc::make_mut(&mut rig.camera.format).is_slate = true;
    };
    slate(&mut rig);
    let before = rig.record(5 * 25);
    rig.away(25);
    let camera = rig.record(5 * 25);
    slate(&mut rig);
    let after = rig.record(5 * 25);
    rig.away(25);
    let back = rig.record(5 * 25);
    assert_eq!(short(&before), "");
    assert_eq!(without_parts(&camera), "O0");
    // What the segmenter still held of the camera, then nothing.
    assert_eq!(after.last().map(|last| short(std::slice::from_ref(last))).as_deref(), Some("(Gcamera"));
    assert_eq!(without_parts(&after), "C(Gcamera");
    assert_eq!(without_parts(&back), "(Gcamera)O0");
    // From the camera's end to its return: the slate's five seconds, and one more on each side.
    let gap = gaps(&back)[0];
    assert_eq!(gap.until.unwrap().us_since(gap.from), 7_000_000);
    assert_eq!(rig.recorder.stats().dropped_parts, 0);
}

#[test]
fn a_clock_that_is_set_begins_a_run_by_the_new_one_and_says_so() {
    const HOUR_US: i64 = 3_600_000_000;
    for (set_us, missing_us) in [(HOUR_US, HOUR_US), (-HOUR_US, 0)] {
        let mut rig = Rig::new(Duration::from_secs(7200), None);
        // Midway in a GOP: it goes on by the old clock to its end.
        let mut commands = rig.record(5 * 25 + 10);
        commands.extend(rig.record_set(5 * 25, set_us));
        commands.extend(rig.pause(GapReason::Server));
        assert_eq!(without_parts(&commands), "O0C(Gclock)O0C(Gserver", "{set_us}");
        let gap = gaps(&commands)[0];
        assert_eq!(gap.from, START.plus_us(6_000_000), "{set_us}");
        assert_eq!(gap.until.unwrap().us_since(gap.from), missing_us);
        let starts: Vec<_> = commands
            .iter()
            .filter_map(|command| match command {
                Command::Open(start) => Some(start.start),
                _ => None,
            })
            .collect();
        assert_eq!(starts, [START, START.plus_us(6_000_000 + set_us)]);
        let runs = runs(&commands);
        assert!(runs[0] < runs[1], "{runs:?}");
        assert_eq!(rig.recorder.stats().dropped_parts, 0);
    }
}

#[test]
fn a_lost_camera_closes_the_file_and_opens_a_gap_that_its_return_closes() {
    let mut rig = Rig::new(Duration::from_secs(3600), None);
    rig.record(5 * 25);
    let commands = rig.pause(GapReason::Camera);
    assert!(short(&commands).ends_with("C(Gcamera"), "{}", short(&commands));
    let from = START.plus_us(5_000_000);
    assert_eq!(gaps(&commands), [Gap { from, until: None, reason: GapReason::Camera }]);
    // A second word about the same loss says nothing new.
    assert_eq!(short(&rig.pause(GapReason::Camera)), "");
    rig.away(10 * 25);
    let commands = rig.record(5 * 25);
    assert_eq!(without_parts(&commands), "(Gcamera)O0");
    let until = Some(START.plus_us(15_000_000));
    assert_eq!(gaps(&commands), [Gap { from, until, reason: GapReason::Camera }]);
    assert_eq!(rig.recorder.stats().gaps, 1);
}

#[test]
fn new_parameter_sets_begin_a_run_without_a_gap() {
    let mut rig = Rig::new(Duration::from_secs(3600), None);
    let mut commands = rig.record(5 * 25);
    rig.away(0);
    commands.extend(rig.record(5 * 25));
    assert_eq!(without_parts(&commands), "O0CO0");
    let runs = runs(&commands);
    assert_eq!(runs.last().map(|run| run - START.0), Some(5_000_000), "{runs:?}");
}

#[test]
fn a_full_queue_drops_whole_parts_until_the_next_random_access_point() {
    let mut rig = Rig::new(Duration::from_secs(3600), None);
    let mut done = rig.record(5 * 25);
    let mut refused = 0;
    // The disk takes nothing for a second and a half, from within a GOP.
    for event in rig.events(37) {
        let commands = rig.recorder.handle_event(&event);
        if !commands.is_empty() {
            rig.recorder.refused();
            refused += 1;
        }
    }
    assert!(refused > 0);
    done.extend(rig.record(3 * 25));
    assert_eq!(without_parts(&done), "O0C(Gdisk)O0");
    let gap = gaps(&done)[0];
    let missing_us = gap.until.unwrap().us_since(gap.from);
    assert!((1_000_000..=2_200_000).contains(&missing_us), "{missing_us}");
    assert!(rig.recorder.stats().dropped_parts > 0);
    check_files_begin_independent(&done);
}

#[test]
fn a_failed_write_is_a_gap_from_the_last_whole_part_and_is_tried_again_later() {
    let mut rig = Rig::new(Duration::from_secs(3600), None);
    let done = rig.record(5 * 25);
    let Some(Command::Open(start)) = done.first() else { panic!("{}", short(&done)) };
    let end = START.plus_us(4_000_000);
    let commands = rig.recorder.failed(start.run, start.number, Some(end));
    assert_eq!(gaps(&commands), [Gap { from: end, until: None, reason: GapReason::Disk }]);
    // Old news is no news.
    assert_eq!(short(&rig.recorder.failed(start.run, start.number, None)), "");
    let commands = rig.record(5 * 25);
    assert_eq!(without_parts(&commands), "(Gdisk)O0");
    let until = gaps(&commands)[0].until.unwrap();
    assert!(until >= START.plus_us(7_000_000), "tried again too soon: {until:?}");
    check_files_begin_independent(&commands);
}

#[test]
fn what_an_earlier_server_left_is_a_gap_of_its_reason() {
    let from = START.plus_us(-60_000_000);
    for reason in [GapReason::Server, GapReason::Camera] {
        let mut rig = Rig::new(Duration::from_secs(3600), Some(Gap { from, until: None, reason }));
        let commands = rig.record(3 * 25);
        assert_eq!(gaps(&commands), [Gap { from, until: Some(START), reason }]);
    }
}

#[test]
fn a_clock_set_back_gives_no_run_a_number_twice() {
    let mut rig = Rig::new(Duration::from_secs(3600), None);
    let mut commands = rig.record(5 * 25);
    // An hour back, on the camera's next format.
    rig.camera.dts_ticks = 12_345 - 3600 * 90_000;
    rig.camera.format = synth::format(2);
    rig.camera.frame = 0;
    commands.extend(rig.record(5 * 25));
    assert_eq!(without_parts(&commands), "O0CO0");
    let runs = runs(&commands);
    assert!(runs[1] > runs[0], "{runs:?}");
}

fn check_files_begin_independent(commands: &[Command]) {
    for pair in commands.windows(2) {
        if let [Command::Open(_), Command::Append(part)] = pair {
            assert!(part.is_independent);
        }
    }
}

#[test]
fn an_index_is_read_as_it_was_written_and_places_its_gops() {
    let entry = |len_bytes, duration_ticks, composition_offset_ticks| GopEntry {
        len_bytes,
        duration_ticks,
        composition_offset_ticks,
        is_random_access: true,
    };
    let entries =
        [entry(100_000, 90_000, 7200), entry(1, 0, -1), entry(u64::MAX >> 1, i64::MAX >> 1, i64::MIN)];
    let bytes = encode(&entries);
    assert_eq!(decode(&bytes).unwrap(), entries);
    assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
    let placed: Vec<_> = place(&entries, 1000).map(|gop| (gop.offset, gop.start_ticks)).collect();
    assert_eq!(placed, [(1000, 0), (101_000, 90_000), (101_001, 90_000)]);
    // A second of video takes a few bytes.
    assert!(encode(&entries[..1]).len() <= 8);
}

#[test]
fn a_gop_of_the_index_begins_with_each_random_access_point_but_not_with_each_part_of_sound() {
    let part = |duration_ticks, is_independent| IndexedPart {
        len_bytes: 10,
        duration_ticks,
        composition_offset_ticks: 0,
        is_independent,
    };
    let mut builder = IndexBuilder::default();
    let mut push = |ms: i64, independent| {
        let complete = builder.push(part(ms * 90, independent), Timescale::VIDEO);
        complete.map(|gop| (gop.len_bytes, gop.duration_ticks / 90))
    };
    assert_eq!(push(200, true), None);
    assert_eq!(push(800, false), None);
    assert_eq!(push(200, true), Some((20, 1000)));
    assert_eq!(push(200, true), None);
    assert_eq!(push(200, true), None);
    assert_eq!(push(200, true), Some((30, 600)));
}

#[test]
fn a_changed_duration_holds_for_the_open_file_and_loses_nothing() {
    let mut rig = Rig::new(Duration::from_secs(60), None);
    let mut commands = rig.record(5 * 25);
    rig.recorder.set_segment_duration(Duration::from_secs(3));
    commands.extend(rig.record(5 * 25));
    commands.extend(rig.pause(GapReason::Server));
    assert_eq!(without_parts(&commands), "O0CO1CO2C(Gserver");
}
