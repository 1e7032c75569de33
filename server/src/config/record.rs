//! Record: the `record*` settings of one path, and the limits of all together.
//!
//! They are read only where `record` is on: a stock configuration file may ask for what this server does not do
//! (MPEG-TS) on paths that are not recorded.

use std::ops::RangeInclusive;
use std::time::Duration;

use storage::{DiskLevels, RecordPath};

use super::fault::{FaultKind, Place};
use super::reader::Reader;
use super::resolved::{RecordConfig, RetentionLimits};
use super::tree::Entry;
use super::values::{self, Expected};

/// MediaMTX's default, in UTC.
const DEFAULT_PATH: &str = "./recordings/%path/%Y-%m-%d_%H-%M-%S-%f";
/// The longest file, MediaMTX's limit too.
const SEGMENT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Kept so long when nothing is said.
const DELETE_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// A century.
const DELETE_AFTER_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Closer ones than these cost more than anybody looks at; farther ones show too little.
const THUMBNAILS_EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// How a path is recorded; `None` where it is not.
pub(crate) fn resolve(reader: &mut Reader<'_>, entry: &Entry) -> Option<RecordConfig> {
    if !reader.off("record") {
        return None;
    }
    let (ms, second) = (Duration::from_millis(1), Duration::from_secs(1));
    reader.value("recordFormat", (), |text| match text {
        "fmp4" => Ok(()),
        _ => Err(Expected::OneOf(&["fmp4"])),
    });
    let template = |text: &str| {
        let here =
            std::env::current_dir().map_err(|_| Expected::Other("usable: the working directory is gone"))?;
        let refused = |error: storage::RecordPathError| Expected::Within(format!("usable: it {error}"));
        RecordPath::parse(text, &here).map(Some).map_err(refused)
    };
    let path = match reader.find("recordPath") {
        Some(_) => reader.value("recordPath", None, template),
        None => template(DEFAULT_PATH).ok().flatten(),
    };
    let segment_duration = reader.duration("recordSegmentDuration", 3600 * second, second..=SEGMENT_MAX);
    let delete_after = reader.duration("recordDeleteAfter", DELETE_AFTER, Duration::ZERO..=DELETE_AFTER_MAX);
    if !delete_after.is_zero() && delete_after < segment_duration {
        let place = reader.find("recordDeleteAfter").map_or(&entry.place, |node| &node.place);
        let message = format!(
            "path {:?}: \"recordDeleteAfter\" must be 0 or at least \"recordSegmentDuration\"",
            entry.key
        );
        reader.faults().add(place, FaultKind::Conflict(message));
    }
    Some(RecordConfig {
        path: path?,
        part_duration: reader.duration("recordPartDuration", second, 50 * ms..=60 * second),
        part_bytes_max: reader.value("recordMaxPartSize", 50 << 20, values::size_bytes),
        segment_duration,
        delete_after: (!delete_after.is_zero()).then_some(delete_after),
        quota_bytes: quota(reader, "recordQuota"),
        thumbnails_every: reader.value("recordThumbnails", None, thumbnails_every),
    })
}

/// `no`, or the distance of thumbnails.
fn thumbnails_every(text: &str) -> Result<Option<Duration>, Expected> {
    match (values::boolean(text), values::duration(text)) {
        (Ok(false), _) => Ok(None),
        (_, Ok(every)) if every.is_zero() => Ok(None),
        (_, Ok(every)) if THUMBNAILS_EVERY.contains(&every) => Ok(Some(every)),
        _ => Err(Expected::Other("no, or a duration from 1s to 1h such as 10s")),
    }
}

/// A limit in bytes; 0 is none.
fn quota(reader: &mut Reader<'_>, key: &str) -> Option<u64> {
    Some(reader.value(key, 0, values::size_bytes)).filter(|bytes| *bytes > 0)
}

/// Limits of all recordings together.
pub(crate) fn limits(reader: &mut Reader<'_>) -> RetentionLimits {
    let usual = DiskLevels::default();
    let mut level = |key, default| reader.value(key, default, values::percent);
    let disk_levels = DiskLevels {
        alarm: level("recordDiskAlarm", usual.alarm),
        delete: level("recordDiskDelete", usual.delete),
        stop: level("recordDiskStop", usual.stop),
    };
    if disk_levels.alarm > disk_levels.delete || disk_levels.delete > disk_levels.stop {
        let node =
            ["recordDiskStop", "recordDiskDelete", "recordDiskAlarm"].iter().find_map(|key| reader.find(key));
        let place = node.map_or(Place::Whole, |node| node.place.clone());
        let message = format!(
            "\"recordDiskAlarm\" {}, \"recordDiskDelete\" {} and \"recordDiskStop\" {} must rise",
            disk_levels.alarm, disk_levels.delete, disk_levels.stop
        );
        reader.faults().add(&place, FaultKind::Conflict(message));
    }
    RetentionLimits { quota_total_bytes: quota(reader, "recordQuotaTotal"), disk_levels }
}
