//! Paced body: bytes that are handed to a connection no faster than uploads may go, each chunk a sign of life.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep_until};

use crate::upload::Pace;

/// Handed over at once: small enough that the lowest pace still shows progress each second.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// See the module's header.
pub(super) struct PacedBody {
    rest: Bytes,
    pace: Arc<Pace>,
    /// Until when the next chunk waits.
    wait: Option<Pin<Box<Sleep>>>,
    progress: Arc<Notify>,
}

impl PacedBody {
    pub(super) fn new(bytes: Bytes, pace: Arc<Pace>, progress: Arc<Notify>) -> Self {
        Self { rest: bytes, pace, wait: None, progress }
    }

    fn next_bytes(&self) -> usize {
        self.rest.len().min(CHUNK_BYTES)
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.next_bytes();
        if self.wait.is_none() {
            let turn = self.pace.turn(len);
            self.wait = turn.map(|at| Box::pin(sleep_until(at)));
        }
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(context));
        }
        self.wait = None;
        self.progress.notify_one();
        self.pace.sent(len);
        let chunk = self.rest.split_to(len);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}
