//! Out: one client's ways out: its connection, and UDP where its media goes that way.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use media_core::egress::rtsp::with_channel;
use media_core::rtsp::server::ServerTransport;

use super::feed::Block;
use super::udp::UdpOut;
use crate::egress::outbox::Outbox;

/// Where answers and media wait.
#[derive(Debug)]
pub(super) struct Out {
    /// The connection: answers, and media over TCP.
    pub(super) tcp: Outbox,
    /// Set while a session's media goes over UDP.
    pub(super) udp: Option<UdpOut>,
    /// The client's address.
    pub(super) peer: IpAddr,
}

impl Out {
    /// Nothing waits yet.
    pub(super) fn new(peer: IpAddr) -> Self {
        Self { tcp: Outbox::default(), udp: None, peer }
    }

    /// Packets of media that wait.
    pub(super) fn packets(&self) -> usize {
        self.udp.as_ref().map_or_else(|| self.tcp.packets(), UdpOut::packets)
    }

    /// Queues the packets of a unit.
    pub(super) fn push_block(&mut self, transport: ServerTransport, block: Block, now: Instant) {
        match (transport, &mut self.udp) {
            (ServerTransport::Tcp { rtp_channel, .. }, _) => {
                let bytes = match block.channel == rtp_channel {
                    true => block.bytes,
                    false => with_channel(&block.bytes, rtp_channel),
                };
                self.tcp.push(bytes, block.packets, now);
            }
            (ServerTransport::Udp { client_ports, .. }, Some(udp)) => {
                udp.push_block(block.bytes, block.packets, SocketAddr::new(self.peer, client_ports.0));
            }
            (ServerTransport::Multicast { destination, ports, .. }, Some(udp)) => {
                udp.push_block(block.bytes, block.packets, SocketAddr::new(destination.into(), ports.0));
            }
            (ServerTransport::Udp { .. } | ServerTransport::Multicast { .. }, None) => {}
        }
    }

    /// Queues a sender report.
    pub(super) fn push_report(&mut self, transport: ServerTransport, report: &Bytes, now: Instant) {
        match (transport, &mut self.udp) {
            (ServerTransport::Tcp { rtcp_channel, .. }, _) => {
                self.tcp.push(interleaved(rtcp_channel, report), 0, now);
            }
            (ServerTransport::Udp { client_ports, .. }, Some(udp)) => {
                udp.push_report(report.clone(), SocketAddr::new(self.peer, client_ports.1));
            }
            (ServerTransport::Multicast { destination, ports, .. }, Some(udp)) => {
                udp.push_report(report.clone(), SocketAddr::new(destination.into(), ports.1));
            }
            (ServerTransport::Udp { .. } | ServerTransport::Multicast { .. }, None) => {}
        }
    }
}

fn interleaved(channel: u8, packet: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + packet.len());
    out.put_slice(&[b'$', channel]);
    // A report of ours is 48 bytes long.
    out.put_u16(u16::try_from(packet.len()).unwrap_or(0));
    out.put_slice(packet);
    out.freeze()
}
