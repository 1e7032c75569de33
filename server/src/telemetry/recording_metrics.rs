//! Recording metrics: recorders by path, disks by folder.

use std::time::Duration;

use storage::DiskSnapshot;

use super::metrics::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::{Number, Text};
use crate::egress::recorder::RecorderSnapshot;

/// All recorders and disks at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordingMetrics {
    recorders: Vec<NamedRecorder>,
    disks: Vec<NamedDisk>,
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
    pub(crate) fn of((recorders, disks): (Vec<RecorderSnapshot>, Vec<DiskSnapshot>)) -> Self {
        let recorder = |of: RecorderSnapshot| NamedRecorder { path: of.path.to_string(), of };
        let disk = |of: DiskSnapshot| NamedDisk { root: of.root.display().to_string(), of };
        Self {
            recorders: recorders.into_iter().map(recorder).collect(),
            disks: disks.into_iter().map(disk).collect(),
        }
    }
}

/// Writes those whose path is chosen, and the disks.
pub(super) fn write(text: &mut Text, recording: &RecordingMetrics, chosen: impl Fn(&str) -> bool) {
    let recorders: Vec<_> = recording.recorders.iter().filter(|recorder| chosen(&recorder.path)).collect();
    write_columns(text, RECORDERS, &recorders, Empty::Silent, |recorder| {
        vec![("name", recorder.path.as_str())]
    });
    let disks: Vec<_> = recording.disks.iter().collect();
    write_columns(text, DISKS, &disks, Empty::Silent, |disk| vec![("root", disk.root.as_str())]);
}

const RECORDERS: &[Column<NamedRecorder>] = &[
    gauge("gtvision_recorder_recording", "1 while a file is being written.", |r| {
        whole(u64::from(r.of.is_recording))
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
    counter("gtvision_recorder_restarts_total", "Crashes of the recorder's task.", |r| whole(r.of.restarts)),
];

const DISKS: &[Column<NamedDisk>] = &[
    gauge("gtvision_disk_open_files", "Files being written.", |d| whole(d.of.open_files)),
    gauge("gtvision_disk_queue_bytes", "Bytes that wait, of all paths.", |d| whole(d.of.queued_bytes)),
    counter("gtvision_disk_syncs_total", "Rounds of syncing.", |d| whole(d.of.syncs)),
    counter("gtvision_disk_sync_seconds_total", "Time of all rounds.", |d| seconds(d.of.sync_time)),
    gauge("gtvision_disk_sync_seconds_max", "The longest round.", |d| seconds(d.of.sync_time_max)),
    counter("gtvision_disk_sync_errors_total", "Files that could not be synced.", |d| {
        whole(d.of.sync_errors)
    }),
];

fn seconds(time: Duration) -> Option<Number> {
    Some(Number::Real(time.as_secs_f64()))
}
