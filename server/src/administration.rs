//! Administration: what the API asks and orders of recordings, put to storage.
//!
//! Belongs here: names and times parsed, answers put into the API's words. Does not: what is kept (-> storage).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control_api::ApiError;
use control_api::model::Time;
use control_api::paging::{PageWanted, Piece};
use control_api::storage::{Answer, DeletionsWanted, HoldWanted, HoldsWanted, Switch};
use control_api::storage_model as api;
use media_core::path_name::PathName;
use media_core::time::WallTime;
use storage::{
    CatalogueError, CheckReport, CheckState, DeletionFilter, Depth, HoldFilter, Ledger, NewHold, Ordered,
    Paged, Paging, StorageFigures,
};

use crate::control::Observer;
use crate::egress::recorder::Recorders;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Observer {
    fn recordings(&self) -> Result<&Recorders, ApiError> {
        self.recorders.get().map(Arc::as_ref).ok_or(ApiError::StorageOff)
    }

    fn ledger(&self) -> Result<Ledger, ApiError> {
        Ok(self.recordings()?.ledger())
    }
}

impl control_api::Storage for Observer {
    fn place_hold(&self, hold: HoldWanted) -> Answer<'_, api::Hold> {
        Box::pin(async move {
            let hold = NewHold {
                path: path(&hold.path)?,
                start: wall(hold.start),
                end: wall(hold.end),
                reason: hold.reason,
                by: hold.by,
            };
            Ok(hold_of(self.ledger()?.place_hold(&hold).await.map_err(failed)?))
        })
    }

    fn holds(&self, wanted: HoldsWanted, page: PageWanted) -> Answer<'_, Piece<api::Hold>> {
        Box::pin(async move {
            let filter = HoldFilter {
                path: wanted.path.as_deref().map(path).transpose()?,
                is_active: wanted.is_active,
            };
            Ok(piece(self.ledger()?.holds(&filter, paging(page)).await.map_err(failed)?, hold_of))
        })
    }

    fn hold(&self, id: i64) -> Answer<'_, api::Hold> {
        Box::pin(async move {
            let hold = self.ledger()?.hold(id).await.map_err(failed)?;
            hold.map(hold_of).ok_or(ApiError::HoldNotFound)
        })
    }

    fn release_hold(&self, id: i64, by: String) -> Answer<'_, api::Hold> {
        Box::pin(async move {
            let hold = self.ledger()?.release_hold(id, &by).await.map_err(failed)?;
            hold.map(hold_of).ok_or(ApiError::HoldNotFound)
        })
    }

    fn deletions(&self, wanted: DeletionsWanted, page: PageWanted) -> Answer<'_, Piece<api::Deletion>> {
        Box::pin(async move {
            let filter = DeletionFilter {
                path: wanted.path.as_deref().map(path).transpose()?,
                start: wanted.start.map(wall),
                end: wanted.end.map(wall),
            };
            Ok(piece(self.ledger()?.deletions(&filter, paging(page)).await.map_err(failed)?, deletion_of))
        })
    }

    fn status(&self) -> Answer<'_, api::StorageStatus> {
        Box::pin(async move {
            let ledger = self.ledger()?;
            Ok(status_of(ledger.figures().await.map_err(failed)?, ledger.bucket_figures()))
        })
    }

    fn begin_check(&self) -> Answer<'_, api::CheckState> {
        Box::pin(async move { Ok(check_of(self.ledger()?.begin_check(Depth::Parts))) })
    }

    fn check_state(&self) -> Answer<'_, api::CheckState> {
        Box::pin(async move { Ok(check_of(self.ledger()?.check_state())) })
    }

    fn set_recording(&self, name: String, wanted: Switch, by: String) -> Answer<'_, api::RecordingSwitch> {
        Box::pin(async move {
            let path = path(&name)?;
            if self.registry.get(&path).is_none() {
                return Err(ApiError::PathNotFound);
            }
            let recorders = self.recordings()?;
            if !recorders.records(&path) {
                let why = format!("path '{path}' has no recorder: its configuration says \"record: no\"");
                return Err(ApiError::Conflict { why });
            }
            // Remembered first: what was answered survives a crash.
            match wanted {
                Switch::On => recorders.ledger().switch_on(&path, &by).await.map_err(failed)?,
                Switch::Off => recorders.ledger().switch_off(&path, &by).await.map_err(failed)?,
            }
            recorders.switch(&path, wanted);
            Ok(api::RecordingSwitch { name, enabled: wanted == Switch::On })
        })
    }

    fn recordings(&self, page: PageWanted) -> Answer<'_, Piece<api::Recording>> {
        Box::pin(async move {
            let ledger = self.ledger()?;
            let paths = ledger.recorded_paths().await.map_err(failed)?;
            let total = paths.len();
            let skipped = page.page.saturating_mul(page.per_page);
            let mut items = Vec::new();
            for path in paths.into_iter().skip(skipped).take(page.per_page) {
                items.push(recording_of(&ledger, &path).await?);
            }
            Ok(Piece { total, items })
        })
    }

    fn recording(&self, name: String) -> Answer<'_, api::Recording> {
        Box::pin(async move {
            let path = path(&name)?;
            let recording = recording_of(&self.ledger()?, &path).await?;
            if recording.segments.is_empty() && self.registry.get(&path).is_none() {
                // MediaMTX's status.
                let why = "it is not configured, and nothing of it is recorded";
                return Err(ApiError::InvalidParameter { name: "path", why });
            }
            Ok(recording)
        })
    }

    fn delete_segment(&self, name: String, start: Time, by: String) -> Answer<'_, ()> {
        Box::pin(async move {
            let path = path(&name)?;
            let ordered = self.ledger()?.delete_file(&path, wall(start), &by).await.map_err(failed)?;
            let conflict = |why: String| Err(ApiError::Conflict { why });
            match ordered {
                Ordered::Deleted => Ok(()),
                Ordered::NotFound => Err(ApiError::SegmentNotFound),
                Ordered::Held(id) => conflict(format!("hold {id} keeps this file; release it first")),
                Ordered::Open => conflict("this file is being written".to_owned()),
                Ordered::Absent => conflict("the disk of this file is not there".to_owned()),
            }
        })
    }
}

async fn recording_of(ledger: &Ledger, path: &PathName) -> Result<api::Recording, ApiError> {
    let starts = ledger.file_starts(path).await.map_err(failed)?;
    let segments = starts.into_iter().map(|start| api::RecordingSegment { start: time(start) }).collect();
    Ok(api::Recording { name: path.to_string(), segments })
}

fn failed(error: CatalogueError) -> ApiError {
    tracing::error!(%error, "recordings can't be asked");
    ApiError::StorageFailed { why: error.to_string() }
}

fn path(name: &str) -> Result<PathName, ApiError> {
    let why = "it must be a path's name: letters, digits, '_', '-', '.' and '/'";
    PathName::parse(name).map_err(|_| ApiError::InvalidParameter { name: "path", why })
}

fn wall(time: Time) -> WallTime {
    WallTime(time.unix_us)
}

fn time(wall: WallTime) -> Time {
    Time { unix_us: wall.unix_us() }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn paging(page: PageWanted) -> Paging {
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Paging { page: wide(page.page), per_page: wide(page.per_page) }
}

fn piece<T, U>(paged: Paged<T>, told: impl Fn(T) -> U) -> Piece<U> {
    let total = usize::try_from(paged.total).unwrap_or(usize::MAX);
    Piece { total, items: paged.items.into_iter().map(told).collect() }
}

fn hold_of(hold: storage::Hold) -> api::Hold {
    let placed = hold.placed;
    let (released, released_by) = hold.released.map(|end| (time(end.at), end.by)).unzip();
    api::Hold {
        id: hold.id,
        path: placed.path.to_string(),
        start: time(placed.start),
        end: time(placed.end),
        reason: placed.reason,
        by: placed.by,
        created: time(hold.created),
        released,
        released_by,
        files: hold.files,
        bytes: hold.bytes,
    }
}

fn deletion_of(deletion: storage::Deletion) -> api::Deletion {
    api::Deletion {
        id: deletion.id,
        at: time(deletion.at),
        rule: deletion.rule.as_str(),
        by: Some(deletion.by).filter(|by| !by.is_empty()),
        path: deletion.path.to_string(),
        file: text(&deletion.name),
        start: time(deletion.start),
        end: time(deletion.start.plus_us(deletion.duration_us)),
        bytes: deletion.bytes,
    }
}

fn status_of(figures: StorageFigures, bucket: Option<storage::BucketFigures>) -> api::StorageStatus {
    let path = |path: storage::PathFigures| api::PathUsage {
        name: path.path.to_string(),
        files: path.files,
        bytes: path.bytes,
        bytes_per_day: path.bytes_per_day,
        bytes_at_full_retention: path.bytes_at_full_retention,
        quota_bytes: path.quota_bytes,
        quota_unmet_bytes: path.quota_unmet_bytes,
    };
    let disk = |root: storage::RootFigures| api::DiskStatus {
        root: text(&root.root),
        id: root.id,
        condition: root.condition.as_str(),
        total_bytes: root.space.map(|space| space.total_bytes),
        used_bytes: root.space.map(|space| space.used_bytes),
        recorded_bytes: root.recorded_bytes,
        forecast: root.forecast.map(forecast_of),
    };
    let deleted = |by: storage::DeletedFigures| api::DeletedByRule {
        rule: by.rule.as_str(),
        files: by.files,
        bytes: by.bytes,
    };
    let storage::DiskLevels { alarm, delete, stop } = figures.levels;
    api::StorageStatus {
        time: time(figures.at),
        disks: figures.roots.into_iter().map(disk).collect(),
        levels: api::DiskLevels { alarm, delete, stop },
        paths: figures.paths.into_iter().map(path).collect(),
        quota_total_bytes: figures.quota_total_bytes,
        quota_total_unmet_bytes: figures.quota_total_unmet_bytes,
        deleted: figures.deleted.into_iter().map(deleted).collect(),
        bucket: bucket.map(|bucket| api::BucketStatus {
            failing: bucket.is_failing,
            queued_files: bucket.queued_files,
            queued_bytes: bucket.queued_bytes,
            oldest_queued: bucket.oldest_queued.map(time),
            files: bucket.files,
            bytes: bucket.bytes,
            files_only_there: bucket.files_only_there,
            bytes_only_there: bucket.bytes_only_there,
        }),
    }
}

fn forecast_of(forecast: storage::Forecast) -> api::Forecast {
    let short_by_days = forecast.short_by.map(days);
    let says = match (short_by_days, forecast.full_at) {
        (Some(days), _) => format!("does not fit by {days:.1} days"),
        (None, Some(_)) => "is kept for ever and will not fit for ever".to_owned(),
        (None, None) => "fits".to_owned(),
    };
    api::Forecast {
        bytes_per_day: forecast.bytes_per_day,
        room_bytes: forecast.room_bytes,
        needed_bytes: forecast.needed_bytes,
        full_at: forecast.full_at.map(time),
        short_by_days,
        says,
    }
}

fn days(time: Duration) -> f64 {
    time.as_secs_f64() / DAY.as_secs_f64()
}

fn check_of(state: CheckState) -> api::CheckState {
    let last = state.last.map(|(begun, ended, report)| {
        let CheckReport {
            files,
            sound,
            open,
            in_bucket,
            sent_again,
            lost,
            sums,
            absent,
            missing,
            added,
            truncated,
            altered,
            removed,
            foreign,
            failed,
            ..
        } = report;
        let findings = report.findings.iter();
        api::CheckReport {
            begun: time(begun),
            ended: time(ended),
            files,
            sound,
            open,
            in_bucket,
            sent_again,
            lost,
            sums,
            absent,
            missing,
            added,
            truncated,
            altered,
            removed,
            foreign,
            failed,
            findings: findings.map(|finding| format!("{} {}", text(&finding.name), finding.what)).collect(),
        }
    });
    api::CheckState { running: state.is_running, last }
}
