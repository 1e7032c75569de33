//! Leaving: objects whose files were deleted out of the bucket, and files whose copies are confirmed off their disks.
//!
//! ```text
//!  file deleted ─► leaving ─► multipart upload aborted, object deleted ─► forgotten
//!  stored, older than localRetention ─► the bucket says once more how long it is ─► off the disk
//!                                                   └─ it is not there, or has another length ─► sent again
//! ```

use std::time::Duration;

use media_core::time::WallTime;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::health::Work;
use super::{LOOK_EVERY, UploadError, Uploads, lock};
use crate::catalogue::{FileRow, LeavingObject};

/// Objects or files looked at in one pass.
const PER_PASS_MAX: u32 = 100;
/// The longest between two looks for files that may leave their disk.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(60);

impl Uploads {
    /// Deletes objects until it is dropped.
    pub(super) async fn delete_all(&self) {
        let mut backoff = Backoff::new(self.seed().rotate_left(7));
        loop {
            let deleted = self.delete_some().await;
            sleep(self.wait_after(Work::Delete, deleted, LOOK_EVERY, &mut backoff)).await;
        }
    }

    async fn delete_some(&self) -> Result<(), UploadError> {
        for object in self.catalogue().leaving_objects(PER_PASS_MAX).await? {
            if !lock(&self.sending).contains(&object.object) {
                Box::pin(self.delete_one(&object)).await?;
            }
        }
        Ok(())
    }

    async fn delete_one(&self, object: &LeavingObject) -> Result<(), UploadError> {
        let LeavingObject { object, key, upload } = object;
        if let Some(upload) = upload {
            self.abort(key, upload).await?;
        }
        self.tried(|| self.bucket.delete(key)).await?;
        self.catalogue().object_gone(*object).await?;
        self.state.health.deleted();
        tracing::info!(key, "object of a deleted recording is deleted");
        Ok(())
    }

    /// Takes files off their disks until it is dropped.
    pub(super) async fn leave_disks(&self) {
        let Some(retention) = self.local_retention else { return };
        let age_us = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let every = (retention / 2).clamp(LOOK_EVERY, LOOK_EVERY_MAX);
        let mut backoff = Backoff::new(self.seed().rotate_left(11));
        loop {
            let left = self.leave_some((self.clock.wall)().plus_us(age_us.saturating_neg())).await;
            sleep(self.wait_after(Work::Confirm, left, every, &mut backoff)).await;
        }
    }

    async fn leave_some(&self, before: WallTime) -> Result<(), UploadError> {
        let mut after = 0;
        loop {
            let files = self.catalogue().files_to_leave_disk(before, after, PER_PASS_MAX).await?;
            let Some(last) = files.last() else { return Ok(()) };
            after = last.id;
            for file in &files {
                Box::pin(self.leave_one(file)).await?;
            }
        }
    }

    async fn leave_one(&self, file: &FileRow) -> Result<(), UploadError> {
        let Some(copy) = &file.object else { return Ok(()) };
        let found = match self.tried(|| self.bucket.facts(&copy.key)).await {
            Err(error) if error.is_not_found() => None,
            facts => Some(facts?.bytes),
        };
        if found == Some(copy.bytes) {
            self.deleter.evict(file).await?;
        } else if self.catalogue().send_again(&copy.key).await? {
            tracing::error!(
                key = copy.key,
                bytes = copy.bytes,
                found,
                "bucket lost the copy of a recording: it is uploaded again"
            );
        }
        Ok(())
    }

    /// How long to wait after a pass.
    fn wait_after(
        &self,
        work: Work,
        done: Result<(), UploadError>,
        every: Duration,
        backoff: &mut Backoff,
    ) -> Duration {
        match done {
            Ok(()) => {
                self.state.health.works(work);
                backoff.succeeded();
                every
            }
            Err(UploadError::Bucket(error)) => {
                self.state.health.failed(work, &error);
                backoff.failed()
            }
            Err(error) => {
                // Whoever writes the catalogue says so.
                tracing::debug!(%error, ?work, "catalogue can't be read");
                every
            }
        }
    }
}
