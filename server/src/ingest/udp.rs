//! UDP: the port pair of one track (RFC 3550 s11: RTP on an even port, RTCP on the next).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use media_core::rtsp::{MediaKind, TransportReply};
use tokio::net::UdpSocket;

/// Tries at finding an even port whose neighbour is free too.
const PAIR_TRIES_MAX: usize = 32;

/// Receive buffer asked of the kernel per RTP socket: a 4K key frame's burst. The kernel may give less.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;

/// The largest datagram read; RTP over Ethernet stays under 1500.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// Datagrams are cut out of blocks of this size, so that a packet costs no allocation of its own.
const BLOCK_BYTES: usize = 64 << 10;

/// RTP and RTCP sockets of one track.
#[derive(Debug)]
pub(super) struct UdpPair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    camera: IpAddr,
    rtp_port: u16,
    block: BytesMut,
}

impl UdpPair {
    /// Binds a free pair on `local`; packets from other addresses than `camera` are dropped.
    pub(super) async fn bind(local: IpAddr, camera: IpAddr) -> io::Result<Self> {
        for _ in 0..PAIR_TRIES_MAX {
            let rtp = UdpSocket::bind((local, 0)).await?;
            let rtp_port = rtp.local_addr()?.port();
            if !rtp_port.is_multiple_of(2) {
                continue;
            }
            let Ok(rtcp) = UdpSocket::bind((local, rtp_port + 1)).await else { continue };
            socket2::SockRef::from(&rtp).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
            return Ok(Self { rtp, rtcp, camera, rtp_port, block: BytesMut::new() });
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no free pair of udp ports found"))
    }

    /// Our RTP port.
    pub(super) fn rtp_port(&self) -> u16 {
        self.rtp_port
    }

    /// Opens the way through a firewall between us and the camera: one empty RTP and RTCP packet.
    pub(super) async fn punch(&self, reply: &TransportReply) {
        let empty_rtp = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let empty_rr = [0x80, 201, 0, 1, 0, 0, 0, 0];
        if let Some(port) = reply.server_rtp_port {
            // A lost punch costs nothing that the fallback to TCP does not mend.
            let _sent = self.rtp.send_to(&empty_rtp, (self.camera, port)).await;
        }
        self.send_rtcp(reply, &empty_rr).await;
    }

    /// Sends a report to the camera.
    pub(super) async fn send_rtcp(&self, reply: &TransportReply, packet: &[u8]) {
        if let Some(port) = reply.server_rtcp_port {
            // Reports are repeated; a lost one changes nothing.
            let _sent = self.rtcp.send_to(packet, (self.camera, port)).await;
        }
    }

    /// Polls both sockets for a packet from the camera.
    pub(super) fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(MediaKind, Bytes)>> {
        for kind in [MediaKind::Rtp, MediaKind::Rtcp] {
            while let Poll::Ready(received) = self.poll_one(kind, cx) {
                let (packet, from) = received?;
                if from.ip() == self.camera {
                    return Poll::Ready(Ok((kind, packet)));
                }
            }
        }
        Poll::Pending
    }

    fn poll_one(&mut self, kind: MediaKind, cx: &mut Context<'_>) -> Poll<io::Result<(Bytes, SocketAddr)>> {
        if self.block.capacity() < DATAGRAM_BYTES_MAX {
            self.block = BytesMut::with_capacity(BLOCK_BYTES);
        }
        self.block.resize(DATAGRAM_BYTES_MAX, 0);
        let socket = match kind {
            MediaKind::Rtp => &self.rtp,
            MediaKind::Rtcp => &self.rtcp,
        };
        let mut buf = tokio::io::ReadBuf::new(&mut self.block);
        let result = socket.poll_recv_from(cx, &mut buf);
        let filled = buf.filled().len();
        match result {
            Poll::Ready(Ok(from)) => Poll::Ready(Ok((self.block.split_to(filled).freeze(), from))),
            Poll::Ready(Err(err)) => Poll::Ready(Err(err)),
            Poll::Pending => Poll::Pending,
        }
    }
}
