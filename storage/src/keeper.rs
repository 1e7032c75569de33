//! Keeper: what is kept and what goes: the rules, one after the other, about once a second.
//!
//! ```text
//!  disks: absent ─adopt, repair─► usable ◄─levels─► full
//!  then, each leaving what a hold keeps:
//!   1. age     files whose last picture is older than their path's recordDeleteAfter
//!   2. quota   the oldest of a path above its recordQuota, then the oldest of all above recordQuotaTotal
//!   3. space   the oldest on a disk above recordDiskDelete, whatever their age: from there only, where there is such a copy
//!  above recordDiskStop nothing is recorded until there is room again
//! ```
//!
//! By a clock that was set ahead nothing is old for a day (-> `clock`).
//!
//! What can't be met, because what is left is held or being written, is one line in the log when it begins, one when it
//! ends, and a metric meanwhile.
//! Limits: [`FILES_PER_PASS_MAX`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use media_core::path_name::PathName;
use media_core::time::WallTime;

use crate::adopt::{Refusal, adopt};
use crate::catalogue::{CatalogueError, FileRow};
use crate::clock::{Clock, ClockWatch};
use crate::deletion::{Cause, Deleter, Outcome, Rule};
use crate::figures::{self, GROWTH_US, PathFigures, PathRule, RootFigures, StorageFigures};
use crate::levels::{DiskLevels, Fullness, Space};
use crate::listener::{DiskAlarm, RecordingListener};
use crate::record_path::RecordPath;
use crate::repair::{self, RepairReport};
use crate::root::{Condition, Root, Roots};

/// Files deleted for one reason in one pass; the next pass goes on. The catalogue is free for others in between.
const FILES_PER_PASS_MAX: u32 = 100;
/// How often ages are looked at, at most: MediaMTX's half an hour would leave an hour's recordings half an hour too long.
const AGE_EVERY_MAX: Duration = Duration::from_secs(60);
/// And at least, however short the retention is.
const AGE_EVERY_MIN: Duration = Duration::from_secs(1);
/// After a deletion for space the disk is given so long to show it: some file systems free blocks with their next commit.
const SPACE_SETTLES_AFTER: Duration = Duration::from_secs(5);
/// The catalogue's reserve is made again so long after it was used: what was deleted meanwhile shows by then.
const RESERVE_AFTER: Duration = Duration::from_secs(60);
/// How old the figures of the metrics may be.
const FIGURES_EVERY: Duration = Duration::from_secs(15);

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionConfig {
    /// By path.
    pub paths: Vec<PathRule>,
    /// How files are named: a check knows by it what a power cut left.
    pub templates: Vec<RecordPath>,
    /// `recordQuotaTotal`: more than this is not kept of all paths together.
    pub quota_total_bytes: Option<u64>,
    /// How full disks may be.
    pub levels: DiskLevels,
    /// `localRetention`: files that are in the bucket leave their disk after this; `None` for not before they are deleted.
    pub local_retention: Option<Duration>,
}

/// What others may ask of the keeper.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// By how much a quota is exceeded by what may not go; `None` for the total.
    unmet: Mutex<BTreeMap<Option<PathName>, u64>>,
    last: Mutex<Option<StorageFigures>>,
}

impl Kept {
    /// The figures of the last quarter of a minute.
    pub(crate) fn figures(&self) -> Option<StorageFigures> {
        let mut figures = lock(&self.last).clone()?;
        self.fill_in(&mut figures);
        Some(figures)
    }

    fn fill_in(&self, figures: &mut StorageFigures) {
        let unmet = lock(&self.unmet);
        for path in &mut figures.paths {
            path.quota_unmet_bytes = unmet.get(&Some(path.path.clone())).copied().unwrap_or(0);
        }
        figures.quota_total_unmet_bytes = unmet.get(&None).copied().unwrap_or(0);
    }
}

/// What is to be kept where, as it was last configured. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct InForce(Arc<Mutex<(Arc<RetentionConfig>, Roots)>>);

impl InForce {
    pub(crate) fn new(config: RetentionConfig, roots: Roots) -> Self {
        Self(Arc::new(Mutex::new((Arc::new(config), roots))))
    }

    /// Puts other rules in force, and adds folders. A folder that is not named any more is looked after still: there may
    /// be files in it.
    pub(crate) fn change(&self, config: RetentionConfig, folders: Vec<PathBuf>) {
        let mut in_force = lock(&self.0);
        *in_force = (Arc::new(config), in_force.1.with(folders));
    }

    pub(crate) fn get(&self) -> (Arc<RetentionConfig>, Roots) {
        lock(&self.0).clone()
    }
}

/// What the rules need and figures are made of. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Premises {
    pub(crate) deleter: Deleter,
    pub(crate) config: Arc<RetentionConfig>,
    pub(crate) in_force: InForce,
    pub(crate) clock: Clock,
    pub(crate) kept: Arc<Kept>,
}

impl Premises {
    /// As they are configured now.
    pub(crate) fn renewed(&self) -> Self {
        let mut renewed = self.clone();
        (renewed.config, renewed.deleter.roots) = self.in_force.get();
        renewed
    }

    /// All figures, as they are now.
    pub(crate) async fn figures(&self) -> Result<StorageFigures, CatalogueError> {
        let now = (self.clock.wall)();
        let catalogue = &self.deleter.catalogue;
        let growth = catalogue.growth_since(now.plus_us(-GROWTH_US)).await?;
        let paths = figures::paths(&self.config.paths, catalogue.usage().await?, &growth, now);
        let mut roots = Vec::new();
        for root in self.deleter.roots.iter() {
            let recorded_bytes = catalogue.bytes_below(&root.folder).await?;
            roots.push(self.root_figures(root, recorded_bytes, &paths, now));
        }
        let mut figures = StorageFigures {
            at: now,
            paths,
            roots,
            levels: self.config.levels,
            quota_total_bytes: self.config.quota_total_bytes,
            quota_total_unmet_bytes: 0,
            deleted: self.deleter.counts.snapshot(),
        };
        self.kept.fill_in(&mut figures);
        Ok(figures)
    }

    fn root_figures(
        &self,
        root: &Root,
        recorded_bytes: u64,
        paths: &[PathFigures],
        now: WallTime,
    ) -> RootFigures {
        let here = |path: &&PathFigures| {
            self.config.paths.iter().any(|rule| rule.path == path.path && rule.root == root.folder)
        };
        let on_disk = |path: &PathFigures| figures::on_disk(path, self.config.local_retention);
        let of: Vec<PathFigures> = paths.iter().filter(here).map(on_disk).collect();
        let of: Vec<&PathFigures> = of.iter().collect();
        let space = root.last_look().space;
        RootFigures {
            root: root.folder.clone(),
            id: root.known(),
            condition: root.condition(),
            space,
            recorded_bytes,
            forecast: space
                .and_then(|space| figures::forecast(&of, space, recorded_bytes, self.config.levels, now)),
        }
    }
}

/// A file system and the folders of recordings on it.
struct Group {
    device: u64,
    space: Space,
    roots: Vec<Arc<Root>>,
}

#[derive(Debug, Default)]
struct DiskState {
    fullness: Fullness,
    deleted: Option<Instant>,
    is_unmet: bool,
}

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Keeper {
    premises: Premises,
    refusals: BTreeMap<PathBuf, Refusal>,
    disks: BTreeMap<u64, DiskState>,
    watch: ClockWatch,
    age_due: Option<Instant>,
    figures_due: Option<Instant>,
    /// When the catalogue's reserve is to be made again; `None` while it is there.
    reserve_due: Option<Instant>,
    is_failing: bool,
    /// Who is told of disks.
    pub(crate) listener: Option<Arc<dyn RecordingListener>>,
}

impl Keeper {
    pub(crate) fn new(premises: Premises) -> Self {
        Self {
            premises,
            refusals: BTreeMap::new(),
            disks: BTreeMap::new(),
            watch: ClockWatch::default(),
            age_due: None,
            figures_due: None,
            reserve_due: None,
            is_failing: false,
            listener: None,
        }
    }

    /// One pass of all rules.
    pub(crate) async fn pass(&mut self) {
        self.premises = self.premises.renewed();
        let passed = self.rules().await;
        match &passed {
            Err(error) if !self.is_failing => tracing::error!(%error, "rules of retention can't be kept"),
            Ok(()) if self.is_failing => tracing::info!("rules of retention are kept again"),
            _ => {}
        }
        self.is_failing = passed.is_err();
        if passed.is_err_and(|error| error.is_disk_full()) {
            self.premises.deleter.catalogue.use_reserve();
            self.reserve_due = Some((self.premises.clock.monotonic)() + RESERVE_AFTER);
        }
    }

    async fn rules(&mut self) -> Result<(), CatalogueError> {
        let now = (self.premises.clock.wall)();
        let believed = self.watch.believed(now, (self.premises.clock.monotonic)());
        if self.is_failing {
            // What was noted, though the database's word for it got lost.
            self.premises.deleter.finish().await?;
        }
        self.adopt_absent(now).await?;
        let groups = self.judge_disks();
        if self.is_due(self.age_due) {
            self.age_due = Some((self.premises.clock.monotonic)() + self.age_every());
            self.age(believed, now).await?;
        }
        self.quotas(now).await?;
        for group in groups {
            self.space(&group, now).await?;
        }
        if self.reserve_due.is_some_and(|due| (self.premises.clock.monotonic)() >= due)
            && self.disks.values().all(|disk| disk.fullness != Fullness::Stop)
        {
            self.reserve_due = None;
            self.premises.deleter.catalogue.keep_reserve();
        }
        if self.is_due(self.figures_due) {
            self.figures_due = Some((self.premises.clock.monotonic)() + FIGURES_EVERY);
            let figures = self.premises.figures().await?;
            *lock(&self.premises.kept.last) = Some(figures);
        }
        Ok(())
    }

    fn is_due(&self, due: Option<Instant>) -> bool {
        due.is_none_or(|due| (self.premises.clock.monotonic)() >= due)
    }

    fn age_every(&self) -> Duration {
        let ages = self.premises.config.paths.iter().filter_map(|rule| rule.delete_after);
        ages.map(|age| age / 2).min().unwrap_or(AGE_EVERY_MAX).clamp(AGE_EVERY_MIN, AGE_EVERY_MAX)
    }

    /// Takes folders into use whose disk is there, after a repair of what was open.
    pub(crate) async fn adopt_absent(&mut self, now: WallTime) -> Result<(), CatalogueError> {
        let absent: Vec<Arc<Root>> =
            self.premises.deleter.roots.iter().filter(|root| !root.is_present()).map(Arc::clone).collect();
        for root in absent {
            let folder = root.folder.clone();
            match adopt(&self.premises.deleter.catalogue, &root, now).await? {
                Ok(()) => {
                    let repaired = self.repair(&root).await?;
                    if repaired != RepairReport::default() {
                        tracing::info!(root = %folder.display(), report = ?repaired, "recordings repaired");
                    }
                    self.premises.deleter.finish().await?;
                    if self.refusals.remove(&folder).is_some() {
                        tracing::info!(root = %folder.display(), "disk of recordings is back");
                    }
                    root.set_condition(Condition::Usable);
                    // What fell due meanwhile goes at once.
                    self.age_due = None;
                }
                Err(refusal) => {
                    if self.refusals.get(&folder) != Some(&refusal) {
                        tracing::error!(root = %folder.display(), %refusal, "folder is not recorded to");
                    }
                    self.refusals.insert(folder, refusal);
                }
            }
        }
        Ok(())
    }

    async fn repair(&self, root: &Arc<Root>) -> Result<RepairReport, CatalogueError> {
        let roots = &self.premises.deleter.roots;
        let is_here = |name: &std::path::Path| roots.of(name).is_some_and(|of| Arc::ptr_eq(of, root));
        repair::repair(&self.premises.deleter.catalogue, std::slice::from_ref(&root.folder), is_here).await
    }

    /// Says of each disk how full it is, and stops or resumes recording to it.
    fn judge_disks(&mut self) -> Vec<Group> {
        let levels = self.premises.config.levels;
        let mut groups: Vec<Group> = Vec::new();
        for root in self.premises.deleter.roots.iter().filter(|root| root.is_present()) {
            let look = root.last_look();
            let (Some(space), Some(device)) = (look.space, look.device) else { continue };
            match groups.iter_mut().find(|group| group.device == device) {
                Some(group) => group.roots.push(Arc::clone(root)),
                None => groups.push(Group { device, space, roots: vec![Arc::clone(root)] }),
            }
        }
        for group in &groups {
            let state = self.disks.entry(group.device).or_default();
            let fullness = levels.judge(state.fullness, group.space);
            if fullness != state.fullness {
                tell_fullness(group, fullness);
                if let (Some(listener), Some(root)) = (&self.listener, group.roots.first()) {
                    listener.disk(&DiskAlarm {
                        root: &root.folder,
                        state: fullness.as_str(),
                        space: group.space,
                    });
                }
            }
            state.fullness = fullness;
            let condition = match fullness {
                Fullness::Stop => Condition::Full,
                Fullness::Normal | Fullness::Alarm => Condition::Usable,
            };
            // One that went away meanwhile stays away until it is adopted again.
            group
                .roots
                .iter()
                .filter(|root| root.is_present() && root.is_found())
                .for_each(|root| root.set_condition(condition));
        }
        groups
    }

    async fn age(&self, believed: WallTime, now: WallTime) -> Result<(), CatalogueError> {
        let deleter = &self.premises.deleter;
        for rule in &self.premises.config.paths {
            let Some(delete_after) = rule.delete_after else { continue };
            let age_us = i64::try_from(delete_after.as_micros()).unwrap_or(i64::MAX);
            let before = believed.plus_us(age_us.saturating_neg());
            for file in deleter.catalogue.expired(&rule.path, before, FILES_PER_PASS_MAX).await? {
                deleter.delete(&file, Cause::rule(Rule::Age, now)).await?;
            }
        }
        Ok(())
    }

    async fn quotas(&self, now: WallTime) -> Result<(), CatalogueError> {
        let config = Arc::clone(&self.premises.config);
        if config.quota_total_bytes.is_none() && config.paths.iter().all(|rule| rule.quota_bytes.is_none()) {
            return Ok(());
        }
        let catalogue = &self.premises.deleter.catalogue;
        let usage = catalogue.usage().await?;
        let used: BTreeMap<&PathName, u64> = usage.iter().map(|used| (&used.path, used.bytes)).collect();
        for rule in &config.paths {
            let Some(quota) = rule.quota_bytes else { continue };
            let excess = used.get(&rule.path).copied().unwrap_or(0).saturating_sub(quota);
            let files = match excess {
                0 => Vec::new(),
                _ => catalogue.oldest_of(&rule.path, FILES_PER_PASS_MAX).await?,
            };
            let left = self.make_room(files, excess, Cause::rule(Rule::Quota, now)).await?;
            self.tell_unmet(Some(&rule.path), left);
        }
        if let Some(quota) = config.quota_total_bytes {
            let used: u64 = catalogue.usage().await?.iter().map(|used| used.bytes).sum();
            let excess = used.saturating_sub(quota);
            let roots: Vec<Arc<Root>> = self.premises.deleter.roots.iter().map(Arc::clone).collect();
            let mut files = Vec::new();
            if excess > 0 {
                files = self.oldest_on(&roots).await?;
                files.extend(catalogue.oldest_in_bucket(FILES_PER_PASS_MAX).await?);
                first_of(&mut files);
            }
            let left = self.make_room(files, excess, Cause::rule(Rule::Quota, now)).await?;
            self.tell_unmet(None, left);
        }
        Ok(())
    }

    async fn space(&mut self, group: &Group, now: WallTime) -> Result<(), CatalogueError> {
        let at = (self.premises.clock.monotonic)();
        let state = self.disks.entry(group.device).or_default();
        let settling = |deleted: Instant| at.saturating_duration_since(deleted) < SPACE_SETTLES_AFTER;
        if state.deleted.is_some_and(settling) {
            return Ok(());
        }
        let excess = self.premises.config.levels.excess_bytes(group.space);
        let files = if excess == 0 { Vec::new() } else { self.oldest_on(&group.roots).await? };
        let has_files = !files.is_empty();
        let left = self.make_room(files, excess, Cause::rule(Rule::Space, now)).await?;
        let state = self.disks.entry(group.device).or_default();
        if has_files {
            state.deleted = Some(at);
        }
        let is_unmet = left > 0;
        if is_unmet && !state.is_unmet {
            let root = group.name();
            tracing::warn!(
                root,
                bytes = left,
                "disk is above recordDiskDelete and nothing on it may be deleted"
            );
        }
        state.is_unmet = is_unmet;
        Ok(())
    }

    /// The oldest files that may go below some folders, those of disks that are not there left out.
    async fn oldest_on(&self, roots: &[Arc<Root>]) -> Result<Vec<FileRow>, CatalogueError> {
        let mut files = Vec::new();
        // A folder within another would give its files twice.
        let mut seen = BTreeSet::new();
        for root in roots.iter().filter(|root| root.is_present()) {
            for file in self.premises.deleter.catalogue.oldest_below(&root.folder, FILES_PER_PASS_MAX).await?
            {
                if seen.insert(file.id) {
                    files.push(file);
                }
            }
        }
        first_of(&mut files);
        Ok(files)
    }

    /// Deletes from the oldest on until `excess` bytes are gone; what can't go, because there is nothing more that
    /// may, comes back.
    async fn make_room(
        &self,
        files: Vec<FileRow>,
        excess: u64,
        cause: Cause<'_>,
    ) -> Result<u64, CatalogueError> {
        let is_all = files.len() < usize::try_from(FILES_PER_PASS_MAX).unwrap_or(usize::MAX);
        let mut left = excess;
        for file in files {
            if left == 0 {
                break;
            }
            let deleter = &self.premises.deleter;
            let outcome = match cause.rule {
                // Nothing is lost where there is a copy. The bucket is not asked once more: a full disk can't wait for it.
                Rule::Space if file.object.is_some() => deleter.evict(&file).await?,
                _ => deleter.delete(&file, cause).await?,
            };
            if outcome == Outcome::Deleted {
                left = left.saturating_sub(file.extent.bytes);
            }
        }
        Ok(if is_all { left } else { 0 })
    }

    fn tell_unmet(&self, path: Option<&PathName>, left: u64) {
        let mut unmet = lock(&self.premises.kept.unmet);
        let before = unmet.insert(path.cloned(), left).unwrap_or(0);
        let path = path.map_or("all paths", PathName::as_str);
        if left > 0 && before == 0 {
            tracing::warn!(
                path,
                bytes = left,
                "quota is exceeded by files that may not go: held, being written, or on a disk that is not there"
            );
        } else if left == 0 && before > 0 {
            tracing::info!(path, "quota is met again");
        }
    }
}

impl Group {
    fn name(&self) -> String {
        self.roots.first().map(|root| root.folder.display().to_string()).unwrap_or_default()
    }
}

/// As many of the oldest as one pass takes.
fn first_of(files: &mut Vec<FileRow>) {
    files.sort_by_key(|file| file.start);
    files.truncate(usize::try_from(FILES_PER_PASS_MAX).unwrap_or(usize::MAX));
}

fn tell_fullness(group: &Group, fullness: Fullness) {
    let Space { used_bytes, total_bytes } = group.space;
    let root = group.name();
    match fullness {
        Fullness::Normal => tracing::info!(root, used_bytes, total_bytes, "disk has room again"),
        Fullness::Alarm => tracing::warn!(root, used_bytes, total_bytes, "disk is above recordDiskAlarm"),
        Fullness::Stop => {
            tracing::error!(
                root,
                used_bytes,
                total_bytes,
                "disk is above recordDiskStop: nothing is recorded"
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
