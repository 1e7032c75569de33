//! Body: an answer as the chunks it is made of, sent one after the other without joining them; chunks of recordings are
//! read from their files as they are sent.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use media_core::egress::hls::Media;

/// Chunks that are still to be read.
type Unread = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Chunks with a known total.
#[derive(Default)]
pub(crate) struct ChunkBody {
    chunks: VecDeque<Bytes>,
    unread: Option<Unread>,
    left_bytes: u64,
    counters: Vec<Arc<AtomicU64>>,
}

impl ChunkBody {
    /// One chunk.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let left_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { chunks: VecDeque::from([bytes]), left_bytes, ..Self::default() }
    }

    /// The bytes `from..to` of a file.
    pub(super) fn range(media: &Media, from: usize, to: usize) -> Self {
        let mut at = 0;
        let mut chunks = VecDeque::new();
        for chunk in &media.chunks {
            let (begin, end) = (from.max(at), to.min(at + chunk.len()));
            if begin < end {
                chunks.push_back(chunk.slice(begin - at..end - at));
            }
            at += chunk.len();
        }
        let left_bytes = u64::try_from(chunks.iter().map(Bytes::len).sum::<usize>()).unwrap_or(u64::MAX);
        Self { chunks, left_bytes, ..Self::default() }
    }

    /// So many bytes that are read as they are sent.
    pub(super) fn unread(
        left_bytes: u64,
        unread: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self { unread: Some(Box::pin(unread)), left_bytes, ..Self::default() }
    }

    /// Adds what is sent to these counters.
    pub(super) fn counted(mut self, counters: impl IntoIterator<Item = Arc<AtomicU64>>) -> Self {
        self.counters.extend(counters);
        self
    }

    /// Bytes not sent yet.
    pub(super) fn len_bytes(&self) -> u64 {
        self.left_bytes
    }
}

impl fmt::Debug for ChunkBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkBody").field("left_bytes", &self.left_bytes).finish_non_exhaustive()
    }
}

impl Body for ChunkBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = match (self.chunks.pop_front(), &mut self.unread) {
            (Some(chunk), _) => Some(Ok(chunk)),
            (None, Some(unread)) => ready!(unread.as_mut().poll_next(cx)),
            (None, None) => None,
        };
        let chunk = match next {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };
        let sent = u64::try_from(chunk.len()).unwrap_or(0);
        self.left_bytes = self.left_bytes.saturating_sub(sent);
        for counter in &self.counters {
            counter.fetch_add(sent, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_over_chunk_borders_is_cut_without_joining() {
        let chunks = vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg"), Bytes::from_static(b"h")];
        let media = Media { chunks, len_bytes: 8 };
        for (from, to, expected) in [(0, 8, "abcdefgh"), (2, 5, "cde"), (7, 8, "h"), (3, 3, "")] {
            let body = ChunkBody::range(&media, from, to);
            assert_eq!(body.len_bytes(), u64::try_from(to - from).unwrap());
            assert_eq!(Vec::from(body.chunks).concat(), expected.as_bytes(), "{from}..{to}");
        }
    }
}
