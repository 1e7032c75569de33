//! Recording metrics: recorders by path, disks by folder.

use std::time::Duration;

use media_core::time::WallTime;
use storage::{
    BucketFigures, Condition, DeletedFigures, DiskSnapshot, Forecast, PathFigures, RootFigures,
    StorageFigures,
};

use super::columns::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::{Number, Text};
use crate::egress::recorder::RecorderSnapshot;

/// All recorders and disks at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordingMetrics {
    recorders: Vec<NamedRecorder>,
    disks: Vec<NamedDisk>,
    /// By path, by folder, by rule, and of all together; empty at the very start.
    kept: Vec<NamedPath>,
    roots: Vec<NamedRoot>,
    deleted: Vec<DeletedFigures>,
    total: Option<Total>,
    bucket: Option<BucketFigures>,
}

#[derive(Clone, Debug)]
struct NamedPath {
    path: String,
    of: PathFigures,
}

#[derive(Clone, Debug)]
struct NamedRoot {
    root: String,
    recorded_bytes: u64,
    forecast: Option<Forecast>,
}

#[derive(Clone, Copy, Debug)]
struct Total {
    quota_unmet_bytes: u64,
}

#[derive(Clone, Debug)]
struct NamedRecorder {
    path: String,
    of: RecorderSnapshot,
}

#[derive(Clone, Debug)]
struct NamedDisk {
    root: String,
    of: DiskSnapshot,
}

impl RecordingMetrics {
    /// From what recorders and disks say.
    pub(crate) fn of(
        (recorders, disks): (Vec<RecorderSnapshot>, Vec<DiskSnapshot>),
        figures: Option<StorageFigures>,
        bucket: Option<BucketFigures>,
    ) -> Self {
        let recorder = |of: RecorderSnapshot| NamedRecorder { path: of.path.to_string(), of };
        let disk = |of: DiskSnapshot| NamedDisk { root: of.root.display().to_string(), of };
        let path = |of: PathFigures| NamedPath { path: of.path.to_string(), of };
        let root = |of: RootFigures| NamedRoot {
            root: of.root.display().to_string(),
            recorded_bytes: of.recorded_bytes,
            forecast: of.forecast,
        };
        let mut metrics = Self {
            recorders: recorders.into_iter().map(recorder).collect(),
            disks: disks.into_iter().map(disk).collect(),
            bucket,
            ..Self::default()
        };
        if let Some(figures) = figures {
            metrics.total = Some(Total { quota_unmet_bytes: figures.quota_total_unmet_bytes });
            metrics.kept = figures.paths.into_iter().map(path).collect();
            metrics.roots = figures.roots.into_iter().map(root).collect();
            metrics.deleted = figures.deleted;
        }
        metrics
    }
}

/// Writes those whose path is chosen, and the disks.
pub(super) fn write(text: &mut Text, recording: &RecordingMetrics, chosen: impl Fn(&str) -> bool) {
    let recorders: Vec<_> = recording.recorders.iter().filter(|recorder| chosen(&recorder.path)).collect();
    write_columns(text, RECORDERS, &recorders, Empty::Silent, |recorder| {
        vec![("name", recorder.path.as_str())]
    });
    let kept: Vec<_> = recording.kept.iter().filter(|kept| chosen(&kept.path)).collect();
    write_columns(text, KEPT, &kept, Empty::Silent, |kept| vec![("name", kept.path.as_str())]);
    let roots: Vec<_> = recording.roots.iter().collect();
    write_columns(text, ROOTS, &roots, Empty::Silent, |root| vec![("root", root.root.as_str())]);
    let deleted: Vec<_> = recording.deleted.iter().collect();
    write_columns(text, DELETED, &deleted, Empty::Silent, |by| vec![("rule", by.rule.as_str())]);
    let total: Vec<_> = recording.total.iter().collect();
    write_columns(text, TOTAL, &total, Empty::Silent, |_| Vec::new());
    let bucket: Vec<_> = recording.bucket.iter().collect();
    write_columns(text, BUCKET, &bucket, Empty::Silent, |_| Vec::new());
    let disks: Vec<_> = recording.disks.iter().collect();
    write_columns(text, DISKS, &disks, Empty::Silent, |disk| vec![("root", disk.root.as_str())]);
}

const RECORDERS: &[Column<NamedRecorder>] = &[
    gauge("gtvision_recorder_recording", "1 while a file is being written.", |r| {
        whole(u64::from(r.of.is_recording))
    }),
    gauge("gtvision_recorder_wanted", "0 while an operator has turned it off.", |r| {
        whole(u64::from(r.of.is_wanted))
    }),
    counter("gtvision_recorder_written_bytes_total", "Bytes of media written.", |r| {
        whole(r.of.stream.written_bytes)
    }),
    counter("gtvision_recorder_files_total", "Files begun.", |r| whole(r.of.recorder.files)),
    counter("gtvision_recorder_gaps_total", "Gaps begun.", |r| whole(r.of.recorder.gaps)),
    counter("gtvision_recorder_dropped_parts_total", "Parts that were not recorded.", |r| {
        whole(r.of.recorder.dropped_parts)
    }),
    counter("gtvision_recorder_write_errors_total", "Files that the disk did not take.", |r| {
        whole(r.of.stream.write_errors)
    }),
    counter("gtvision_recorder_refused_total", "Batches refused because the disk's queue was full.", |r| {
        whole(r.of.stream.refused)
    }),
    gauge("gtvision_recorder_queue_bytes", "Bytes that wait for the disk.", |r| {
        whole(r.of.stream.queued_bytes)
    }),
    counter("gtvision_recorder_restarts_total", "Crashes of the recorder.", |r| whole(r.of.restarts)),
];

const KEPT: &[Column<NamedPath>] = &[
    gauge("gtvision_recordings_files", "Files of recordings.", |p| whole(p.of.files)),
    gauge("gtvision_recordings_bytes", "Bytes of recordings.", |p| whole(p.of.bytes)),
    gauge("gtvision_recordings_bytes_per_day", "How fast they grow.", |p| {
        p.of.bytes_per_day.map(Number::Whole)
    }),
    gauge("gtvision_recordings_quota_bytes", "recordQuota.", |p| p.of.quota_bytes.map(Number::Whole)),
    gauge(
        "gtvision_recordings_quota_unmet_bytes",
        "By how much recordQuota is exceeded by what is held or being written.",
        |p| p.of.quota_bytes.and_then(|_| whole(p.of.quota_unmet_bytes)),
    ),
];

const TOTAL: &[Column<Total>] = &[gauge(
    "gtvision_recordings_quota_total_unmet_bytes",
    "By how much recordQuotaTotal is exceeded by what is held or being written.",
    |total| whole(total.quota_unmet_bytes),
)];

const BUCKET: &[Column<BucketFigures>] = &[
    gauge("gtvision_bucket_failing", "1 while the bucket does not do what it is asked for.", |b| {
        whole(u64::from(b.is_failing))
    }),
    gauge("gtvision_bucket_queue_files", "Files that wait for their upload.", |b| whole(b.queued_files)),
    gauge("gtvision_bucket_queue_bytes", "Their bytes.", |b| whole(b.queued_bytes)),
    gauge(
        "gtvision_bucket_queue_oldest_timestamp_seconds",
        "When the oldest one's media began; absent while none waits.",
        |b| b.oldest_queued.map(|time| Number::Real(unix_seconds(time))),
    ),
    gauge("gtvision_bucket_files", "Files that are in the bucket.", |b| whole(b.files)),
    gauge("gtvision_bucket_bytes", "Their bytes.", |b| whole(b.bytes)),
    gauge("gtvision_bucket_only_files", "Those of them that are on no disk any more.", |b| {
        whole(b.files_only_there)
    }),
    gauge("gtvision_bucket_only_bytes", "Their bytes.", |b| whole(b.bytes_only_there)),
    counter("gtvision_bucket_stored_files_total", "Files whose copy was confirmed.", |b| {
        whole(b.stored_files)
    }),
    counter("gtvision_bucket_stored_bytes_total", "Their bytes.", |b| whole(b.stored_bytes)),
    counter("gtvision_bucket_sent_bytes_total", "Bytes sent, those of tries that failed too.", |b| {
        whole(b.sent_bytes)
    }),
    counter("gtvision_bucket_failures_total", "Requests that failed.", |b| whole(b.failures)),
    counter(
        "gtvision_bucket_deleted_objects_total",
        "Objects of deleted recordings that were deleted.",
        |b| whole(b.deleted_objects),
    ),
];

const ROOTS: &[Column<NamedRoot>] = &[
    gauge("gtvision_disk_recorded_bytes", "Bytes of recordings.", |r| whole(r.recorded_bytes)),
    gauge("gtvision_disk_room_bytes", "What recordings may take of it.", |r| {
        r.forecast.map(|forecast| Number::Whole(forecast.room_bytes))
    }),
    gauge("gtvision_disk_needed_bytes", "What all retentions come to.", |r| {
        r.forecast?.needed_bytes.map(Number::Whole)
    }),
    gauge("gtvision_disk_short_by_seconds", "So much of the retention does not fit.", |r| {
        Some(Number::Real(r.forecast?.short_by.unwrap_or_default().as_secs_f64()))
    }),
];

const DELETED: &[Column<DeletedFigures>] = &[
    counter("gtvision_recordings_deleted_files_total", "Files deleted, by rule.", |by| whole(by.files)),
    counter("gtvision_recordings_deleted_bytes_total", "Their bytes.", |by| whole(by.bytes)),
];

const DISKS: &[Column<NamedDisk>] = &[
    gauge("gtvision_disk_usable", "1 while recordings are written to it.", |d| {
        whole(u64::from(d.of.condition == Condition::Usable))
    }),
    gauge("gtvision_disk_absent", "1 while the disk that belongs there is not there.", |d| {
        whole(u64::from(d.of.condition == Condition::Absent))
    }),
    gauge("gtvision_disk_total_bytes", "Its file system, without what is reserved.", |d| {
        d.of.space.map(|space| Number::Whole(space.total_bytes))
    }),
    gauge("gtvision_disk_used_bytes", "Taken, by whomever.", |d| {
        d.of.space.map(|space| Number::Whole(space.used_bytes))
    }),
    gauge("gtvision_disk_open_files", "Files being written.", |d| whole(d.of.open_files)),
    gauge("gtvision_disk_queue_bytes", "Bytes that wait, of all paths.", |d| whole(d.of.queued_bytes)),
    counter("gtvision_disk_syncs_total", "Rounds of syncing.", |d| whole(d.of.syncs)),
    counter("gtvision_disk_sync_seconds_total", "Time of all rounds.", |d| seconds(d.of.sync_time)),
    gauge("gtvision_disk_sync_seconds_max", "The longest round.", |d| seconds(d.of.sync_time_max)),
    counter("gtvision_disk_sync_errors_total", "Files that could not be synced.", |d| {
        whole(d.of.sync_errors)
    }),
    counter("gtvision_disk_thumbnails_total", "Thumbnails kept beside recordings.", |d| {
        whole(d.of.thumbnails)
    }),
    counter("gtvision_disk_thumbnails_skipped_total", "Thumbnails left out: too many were due.", |d| {
        whole(d.of.thumbnails_skipped)
    }),
];

fn unix_seconds(time: WallTime) -> f64 {
    Duration::from_micros(u64::try_from(time.unix_us()).unwrap_or(0)).as_secs_f64()
}

fn seconds(time: Duration) -> Option<Number> {
    Some(Number::Real(time.as_secs_f64()))
}
