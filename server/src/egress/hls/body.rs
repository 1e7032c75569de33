//! Body: an answer as the chunks it is made of, sent one after the other without joining them; chunks of recordings are
//! read from their files as they are sent.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use media_core::egress::hls::Media;

/// Chunks that are still to be read.
type Unread = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Chunks with a known total.
#[derive(Default)]
pub(crate) struct ChunkBody {
    chunks: Chunks,
    unread: Option<Unread>,
    unread_bytes: u64,
    counters: Vec<Arc<AtomicU64>>,
}

/// All chunks of an answer as one frame: handed over one by one, hyper writes as soon as it holds as much as it takes for a
/// request's headers, which cost a part three or four writes instead of one.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// None is empty.
    left: VecDeque<Bytes>,
    left_bytes: usize,
}

impl ChunkBody {
    /// One chunk.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { chunks: Chunks::from_iter([bytes]), ..Self::default() }
    }

    /// The bytes `from..to` of a file.
    pub(super) fn range(media: &Media, from: usize, to: usize) -> Self {
        let mut at = 0;
        let cut = media.chunks.iter().filter_map(|chunk| {
            let (begin, end) = (from.max(at), to.min(at + chunk.len()));
            let kept = (begin < end).then(|| chunk.slice(begin - at..end - at));
            at += chunk.len();
            kept
        });
        Self { chunks: cut.collect(), ..Self::default() }
    }

    /// So many bytes that are read as they are sent.
    pub(super) fn unread(
        unread_bytes: u64,
        unread: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self { unread: Some(Box::pin(unread)), unread_bytes, ..Self::default() }
    }

    /// Adds what is sent to these counters.
    pub(super) fn counted(mut self, counters: impl IntoIterator<Item = Arc<AtomicU64>>) -> Self {
        self.counters.extend(counters);
        self
    }

    /// Bytes not sent yet.
    pub(super) fn len_bytes(&self) -> u64 {
        len(self.chunks.left_bytes).saturating_add(self.unread_bytes)
    }
}

impl fmt::Debug for ChunkBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkBody").field("left_bytes", &self.len_bytes()).finish_non_exhaustive()
    }
}

impl Body for ChunkBody {
    type Data = Chunks;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunks>, io::Error>>> {
        let next = if self.chunks.has_remaining() {
            std::mem::take(&mut self.chunks)
        } else {
            let Some(unread) = &mut self.unread else { return Poll::Ready(None) };
            let Some(read) = ready!(unread.as_mut().poll_next(cx)) else { return Poll::Ready(None) };
            let chunk = match read {
                Ok(chunk) => chunk,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            self.unread_bytes = self.unread_bytes.saturating_sub(len(chunk.len()));
            Chunks::from_iter([chunk])
        };
        for counter in &self.counters {
            counter.fetch_add(len(next.left_bytes), Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        !self.chunks.has_remaining() && self.unread_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len_bytes())
    }
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl FromIterator<Bytes> for Chunks {
    fn from_iter<I: IntoIterator<Item = Bytes>>(chunks: I) -> Self {
        let left: VecDeque<Bytes> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let left_bytes = left.iter().map(Bytes::len).sum();
        Self { left, left_bytes }
    }
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.left_bytes
    }

    fn chunk(&self) -> &[u8] {
        self.left.front().map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.left);
        filled.map(|(slice, chunk)| *slice = IoSlice::new(chunk)).count()
    }

    fn advance(&mut self, count: usize) {
        let mut count = count.min(self.left_bytes);
        self.left_bytes -= count;
        while count > 0
            && let Some(chunk) = self.left.front_mut()
        {
            let taken = count.min(chunk.len());
            chunk.advance(taken);
            count -= taken;
            if chunk.is_empty() {
                self.left.pop_front();
            }
        }
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
            assert_eq!(Vec::from(body.chunks.left).concat(), expected.as_bytes(), "{from}..{to}");
        }
    }

    #[test]
    fn chunks_are_written_together_and_go_on_where_a_write_stopped() {
        let mut chunks: Chunks =
            ["abc", "", "defg", "h"].map(|text| Bytes::from_static(text.as_bytes())).into_iter().collect();
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!((chunks.chunks_vectored(&mut slices), chunks.remaining()), (3, 8));
        chunks.advance(4);
        assert_eq!((chunks.chunk(), chunks.remaining()), (&b"efg"[..], 4));
        chunks.advance(4);
        assert_eq!((chunks.chunk(), chunks.has_remaining()), (&b""[..], false));
    }
}
