//! Check: thumbnails without their recording.

use std::path::Path;

use super::file::is_ours;
use crate::catalogue::CatalogueError;
use crate::check::{CheckReport, Checker, blocking};
use crate::durable::remove_file;

impl Checker {
    /// Looks whether thumbnails have their recording. They are nobody's evidence: without it they go.
    pub(crate) async fn thumbnails(
        &self,
        name: &Path,
        report: &mut CheckReport,
    ) -> Result<(), CatalogueError> {
        let recording = name.with_extension("mp4");
        if recording.exists() || self.is_known(&recording).await? {
            return Ok(());
        }
        let owned = name.to_owned();
        let removed = blocking(move || match is_ours(&owned)? {
            true => remove_file(&owned).map(|()| true),
            false => Ok(false),
        });
        match removed.await {
            Ok(true) => report.find(name, "was left of a recording that is gone; it is removed"),
            Ok(false) => {}
            Err(error) => {
                report.failed += 1;
                report.find(
                    name,
                    format!("was left of a recording that is gone and can't be removed: {error}"),
                );
            }
        }
        Ok(())
    }
}
