//! Bucket check: what the bucket lists compared with what the catalogue says is there.
//!
//! | found | done |
//! | --- | --- |
//! | a copy that is gone, or has another length, of a file on its disk | the file is uploaded again |
//! | the same, of a file that is on no disk any more | nothing: somebody must look; the row stays, since the bucket may be another |
//! | an object below our prefix that is nobody's copy | nothing |
//!
//! Both sides come in the order of keys, a page at a time. What is sent or deleted meanwhile is passed over.

use std::collections::VecDeque;
use std::path::Path;

use crate::bucket::{Bucket, BucketError, ListedObject, tried};
use crate::catalogue::{Catalogue, CatalogueError, KnownObject};
use crate::check::CheckReport;

/// Rows at a time.
const ROWS_PER_PAGE: usize = 256;

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// What the store lists below the prefix.
struct Listing<'a> {
    bucket: &'a Bucket,
    page: VecDeque<ListedObject>,
    after: String,
    is_last: bool,
}

impl Listing<'_> {
    async fn first(&mut self) -> Result<Option<&ListedObject>, BucketError> {
        while self.page.is_empty() && !self.is_last {
            let listed = tried(|| self.bucket.list(&self.after), |_| ()).await?;
            // A store that says that there is more and tells none would be asked for ever.
            self.is_last = listed.is_last || listed.objects.is_empty();
            self.page = listed.objects.into();
            if let Some(last) = self.page.back() {
                self.after.clone_from(&last.key);
            }
        }
        Ok(self.page.front())
    }
}

/// What the catalogue knows below the prefix.
struct Known<'a> {
    catalogue: &'a Catalogue,
    prefix: &'a str,
    page: VecDeque<KnownObject>,
    after: String,
    is_last: bool,
}

impl Known<'_> {
    async fn first(&mut self) -> Result<Option<&KnownObject>, CatalogueError> {
        if self.page.is_empty() && !self.is_last {
            self.page = self.catalogue.known_objects(self.prefix, &self.after, ROWS_PER_PAGE).await?.into();
            self.is_last = self.page.len() < ROWS_PER_PAGE;
            if let Some(last) = self.page.back() {
                self.after.clone_from(&last.key);
            }
        }
        Ok(self.page.front())
    }
}

/// Compares. See the module's header.
pub(crate) async fn compare(
    catalogue: &Catalogue,
    bucket: &Bucket,
    report: &mut CheckReport,
) -> Result<(), CompareError> {
    let (page, after) = (VecDeque::new(), String::new());
    let mut listing = Listing { bucket, page, after, is_last: false };
    let (page, after) = (VecDeque::new(), String::new());
    let mut known = Known { catalogue, prefix: bucket.prefix(), page, after, is_last: false };
    loop {
        let listed = Box::pin(listing.first()).await?;
        let row = known.first().await?;
        let order = match (listed, row) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(listed), Some(row)) => listed.key.cmp(&row.key),
        };
        let listed = if order.is_le() { listing.page.pop_front() } else { None };
        let row = if order.is_ge() { known.page.pop_front() } else { None };
        match (listed, row) {
            (Some(listed), None) => {
                // It may have come since its row would have been read.
                if !catalogue.knows_object(&listed.key).await? {
                    report.foreign += 1;
                    report.find(Path::new(&listed.key), "is in the bucket and nobody's copy");
                }
            }
            (listed, Some(row)) => {
                let Some(want) = row.stored_bytes else { continue };
                if listed.is_none_or(|listed| listed.bytes != want) {
                    Box::pin(differs(catalogue, bucket, &row, report)).await?;
                }
            }
            (None, None) => {}
        }
    }
}

/// A copy that seems not to be what the catalogue says. It is asked for once more: it may have come after its page was listed.
async fn differs(
    catalogue: &Catalogue,
    bucket: &Bucket,
    row: &KnownObject,
    report: &mut CheckReport,
) -> Result<(), CompareError> {
    let found = match tried(|| bucket.facts(&row.key), |_| ()).await {
        Err(error) if error.is_not_found() => None,
        facts => Some(facts?.bytes),
    };
    if found == row.stored_bytes || catalogue.stored_bytes(&row.key).await? != row.stored_bytes {
        return Ok(());
    }
    let what = match found {
        Some(bytes) => {
            format!("has {bytes} bytes in the bucket, {} were sent", row.stored_bytes.unwrap_or(0))
        }
        None => "is gone from the bucket".to_owned(),
    };
    if catalogue.send_again(&row.key).await? {
        report.sent_again += 1;
        report.find(Path::new(&row.key), format!("{what}; the file is uploaded again"));
    } else {
        report.lost += 1;
        report.find(Path::new(&row.key), format!("{what}, and its file is on no disk"));
    }
    Ok(())
}
