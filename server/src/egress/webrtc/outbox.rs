//! Outbox: the datagrams of one drain of str0m, put together into runs that one system call sends.
//!
//! A run is a series of datagrams to the same place, all as long as the first but the last (GSO).

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use str0m::net::{Protocol, Transmit};
use tracing::debug;

use super::stats::SessionCounters;
use super::tcp::TcpPort;
use super::udp::UdpPort;

/// UDP payloads of one send may have 64 KiB together (the IP length field).
const RUN_BYTES_MAX: usize = 60_000;
/// A kernel that takes nothing for so long has no route to the viewer any more: the run is lost.
const SEND_WAIT: Duration = Duration::from_millis(500);

/// Where datagrams leave the machine.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    /// The shared UDP socket.
    pub(crate) udp: Option<std::sync::Arc<UdpPort>>,
    /// The TCP listener with its connections.
    pub(crate) tcp: Option<std::sync::Arc<TcpPort>>,
    /// Addresses of ours that may be set as a datagram's source.
    pub(crate) source_ips: Vec<IpAddr>,
}

#[derive(Debug)]
struct Run {
    protocol: Protocol,
    source: SocketAddr,
    destination: SocketAddr,
    range: Range<usize>,
    segment_bytes: usize,
    datagrams: usize,
    /// A datagram shorter than the others ends a run.
    is_closed: bool,
}

/// Datagrams waiting to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

impl Outbox {
    /// Adds a datagram; `segments_max` is what one send takes.
    pub(crate) fn push(&mut self, transmit: &Transmit, segments_max: usize) {
        let datagram: &[u8] = &transmit.contents;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        if let Some(run) = self.runs.last_mut()
            && run.takes(transmit, datagram.len(), segments_max)
        {
            run.range.end = self.bytes.len();
            run.datagrams += 1;
            run.is_closed = datagram.len() < run.segment_bytes;
            return;
        }
        self.runs.push(Run {
            protocol: transmit.proto,
            source: transmit.source,
            destination: transmit.destination,
            range: start..self.bytes.len(),
            segment_bytes: datagram.len(),
            datagrams: 1,
            is_closed: transmit.proto != Protocol::Udp,
        });
    }

    /// Sends everything and empties the box. What can't be sent is counted and lost.
    pub(crate) async fn flush(&mut self, ports: &Ports, counters: &SessionCounters) {
        for run in &self.runs {
            let contents = self.bytes.get(run.range.clone()).unwrap_or_default();
            let is_sent = match run.protocol {
                Protocol::Udp => send_udp(ports, run, contents).await,
                _ => ports.tcp.as_ref().is_some_and(|tcp| {
                    tcp.send(contents, run.destination) == super::tcp::SendOutcome::Queued
                }),
            };
            if is_sent {
                let bytes = u64::try_from(contents.len()).unwrap_or(0);
                counters.outbound_bytes.fetch_add(bytes, Ordering::Relaxed);
            } else {
                counters.send_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.runs.clear();
        self.bytes.clear();
    }
}

impl Run {
    fn takes(&self, next: &Transmit, bytes: usize, segments_max: usize) -> bool {
        !self.is_closed
            && self.protocol == next.proto
            && self.destination == next.destination
            && self.source == next.source
            && bytes <= self.segment_bytes
            && self.datagrams < segments_max
            && self.range.len() + bytes <= RUN_BYTES_MAX
    }
}

async fn send_udp(ports: &Ports, run: &Run, contents: &[u8]) -> bool {
    let Some(udp) = &ports.udp else { return false };
    let source = Some(run.source.ip()).filter(|ip| ports.source_ips.contains(ip));
    let sending = udp.send(contents, run.segment_bytes, run.destination, source);
    match tokio::time::timeout(SEND_WAIT, sending).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            debug!(%error, destination = %run.destination, "datagrams not sent");
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transmit(bytes: usize, port: u16) -> Transmit {
        Transmit {
            proto: Protocol::Udp,
            source: SocketAddr::from(([127, 0, 0, 1], 8189)),
            destination: SocketAddr::from(([127, 0, 0, 1], port)),
            contents: vec![0; bytes].into(),
        }
    }

    fn runs_of(sizes: &[(usize, u16)], segments_max: usize) -> Vec<usize> {
        let mut outbox = Outbox::default();
        for (bytes, port) in sizes {
            outbox.push(&transmit(*bytes, *port), segments_max);
        }
        outbox.runs.iter().map(|run| run.datagrams).collect()
    }

    #[test]
    fn equal_datagrams_and_a_shorter_last_one_go_in_one_call() {
        assert_eq!(runs_of(&[(1200, 1), (1200, 1), (300, 1), (1200, 1)], 64), [3, 1]);
    }

    #[test]
    fn longer_datagram_other_viewer_or_full_run_begins_a_new_call() {
        assert_eq!(runs_of(&[(300, 1), (1200, 1), (1200, 2)], 64), [1, 1, 1]);
        assert_eq!(runs_of(&[(1200, 1); 5], 2), [2, 2, 1]);
        assert_eq!(runs_of(&[(1200, 1); 60], 64), [50, 10]);
    }
}
