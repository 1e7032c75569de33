//! Objects: which files have a copy in the bucket, which wait for one, and which copies are to go.

use std::path::PathBuf;

use media_core::path_name::PathName;
use media_core::time::WallTime;
use sqlx::AssertSqlSafe;

use super::database::query;
use super::deletions::below;
use super::read::{file_query, file_row};
use super::{Catalogue, CatalogueError, FileRow, signed, unsigned};

/// A file whose copy is still to be made.
#[derive(Clone, Debug)]
pub(crate) struct QueuedFile {
    /// The object's number.
    pub(crate) object: i64,
    pub(crate) name: PathBuf,
    pub(crate) path: PathName,
    pub(crate) start: WallTime,
    /// Where its last part ends: a shorter file lacks something.
    pub(crate) bytes: u64,
    /// A multipart upload that came to nothing: its key and id.
    pub(crate) stray: Option<(String, String)>,
}

/// An object that is to be deleted.
#[derive(Clone, Debug)]
pub(crate) struct LeavingObject {
    pub(crate) object: i64,
    pub(crate) key: String,
    pub(crate) upload: Option<String>,
}

/// What a confirmed object is.
#[derive(Clone, Debug)]
pub(crate) struct StoredObject {
    pub(crate) object: i64,
    pub(crate) etag: String,
    pub(crate) sha256: [u8; 32],
    pub(crate) bytes: u64,
}

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What is where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectSums {
    /// Waits to be uploaded.
    pub(crate) queue: Sum,
    /// On a disk and in the bucket.
    pub(crate) both: Sum,
    /// In the bucket only.
    pub(crate) bucket: Sum,
    /// In the bucket, and its file was deleted.
    pub(crate) leaving: Sum,
    /// When the media of the first in the queue begins.
    pub(crate) oldest: Option<WallTime>,
}

/// An object that the bucket should have, as far as the catalogue knows.
#[derive(Clone, Debug)]
pub(crate) struct KnownObject {
    pub(crate) key: String,
    /// Its confirmed length; `None` while its upload or deletion is under way.
    pub(crate) stored_bytes: Option<u64>,
}

impl Catalogue {
    /// Files that wait for their upload, the oldest row first; those on disks that are not there wait for these too.
    pub(crate) async fn files_to_send(
        &self,
        limit: usize,
        absent: &[PathBuf],
    ) -> Result<Vec<QueuedFile>, CatalogueError> {
        let mut text = String::from(
            "SELECT object_id, name, path, start_us, object_key, upload_id, bytes FROM objects \
             JOIN files ON id = object_file WHERE object_state IN ('queued', 'sending')",
        );
        for at in 0..absent.len() {
            text += &format!(" AND NOT (name >= ${} AND name < ${})", 2 * at + 2, 2 * at + 3);
        }
        text.push_str(" ORDER BY object_file LIMIT $1");
        let mut query = query(AssertSqlSafe(text)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        for folder in absent {
            let (from, until) = below(folder);
            query = query.bind(from).bind(until);
        }
        let rows = query.fetch_all(&self.database).await?;
        let queued = rows.iter().map(|row| {
            let name: String = row.try_get(1)?;
            let path: String = row.try_get(2)?;
            let (key, upload): (Option<String>, Option<String>) = (row.try_get(4)?, row.try_get(5)?);
            Ok(QueuedFile {
                object: row.try_get(0)?,
                path: PathName::parse(&path)
                    .map_err(|_| CatalogueError::Row { name: name.clone(), what: "path" })?,
                name: PathBuf::from(name),
                start: WallTime(row.try_get(3)?),
                bytes: unsigned(row.try_get(6)?),
                stray: key.zip(upload),
            })
        });
        queued.collect()
    }

    /// What is where.
    pub(crate) async fn object_sums(&self) -> Result<ObjectSums, CatalogueError> {
        let first = query(
            "SELECT start_us FROM objects JOIN files ON id = object_file \
             WHERE object_state IN ('queued', 'sending') ORDER BY object_file LIMIT 1",
        )
        .fetch_optional(&self.database)
        .await?;
        let oldest = first.map(|row| row.try_get(0)).transpose()?.map(WallTime);
        let mut sums = ObjectSums { oldest, ..ObjectSums::default() };
        for row in query("SELECT place, files, bytes FROM object_sums").fetch_all(&self.database).await? {
            let place: String = row.try_get(0)?;
            let sum = match place.as_str() {
                "queue" => &mut sums.queue,
                "both" => &mut sums.both,
                "bucket" => &mut sums.bucket,
                _ => &mut sums.leaving,
            };
            *sum = Sum { files: unsigned(row.try_get(1)?), bytes: unsigned(row.try_get(2)?) };
        }
        Ok(sums)
    }

    /// Notes that an upload begins anew, before the bucket hears of it; whether the file is still there.
    pub(crate) async fn begin_object(&self, object: i64, key: &str) -> Result<bool, CatalogueError> {
        let done = query(
            "UPDATE objects SET object_state = 'sending', object_key = $1, upload_id = NULL \
             WHERE object_id = $2 AND object_state IN ('queued', 'sending')",
        )
        .bind(key)
        .bind(object)
        .commit(&self.database)
        .await?;
        Ok(done > 0)
    }

    /// Notes the multipart upload that an object's parts are sent to.
    pub(crate) async fn note_upload(&self, object: i64, upload: &str) -> Result<(), CatalogueError> {
        query("UPDATE objects SET upload_id = $1 WHERE object_id = $2")
            .bind(upload)
            .bind(object)
            .commit(&self.database)
            .await?;
        Ok(())
    }

    /// Notes that the bucket has a file; whether the file was still wanted.
    pub(crate) async fn note_stored(
        &self,
        stored: &StoredObject,
        now: WallTime,
    ) -> Result<bool, CatalogueError> {
        let done = query(
            "UPDATE objects SET object_state = 'stored', upload_id = NULL, etag = $1, sha256 = $2, \
             object_bytes = $3, stored_us = $4 WHERE object_id = $5 AND object_state = 'sending'",
        )
        .bind(&stored.etag)
        .bind(stored.sha256.as_slice())
        .bind(signed(stored.bytes))
        .bind(now.unix_us())
        .bind(stored.object)
        .commit(&self.database)
        .await?;
        Ok(done > 0)
    }

    /// Objects whose files were deleted.
    pub(crate) async fn leaving_objects(&self, limit: u32) -> Result<Vec<LeavingObject>, CatalogueError> {
        let rows = query(
            "SELECT object_id, COALESCE(object_key, ''), upload_id FROM objects \
             WHERE object_state = 'leaving' ORDER BY object_id LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.database)
        .await?;
        let leaving = rows.iter().map(|row| {
            Ok(LeavingObject { object: row.try_get(0)?, key: row.try_get(1)?, upload: row.try_get(2)? })
        });
        leaving.collect()
    }

    /// Has a file that is on its disk uploaded again, since the bucket does not have its copy any more; whether it will be.
    /// Not as 'queued': something of it may be left there.
    pub(crate) async fn send_again(&self, key: &str) -> Result<bool, CatalogueError> {
        let done = query(
            "UPDATE objects SET object_state = 'sending' \
             WHERE object_key = $1 AND object_state = 'stored' AND local_state = 'there'",
        )
        .bind(key)
        .commit(&self.database)
        .await?;
        Ok(done > 0)
    }

    /// Whether an object is a file's copy, or is still to be deleted.
    pub(crate) async fn knows_object(&self, key: &str) -> Result<bool, CatalogueError> {
        let row =
            query("SELECT 1 FROM objects WHERE object_key = $1").bind(key).fetch_optional(&self.database);
        Ok(row.await?.is_some())
    }

    /// The confirmed length of an object; `None` where it is not a file's confirmed copy.
    pub(crate) async fn stored_bytes(&self, key: &str) -> Result<Option<u64>, CatalogueError> {
        let row = query("SELECT object_bytes FROM objects WHERE object_key = $1 AND object_state = 'stored'")
            .bind(key)
            .fetch_optional(&self.database)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.map(unsigned))
    }

    /// Objects whose keys follow `after` and begin with `prefix`, in the order of keys.
    pub(crate) async fn known_objects(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<KnownObject>, CatalogueError> {
        let rows = query(
            "SELECT object_key, CASE object_state WHEN 'stored' THEN object_bytes END FROM objects \
             WHERE object_key > $1 AND substr(object_key, 1, length($2)) = $3 ORDER BY object_key LIMIT $4",
        )
        .bind(after)
        .bind(prefix)
        .bind(prefix)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.database)
        .await?;
        let known = rows.iter().map(|row| {
            let bytes: Option<i64> = row.try_get(1)?;
            Ok(KnownObject { key: row.try_get(0)?, stored_bytes: bytes.map(unsigned) })
        });
        known.collect()
    }

    /// Forgets an object that is gone.
    pub(crate) async fn object_gone(&self, object: i64) -> Result<(), CatalogueError> {
        query("DELETE FROM objects WHERE object_id = $1 AND object_state = 'leaving'")
            .bind(object)
            .commit(&self.database)
            .await?;
        Ok(())
    }

    /// Files with numbers after one that are on the disk and in the bucket, that no hold keeps and whose media is older than
    /// `before`.
    pub(crate) async fn files_to_leave_disk(
        &self,
        before: WallTime,
        after: i64,
        limit: u32,
    ) -> Result<Vec<FileRow>, CatalogueError> {
        let rows = query(file_query!(
            "WHERE object_file > $1 AND object_state = 'stored' AND local_state = 'there' \
             AND start_us + duration_us < $2 AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.path = files.path \
             AND released_us IS NULL AND holds.start_us < files.start_us + files.duration_us \
             AND holds.end_us > files.start_us) ORDER BY object_file LIMIT $3"
        ))
        .bind(after)
        .bind(before.unix_us())
        .bind(i64::from(limit))
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(file_row).collect()
    }

    /// Notes that a file is about to leave its disk, unless a hold keeps it or its copy is not confirmed.
    pub(crate) async fn begin_leaving_disk(&self, file: i64) -> Result<bool, CatalogueError> {
        let done = query(
            "UPDATE objects SET local_state = 'leaving' WHERE object_file = $1 AND object_state = 'stored' \
             AND local_state = 'there' AND NOT EXISTS (SELECT 1 FROM files JOIN holds \
             ON holds.path = files.path AND released_us IS NULL \
             AND holds.start_us < files.start_us + files.duration_us AND holds.end_us > files.start_us \
             WHERE files.id = object_file)",
        )
        .bind(file)
        .commit(&self.database)
        .await?;
        Ok(done > 0)
    }

    /// Notes that a file is not on its disk any more; its object is.
    pub(crate) async fn left_disk(&self, file: i64) -> Result<(), CatalogueError> {
        query("UPDATE objects SET local_state = 'gone' WHERE object_file = $1 AND object_state = 'stored'")
            .bind(file)
            .commit(&self.database)
            .await?;
        Ok(())
    }

    /// Files that were about to leave their disk when the server ended.
    pub(crate) async fn files_leaving_disk(&self) -> Result<Vec<(i64, PathBuf)>, CatalogueError> {
        let rows = query(
            "SELECT id, name FROM objects JOIN files ON id = object_file WHERE local_state = 'leaving'",
        )
        .fetch_all(&self.database)
        .await?;
        let leaving = rows.iter().map(|row| {
            let name: String = row.try_get(1)?;
            Ok((row.try_get(0)?, PathBuf::from(name)))
        });
        leaving.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use media_core::egress::recorder::RunId;
    use media_core::egress::recorder::index::GopEntry;
    use media_core::time::Timescale;

    use super::*;
    use crate::catalogue::{FileUpdate, Range, Update};
    use crate::continuity::Continuity;
    use crate::deletion::{Cause, Deleter, Outcome, Rule};
    use crate::holds::NewHold;
    use crate::root::Roots;
    use crate::segment_file::{Extent, FileFacts};
    use crate::test_database;

    const NOW: WallTime = WallTime(1_795_635_000_000_000);

    struct Place {
        dir: tempfile::TempDir,
        deleter: Deleter,
    }

    impl Place {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let catalogue = Catalogue::open(&test_database::new_in(dir.path())).await.unwrap();
            // A folder that is configured no more: what is there may go.
            let deleter = Deleter { catalogue, roots: Roots::new(Vec::new()), counts: Arc::default() };
            Self { dir, deleter }
        }

        fn catalogue(&self) -> &Catalogue {
            &self.deleter.catalogue
        }

        /// A file of a second; with an index it is closed.
        async fn file(&self, number: u32, closed: Option<Vec<GopEntry>>) -> FileRow {
            let name = self.dir.path().join(format!("{number}.mp4"));
            std::fs::write(&name, b"media").unwrap();
            let start = NOW.plus_us(i64::from(number) * 1_000_000);
            let continuity = Continuity { path: path(), run: RunId(1), number, start };
            let facts = FileFacts {
                name: name.clone(),
                continuity,
                timescale: Timescale::VIDEO,
                first_ticks: 0,
                first_offset: 1,
            };
            let update = FileUpdate {
                facts,
                extent: Extent { bytes: 5, duration_ticks: 90_000 },
                new_gops: Vec::new(),
                gops_before: 0,
                closed,
                marker: None,
            };
            // Twice, as after an answer that got lost.
            self.catalogue().apply(&[Update::File(update.clone()), Update::File(update)]).await.unwrap();
            self.row(&name).await.unwrap()
        }

        async fn row(&self, name: &Path) -> Option<FileRow> {
            self.catalogue().file(&name.to_string_lossy()).await.unwrap()
        }

        /// What an upload notes.
        async fn store(&self, file: &FileRow) -> StoredObject {
            let queued = self.catalogue().files_to_send(100, &[]).await.unwrap();
            let object = queued.iter().find(|queued| queued.name == file.name).unwrap().object;
            assert!(self.catalogue().begin_object(object, &format!("key-{object}")).await.unwrap());
            StoredObject { object, etag: "e".to_owned(), sha256: [7; 32], bytes: 5 }
        }
    }

    fn path() -> PathName {
        PathName::parse("cam_1").unwrap()
    }

    fn hold(file: &FileRow) -> NewHold {
        NewHold {
            path: path(),
            start: file.start,
            end: file.start.plus_us(1),
            reason: String::new(),
            by: String::new(),
        }
    }

    #[tokio::test]
    async fn every_closed_file_waits_once_and_deletions_leave_objects_to_be_deleted() {
        let place = Place::new().await;
        let catalogue = place.catalogue();
        let (first, second) = (place.file(0, Some(Vec::new())).await, place.file(1, Some(Vec::new())).await);
        place.file(2, None).await;
        let sums = catalogue.object_sums().await.unwrap();
        assert_eq!((sums.queue, sums.oldest), (Sum { files: 2, bytes: 10 }, Some(NOW)));
        place.file(2, Some(Vec::new())).await;
        assert_eq!(catalogue.object_sums().await.unwrap().queue.files, 3, "it was closed");
        let absent = [place.dir.path().to_owned()];
        assert!(catalogue.files_to_send(9, &absent).await.unwrap().is_empty(), "their disk is not there");

        let cause = Cause::rule(Rule::Age, NOW);
        assert_eq!(place.deleter.delete(&first, cause).await.unwrap(), Outcome::Deleted);
        assert!(catalogue.leaving_objects(9).await.unwrap().is_empty(), "the bucket never heard of it");
        // One whose file is deleted while it is sent.
        let stored = place.store(&second).await;
        catalogue.note_upload(stored.object, "upload").await.unwrap();
        assert_eq!(place.deleter.delete(&second, cause).await.unwrap(), Outcome::Deleted);
        assert!(!catalogue.note_stored(&stored, NOW).await.unwrap(), "nobody wants it any more");
        let leaving = catalogue.leaving_objects(9).await.unwrap();
        let [LeavingObject { object, key, upload: Some(upload) }] = leaving.as_slice() else {
            panic!("{leaving:?}")
        };
        assert_eq!((*object, key, upload.as_str()), (stored.object, &format!("key-{object}"), "upload"));
        catalogue.object_gone(*object).await.unwrap();
        assert!(catalogue.leaving_objects(9).await.unwrap().is_empty());
        let sums = catalogue.object_sums().await.unwrap();
        assert_eq!((sums.queue.files, sums.leaving), (1, Sum::default()));
    }

    #[tokio::test]
    async fn a_file_leaves_its_disk_only_when_it_is_stored_and_not_held_even_through_a_crash() {
        let place = Place::new().await;
        let catalogue = place.catalogue();
        catalogue.remember_disk(place.dir.path(), "disk", NOW).await.unwrap();
        let (waiting, stored, held) = (
            place.file(0, Some(Vec::new())).await,
            place.file(1, Some(Vec::new())).await,
            place.file(2, Some(Vec::new())).await,
        );
        for file in [&stored, &held] {
            let object = place.store(file).await;
            assert!(catalogue.note_stored(&object, NOW).await.unwrap());
        }
        let hold = catalogue.place_hold(&hold(&held), NOW).await.unwrap();
        let later = NOW.plus_us(3600 * 1_000_000);
        let sums = catalogue.object_sums().await.unwrap();
        assert_eq!((sums.queue.files, sums.both), (1, Sum { files: 2, bytes: 10 }));
        let may_go = catalogue.files_to_leave_disk(later, 0, 9).await.unwrap();
        assert!(matches!(may_go.as_slice(), [file] if file.name == stored.name), "{may_go:?}");
        assert!(catalogue.files_to_leave_disk(stored.end(), 0, 9).await.unwrap().is_empty(), "too young");
        for file in [&waiting, &held] {
            assert_eq!(place.deleter.evict(file).await.unwrap(), Outcome::Kept);
            assert!(file.name.exists());
        }
        // A crash between the note and the removal.
        assert!(catalogue.begin_leaving_disk(stored.id).await.unwrap());
        assert!(!place.row(&stored.name).await.unwrap().is_on_disk());
        place.deleter.finish().await.unwrap();
        assert!(!stored.name.exists());
        let rows = catalogue.files(&path(), Range::default()).await.unwrap();
        let seen: Vec<_> = rows.iter().map(|row| (row.is_on_disk(), row.object.is_some())).collect();
        assert_eq!(seen, [(true, false), (false, true), (true, true)]);
        assert_eq!(catalogue.bytes_below(place.dir.path()).await.unwrap(), 10, "on the disk");
        let outer = place.dir.path().parent().unwrap();
        catalogue.remember_disk(outer, "outer", NOW).await.unwrap();
        assert_eq!(catalogue.bytes_below(outer).await.unwrap(), 10, "counted when it is taken into use");
        assert_eq!(catalogue.object_sums().await.unwrap().bucket, Sum { files: 1, bytes: 5 });
        // The bucket lost both copies: what is on the disk is sent again, and what is not can't be.
        assert!(
            !catalogue.send_again("key-2").await.unwrap() && catalogue.send_again("key-3").await.unwrap()
        );
        assert_eq!(catalogue.object_sums().await.unwrap().queue.files, 2);
        let known = catalogue.known_objects("key-", "key-1", 9).await.unwrap();
        let known: Vec<_> = known.iter().map(|one| (one.key.as_str(), one.stored_bytes)).collect();
        assert_eq!(known, [("key-2", Some(5)), ("key-3", None)]);
        assert!(catalogue.known_objects("other", "", 9).await.unwrap().is_empty());
        let again = place.store(&held).await;
        assert!(catalogue.note_stored(&again, NOW).await.unwrap());

        catalogue.release_hold(hold.id, "ana", NOW).await.unwrap();
        assert_eq!(place.deleter.evict(&held).await.unwrap(), Outcome::Deleted);
        assert!(!held.name.exists());
        // What is in the bucket only can be deleted as well.
        let gone = place.row(&stored.name).await.unwrap();
        let oldest = catalogue.oldest_in_bucket(9).await.unwrap();
        assert_eq!(oldest.iter().map(|row| row.id).collect::<Vec<_>>(), [stored.id, held.id]);
        let outcome = place.deleter.delete(&gone, Cause::rule(Rule::Quota, NOW)).await.unwrap();
        assert_eq!(outcome, Outcome::Deleted);
        assert_eq!(catalogue.leaving_objects(9).await.unwrap().len(), 1);
        // The one that waits is left, and goes.
        assert_eq!(catalogue.bytes_below(outer).await.unwrap(), 5);
        assert_eq!(
            place.deleter.delete(&waiting, Cause::rule(Rule::Age, NOW)).await.unwrap(),
            Outcome::Deleted
        );
        for root in [outer, place.dir.path()] {
            assert_eq!(catalogue.bytes_below(root).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn thumbnails_leave_the_disk_with_their_file_and_count_no_more() {
        let place = Place::new().await;
        let catalogue = place.catalogue();
        let file = place.file(0, Some(Vec::new())).await;
        let beside = file.name.with_extension("mjpeg");
        std::fs::write(&beside, b"jpeg").unwrap();
        let told = [Update::Thumbnails { name: file.name.clone(), bytes: 4 }];
        catalogue.apply(&told).await.unwrap();
        let counted = async || catalogue.usage().await.unwrap()[0].bytes;
        assert_eq!(counted().await, 9);
        let object = place.store(&file).await;
        assert!(catalogue.note_stored(&object, NOW).await.unwrap());
        let file = place.row(&file.name).await.unwrap();
        assert_eq!(place.deleter.evict(&file).await.unwrap(), Outcome::Deleted);
        assert!(!file.name.exists() && !beside.exists());
        assert_eq!(counted().await, 5, "the recording is in the bucket, they are nowhere");
        // The last of them was made meanwhile.
        catalogue.apply(&told).await.unwrap();
        assert_eq!((counted().await, catalogue.mend_sums().await.unwrap()), (5, 0));
        assert!(place.row(&file.name).await.unwrap().object.is_some());
    }
}
