//! Figures: what is kept, how fast it grows, and whether it will fit.
//!
//! A path's growth is what the catalogue holds of the last 24 h and the hour in which they began, or of less where recording
//! began later. A disk's room is
//! what recordings may take of it: what they take now, and what is left up to `recordDiskDelete`.
//!
//! Belongs here: sums. Does not: deleting (-> `keeper`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use media_core::path_name::PathName;
use media_core::time::WallTime;

use crate::catalogue::{PathUsage, RecentGrowth};
use crate::deletion::DeletedFigures;
use crate::levels::{DiskLevels, Space};
use crate::root::Condition;

/// Growth is looked at so far back, and to the beginning of that hour.
pub(crate) const GROWTH_US: i64 = DAY_US;
/// Less than this recorded says nothing of a day.
const GROWTH_US_MIN: i64 = 10_000_000;
const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// What a path's recordings are kept by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// The path.
    pub path: PathName,
    /// `recordDeleteAfter`: media older than this goes; `None` keeps for ever.
    pub delete_after: Option<Duration>,
    /// `recordQuota`: more than this is not kept; `None` for as much as there is room.
    pub quota_bytes: Option<u64>,
    /// The folder that its files are in.
    pub root: PathBuf,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFigures {
    /// Its name.
    pub path: PathName,
    /// Files, open ones too.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How fast they grow; `None` when too little is recorded to tell.
    pub bytes_per_day: Option<u64>,
    /// What there will be once the oldest go; `None` when that can't be told, or never.
    pub bytes_at_full_retention: Option<u64>,
    /// `recordQuota`.
    pub quota_bytes: Option<u64>,
    /// By how much the quota is exceeded by what may not be deleted.
    pub quota_unmet_bytes: u64,
}

/// One folder of recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFigures {
    /// The folder.
    pub root: PathBuf,
    /// The identity of its disk; `None` while it has none.
    pub id: Option<String>,
    /// Whether it is written.
    pub condition: Condition,
    /// Its file system; `None` when the system does not say.
    pub space: Option<Space>,
    /// Bytes of recordings in it.
    pub recorded_bytes: u64,
    /// What it will be asked to hold.
    pub forecast: Option<Forecast>,
}

/// Whether what is to be kept will fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// How fast its recordings grow.
    pub bytes_per_day: u64,
    /// What recordings may take of it.
    pub room_bytes: u64,
    /// What all retentions come to; `None` when something is kept for ever.
    pub needed_bytes: Option<u64>,
    /// When `recordDiskDelete` is reached and files go before their time; `None` when all fits.
    pub full_at: Option<WallTime>,
    /// So much of the retention does not fit; `None` when all fits, or when something is kept for ever.
    pub short_by: Option<Duration>,
}

/// Everything, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageFigures {
    /// When.
    pub at: WallTime,
    /// By path: those that are recorded or were.
    pub paths: Vec<PathFigures>,
    /// By folder.
    pub roots: Vec<RootFigures>,
    /// `recordDiskAlarm` and its like.
    pub levels: DiskLevels,
    /// `recordQuotaTotal`.
    pub quota_total_bytes: Option<u64>,
    /// By how much that is exceeded by what may not be deleted.
    pub quota_total_unmet_bytes: u64,
    /// What was deleted since the start.
    pub deleted: Vec<DeletedFigures>,
}

/// Each path's figures, from what the catalogue says.
pub(crate) fn paths(
    rules: &[PathRule],
    usage: Vec<PathUsage>,
    growth: &[RecentGrowth],
    now: WallTime,
) -> Vec<PathFigures> {
    let mut paths: BTreeMap<PathName, PathFigures> = BTreeMap::new();
    let empty = |path: &PathName| PathFigures {
        path: path.clone(),
        files: 0,
        bytes: 0,
        bytes_per_day: None,
        bytes_at_full_retention: None,
        quota_bytes: None,
        quota_unmet_bytes: 0,
    };
    for used in usage {
        let figures = paths.entry(used.path.clone()).or_insert_with(|| empty(&used.path));
        (figures.files, figures.bytes) = (used.files, used.bytes);
    }
    for grown in growth {
        let figures = paths.entry(grown.path.clone()).or_insert_with(|| empty(&grown.path));
        figures.bytes_per_day = per_day(grown, now);
    }
    for rule in rules {
        let figures = paths.entry(rule.path.clone()).or_insert_with(|| empty(&rule.path));
        figures.quota_bytes = rule.quota_bytes;
        figures.bytes_at_full_retention = at_full_retention(rule, figures.bytes_per_day);
    }
    paths.into_values().collect()
}

fn per_day(grown: &RecentGrowth, now: WallTime) -> Option<u64> {
    let us = now.us_since(grown.since);
    (us >= GROWTH_US_MIN).then(|| scaled(grown.bytes, DAY_US, us))
}

/// `bytes` for `wanted_us` when they came in `us`.
fn scaled(bytes: u64, wanted_us: i64, us: i64) -> u64 {
    let scaled = i128::from(bytes) * i128::from(wanted_us) / i128::from(us.max(1));
    u64::try_from(scaled.max(0)).unwrap_or(u64::MAX)
}

fn at_full_retention(rule: &PathRule, bytes_per_day: Option<u64>) -> Option<u64> {
    let by_age = rule.delete_after.zip(bytes_per_day).map(|(keep, bytes)| {
        let keep_us = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        scaled(bytes, keep_us, DAY_US)
    });
    match (by_age, rule.quota_bytes) {
        (Some(by_age), Some(quota)) => Some(by_age.min(quota)),
        (by_age, quota) => by_age.or(quota),
    }
}

/// A path's figures as its disk sees them, which files leave earlier for the bucket.
pub(crate) fn on_disk(path: &PathFigures, local_retention: Option<Duration>) -> PathFigures {
    let mut on_disk = path.clone();
    let by_age = local_retention.zip(path.bytes_per_day).map(|(keep, bytes)| {
        let keep_us = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        scaled(bytes, keep_us, DAY_US)
    });
    if let Some(by_age) = by_age {
        let all = on_disk.bytes_at_full_retention.unwrap_or(u64::MAX);
        on_disk.bytes_at_full_retention = Some(all.min(by_age));
    }
    on_disk
}

/// What a disk will be asked to hold; `of` are the paths that are recorded to it.
pub(crate) fn forecast(
    of: &[&PathFigures],
    space: Space,
    recorded_bytes: u64,
    levels: DiskLevels,
    now: WallTime,
) -> Option<Forecast> {
    let growing = || of.iter().filter(|path| path.bytes_per_day.is_some());
    let bytes_per_day: u64 = growing().filter_map(|path| path.bytes_per_day).sum();
    if bytes_per_day == 0 {
        return None;
    }
    let left = levels.delete_bytes(space).saturating_sub(space.used_bytes);
    let above = space.used_bytes.saturating_sub(levels.delete_bytes(space));
    let room_bytes = recorded_bytes.saturating_add(left).saturating_sub(above);
    let needed_bytes = growing().map(|path| path.bytes_at_full_retention).sum::<Option<u64>>();
    let fits = needed_bytes.is_some_and(|needed| needed <= room_bytes);
    let at_this_rate = |bytes: u64| {
        let us = i128::from(bytes) * i128::from(DAY_US) / i128::from(bytes_per_day);
        u64::try_from(us).unwrap_or(u64::MAX)
    };
    let full_us = i64::try_from(at_this_rate(left)).unwrap_or(i64::MAX);
    let short = needed_bytes.map(|needed| needed.saturating_sub(room_bytes));
    Some(Forecast {
        bytes_per_day,
        room_bytes,
        needed_bytes,
        full_at: (!fits).then(|| WallTime(now.unix_us().saturating_add(full_us))),
        short_by: short.filter(|_| !fits).map(|bytes| Duration::from_micros(at_this_rate(bytes))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: WallTime = WallTime(1_795_635_000_000_000);

    fn figures(rule: &PathRule, bytes: u64, over: Duration) -> PathFigures {
        let over_us = i64::try_from(over.as_micros()).unwrap();
        let usage = PathUsage { path: rule.path.clone(), files: 1, bytes };
        let growth = RecentGrowth { path: rule.path.clone(), bytes, since: NOW.plus_us(-over_us) };
        paths(std::slice::from_ref(rule), vec![usage], &[growth], NOW).remove(0)
    }

    fn rule(delete_after: Option<Duration>, quota_bytes: Option<u64>) -> PathRule {
        PathRule { path: PathName::parse("cam_1").unwrap(), delete_after, quota_bytes, root: "/r".into() }
    }

    #[test]
    fn a_path_grows_by_what_it_did_lately_and_ends_at_its_retention_or_its_quota() {
        let week = figures(&rule(Some(7 * DAY), None), 100, DAY / 4);
        assert_eq!((week.bytes_per_day, week.bytes_at_full_retention), (Some(400), Some(2800)));
        let quota = figures(&rule(Some(7 * DAY), Some(1000)), 100, DAY / 4);
        assert_eq!(quota.bytes_at_full_retention, Some(1000));
        let ever = figures(&rule(None, None), 100, DAY / 4);
        assert_eq!(ever.bytes_at_full_retention, None);
        let fresh = figures(&rule(Some(7 * DAY), None), 100, Duration::from_secs(3));
        assert_eq!(fresh.bytes_per_day, None, "three seconds say nothing of a day");
    }

    #[test]
    fn a_disk_that_is_too_small_says_by_how_much_and_when() {
        // 400 a day for 7 days are 2800; below 90 % of 2000 there is room for 1800, of which 200 are recordings now.
        let path = figures(&rule(Some(7 * DAY), None), 100, DAY / 4);
        let space = Space { total_bytes: 2000, used_bytes: 200 };
        let small = forecast(&[&path], space, 200, DiskLevels::default(), NOW).unwrap();
        assert_eq!((small.room_bytes, small.needed_bytes), (1800, Some(2800)));
        assert_eq!(small.short_by, Some(DAY * 5 / 2), "1000 of 400 a day");
        assert_eq!(small.full_at, Some(NOW.plus_us(4 * DAY_US)), "1600 are left");
        let large = Space { total_bytes: 20_000, used_bytes: 200 };
        let large = forecast(&[&path], large, 200, DiskLevels::default(), NOW).unwrap();
        assert_eq!((large.short_by, large.full_at), (None, None));
        let day = on_disk(&path, Some(DAY));
        let day = forecast(&[&day], space, 200, DiskLevels::default(), NOW).unwrap();
        assert_eq!((day.needed_bytes, day.short_by), (Some(400), None), "the rest is in the bucket");
        let ever = figures(&rule(None, None), 100, DAY / 4);
        let ever = forecast(&[&ever], space, 200, DiskLevels::default(), NOW).unwrap();
        assert_eq!((ever.needed_bytes, ever.short_by), (None, None));
        assert!(ever.full_at.is_some());
    }
}
