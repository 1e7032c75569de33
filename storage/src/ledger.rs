//! Ledger: holds, deletions, figures and switches, for those who administer recordings.
//!
//! Belongs here: what the control API asks and orders. Does not: media (-> `playback`), rules (-> `keeper`).

use std::sync::{Arc, Mutex, PoisonError};

use media_core::egress::recorder::Gap;
use media_core::path_name::PathName;
use media_core::time::WallTime;
use tokio::sync::mpsc;

use crate::catalogue::CatalogueError;
use crate::check::{CheckState, Depth};
use crate::deletion::{Cause, Deletion, DeletionFilter, Outcome, Rule};
use crate::figures::StorageFigures;
use crate::holds::{Hold, HoldFilter, NewHold};
use crate::keeper::Premises;
use crate::paging::{Paged, Paging};
use crate::upload::{BucketFigures, UploadState};

/// What became of an order to delete a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// It is deleted.
    Deleted,
    /// There is none that begins then.
    NotFound,
    /// This hold keeps it.
    Held(i64),
    /// It is being written.
    Open,
    /// Its disk is not there.
    Absent,
}

/// See the module's header. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) premises: Premises,
    pub(crate) orders: mpsc::Sender<Depth>,
    pub(crate) checks: Arc<Mutex<CheckState>>,
    pub(crate) uploads: Option<UploadState>,
}

impl Ledger {
    fn now(&self) -> WallTime {
        (self.premises.clock.wall)()
    }

    /// The gap that an earlier recorder of a path left open, for the next one.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn left_gap(&self, path: &PathName) -> Result<Option<Gap>, CatalogueError> {
        self.premises.deleter.catalogue.left_gap(path).await
    }

    /// Places a hold.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn place_hold(&self, hold: &NewHold) -> Result<Hold, CatalogueError> {
        let placed = self.premises.deleter.catalogue.place_hold(hold, self.now()).await?;
        tracing::info!(hold = placed.id, path = %hold.path, by = hold.by, "hold placed");
        Ok(placed)
    }

    /// One hold, released or not.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn hold(&self, id: i64) -> Result<Option<Hold>, CatalogueError> {
        self.premises.deleter.catalogue.hold(id).await
    }

    /// Holds, the newest first.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn holds(&self, filter: &HoldFilter, paging: Paging) -> Result<Paged<Hold>, CatalogueError> {
        self.premises.deleter.catalogue.holds(filter, paging).await
    }

    /// Releases a hold, which stays in the list; the rules may delete what it held from now on. One that is released
    /// already stays as it is. `None` when there is none.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn release_hold(&self, id: i64, by: &str) -> Result<Option<Hold>, CatalogueError> {
        if self.premises.deleter.catalogue.release_hold(id, by, self.now()).await? {
            tracing::info!(hold = id, by, "hold released");
        }
        self.hold(id).await
    }

    /// Deletions of media in a time range, the newest deletion first.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn deletions(
        &self,
        filter: &DeletionFilter,
        paging: Paging,
    ) -> Result<Paged<Deletion>, CatalogueError> {
        self.premises.deleter.catalogue.deletions(filter, paging).await
    }

    /// Deletes the file of a path that begins at a time, unless it is held.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn delete_file(
        &self,
        path: &PathName,
        start: WallTime,
        by: &str,
    ) -> Result<Ordered, CatalogueError> {
        let Premises { deleter, .. } = &self.premises.renewed();
        let Some(file) = deleter.catalogue.file_at(path, start).await? else { return Ok(Ordered::NotFound) };
        if file.is_open {
            return Ok(Ordered::Open);
        }
        let cause = Cause { rule: Rule::Operator, by, now: self.now() };
        Ok(match deleter.delete(&file, cause).await? {
            Outcome::Deleted => Ordered::Deleted,
            Outcome::Kept => match deleter.catalogue.holder(file.id).await? {
                Some(hold) => Ordered::Held(hold),
                // A rule may have been quicker.
                None if deleter.catalogue.file_at(path, start).await?.is_none() => Ordered::NotFound,
                None => Ordered::Absent,
            },
        })
    }

    /// Paths that something is recorded of.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn recorded_paths(&self) -> Result<Vec<PathName>, CatalogueError> {
        let usage = self.premises.deleter.catalogue.usage().await?;
        Ok(usage.into_iter().map(|used| used.path).collect())
    }

    /// When a path's files begin, the oldest first.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn file_starts(&self, path: &PathName) -> Result<Vec<WallTime>, CatalogueError> {
        self.premises.deleter.catalogue.starts(path).await
    }

    /// What is kept, how fast it grows, and whether it will fit.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn figures(&self) -> Result<StorageFigures, CatalogueError> {
        self.premises.renewed().figures().await
    }

    /// The same as it was up to a quarter of a minute ago; `None` at the very start.
    pub fn recent_figures(&self) -> Option<StorageFigures> {
        let figures = self.premises.kept.figures()?;
        Some(StorageFigures { deleted: self.premises.deleter.counts.snapshot(), ..figures })
    }

    /// How uploads go, as of now; `None` where no bucket is configured.
    pub fn bucket_figures(&self) -> Option<BucketFigures> {
        self.uploads.as_ref().map(UploadState::figures)
    }

    /// Begins a check, unless one runs or is about to.
    pub fn begin_check(&self, depth: Depth) -> CheckState {
        // Full or closed: one is on its way, or the server stops.
        let is_begun = self.orders.try_send(depth).is_ok();
        let state = self.check_state();
        CheckState { is_running: state.is_running || is_begun, ..state }
    }

    /// How checks go.
    pub fn check_state(&self) -> CheckState {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Paths whose recording an operator turned off.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn switched_off(&self) -> Result<Vec<PathName>, CatalogueError> {
        self.premises.deleter.catalogue.switched_off().await
    }

    /// Remembers that an operator turned a path's recording on.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn switch_on(&self, path: &PathName, by: &str) -> Result<(), CatalogueError> {
        tracing::info!(%path, by, "recording is turned on");
        self.premises.deleter.catalogue.switch(path, None).await
    }

    /// Remembers that an operator turned a path's recording off.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn switch_off(&self, path: &PathName, by: &str) -> Result<(), CatalogueError> {
        tracing::info!(%path, by, "recording is turned off");
        self.premises.deleter.catalogue.switch(path, Some((by, self.now()))).await
    }
}
