//! Check: catalogue and disks compared, both ways, and what can be put right put right.
//!
//! | found | done |
//! | --- | --- |
//! | a row whose file is gone | the row goes, the loss is noted among the deletions (`missing`); where there is a copy in the bucket, that is noted instead |
//! | a file of ours without a row | its torn end is cut, the row is added |
//! | a file shorter than its row | cut to its last whole part, the row corrected |
//! | a file that is not what its row says | nothing: somebody must look |
//! | a file that is named as one of ours is, not known, and holds no part: what a power cut left | it goes, noted among the deletions (`empty`) |
//! | a file that is not ours | nothing |
//! | a sum of files that is wrong | it is made again |
//! | thumbnails of a file that is gone | they go |
//!
//! The bucket is compared as well (-> `bucket_check`).
//! Files that are being written are passed over, so it may run beside the server. A disk that is not there is passed over
//! too: its files are not gone.
//! Memory: a page of rows, one file's index, and [`FINDINGS_MAX`] findings, however large the archive is.

use std::fs::{File, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use media_core::egress::recorder::{Gap, GapReason};
use media_core::time::WallTime;
use tokio::sync::mpsc;

use crate::bucket_check::{CompareError, compare};
use crate::catalogue::{Catalogue, CatalogueError, FileRow, Update};
use crate::clock::Clock;
use crate::continuity::Continuity;
use crate::deletion::{Deleter, Leftover, Outcome};
use crate::durable::sync_name;
use crate::keeper::{InForce, RetentionConfig};
use crate::marker;
use crate::repair::{Known, Mended, holds_no_part, mend, read_head, told};
use crate::root::Root;
use crate::walk::{Standing, standing_at};

/// Rows looked at at a time.
const ROWS_PER_PAGE: u32 = 256;
/// Findings told one by one; the rest are counted.
const FINDINGS_MAX: usize = 100;
/// Folders within folders that are looked into: a template of years to seconds has six.
const FOLDERS_DEEP_MAX: usize = 32;

const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// 03:00 UTC, midnight in Brasilia: when the server checks by itself.
const NIGHT_US: i64 = 3 * 3600 * 1_000_000;

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Whether they are there, whose they are, and how long: for every night.
    Lengths,
    /// Each part's head too: its place and its duration.
    Parts,
}

/// Something that is not in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub name: PathBuf,
    /// What is wrong, and what was done.
    pub what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Rows and files compared.
    pub files: u64,
    /// Files that are what the catalogue says.
    pub sound: u64,
    /// Files that are being written, passed over.
    pub open: u64,
    /// Files that are in the bucket only, passed over.
    pub in_bucket: u64,
    /// Files on disks that are not there, passed over.
    pub absent: u64,
    /// Rows whose file was gone.
    pub missing: u64,
    /// Files of ours that had no row.
    pub added: u64,
    /// Files that were too short.
    pub truncated: u64,
    /// Files that are not what the catalogue says.
    pub altered: u64,
    /// Files of ours without a part, left of a power cut: removed. Nothing is lost with them.
    pub removed: u64,
    /// Files that are not ours.
    pub foreign: u64,
    /// Files that could not be read or repaired, and a bucket that could not be listed.
    pub failed: u64,
    /// Files whose copy in the bucket was gone or had another length: they are uploaded again.
    pub sent_again: u64,
    /// The same, of files that are on no disk any more.
    pub lost: u64,
    /// Sums of files that were wrong: made again.
    pub sums: u64,
    /// The first of those that are not in order.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether everything was in order.
    pub fn is_sound(&self) -> bool {
        self.missing + self.added + self.truncated + self.sent_again + self.sums == 0
            && !self.needs_a_person()
    }

    /// Whether something is left that a check can't put right.
    pub fn needs_a_person(&self) -> bool {
        self.altered + self.failed + self.absent + self.lost > 0
    }

    pub(crate) fn find(&mut self, name: &Path, what: impl Into<String>) {
        let what = what.into();
        tracing::warn!(file = %name.display(), what, "storage check");
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { name: name.to_owned(), what });
        }
    }
}

/// How checks go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckState {
    /// One runs now.
    pub is_running: bool,
    /// The last one: when it began and ended, and what it found.
    pub last: Option<(WallTime, WallTime, CheckReport)>,
}

/// Runs checks: when one is ordered, and every night.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) checker: Checker,
    pub(crate) in_force: InForce,
    pub(crate) orders: mpsc::Receiver<Depth>,
    pub(crate) state: Arc<Mutex<CheckState>>,
}

impl Checks {
    /// Works until nobody can order any more.
    pub(crate) async fn run(mut self) {
        loop {
            let depth = tokio::select! {
                order = self.orders.recv() => match order {
                    Some(depth) => depth,
                    None => return,
                },
                () = tokio::time::sleep(until_night(self.checker.now())) => Depth::Lengths,
            };
            self.once(depth).await;
        }
    }

    async fn once(&mut self, depth: Depth) {
        lock(&self.state).is_running = true;
        let begun = self.checker.now();
        (self.checker.config, self.checker.deleter.roots) = self.in_force.get();
        // Boxed: everything that waits for the driver would be as large.
        match Box::pin(self.checker.run(depth)).await {
            Ok(report) => {
                tell(&report);
                lock(&self.state).last = Some((begun, self.checker.now(), report));
            }
            Err(error) => tracing::error!(%error, "storage check failed"),
        }
        lock(&self.state).is_running = false;
    }
}

fn tell(report: &CheckReport) {
    let CheckReport { files, sound, missing, added, truncated, altered, failed, absent, .. } = *report;
    let CheckReport { sent_again, lost, sums, .. } = *report;
    if report.is_sound() {
        tracing::info!(files, sound, "storage check: everything is in order");
    } else {
        tracing::error!(
            files,
            sound,
            missing,
            added,
            truncated,
            altered,
            failed,
            absent,
            sent_again,
            lost,
            sums,
            "storage check: not all is in order"
        );
    }
}

/// From a moment to the next night's check.
fn until_night(now: WallTime) -> Duration {
    let since_midnight = now.unix_us().rem_euclid(DAY_US);
    let us = (NIGHT_US - since_midnight).rem_euclid(DAY_US);
    // Not twice in the same night.
    Duration::from_micros(u64::try_from(if us == 0 { DAY_US } else { us }).unwrap_or(0))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a file is, beside its row.
enum Verdict {
    Sound,
    Missing,
    Short { len: u64 },
    Altered(&'static str),
}

/// Compares. See the module's header.
#[derive(Clone, Debug)]
pub(crate) struct Checker {
    pub(crate) deleter: Deleter,
    /// How files are named.
    pub(crate) config: Arc<RetentionConfig>,
    pub(crate) clock: Clock,
}

impl Checker {
    fn catalogue(&self) -> &Catalogue {
        &self.deleter.catalogue
    }

    fn now(&self) -> WallTime {
        (self.clock.wall)()
    }

    pub(crate) async fn run(&self, depth: Depth) -> Result<CheckReport, CatalogueError> {
        let mut report = CheckReport::default();
        let mut after = i64::MIN;
        loop {
            let rows = self.catalogue().files_after(after, ROWS_PER_PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            for row in rows {
                self.row(row, depth, &mut report).await?;
            }
        }
        let present: Vec<_> = self.deleter.roots.iter().filter(|root| root.is_present()).cloned().collect();
        for root in present {
            self.files_below(&root, &mut report).await?;
        }
        self.bucket(&mut report).await?;
        self.sums(&mut report).await?;
        Ok(report)
    }

    async fn sums(&self, report: &mut CheckReport) -> Result<(), CatalogueError> {
        report.sums = self.catalogue().mend_sums().await?;
        if report.sums > 0 {
            report.find(
                Path::new("the catalogue"),
                format!("had {} wrong sums; they are made again", report.sums),
            );
        }
        Ok(())
    }

    async fn bucket(&self, report: &mut CheckReport) -> Result<(), CatalogueError> {
        let Some(bucket) = self.catalogue().bucket() else { return Ok(()) };
        match Box::pin(compare(self.catalogue(), bucket, report)).await {
            Err(CompareError::Bucket(error)) => {
                report.failed += 1;
                report.find(Path::new(bucket.prefix()), format!("can't be looked at in the bucket: {error}"));
                Ok(())
            }
            Err(CompareError::Catalogue(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    async fn row(&self, row: FileRow, depth: Depth, report: &mut CheckReport) -> Result<(), CatalogueError> {
        report.files += 1;
        if row.is_open {
            report.open += 1;
            return Ok(());
        }
        if !row.is_on_disk() {
            // Its copy is what there is: see below, where the bucket is looked at.
            report.in_bucket += 1;
            return Ok(());
        }
        if self.deleter.roots.of(&row.name).is_some_and(|root| !root.is_present()) {
            report.absent += 1;
            return Ok(());
        }
        let (row, verdict) = blocking(move || {
            let verdict = verdict(&row, depth);
            (row, verdict)
        })
        .await;
        match verdict {
            Ok(Verdict::Sound) => report.sound += 1,
            // It may have been deleted since its row was read.
            _ if self.catalogue().file(&row.name.to_string_lossy()).await?.is_none() => report.files -= 1,
            Ok(Verdict::Missing) if row.object.is_some() => {
                self.catalogue().left_disk(row.id).await?;
                report.in_bucket += 1;
                report.find(&row.name, "is gone from its disk; its copy in the bucket is kept");
            }
            Ok(Verdict::Missing) => {
                self.catalogue().note_missing(&row, self.now()).await?;
                self.note_gap(&row, row.start).await?;
                report.missing += 1;
                report.find(&row.name, "is gone; its row is taken out");
            }
            Ok(Verdict::Short { len }) => self.short(&row, len, report).await?,
            Ok(Verdict::Altered(what)) => {
                report.altered += 1;
                report.find(&row.name, format!("was altered: {what}"));
            }
            Err(error) => {
                report.failed += 1;
                report.find(&row.name, format!("can't be read: {error}"));
            }
        }
        Ok(())
    }

    async fn short(&self, row: &FileRow, len: u64, report: &mut CheckReport) -> Result<(), CatalogueError> {
        let lost = row.extent.bytes - len;
        match self.mended(&row.name).await? {
            Ok(end) => {
                self.catalogue().note_cut(&row.name.to_string_lossy()).await?;
                self.note_gap(row, end).await?;
                report.truncated += 1;
                report.find(&row.name, format!("lacks its last {lost} bytes; the row says so now"));
            }
            Err(why) => {
                report.failed += 1;
                report.find(&row.name, format!("lacks its last {lost} bytes and can't be repaired: {why}"));
            }
        }
        Ok(())
    }

    /// What was lost of a file is missing from its path.
    async fn note_gap(&self, row: &FileRow, from: WallTime) -> Result<(), CatalogueError> {
        let gap = Gap { from, until: Some(row.end().max(from)), reason: GapReason::Disk };
        self.catalogue().apply(&[Update::Gap(row.path.clone(), gap)]).await
    }

    /// Makes a file whole and writes down what it is; where its media ends comes back.
    async fn mended(&self, name: &Path) -> Result<Result<WallTime, String>, CatalogueError> {
        let owned = name.to_owned();
        match blocking(move || mend(&owned, Known::default())).await {
            Ok(Mended::Closed { update, thumbnails_bytes, .. }) => {
                let us = update.facts.timescale.ticks_to_us(update.extent.duration_ticks);
                let end = update.facts.continuity.start.plus_us(us);
                self.catalogue().apply(&told(*update, thumbnails_bytes)).await?;
                Ok(Ok(end))
            }
            Ok(Mended::Empty { .. }) => Ok(Err("it holds no whole part".to_owned())),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Looks for files that the catalogue does not know.
    async fn files_below(&self, root: &Root, report: &mut CheckReport) -> Result<(), CatalogueError> {
        let mut open: Vec<ReadDir> = Vec::new();
        match std::fs::read_dir(&root.folder) {
            Ok(entries) => open.push(entries),
            Err(error) => {
                report.failed += 1;
                report.find(&root.folder, format!("can't be read: {error}"));
            }
        }
        while let Some(entries) = open.last_mut() {
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            let Ok(entry) = entry else { continue };
            let (name, kind) = (entry.path(), entry.file_type());
            if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
                // Ours, and not recordings.
                let is_own = name.file_name().is_some_and(|name| name == ".gtvision");
                if !is_own && open.len() < FOLDERS_DEEP_MAX {
                    open.extend(std::fs::read_dir(&name));
                }
                continue;
            }
            match name.extension().and_then(|extension| extension.to_str()) {
                Some("mp4") => self.file(root, &name, report).await?,
                Some("mjpeg") => self.thumbnails(&name, report).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the catalogue has a file of this name, or is about to be rid of it.
    pub(crate) async fn is_known(&self, name: &Path) -> Result<bool, CatalogueError> {
        let text = name.to_string_lossy();
        Ok(self.catalogue().file(&text).await?.is_some() || self.catalogue().is_being_deleted(&text).await?)
    }

    async fn file(&self, root: &Root, name: &Path, report: &mut CheckReport) -> Result<(), CatalogueError> {
        if self.is_known(name).await? {
            return Ok(());
        }
        // A file that is being written has a marker until the catalogue knows it as closed.
        let markers = match marker::all(&root.folder) {
            Ok(markers) => markers,
            Err(error) => {
                report.failed += 1;
                report.find(
                    name,
                    format!("is not in the catalogue; whether it is open can't be read: {error}"),
                );
                return Ok(());
            }
        };
        if markers.iter().any(|(_, of)| of == name) || self.is_known(name).await? {
            return Ok(());
        }
        report.files += 1;
        if let Some(left) = self.leftover(name).await
            && self.deleter.delete_leftover(&left, self.now()).await? == Outcome::Deleted
        {
            report.removed += 1;
            report.find(name, "holds no part, as a power cut leaves it; it is removed");
            return Ok(());
        }
        match self.stranger(root, name).await? {
            Ok(()) => {
                report.added += 1;
                report.find(name, "was not in the catalogue; it is now");
            }
            Err(Stranger::Foreign(why)) => {
                report.foreign += 1;
                report.find(name, why);
            }
            Err(Stranger::Failed(why)) => {
                report.failed += 1;
                report.find(name, format!("is ours, is not in the catalogue and can't be repaired: {why}"));
            }
        }
        Ok(())
    }

    /// A file of no use to anybody: its name is one of ours, and no part was ever on the disk. Such a file had its name synced
    /// with another's folder, before its marker was there.
    async fn leftover(&self, name: &Path) -> Option<Leftover> {
        let (path, start) = self.config.templates.iter().find_map(|template| template.read(name))?;
        let owned = name.to_owned();
        // One that can't be read is told by whoever tries to add it.
        let bytes = blocking(move || holds_no_part(&owned)).await.ok()??;
        Some(Leftover { path, name: name.to_owned(), start, bytes })
    }

    /// Adds a file that says that it is ours.
    async fn stranger(&self, root: &Root, name: &Path) -> Result<Result<(), Stranger>, CatalogueError> {
        let owned = name.to_owned();
        let continuity = match blocking(move || continuity_of(&owned)).await {
            Ok(Some(continuity)) => continuity,
            Ok(None) => return Ok(Err(Stranger::Foreign("is not a recording of ours"))),
            Err(error) => return Ok(Err(Stranger::Failed(error.to_string()))),
        };
        if let Some(known) = self.catalogue().file_at(&continuity.path, continuity.start).await?
            && (known.run, known.number) == (continuity.run, continuity.number)
        {
            return Ok(Err(Stranger::Foreign("is a copy of a recording that the catalogue knows")));
        }
        let (owned, folder) = (name.to_owned(), root.folder.clone());
        if let Err(error) = blocking(move || sync_name(&owned, &folder)).await {
            return Ok(Err(Stranger::Failed(error.to_string())));
        }
        Ok(self.mended(name).await?.map(drop).map_err(Stranger::Failed))
    }
}

/// Why a file is not added.
enum Stranger {
    Foreign(&'static str),
    Failed(String),
}

/// Runs what may hang with a disk on a thread for such things.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn continuity_of(name: &Path) -> io::Result<Option<Continuity>> {
    let file = File::open(name)?;
    let len = file.metadata()?.len();
    Ok(read_head(&file, len)?.and_then(|head| Continuity::find(&head)))
}

/// Compares a file with its row.
fn verdict(row: &FileRow, depth: Depth) -> io::Result<Verdict> {
    let file = match File::open(&row.name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Missing),
        file => file?,
    };
    let len = file.metadata()?.len();
    if len < row.extent.bytes {
        return Ok(Verdict::Short { len });
    }
    let Some(head) = read_head(&file, len)? else { return Ok(Verdict::Altered("its beginning")) };
    let said = Continuity::find(&head);
    let is_same = said.is_some_and(|said| {
        (said.path, said.run, said.number, said.start) == (row.path.clone(), row.run, row.number, row.start)
    });
    if !is_same || u64::try_from(head.len()).ok() != Some(row.first_offset) {
        return Ok(Verdict::Altered("its beginning"));
    }
    if len > row.extent.bytes && standing_at(&file, row.extent.bytes, len)? != Standing::Index {
        return Ok(Verdict::Altered("what follows its last part"));
    }
    match depth {
        Depth::Lengths => Ok(Verdict::Sound),
        Depth::Parts => parts_are_sound(&file, row),
    }
}

fn parts_are_sound(file: &File, row: &FileRow) -> io::Result<Verdict> {
    let (mut offset, mut ticks) = (row.first_offset, 0);
    while offset < row.extent.bytes {
        let Standing::Part(part) = standing_at(file, offset, row.extent.bytes)? else {
            return Ok(Verdict::Altered("its parts"));
        };
        offset += part.len_bytes;
        ticks += part.summary.duration_ticks;
    }
    let is_same = ticks == row.extent.duration_ticks;
    Ok(if is_same { Verdict::Sound } else { Verdict::Altered("its duration") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_night_is_ahead_and_never_the_one_that_is() {
        let at = |seconds: i64| WallTime(20_000 * DAY_US + seconds * 1_000_000);
        let three = 3 * 3600;
        for (now, hours_and_seconds) in
            [(0, (3, 0)), (three - 1, (0, 1)), (three, (24, 0)), (three + 1, (23, 3599))]
        {
            let (hours, seconds) = hours_and_seconds;
            assert_eq!(until_night(at(now)), Duration::from_secs(hours * 3600 + seconds), "{now} s");
        }
    }
}
