//! Body: a clip's bytes from its files, a chunk at a time.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, stream};
use storage::ClipReader;

/// What the reader reads; ends with an error when a file became shorter or went away meanwhile.
pub(crate) fn stream(reader: ClipReader) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(reader, |mut reader| async move {
        let read = tokio::task::spawn_blocking(move || reader.next_chunk().map(|chunk| (chunk, reader)));
        let (chunk, reader) = read.await.map_err(io::Error::other)??;
        Ok(chunk.map(|chunk| (chunk, reader)))
    })
}

/// The same as axum's body.
pub(super) fn body(reader: ClipReader) -> Body {
    Body::from_stream(stream(reader))
}
