//! TCP candidates: ICE over TCP on one port, each datagram behind its length (RFC 4571, RFC 6544).
//!
//! ```text
//!  accept ─► first frame must be a STUN request of a known session ─► frames ─► Routes
//!                                                        Session ─► queue ─► frames
//! ```
//!
//! Viewers connect (our candidates are passive). For networks where UDP is blocked.
//!
//! Limits: [`CONNECTIONS_MAX`] (further ones are closed at once), [`FIRST_FRAME_WAIT`],
//! [`QUEUE_FRAMES`] (a viewer too slow for its stream is cut off: it reconnects and joins anew).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use str0m::net::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span};

use super::routes::{Delivered, Incoming, Routes};
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;

/// Connections at once; twice the sessions, since ICE may try two addresses.
const CONNECTIONS_MAX: usize = 2 * super::SESSIONS_MAX;
/// A connection that sent no request of a known session by then is closed.
const FIRST_FRAME_WAIT: Duration = Duration::from_secs(10);
/// A peer that takes longer for one write is gone.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// Frames waiting for one connection: about 2 s of 8 Mbit/s.
const QUEUE_FRAMES: usize = 2048;
/// The largest frame taken; str0m's limit for a datagram.
const FRAME_BYTES_MAX: usize = 2000;

/// The listener and its connections.
#[derive(Debug)]
pub(crate) struct TcpPort {
    listener: TcpListener,
    local: SocketAddr,
    connections: Mutex<HashMap<SocketAddr, mpsc::Sender<Bytes>>>,
}

impl TcpPort {
    /// Starts listening.
    ///
    /// # Errors
    /// As the operating system says, for instance when the port is taken.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Self { listener, local, connections: Mutex::default() })
    }

    /// Where it listens.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends one datagram over the connection from `destination`; a missing or overfull connection
    /// loses it, as UDP would.
    pub(crate) fn send(&self, datagram: &[u8], destination: SocketAddr) -> SendOutcome {
        let queue = self.lock().get(&destination).cloned();
        let Some(queue) = queue else { return SendOutcome::Lost };
        match queue.try_send(Bytes::copy_from_slice(datagram)) {
            Ok(()) => SendOutcome::Queued,
            Err(_) => {
                // Dropping the last sender ends the connection's writer.
                self.lock().remove(&destination);
                SendOutcome::Lost
            }
        }
    }

    /// Accepts connections until cancelled.
    pub(crate) async fn accept_into(self: Arc<Self>, routes: Arc<Routes>, tasks: TaskSet) {
        let token = tasks.token().clone();
        loop {
            let accepted = tokio::select! {
                () = token.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) if self.lock().len() < CONNECTIONS_MAX => {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    let span = info_span!("webrtc_tcp", %peer);
                    let serve = Arc::clone(&self).serve(stream, peer, Arc::clone(&routes), token.clone());
                    tasks.spawn(span.clone(), serve.instrument(span));
                }
                Ok((_, peer)) => debug!(%peer, "too many TCP connections, closed"),
                Err(error) => {
                    debug!(%error, "accept failed");
                    // Out of file descriptors: trying again at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        routes: Arc<Routes>,
        token: CancellationToken,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "no TCP_NODELAY");
        }
        let destination = stream
            .local_addr()
            .map_or(self.local, |local| SocketAddr::new(local.ip().to_canonical(), local.port()));
        let (reader, writer) = stream.into_split();
        let (queue, frames) = mpsc::channel(QUEUE_FRAMES);
        self.lock().insert(peer, queue);
        let read = read_frames(reader, |bytes| {
            let received_at = clock::now();
            let protocol = Protocol::Tcp;
            routes.deliver(Incoming { received_at, protocol, source: peer, destination, bytes })
        });
        let ended = tokio::select! {
            () = token.cancelled() => Ok(()),
            ended = read => ended,
            ended = write_frames(writer, frames) => ended,
        };
        debug!(?ended, "TCP connection ended");
        self.lock().remove(&peer);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, mpsc::Sender<Bytes>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendOutcome {
    /// In the connection's queue.
    Queued,
    /// No connection, or one that is too slow.
    Lost,
}

async fn read_frames(
    mut reader: impl AsyncReadExt + Unpin,
    deliver: impl Fn(Bytes) -> Delivered,
) -> io::Result<()> {
    let first = tokio::time::timeout(FIRST_FRAME_WAIT, read_frame(&mut reader));
    let first = first.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if deliver(first) == Delivered::Nobody {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "first frame is for no session"));
    }
    loop {
        // A session that has gone leaves its connection without an address: the reader ends then.
        if deliver(read_frame(&mut reader).await?) == Delivered::Nobody {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the session has ended"));
        }
    }
}

async fn read_frame(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Bytes> {
    let len = usize::from(reader.read_u16().await?);
    if len > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame longer than a datagram"));
    }
    let mut frame = BytesMut::zeroed(len);
    reader.read_exact(&mut frame).await?;
    Ok(frame.freeze())
}

async fn write_frames(
    mut writer: impl AsyncWriteExt + Unpin,
    mut frames: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let mut batch = BytesMut::new();
    let mut waiting = Vec::with_capacity(64);
    loop {
        if frames.recv_many(&mut waiting, 64).await == 0 {
            return Ok(());
        }
        batch.clear();
        for frame in waiting.drain(..) {
            // Our own datagrams are far below 64 KiB.
            batch.extend_from_slice(&u16::try_from(frame.len()).unwrap_or(0).to_be_bytes());
            batch.extend_from_slice(&frame);
        }
        let written = tokio::time::timeout(WRITE_WAIT, writer.write_all(&batch)).await;
        written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frame_is_read_whole_however_it_is_cut() {
        let (mut peer, mut ours) = tokio::io::duplex(64);
        let write = async {
            for byte in b"\x00\x05hello" {
                peer.write_all(&[*byte]).await.unwrap();
            }
        };
        let (frame, ()) = tokio::join!(read_frame(&mut ours), write);
        assert_eq!(&frame.unwrap()[..], b"hello");
    }

    #[tokio::test]
    async fn frames_go_out_behind_their_length() {
        let (mut peer, ours) = tokio::io::duplex(64);
        let (queue, frames) = mpsc::channel(4);
        queue.send(Bytes::from_static(b"ab")).await.unwrap();
        queue.send(Bytes::from_static(b"c")).await.unwrap();
        drop(queue);
        write_frames(ours, frames).await.unwrap();
        let mut out = Vec::new();
        peer.read_to_end(&mut out).await.unwrap();
        assert_eq!(out, b"\x00\x02ab\x00\x01c");
    }

    #[tokio::test]
    async fn oversized_frame_ends_the_connection() {
        let (mut peer, mut ours) = tokio::io::duplex(64);
        peer.write_all(&[0xff, 0xff]).await.unwrap();
        assert_eq!(read_frame(&mut ours).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    // correctness: S6
    #[tokio::test]
    async fn connection_that_speaks_for_no_session_is_closed() {
        let (mut peer, ours) = tokio::io::duplex(64);
        peer.write_all(b"\x00\x03abc").await.unwrap();
        let ended = read_frames(ours, |_| Delivered::Nobody).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
