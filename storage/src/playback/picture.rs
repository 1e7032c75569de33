//! Picture: the recorded key frame that is shown at a time, out of its file.
//!
//! The index says where each GOP begins, and its first sample is the key frame: so there is a picture of everything recorded, deleted,
//! held and found with its file. Of some a small one is kept beside that (-> `thumbnails`).

use bytes::Bytes;
use media_core::access_unit::ACCESS_UNIT_BYTES_MAX;
use media_core::egress::recorder::index::place;
use media_core::gate::CameraGrant;
use media_core::key_frame::KeyFrame;
use media_core::remux::fmp4::read::ReadError;
use media_core::remux::fmp4::seek::picture_sets;
use media_core::time::WallTime;

use super::{PlaybackError, Recordings, fault, gops_of, malformed};
use crate::catalogue::FileRow;
use crate::source::{ReadAt as _, Source};
use crate::thumbnails;
use crate::walk::part_at;

/// Where a key frame lies.
#[derive(Clone, Debug)]
pub struct PicturePlace {
    /// When it was taken; a path has one at a time.
    pub wall: WallTime,
    row: FileRow,
    /// Where its part begins.
    offset: u64,
}

impl Recordings {
    /// Where the newest key frame of the grant's path at or before a time lies; `None` when nothing was recorded until then.
    ///
    /// # Errors
    /// [`PlaybackError`].
    pub async fn picture_at(
        &self,
        grant: &CameraGrant,
        at: WallTime,
    ) -> Result<Option<PicturePlace>, PlaybackError> {
        let Some(row) = self.catalogue.last_begun(grant.path(), at).await? else { return Ok(None) };
        let gops = gops_of(&row, &self.catalogue.gops(&row).await?);
        let begin = |ticks: i64| row.start.plus_us(row.timescale.ticks_to_us(ticks));
        let begun = place(&gops, row.first_offset)
            .filter(|gop| gop.entry.is_random_access)
            .map(|gop| (begin(gop.start_ticks), gop.offset))
            .take_while(|(wall, _)| *wall <= at)
            .last();
        Ok(begun.map(|(wall, offset)| PicturePlace { wall, row, offset }))
    }
}

impl PicturePlace {
    /// The small picture of it that was kept, a JPEG file; blocks. `None` when there is none, or none that is whole.
    pub fn kept(&self, _grant: &CameraGrant) -> Option<Bytes> {
        thumbnails::file::find(&self.row.name, self.wall).unwrap_or_else(|error| {
            tracing::debug!(file = %self.row.name.display(), %error, "thumbnails can't be read");
            None
        })
    }

    /// Reads it; blocks. `None` when its file has no pictures or is gone. The grant proves that the gate let the caller at
    /// this camera.
    ///
    /// # Errors
    /// [`PlaybackError`] when the file can't be read or is not what the catalogue says.
    pub fn read(&self, _grant: &CameraGrant) -> Result<Option<KeyFrame>, PlaybackError> {
        let row = &self.row;
        let file = match Source::open(row) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| fault(row, error))?,
        };
        let mut head = vec![0; usize::try_from(row.first_offset).unwrap_or(0)];
        file.read_exact_at(&mut head, 0).map_err(|error| fault(row, error))?;
        let Some((codec, parameter_sets)) = picture_sets(&head).map_err(|error| malformed(row, error))?
        else {
            return Ok(None);
        };
        let payload = self.first_sample(&file)?;
        Ok(payload.map(|payload| KeyFrame { codec, parameter_sets, payload, wall: self.wall }))
    }

    /// The first sample of the leading track.
    fn first_sample(&self, file: &Source) -> Result<Option<Bytes>, PlaybackError> {
        let row = &self.row;
        let part = part_at(file, self.offset, row.extent.bytes).map_err(|error| fault(row, error))?;
        let Some(lead) = part.and_then(|part| part.head.tracks.into_iter().next()) else { return Ok(None) };
        let Some(sample) = lead.samples.first().filter(|sample| sample.is_sync) else { return Ok(None) };
        let size = usize::try_from(sample.size_bytes).unwrap_or(usize::MAX);
        if size > ACCESS_UNIT_BYTES_MAX {
            let what = "a sample larger than any access unit";
            return Err(malformed(row, ReadError::Foreign { kind: "trun", what }));
        }
        let mut bytes = vec![0; size];
        let offset = self.offset + u64::from(lead.data_offset);
        file.read_exact_at(&mut bytes, offset).map_err(|error| fault(row, error))?;
        Ok(Some(bytes.into()))
    }
}
