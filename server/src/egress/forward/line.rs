//! Line: the connection to a server that we send to over RTSP or RTMP: the wait for whatever comes first, and the goodbye.
//!
//! Limits: [`READ_BYTES_MAX`], [`GOODBYE_MAX`].

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::futures::Notified;
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::egress::outbox::Outbox;
use crate::runtime::clock;
use crate::stream::SourceState;

/// A server that we send to says little: what it says beyond this before it is taken in waits in its socket.
const READ_BYTES_MAX: usize = 4 << 10;

/// For a goodbye that the server does not take.
const GOODBYE_MAX: Duration = Duration::from_millis(200);

/// What woke a session.
pub(crate) enum Woken {
    /// It is to end.
    Cancelled,
    /// The source's state is another.
    State,
    /// So many bytes came; 0 at the connection's end.
    Read(io::Result<usize>),
    /// So many bytes were taken.
    Written(io::Result<usize>),
    /// The stream has more.
    Published,
    /// A deadline may have come.
    Timer,
}

/// The two sides of a connection, lent for one wait.
pub(crate) struct Line<'a, S> {
    /// The connection.
    pub(crate) socket: &'a mut S,
    /// What waits to be written.
    pub(crate) out: &'a mut Outbox,
    /// What was read.
    pub(crate) buf: &'a mut BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<'_, S> {
    /// Waits for one thing. What is written and read by then is accounted for by the value returned. Cancel-safe.
    pub(crate) async fn wait(
        mut self,
        token: &CancellationToken,
        states: &mut watch::Receiver<SourceState>,
        mut published: Pin<&mut Option<Notified<'_>>>,
        (deadline, mut alarm): (Instant, Pin<&mut Sleep>),
    ) -> Woken {
        // Deadlines mostly move away; the alarm is left where it is, rings too early now and then, and is set anew.
        if tokio::time::Instant::from(deadline) < alarm.deadline() {
            alarm.as_mut().reset(deadline.into());
        }
        let mut cancelled = pin!(token.cancelled());
        let mut changed = pin!(states.changed());
        let now = clock::now();
        poll_fn(|cx| {
            if cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Cancelled);
            }
            if let Poll::Ready(written) = self.out.poll_write_all(self.socket, now, cx) {
                return Poll::Ready(Woken::Written(written));
            }
            if let Poll::Ready(read) = self.poll_read(cx) {
                return Poll::Ready(Woken::Read(read));
            }
            if let Some(published) = published.as_mut().as_pin_mut()
                && published.poll(cx).is_ready()
            {
                return Poll::Ready(Woken::Published);
            }
            if changed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::State);
            }
            alarm.as_mut().poll(cx).map(|()| Woken::Timer)
        })
        .await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buf.reserve(READ_BYTES_MAX);
        tokio_util::io::poll_read_buf(Pin::new(&mut *self.socket), cx, self.buf)
    }

    /// Writes what waits, a goodbye among it. Best effort, behind what the server has begun to take: its own time-out ends what
    /// this does not reach.
    pub(crate) async fn finish(self, now: Instant) {
        let sent = poll_fn(|cx| match self.out.poll_write_all(self.socket, now, cx) {
            Poll::Ready(Ok(_)) if self.out.is_empty() => Poll::Ready(()),
            Poll::Ready(Ok(_)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Pending if self.out.is_empty() => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        });
        let _in_time = tokio::time::timeout(GOODBYE_MAX, sent).await;
    }
}
