//! Storage model: what is told of recordings, and the JSON it becomes.

use serde::Serialize;

use crate::model::Time;

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Its number.
    pub id: i64,
    /// Of which path.
    pub path: String,
    /// From when.
    pub start: Time,
    /// Until when.
    pub end: Time,
    /// Why.
    pub reason: String,
    /// Who placed it.
    pub by: String,
    /// When it was placed.
    pub created: Time,
    /// When it was released; `null` while it holds.
    pub released: Option<Time>,
    /// Who released it.
    pub released_by: Option<String>,
    /// Recorded files that it holds now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A file that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Its number; later ones are higher.
    pub id: i64,
    /// When.
    pub at: Time,
    /// `age`, `quota`, `space`, `operator`, or `missing` for a file that was found gone.
    pub rule: &'static str,
    /// By whom, where it was an operator.
    pub by: Option<String>,
    /// Of which path.
    pub path: String,
    /// The file.
    pub file: String,
    /// When its media began.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// Its bytes.
    pub bytes: u64,
}

/// What is kept, how fast it grows, and whether it will fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// When this was so.
    pub time: Time,
    /// Folders of recordings.
    pub disks: Vec<DiskStatus>,
    /// `recordDiskAlarm` and its like.
    pub levels: DiskLevels,
    /// Paths that are recorded or were.
    pub paths: Vec<PathUsage>,
    /// `recordQuotaTotal`.
    pub quota_total_bytes: Option<u64>,
    /// By how much that is exceeded by what may not be deleted.
    pub quota_total_unmet_bytes: u64,
    /// What was deleted since the server's start, by rule.
    pub deleted: Vec<DeletedByRule>,
    /// The bucket; `null` where none is configured.
    pub bucket: Option<BucketStatus>,
}

/// How copies of recordings get into the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketStatus {
    /// It takes no files or deletes no objects; the log says why.
    pub failing: bool,
    /// Files that wait for their upload.
    pub queued_files: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// When the media of the one that waits longest began.
    pub oldest_queued: Option<Time>,
    /// Files that are in the bucket.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that are on no disk any more.
    pub files_only_there: u64,
    /// Their bytes.
    pub bytes_only_there: u64,
}

/// Percent of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskLevels {
    /// Above it a person is told.
    pub alarm: u8,
    /// Above it the oldest files go.
    pub delete: u8,
    /// Above it nothing is recorded.
    pub stop: u8,
}

/// A folder of recordings.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskStatus {
    /// The folder.
    pub root: String,
    /// The identity of its disk.
    pub id: Option<String>,
    /// `usable`, `full` (above `stop`), or `absent` (its disk is not there).
    pub condition: &'static str,
    /// Its file system, without what is reserved for the system.
    pub total_bytes: Option<u64>,
    /// Taken, by whomever.
    pub used_bytes: Option<u64>,
    /// Bytes of recordings.
    pub recorded_bytes: u64,
    /// Whether what is to be kept will fit; `null` while too little is recorded to tell.
    pub forecast: Option<Forecast>,
}

/// Whether what is to be kept will fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// How fast its recordings grow.
    pub bytes_per_day: u64,
    /// What recordings may take of it.
    pub room_bytes: u64,
    /// What all retentions come to; `null` when something is kept for ever.
    pub needed_bytes: Option<u64>,
    /// When files begin to go before their time; `null` when all fits.
    pub full_at: Option<Time>,
    /// So much of the retention does not fit.
    pub short_by_days: Option<f64>,
    /// The same in words.
    pub says: String,
}

/// A path's recordings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathUsage {
    /// Its name.
    pub name: String,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How fast they grow; `null` when too little is recorded to tell.
    pub bytes_per_day: Option<u64>,
    /// What there will be once the oldest go.
    pub bytes_at_full_retention: Option<u64>,
    /// `recordQuota`.
    pub quota_bytes: Option<u64>,
    /// By how much the quota is exceeded by what may not be deleted.
    pub quota_unmet_bytes: u64,
}

/// What one rule deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedByRule {
    /// The rule.
    pub rule: &'static str,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Whether a path is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordingSwitch {
    /// The path.
    pub name: String,
    /// Whether it is to be recorded.
    pub enabled: bool,
}

/// MediaMTX's `Recording`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recording {
    /// The path.
    pub name: String,
    /// Its files, the oldest first.
    pub segments: Vec<RecordingSegment>,
}

/// MediaMTX's `RecordingSegment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecordingSegment {
    /// When it begins.
    pub start: Time,
}

/// How a comparison of catalogue and disks goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckState {
    /// One runs now.
    pub running: bool,
    /// What the last one found; `null` when there was none since the server's start.
    pub last: Option<CheckReport>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// When it began.
    pub begun: Time,
    /// When it ended.
    pub ended: Time,
    /// Files compared.
    pub files: u64,
    /// Files that are what the catalogue says.
    pub sound: u64,
    /// Files that are being written, passed over.
    pub open: u64,
    /// Files that are in the bucket only.
    pub in_bucket: u64,
    /// Files whose copy in the bucket was gone or had another length: they are uploaded again.
    pub sent_again: u64,
    /// The same, of files that are on no disk any more.
    pub lost: u64,
    /// Sums of files that were wrong: made again.
    pub sums: u64,
    /// Files on disks that are not there, passed over.
    pub absent: u64,
    /// Rows whose file was gone: taken out and noted.
    pub missing: u64,
    /// Files of ours that the catalogue did not know: added.
    pub added: u64,
    /// Files shorter than they should be: cut to the last whole part, the row corrected.
    pub truncated: u64,
    /// Files that are not what the catalogue says; left as they are.
    pub altered: u64,
    /// Files of ours without anything in them, left of a power cut: removed.
    pub removed: u64,
    /// Files that are not ours; left as they are.
    pub foreign: u64,
    /// Files that could not be read or repaired.
    pub failed: u64,
    /// The first of those that are not in order, in words.
    pub findings: Vec<String>,
}
