//! Tests of thumbnails with their recording: which ones are kept, found, counted, and gone with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use media_core::key_frame::KeyFrame;

use super::file::beside;
use super::{ThumbnailMaker, ThumbnailPlace};
use crate::tests::{CLOCK, Place, START, commands, grant, hold, path};
use crate::{Depth, Recordings, Storage};

/// What stands for each picture: what there is of it is what it was made of.
fn jpeg(frame: &KeyFrame) -> Bytes {
    [&[0xff, 0xd8], &frame.payload[..], &[0xff, 0xd9]].concat().into()
}

/// Makes pictures at once; of one in so many it makes none.
#[derive(Debug)]
struct Maker {
    refuses_one_in: u64,
    asked: AtomicU64,
}

impl ThumbnailMaker for Maker {
    fn make(&self, frame: KeyFrame, place: ThumbnailPlace) {
        let number = self.asked.fetch_add(1, Relaxed) + 1;
        if !number.is_multiple_of(self.refuses_one_in) {
            place.keep(jpeg(&frame));
        }
    }
}

/// Records files of 3 s with a key frame a second, and what became of their thumbnails: kept, and left out.
async fn record(place: &Place, seconds: i64, every_ms: u64, refuses_one_in: u64) -> [u64; 2] {
    let (mut storage, driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let maker = Arc::new(Maker { refuses_one_in, asked: AtomicU64::default() });
    storage.make_thumbnails(Arc::<Maker>::clone(&maker));
    let (writer, _failures) = storage.stream(&path(), place.template()).unwrap();
    writer.keep_thumbnails(Some(Duration::from_millis(every_ms)));
    writer.try_send(commands(seconds * 25, 3)).unwrap();
    let stopped = tokio::task::spawn_blocking(move || {
        let counts = loop {
            let is_written = writer.snapshot().queued_bytes == 0;
            let disk = storage.disks().remove(0);
            let counts = [disk.thumbnails, disk.thumbnails_skipped];
            if is_written && counts.iter().sum::<u64>() == maker.asked.load(Relaxed) {
                break counts;
            }
            std::thread::yield_now();
        };
        drop(writer);
        storage.stop();
        counts
    });
    driver.run().await;
    stopped.await.unwrap()
}

/// Whether there is a thumbnail of the picture that is shown at a time, and when that was taken, in seconds.
async fn kept_at(recordings: &Recordings, at_ms: i64) -> Option<i64> {
    let at = START.plus_us(at_ms * 1000);
    let picture = recordings.picture_at(&grant(), at).await.unwrap().unwrap();
    let kept = picture.kept(&grant())?;
    let made = jpeg(&picture.read(&grant()).unwrap().unwrap());
    assert_eq!(kept[68..], made[2..], "another picture");
    Some(picture.wall.us_since(START) / 1_000_000)
}

fn thumbnails_of(place: &Place) -> Vec<PathBuf> {
    place.files().iter().map(|file| beside(file)).filter(|file| file.exists()).collect()
}

fn bytes_of(files: &[PathBuf]) -> u64 {
    files.iter().map(|file| file.metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn what_is_shown_at_multiples_is_kept_counted_and_found_by_its_time() {
    let place = Place::new();
    assert_eq!(record(&place, 10, 2500, u64::MAX).await, [4, 0]);
    assert_eq!(
        (place.files().len(), thumbnails_of(&place).len()),
        (4, 3),
        "the last one is shown at no multiple"
    );
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let recordings = storage.recordings();
    let mut found = Vec::new();
    for at_ms in [0, 2500, 5000, 7500] {
        found.push(kept_at(&recordings, at_ms).await);
    }
    assert_eq!(found, [Some(0), Some(2), Some(5), Some(7)]);
    assert_eq!(kept_at(&recordings, 1500).await, None, "shown at no multiple");
    let recorded = bytes_in_catalogue(&storage).await;
    let usage = storage.ledger().figures().await.unwrap().paths[0].bytes;
    assert_eq!(usage, recorded + bytes_of(&thumbnails_of(&place)), "a quota counts them");
}

async fn bytes_in_catalogue(storage: &Storage) -> u64 {
    let starts = storage.ledger().file_starts(&path()).await.unwrap();
    let catalogue = storage.recordings().catalogue;
    let mut bytes = 0;
    for start in starts {
        bytes += catalogue.file_at(&path(), start).await.unwrap().unwrap().extent.bytes;
    }
    bytes
}

#[tokio::test]
async fn what_finds_no_room_is_left_out_and_counted() {
    let place = Place::new();
    assert_eq!(record(&place, 10, 1000, 2).await, [5, 5]);
    let (storage, _driver) = Storage::open(place.config(None), CLOCK).await.unwrap();
    let recordings = storage.recordings();
    assert_eq!(kept_at(&recordings, 4000).await, Some(4));
    assert_eq!(kept_at(&recordings, 5000).await, None);
}

#[tokio::test]
async fn thumbnails_go_with_their_recording_and_stay_with_what_is_held() {
    let place = Place::new();
    record(&place, 10, 1000, u64::MAX).await;
    let config = || place.config(Some(Duration::from_secs(60)));
    let (storage, mut driver) = Storage::open(config(), CLOCK).await.unwrap();
    let held = storage.ledger().place_hold(&hold(4, 5)).await.unwrap();
    driver.keeper.pass().await;
    let (files, kept) = (place.files(), thumbnails_of(&place));
    assert_eq!((files.len(), kept.len()), (1, 1));
    let folder = kept[0].parent().unwrap();
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2, "nothing else is left");
    assert_eq!(kept_at(&storage.recordings(), 5000).await, Some(5));
    let usage = storage.ledger().figures().await.unwrap().paths[0].bytes;
    assert_eq!(usage, bytes_in_catalogue(&storage).await + bytes_of(&kept), "what is gone counts no more");
    storage.ledger().release_hold(held.id, "rui").await.unwrap();
    let (_storage, mut driver) = Storage::open(config(), CLOCK).await.unwrap();
    driver.keeper.pass().await;
    assert!(!place.root().join("city").exists(), "something is left");
}

#[tokio::test]
async fn a_check_knows_thumbnails_takes_those_in_whose_recording_comes_back_and_removes_what_is_left_alone() {
    let place = Place::new();
    record(&place, 9, 1000, u64::MAX).await;
    let config = || place.config(None);
    let sound = crate::check(config(), CLOCK, Depth::Parts).await.unwrap();
    assert!(sound.is_sound() && sound.findings.is_empty(), "{sound:?}");
    let files = place.files();
    // The first recording is gone; the second lost its row, and its thumbnails their end; one is somebody's.
    std::fs::remove_file(&files[0]).unwrap();
    let catalogue = crate::catalogue::Catalogue::open(&config().database).await.unwrap();
    catalogue.forget(&files[1].to_string_lossy()).await.unwrap();
    catalogue.close().await;
    let second = beside(&files[1]);
    let whole = second.metadata().unwrap().len();
    std::fs::File::options().write(true).open(&second).unwrap().set_len(whole - 1).unwrap();
    let holiday = second.with_file_name("holiday.mjpeg");
    std::fs::write(&holiday, b"not ours").unwrap();
    let report = crate::check(config(), CLOCK, Depth::Parts).await.unwrap();
    assert_eq!((report.missing, report.added, report.foreign, report.failed), (1, 1, 0, 0), "{report:?}");
    assert!(!beside(&files[0]).exists() && holiday.exists());
    assert!(report.findings.iter().any(|finding| finding.name == beside(&files[0])), "{report:?}");
    assert_eq!(second.metadata().unwrap().len(), whole / 3 * 2, "its torn end is cut off");
    let (storage, _driver) = Storage::open(config(), CLOCK).await.unwrap();
    assert_eq!(kept_at(&storage.recordings(), 4000).await, Some(4));
    assert_eq!(kept_at(&storage.recordings(), 5000).await, None);
    let usage = storage.ledger().figures().await.unwrap().paths[0].bytes;
    assert_eq!(usage, bytes_in_catalogue(&storage).await + bytes_of(&thumbnails_of(&place)));
}
