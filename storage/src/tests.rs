//! Tests of files, repair, retention and clips on a real disk, with media made of numbers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use media_core::access_unit::AccessUnit;
use media_core::egress::recorder::{Command, Gap, GapReason, Recorder};
use media_core::gate::{Action, CameraGrant, Gate};
use media_core::path_name::PathName;
use media_core::remux::fmp4::{Segmenter, SegmenterConfig};
use media_core::time::{Timescale, WallTime};
use media_core::track::{CodecConfig, H264Config, SharedFormat, StreamFormat, TrackId, TrackInfo};

use crate::export::{ExportFacts, Progress, SigningKey, VerifyError, verify};
use crate::repair::{Known, Mended, mend};
use crate::seal::SEAL_BYTES;
use crate::walk::{Standing, standing_at};
use crate::{
    Clock, Condition, DatabaseUrl, Deletion, DeletionFilter, Depth, DiskLevels, HoldFilter, NewHold, Ordered,
    Paging, PathRule, RecordPath, RetentionConfig, Rule, Storage, StorageConfig, test_database,
};

/// 2026-11-25T19:30:00Z
pub(crate) const START: WallTime = WallTime(1_795_635_000_000_000);

#[expect(clippy::disallowed_methods, reason = "these tests are the owner who gives the clock")]
pub(crate) const CLOCK: Clock = Clock { wall: || START.plus_us(3_600_000_000), monotonic: Instant::now };

pub(crate) fn path() -> PathName {
    PathName::parse("city/cam_1").unwrap()
}

pub(crate) fn grant() -> CameraGrant {
    Gate::on_own_behalf(Action::Playback, &path())
}

/// A camera of 25 pictures and a key frame a second.
fn format() -> SharedFormat {
    let codec = CodecConfig::H264(H264Config {
        sps: Bytes::from_static(&[0x67, 0x42, 0xc0, 0x1e]),
        pps: Bytes::from_static(&[0x68, 0x01]),
        width: 640,
        height: 360,
        profile_idc: 0x42,
        constraint_flags: 0xc0,
        level_idc: 0x1e,
    });
    let track = TrackInfo { id: TrackId(0), timescale: Timescale::VIDEO, codec, transcoded_from: None };
    Arc::new(StreamFormat { generation: 1, is_slate: false, tracks: vec![track] })
}

fn picture(number: i64) -> Arc<AccessUnit> {
    let mut payload = BytesMut::new();
    payload.put_u32(200);
    payload.put_bytes(u8::try_from(number % 251).unwrap(), 200);
    Arc::new(AccessUnit {
        track: TrackId(0),
        dts_ticks: number * 3600,
        pts_ticks: number * 3600,
        wall: START.plus_us(number * 40_000),
        is_random_access: number % 25 == 0,
        payload: payload.freeze(),
    })
}

/// Commands that record so many pictures into files of `seconds`; the last file stays open.
pub(crate) fn commands(pictures: i64, seconds: u64) -> Vec<Command> {
    let mut segmenter = Segmenter::new(SegmenterConfig {
        segment_duration: Duration::from_secs(1),
        part_duration: Duration::from_millis(200),
        segment_bytes_max: 50 << 20,
        first_msn: 0,
    });
    let mut recorder = Recorder::new(Duration::from_secs(seconds), None);
    let format = format();
    (0..pictures).for_each(|number| segmenter.push(&format, &picture(number)).unwrap());
    segmenter.finish().unwrap();
    let events = std::iter::from_fn(|| segmenter.poll_event());
    events.flat_map(|event| recorder.handle_event(&event)).collect()
}

pub(crate) struct Place {
    dir: tempfile::TempDir,
    database: DatabaseUrl,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { database: test_database::new_in(dir.path()), dir }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("recordings")
    }

    pub(crate) fn config(&self, delete_after: Option<Duration>) -> StorageConfig {
        self.limited(delete_after, None)
    }

    pub(crate) fn limited(&self, delete_after: Option<Duration>, quota_bytes: Option<u64>) -> StorageConfig {
        let rule = PathRule { path: path(), delete_after, quota_bytes, root: self.root() };
        StorageConfig {
            database: self.database.clone(),
            roots: vec![self.root()],
            retention: RetentionConfig {
                paths: vec![rule],
                templates: vec![self.template()],
                ..RetentionConfig::default()
            },
            bucket: None,
        }
    }

    pub(crate) fn template(&self) -> RecordPath {
        RecordPath::parse("recordings/%path/%Y/%s-%f", self.dir.path()).unwrap()
    }

    /// Records to the end and stops as a server does.
    pub(crate) async fn record(&self, pictures: i64, seconds: u64) {
        let (mut storage, driver) = Storage::open(self.config(None), CLOCK).await.unwrap();
        let (writer, _failures) = storage.stream(&path(), self.template()).unwrap();
        writer.try_send(commands(pictures, seconds)).unwrap();
        drop(writer);
        let stopped = tokio::task::spawn_blocking(move || storage.stop());
        driver.run().await;
        stopped.await.unwrap();
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let folder = self.root().join("city/cam_1/2026");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "mp4"));
        files.sort();
        files
    }
}

/// Offsets behind each part of a file, the first part's beginning before them.
fn part_ends(name: &Path) -> Vec<u64> {
    let file = File::open(name).unwrap();
    let len = file.metadata().unwrap().len();
    let mut ends = Vec::new();
    let mut at = 0;
    while at < len {
        match standing_at(&file, at, len).unwrap() {
            Standing::Part(part) => {
                if ends.is_empty() {
                    ends.push(at);
                }
                at += part.len_bytes;
                ends.push(at);
            }
            Standing::Index => break,
            Standing::Torn if ends.is_empty() => {
                at += crate::walk::header_at(&file, at).unwrap().unwrap().size;
            }
            Standing::Torn => panic!("torn at {at}"),
        }
    }
    ends
}

#[tokio::test]
async fn what_was_recorded_is_one_span_over_its_files() {
    let place = Place::new();
    place.record(10 * 25, 3).await;
    assert_eq!(place.files().len(), 4);
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let spans = storage.recordings().spans(&grant(), None, None).await.unwrap();
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].start, spans[0].duration), (START, Duration::from_secs(10)));
    let left = storage.ledger().left_gap(&path()).await.unwrap();
    let from = START.plus_us(10_000_000);
    assert_eq!(left, Some(Gap { from, until: None, reason: GapReason::Server }));
}

#[tokio::test]
async fn a_file_cut_anywhere_is_repaired_to_its_last_whole_part() {
    let place = Place::new();
    place.record(3 * 25, 3600).await;
    let name = place.files().remove(0);
    let whole = std::fs::read(&name).unwrap();
    let ends = part_ends(&name);
    assert_eq!(ends.len(), 16, "15 parts of 200 ms");
    // At and beside each part's and each seal's end, and here and there within: each repair syncs.
    let sealed = |end: u64| [end, end - SEAL_BYTES];
    let at_end = |cut: &u64| ends.iter().any(|end| sealed(*end).iter().any(|end| end.abs_diff(*cut) <= 1));
    let len = u64::try_from(whole.len()).unwrap();
    for cut in (0..len).filter(|cut| at_end(cut) || cut % 251 == 0) {
        std::fs::write(&name, &whole[..usize::try_from(cut).unwrap()]).unwrap();
        let parts = ends[1..].iter().filter(|end| **end <= cut).count();
        let expected = ends[parts];
        match mend(&name, Known::default()).unwrap() {
            Mended::Closed { update, .. } => {
                assert_eq!(update.extent.bytes, expected, "cut at {cut}");
                assert_eq!(update.extent.duration_ticks, i64::try_from(parts).unwrap() * 18_000);
            }
            Mended::Empty { .. } => assert_eq!(parts, 0, "cut at {cut}"),
        }
    }
    // Repaired whole, it is byte for byte what it was.
    std::fs::write(&name, &whole[..usize::try_from(ends[15]).unwrap()]).unwrap();
    mend(&name, Known::default()).unwrap();
    assert_eq!(std::fs::read(&name).unwrap(), whole);
}

#[tokio::test]
async fn a_tail_of_zeros_is_not_taken_for_pictures() {
    let place = Place::new();
    place.record(3 * 25, 3600).await;
    let name = place.files().remove(0);
    let ends = part_ends(&name);
    let mut bytes = std::fs::read(&name).unwrap();
    // The last part's moof reached the disk, its pictures did not.
    let from = usize::try_from(ends[15]).unwrap() - 500;
    bytes[from..].fill(0);
    std::fs::write(&name, bytes).unwrap();
    match mend(&name, Known::default()).unwrap() {
        Mended::Closed { update, .. } => assert_eq!(update.extent.bytes, ends[14]),
        Mended::Empty { .. } => panic!("removed"),
    }
}

#[tokio::test]
async fn what_a_crash_left_is_found_by_its_marker_though_the_catalogue_knows_nothing() {
    let place = Place::new();
    let (mut storage, driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let (writer, _failures) = storage.stream(&path(), place.template()).unwrap();
    writer.try_send(commands(5 * 25, 3600)).unwrap();
    while writer.snapshot().queued_bytes > 0 {
        tokio::task::yield_now().await;
    }
    // The driver never ran: as if the server had been killed within the first second. Its threads are left behind.
    std::mem::forget((storage, driver, writer));
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let spans = storage.recordings().spans(&grant(), None, None).await.unwrap();
    assert_eq!(spans.iter().map(|span| span.duration).collect::<Vec<_>>(), [Duration::from_secs(5)]);
    assert!(std::fs::read_dir(place.root().join(".gtvision/open")).unwrap().next().is_none());
}

#[tokio::test]
async fn a_file_goes_when_its_last_picture_is_old_enough_and_its_folders_with_it() {
    let place = Place::new();
    place.record(10 * 25, 3).await;
    // The clock stands an hour after the first picture: files of 3 s end at 3, 6, 9 and 10 s.
    let keep = Duration::from_secs(3600 - 7);
    let (storage, mut driver) = Storage::open(place.config(Some(keep)), CLOCK).await.unwrap();
    driver.keeper.pass().await;
    assert_eq!(place.files().len(), 2);
    let spans = storage.recordings().spans(&grant(), None, None).await.unwrap();
    assert_eq!(spans[0].start, START.plus_us(6_000_000));
    let (storage, mut driver) =
        Storage::open(place.config(Some(Duration::from_secs(60))), CLOCK).await.unwrap();
    driver.keeper.pass().await;
    assert!(!place.root().join("city").exists(), "empty folders are left");
    assert!(place.root().exists());
    assert!(storage.recordings().catalogue.unfinished_deletions().await.unwrap().is_empty());
}

#[tokio::test]
async fn spans_break_where_a_file_is_missing_and_behind_one_that_lost_its_end() {
    let place = Place::new();
    place.record(12 * 25, 3).await;
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let recordings = storage.recordings();
    let seconds = async || -> Vec<(i64, u64)> {
        let spans = recordings.spans(&grant(), None, None).await.unwrap();
        let begin = |at: WallTime| at.us_since(START) / 1_000_000;
        spans.iter().map(|span| (begin(span.start), span.duration.as_secs())).collect()
    };
    assert_eq!(seconds().await, [(0, 12)]);
    let name = |number: usize| place.files()[number].to_string_lossy().into_owned();
    recordings.catalogue.note_cut(&name(0)).await.unwrap();
    assert_eq!(seconds().await, [(0, 3), (3, 9)]);
    recordings.catalogue.forget(&name(2)).await.unwrap();
    assert_eq!(seconds().await, [(0, 3), (3, 3), (9, 3)]);
}

/// Everything that is listed on a first page.
const FIRST: Paging = Paging { page: 0, per_page: 100 };

pub(crate) fn hold(from_s: i64, until_s: i64) -> NewHold {
    let at = |seconds: i64| START.plus_us(seconds * 1_000_000);
    NewHold {
        path: path(),
        start: at(from_s),
        end: at(until_s),
        reason: "case 12".to_owned(),
        by: "ana".to_owned(),
    }
}

async fn deleted_by(storage: &Storage) -> Vec<(Rule, i64)> {
    let listed = storage.ledger().deletions(&DeletionFilter::default(), FIRST).await.unwrap();
    let second = |deletion: &Deletion| deletion.start.us_since(START) / 1_000_000;
    listed.items.iter().rev().map(|deletion| (deletion.rule, second(deletion))).collect()
}

#[tokio::test]
async fn what_a_hold_touches_stays_across_a_restart_until_it_is_released() {
    let place = Place::new();
    place.record(10 * 25, 3).await;
    // Everything is too old. Files begin at 0, 3, 6 and 9 s; the hold touches the second and the third.
    let config = || place.config(Some(Duration::from_secs(60)));
    let (storage, mut driver) = Storage::open(config(), CLOCK).await.unwrap();
    let held = storage.ledger().place_hold(&hold(5, 7)).await.unwrap();
    assert_eq!((held.files, held.released.is_none()), (2, true));
    driver.keeper.pass().await;
    assert_eq!(place.files().len(), 2);
    let (storage, mut driver) = Storage::open(config(), CLOCK).await.unwrap();
    driver.keeper.pass().await;
    assert_eq!(place.files().len(), 2);
    let ledger = storage.ledger();
    let order = ledger.delete_file(&path(), START.plus_us(3_000_000), "rui").await.unwrap();
    assert_eq!(order, Ordered::Held(held.id));
    let active = HoldFilter { path: Some(path()), is_active: Some(true) };
    assert_eq!(ledger.holds(&active, FIRST).await.unwrap().total, 1);
    let released = ledger.release_hold(held.id, "rui").await.unwrap().unwrap();
    assert_eq!(released.released.map(|end| end.by).as_deref(), Some("rui"));
    assert_eq!(ledger.holds(&active, FIRST).await.unwrap().total, 0);
    let order = ledger.delete_file(&path(), START.plus_us(3_000_000), "rui").await.unwrap();
    assert_eq!(order, Ordered::Deleted);
    let (storage, mut driver) = Storage::open(config(), CLOCK).await.unwrap();
    driver.keeper.pass().await;
    assert!(place.files().is_empty());
    let deleted = [(Rule::Age, 0), (Rule::Age, 9), (Rule::Operator, 3), (Rule::Age, 6)];
    assert_eq!(deleted_by(&storage).await, deleted);
}

#[tokio::test]
async fn a_hold_that_says_it_holds_a_file_holds_it_though_that_is_being_deleted() {
    const FILES: i64 = 20;
    let place = Place::new();
    place.record(FILES * 25, 1).await;
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let ledger = storage.ledger();
    for second in 0..FILES {
        let (path, hold) = (path(), hold(second, second + 1));
        let both = tokio::join!(ledger.place_hold(&hold), ledger.delete_file(&path, hold.start, "rui"));
        let (held, ordered) = (both.0.unwrap(), both.1.unwrap());
        // Whichever came first; never both.
        let is_either = matches!((held.files, ordered), (0, Ordered::Deleted) | (1, Ordered::Held(_)));
        assert!(is_either, "it holds {} files, and the deletion: {ordered:?}", held.files);
    }
}

#[tokio::test]
async fn above_a_quota_the_oldest_goes_and_what_is_held_is_left_and_told() {
    let place = Place::new();
    place.record(12 * 25, 3).await;
    let sizes = |place: &Place| -> u64 {
        place.files().iter().map(|file| part_ends(file).last().copied().unwrap()).sum()
    };
    let all = sizes(&place);
    assert_eq!(place.files().len(), 4);
    let limited = |quota| place.limited(None, Some(quota));
    let (storage, mut driver) = Storage::open(limited(all - 1), CLOCK).await.unwrap();
    let held = storage.ledger().place_hold(&hold(4, 5)).await.unwrap();
    driver.keeper.pass().await;
    assert_eq!(deleted_by(&storage).await, [(Rule::Quota, 0)], "one byte too many takes one file");
    let (storage, mut driver) = Storage::open(limited(1), CLOCK).await.unwrap();
    driver.keeper.pass().await;
    let deleted = [(Rule::Quota, 0), (Rule::Quota, 6), (Rule::Quota, 9)];
    assert_eq!(deleted_by(&storage).await, deleted, "the held file is the only one left");
    let figures = storage.ledger().figures().await.unwrap();
    assert_eq!(figures.paths[0].bytes, sizes(&place));
    assert_eq!(figures.paths[0].quota_unmet_bytes, sizes(&place) - 1);
    storage.ledger().release_hold(held.id, "rui").await.unwrap();
    driver.keeper.pass().await;
    assert!(place.files().is_empty());
    assert_eq!(storage.ledger().figures().await.unwrap().paths[0].quota_unmet_bytes, 0);
}

#[tokio::test]
async fn a_quota_of_all_paths_takes_the_oldest_of_them_all() {
    let place = Place::new();
    place.record(12 * 25, 3).await;
    let size = part_ends(&place.files()[0]).last().copied().unwrap();
    let mut config = place.config(None);
    config.retention.quota_total_bytes = Some(size * 2);
    let (storage, mut driver) = Storage::open(config, CLOCK).await.unwrap();
    driver.keeper.pass().await;
    assert_eq!(deleted_by(&storage).await, [(Rule::Quota, 0), (Rule::Quota, 3)]);
}

#[tokio::test]
async fn a_disk_that_is_too_full_loses_the_oldest_and_is_not_written_above_the_last_level() {
    let place = Place::new();
    place.record(6 * 25, 3).await;
    let mut config = place.config(None);
    // Whatever disk this test runs on is fuller than that.
    config.retention.levels = DiskLevels { alarm: 0, delete: 0, stop: 0 };
    let (storage, mut driver) = Storage::open(config, CLOCK).await.unwrap();
    let held = storage.ledger().place_hold(&hold(4, 5)).await.unwrap();
    driver.keeper.pass().await;
    assert_eq!(deleted_by(&storage).await, [(Rule::Space, 0)], "the other one is held");
    assert_eq!(storage.ledger().figures().await.unwrap().roots[0].condition, Condition::Full);
    storage.ledger().release_hold(held.id, "rui").await.unwrap();
    driver.keeper.pass().await;
    assert_eq!(place.files().len(), 1, "the disk is given time to show what was freed");
}

#[tokio::test]
async fn on_a_disk_that_is_not_there_nothing_is_written_deleted_or_taken_for_lost() {
    let place = Place::new();
    place.record(6 * 25, 3).await;
    let away = place.dir.path().join("away");
    std::fs::rename(place.root(), &away).unwrap();
    std::fs::create_dir(place.root()).unwrap();
    let config = || place.config(Some(Duration::from_secs(60)));
    let (mut storage, mut driver) = Storage::open(config(), CLOCK).await.unwrap();
    let (writer, mut failures) = storage.stream(&path(), place.template()).unwrap();
    writer.try_send(commands(25, 3)).unwrap();
    assert_eq!(failures.recv().await.unwrap().end, None, "nothing could be opened");
    driver.keeper.pass().await;
    assert!(deleted_by(&storage).await.is_empty());
    let report = crate::check(config(), CLOCK, Depth::Parts).await.unwrap();
    assert_eq!((report.absent, report.missing), (2, 0));
    assert_eq!(std::fs::read_dir(place.root()).unwrap().count(), 0, "something was written");
    // Back again: taken into use, and what was due goes.
    std::fs::remove_dir(place.root()).unwrap();
    std::fs::rename(&away, place.root()).unwrap();
    driver.keeper.pass().await;
    assert_eq!(deleted_by(&storage).await, [(Rule::Age, 0), (Rule::Age, 3)]);
    assert_eq!(storage.ledger().figures().await.unwrap().roots[0].condition, Condition::Usable);
}

#[tokio::test]
async fn a_catalogue_that_knows_files_refuses_a_folder_without_any_of_them() {
    let place = Place::new();
    place.record(6 * 25, 3).await;
    let catalogue = crate::catalogue::Catalogue::open(&place.config(None).database).await.unwrap();
    catalogue.forget_disk(&place.root()).await.unwrap();
    catalogue.close().await;
    std::fs::remove_dir_all(place.root()).unwrap();
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    assert_eq!(storage.ledger().figures().await.unwrap().roots[0].condition, Condition::Absent);
    assert!(!place.root().exists());
}

#[tokio::test]
async fn a_check_finds_what_is_lost_strange_short_or_altered() {
    let place = Place::new();
    place.record(15 * 25, 3).await;
    let config = || place.config(None);
    let sound = crate::check(config(), CLOCK, Depth::Parts).await.unwrap();
    assert_eq!((sound.files, sound.sound, sound.is_sound()), (5, 5, true), "{sound:?}");
    let files = place.files();
    // The first is gone, the second lost its end, one part of the third is torn apart, the fourth has no row.
    std::fs::remove_file(&files[0]).unwrap();
    let ends = part_ends(&files[1]);
    File::options().write(true).open(&files[1]).unwrap().set_len(ends[7] + 3).unwrap();
    let mut bytes = std::fs::read(&files[2]).unwrap();
    let at = usize::try_from(part_ends(&files[2])[3]).unwrap();
    bytes[at + 4..at + 8].copy_from_slice(b"free");
    std::fs::write(&files[2], &bytes).unwrap();
    let catalogue = crate::catalogue::Catalogue::open(&config().database).await.unwrap();
    catalogue.forget(&files[3].to_string_lossy()).await.unwrap();
    catalogue.close().await;
    let own = place.root().join("city/cam_1/2026");
    std::fs::write(own.join("holiday.mp4"), b"not ours").unwrap();
    std::fs::copy(&files[4], own.join("copy.mp4")).unwrap();
    let report = crate::check(config(), CLOCK, Depth::Parts).await.unwrap();
    let found =
        (report.missing, report.truncated, report.altered, report.added, report.foreign, report.failed);
    assert_eq!(found, (1, 1, 1, 1, 2, 0), "{report:?}");
    assert!(report.needs_a_person());
    assert_eq!(std::fs::read(&files[2]).unwrap(), bytes, "an altered file was touched");
    let again = crate::check(config(), CLOCK, Depth::Parts).await.unwrap();
    let left = (again.missing, again.truncated, again.altered, again.added, again.foreign, again.sound);
    assert_eq!(left, (0, 0, 1, 0, 2, 3), "{again:?}");
    let (storage, _driver) = Storage::open(config(), CLOCK).await.unwrap();
    assert_eq!(deleted_by(&storage).await, [(Rule::Missing, 0)]);
    let spans = storage.recordings().spans(&grant(), None, None).await.unwrap();
    let seconds: Vec<_> = spans.iter().map(|span| span.duration.as_millis()).collect();
    assert_eq!(seconds, [1_400, 9_000], "what is left of the second file, then three whole ones");
    let gaps = storage.recordings().gaps(&grant(), None, None).await.unwrap();
    let gaps: Vec<_> = gaps.iter().map(|gap| gap.from.us_since(START) / 1000).collect();
    assert_eq!(gaps, [0, 4_400], "what was lost is missing");
}

#[tokio::test]
async fn what_a_power_cut_left_of_files_without_a_part_goes_and_is_told() {
    let place = Place::new();
    place.record(6 * 25, 3).await;
    let files = place.files();
    let head = usize::try_from(part_ends(&files[0])[0]).unwrap();
    let whole = std::fs::read(&files[0]).unwrap();
    // Named as the template does, two hours on; what the power left: nothing, a whole head, half of one, zeros.
    let named = |number: i64| place.template().file(&path(), START.plus_us((7200 + number) * 1_000_000));
    let left = [&[][..], &whole[..head], &whole[..head / 2], &[0; 4096]];
    let left: Vec<PathBuf> = (0..)
        .zip(left)
        .map(|(number, bytes)| {
            std::fs::write(named(number), bytes).unwrap();
            named(number)
        })
        .collect();
    // Media all the same, if of a file that lost its head; and an empty file of somebody else.
    std::fs::write(named(8), &whole[head..]).unwrap();
    let own = files[0].with_file_name("holiday.mp4");
    std::fs::write(&own, b"").unwrap();
    // One that is being made has a marker, and nothing in it yet.
    let open = named(9);
    std::fs::write(&open, b"").unwrap();
    let markers = place.root().join(".gtvision/open");
    let inside = open.strip_prefix(place.root()).unwrap();
    std::os::unix::fs::symlink(Path::new("../..").join(inside), markers.join("1-0-0")).unwrap();
    let report = crate::check(place.config(None), CLOCK, Depth::Parts).await.unwrap();
    assert_eq!((report.removed, report.foreign, report.failed, report.sound), (4, 2, 0, 2), "{report:?}");
    assert!(report.is_sound(), "{report:?}");
    for name in &left {
        assert!(!name.exists(), "{name:?}");
        assert!(report.findings.iter().any(|finding| finding.name == *name), "{name:?}: {report:?}");
    }
    assert!(named(8).exists() && own.exists() && open.exists());
    let again = crate::check(place.config(None), CLOCK, Depth::Parts).await.unwrap();
    assert_eq!((again.removed, again.foreign, again.sound), (0, 2, 2), "{again:?}");
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let mut told = deleted_by(&storage).await;
    told.sort_unstable();
    assert_eq!(told, [7200, 7201, 7202, 7203].map(|second| (Rule::Empty, second)));
}

#[tokio::test]
async fn how_a_path_grows_follows_what_comes_and_goes_and_a_check_mends_a_wrong_sum() {
    let place = Place::new();
    place.record(12 * 25, 3).await;
    let bytes = |place: &Place| -> u64 {
        place.files().iter().map(|file| part_ends(file).last().copied().unwrap()).sum()
    };
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let catalogue = storage.recordings().catalogue;
    // The test's recording begins at half past an hour.
    let lately = async |since: WallTime| {
        let growth = catalogue.growth_since(since).await.unwrap();
        growth.into_iter().map(|grown| (grown.bytes, grown.since)).collect::<Vec<_>>()
    };
    let later = START.plus_us(1_800_000_000);
    assert_eq!(lately(START.plus_us(600_000_000)).await, [(bytes(&place), START)], "its whole hour counts");
    assert_eq!(lately(later).await, []);
    assert_eq!(catalogue.mend_sums().await.unwrap(), 0);
    let ledger = storage.ledger();
    assert_eq!(ledger.delete_file(&path(), START, "rui").await.unwrap(), Ordered::Deleted);
    assert_eq!(lately(START).await, [(bytes(&place), START.plus_us(3_000_000))]);
    assert_eq!(catalogue.mend_sums().await.unwrap(), 0);
    // A hand in the database.
    catalogue.forget_sums().await.unwrap();
    assert_eq!(lately(START).await, []);
    let report = crate::check(place.config(None), CLOCK, Depth::Lengths).await.unwrap();
    assert_eq!((report.sums, report.sound, report.is_sound()), (2, 3, false), "{report:?}");
    assert_eq!(lately(START).await, [(bytes(&place), START.plus_us(3_000_000))]);
    let report = crate::check(place.config(None), CLOCK, Depth::Lengths).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    for second in [3, 6, 9] {
        let start = START.plus_us(second * 1_000_000);
        assert_eq!(ledger.delete_file(&path(), start, "rui").await.unwrap(), Ordered::Deleted);
    }
    assert_eq!(lately(START).await, []);
    assert!(catalogue.usage().await.unwrap().is_empty());
    assert_eq!(catalogue.mend_sums().await.unwrap(), 0);
}

/// An export of the second to the eighth second, and its folder.
async fn exported(place: &Place) -> PathBuf {
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let facts = ExportFacts {
        start: START.plus_us(1_400_000),
        end: START.plus_us(8_100_000),
        operator: "maria".to_owned(),
        unit: "central".to_owned(),
        reason: "accident".to_owned(),
        created: (CLOCK.wall)(),
        made_by: "test".to_owned(),
    };
    let plan = storage.recordings().plan_export(vec![grant()], facts.start, facts.end).await.unwrap();
    let key = SigningKey::open(&place.dir.path().join("key")).unwrap();
    let file = place.dir.path().join("export.zip");
    plan.write(&file, &facts, &key, &Progress::default()).unwrap();
    file
}

#[tokio::test]
async fn an_export_is_authentic_until_any_bit_of_it_is_changed() {
    let place = Place::new();
    place.record(10 * 25, 3).await;
    let file = exported(&place).await;
    let verified = verify(&file, None).unwrap();
    assert_eq!((verified.files, verified.parts, verified.unsealed), (1, 36, 0));
    assert_eq!(verified.operator, "maria");
    let whole = std::fs::read(&file).unwrap();
    let copy = place.dir.path().join("copy.zip");
    // Each bit of each structure's bytes is too many: a prime walks over all of them.
    for at in (0..whole.len()).step_by(97).chain(whole.len() - 300..whole.len()) {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        std::fs::write(&copy, &changed).unwrap();
        match verify(&copy, None) {
            Err(VerifyError::Fault(fault)) => {
                assert!(fault.bytes.start <= u64::try_from(at).unwrap(), "byte {at}: {fault:?}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
    for cut in [1, 100, whole.len() / 2] {
        std::fs::write(&copy, &whole[..whole.len() - cut]).unwrap();
        assert!(verify(&copy, None).is_err(), "{cut} bytes cut off");
    }
    std::fs::write(&copy, [&whole[..], b"x"].concat()).unwrap();
    assert!(verify(&copy, None).is_err(), "a byte more");
    let other = SigningKey::open(&place.dir.path().join("other")).unwrap();
    assert!(verify(&file, Some(&other.public())).is_err(), "another key");
    assert!(verify(&file, Some(&verified.public_key)).is_ok());
}

#[tokio::test]
async fn a_recording_that_was_changed_before_its_export_is_not_authentic() {
    let place = Place::new();
    place.record(10 * 25, 3).await;
    let name = place.files().remove(1);
    let mut bytes = std::fs::read(&name).unwrap();
    // A payload byte of the second file's fourth part.
    let at = usize::try_from(part_ends(&name)[4]).unwrap() - 100;
    bytes[at] ^= 1;
    std::fs::write(&name, bytes).unwrap();
    let file = exported(&place).await;
    let error = verify(&file, None).unwrap_err().to_string();
    assert!(error.contains("changed before the export"), "{error}");
}

#[tokio::test]
async fn a_part_that_was_taken_out_of_a_recording_is_missed() {
    let place = Place::new();
    place.record(10 * 25, 3).await;
    let name = place.files().remove(1);
    let mut bytes = std::fs::read(&name).unwrap();
    let ends: Vec<usize> = part_ends(&name).into_iter().map(|end| usize::try_from(end).unwrap()).collect();
    // Head, payload and seal of the second file's fourth part: what is left is whole parts, end to end.
    bytes.drain(ends[3]..ends[4]);
    std::fs::write(&name, bytes).unwrap();
    let file = exported(&place).await;
    let error = verify(&file, None).unwrap_err().to_string();
    assert!(error.contains("changed before the export"), "{error}");
}
