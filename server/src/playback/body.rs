//! Body: a clip's bytes from its files, a chunk at a time.

use std::collections::VecDeque;
use std::io::{self, SeekFrom};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use storage::{Clip, FileRange};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::CHUNK_BYTES;

/// The head, then the ranges; ends with an error when a file became shorter or went away meanwhile.
pub(super) fn stream(clip: Clip) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let head = stream::once(std::future::ready(Ok(clip.head)));
    let reader = Reader { ranges: clip.ranges.into(), open: None };
    let rest = stream::try_unfold(reader, |mut reader| async move {
        let chunk = reader.next().await?;
        Ok(chunk.map(|chunk| (chunk, reader)))
    });
    head.chain(rest)
}

struct Reader {
    ranges: VecDeque<FileRange>,
    open: Option<(File, u64)>,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let (mut file, left) = match self.open.take() {
            Some(open) => open,
            None => match self.ranges.pop_front() {
                Some(range) => open(&range).await?,
                None => return Ok(None),
            },
        };
        let wanted = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let mut chunk = BytesMut::with_capacity(wanted);
        let limit = u64::try_from(wanted).unwrap_or(0);
        let read = (&mut file).take(limit).read_buf(&mut chunk).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let left = left.saturating_sub(u64::try_from(read).unwrap_or(0));
        if left > 0 {
            self.open = Some((file, left));
        }
        Ok(Some(chunk.freeze()))
    }
}

async fn open(range: &FileRange) -> io::Result<(File, u64)> {
    let mut file = File::open(&range.name).await?;
    file.seek(SeekFrom::Start(range.from)).await?;
    Ok((file, range.to - range.from))
}
