//! Outbox: what waits to be written to one client of RTSP or RTMP, answers and media in one order, written many pieces at once.
//!
//! The bytes are shared with the stream's other readers; what a slow reader costs is handles, up to the bound at
//! which it is cut (-> rtsp::reader, rtmp::reader).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

/// Pieces of one write: a second of pictures, or of sound. The system takes 1024 at most.
const PIECES_PER_WRITE: usize = 64;

/// Bytes in some order, and how many packets of media they are (0 for an answer or a report; RTMP: access units).
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    packets: u32,
    queued_at: Instant,
}

/// What waits for one client.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    packets: usize,
    /// Nothing was taken since then.
    blocked_since: Option<Instant>,
}

impl Outbox {
    /// Puts bytes behind what waits.
    pub(crate) fn push(&mut self, bytes: Bytes, packets: u32, now: Instant) {
        self.packets += usize::try_from(packets).unwrap_or(usize::MAX);
        self.pieces.push_back(Piece { bytes, packets, queued_at: now });
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Packets of media that wait.
    pub(crate) fn packets(&self) -> usize {
        self.packets
    }

    /// How long the oldest piece has waited.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.pieces.front().map_or(Duration::ZERO, |piece| now.saturating_duration_since(piece.queued_at))
    }

    /// Since when the client has taken nothing at all.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Writes all that the socket takes; says how many bytes that were. Pending when nothing was to be written or taken.
    pub(crate) fn poll_write_all<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut total = 0;
        while !self.is_empty() {
            match self.poll_write(socket, now, cx) {
                Poll::Ready(written) => total += written?,
                Poll::Pending => break,
            }
        }
        // Also registers for what an encrypting socket has not sent yet.
        if self.is_empty()
            && let Poll::Ready(Err(error)) = Pin::new(socket).poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        if total > 0 { Poll::Ready(Ok(total)) } else { Poll::Pending }
    }

    /// Writes what the socket takes at once. Pending with nothing written when it takes none.
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(&piece.bytes);
            count += 1;
        }
        let slices = slices.get(..count).unwrap_or_default();
        let Poll::Ready(written) = Pin::new(&mut *socket).poll_write_vectored(cx, slices) else {
            self.blocked_since.get_or_insert(now);
            return Poll::Pending;
        };
        let written = written?;
        if written == 0 && count > 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.blocked_since = None;
        self.taken(written);
        Poll::Ready(Ok(written))
    }

    fn taken(&mut self, mut bytes: usize) {
        while let Some(front) = self.pieces.front_mut() {
            if bytes < front.bytes.len() {
                front.bytes.advance(bytes);
                return;
            }
            bytes -= front.bytes.len();
            self.packets -= usize::try_from(front.packets).unwrap_or(0);
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::runtime::clock;

    #[tokio::test]
    async fn pieces_are_written_together_and_what_is_not_taken_waits() {
        let (mut client, mut socket) = tokio::io::duplex(5);
        let mut outbox = Outbox::default();
        let now = clock::now();
        outbox.push(Bytes::from_static(b"abc"), 1, now);
        outbox.push(Bytes::from_static(b"defg"), 3, now);
        let mut cx = Context::from_waker(Waker::noop());
        let mut out = Vec::new();
        while !outbox.is_empty() {
            if outbox.poll_write_all(&mut socket, now, &mut cx).is_pending() {
                assert_eq!(outbox.blocked_since(), Some(now));
                assert_eq!(outbox.packets(), 3, "the first piece is gone");
                client.read_buf(&mut out).await.unwrap();
            }
        }
        drop(socket);
        client.read_to_end(&mut out).await.unwrap();
        assert_eq!((&out[..], outbox.packets(), outbox.blocked_since()), (&b"abcdefg"[..], 0, None));
    }
}
