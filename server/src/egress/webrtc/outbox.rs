//! Outbox: the datagrams of one turn, put together into runs that one system call sends.
//!
//! A run is a series of datagrams to the same place, all as long as the first but the last (GSO). Those of str0m are copied
//! in; media is written and encrypted where it leaves from (-> direct), and goes the way of str0m's newest packet: ICE's
//! choice, which a sender report shows each second.

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
/// The least first byte of a DTLS record; RTP and RTCP begin with more.
const DTLS_FIRST: u8 = 20;
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

/// Whence and whither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    protocol: Protocol,
    source: SocketAddr,
    destination: SocketAddr,
}

#[derive(Debug)]
struct Run {
    way: Way,
    range: Range<usize>,
    segment_bytes: usize,
    datagrams: usize,
    /// A datagram shorter than the others ends a run.
    is_closed: bool,
}

/// Datagrams waiting to be sent.
#[derive(Debug)]
pub(crate) struct Outbox {
    segments_max: usize,
    bytes: Vec<u8>,
    runs: Vec<Run>,
    /// The way that ICE chose, as of the last packet that went it.
    chosen: Option<Way>,
}

impl Outbox {
    /// Nothing waits; `segments_max` is what one send takes.
    pub(crate) fn new(segments_max: usize) -> Self {
        Self { segments_max, bytes: Vec::new(), runs: Vec::new(), chosen: None }
    }

    /// Adds a datagram of str0m.
    pub(crate) fn push(&mut self, transmit: &Transmit) {
        let way =
            Way { protocol: transmit.proto, source: transmit.source, destination: transmit.destination };
        // RFC 7983 s7: what begins with less is STUN, which tries out other ways too.
        if transmit.contents.first().is_some_and(|first| *first >= DTLS_FIRST) {
            self.chosen = Some(way);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&transmit.contents);
        self.add(way, start);
    }

    /// Adds a datagram that `write` appends to what it is given, on the way that ICE chose. Says whether there is one:
    /// neither without a way nor if nothing was appended.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(way) = self.chosen else { return false };
        let start = self.bytes.len();
        write(&mut self.bytes);
        let is_written = self.bytes.len() > start;
        if is_written {
            self.add(way, start);
        }
        is_written
    }

    /// Puts the datagram from `start` on into a run.
    fn add(&mut self, way: Way, start: usize) {
        let range = start..self.bytes.len();
        if let Some(run) = self.runs.last_mut()
            && run.takes(way, range.len(), self.segments_max)
        {
            run.is_closed = range.len() < run.segment_bytes;
            run.range.end = range.end;
            run.datagrams += 1;
            return;
        }
        let (segment_bytes, is_closed) = (range.len(), way.protocol != Protocol::Udp);
        self.runs.push(Run { way, range, segment_bytes, datagrams: 1, is_closed });
    }

    /// Sends everything and empties the box. What can't be sent is counted and lost.
    pub(crate) async fn flush(&mut self, ports: &Ports, counters: &SessionCounters) {
        for run in &self.runs {
            let contents = self.bytes.get(run.range.clone()).unwrap_or_default();
            let is_sent = match run.way.protocol {
                Protocol::Udp => send_udp(ports, run, contents).await,
                _ => ports.tcp.as_ref().is_some_and(|tcp| {
                    tcp.send(contents, run.way.destination) == super::tcp::SendOutcome::Queued
                }),
            };
            if is_sent {
                let bytes = u64::try_from(contents.len()).unwrap_or(0);
                counters.outbound_bytes.fetch_add(bytes, Ordering::Relaxed);
            } else {
                counters.send_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.runs.clear();
        self.bytes.clear();
    }
}

impl Run {
    fn takes(&self, way: Way, bytes: usize, segments_max: usize) -> bool {
        !self.is_closed
            && self.way == way
            && bytes <= self.segment_bytes
            && self.datagrams < segments_max
            && self.range.len() + bytes <= RUN_BYTES_MAX
    }
}

async fn send_udp(ports: &Ports, run: &Run, contents: &[u8]) -> bool {
    let Some(udp) = &ports.udp else { return false };
    let Way { source, destination, .. } = run.way;
    let source = Some(source.ip()).filter(|ip| ports.source_ips.contains(ip));
    let sending = udp.send(contents, run.segment_bytes, destination, source);
    match tokio::time::timeout(SEND_WAIT, sending).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            debug!(%error, %destination, "datagrams not sent");
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A datagram of str0m to `port`; `first` is what it begins with.
    fn transmit(first: u8, bytes: usize, port: u16) -> Transmit {
        let mut contents = vec![0; bytes];
        contents[0] = first;
        Transmit {
            proto: Protocol::Udp,
            source: SocketAddr::from(([127, 0, 0, 1], 8189)),
            destination: SocketAddr::from(([127, 0, 0, 1], port)),
            contents: contents.into(),
        }
    }

    fn runs_of(sizes: &[(usize, u16)], segments_max: usize) -> Vec<usize> {
        let mut outbox = Outbox::new(segments_max);
        for (bytes, port) in sizes {
            outbox.push(&transmit(0x80, *bytes, *port));
        }
        outbox.runs.iter().map(|run| run.datagrams).collect()
    }

    /// An outbox with a way, and nothing in it.
    pub(in crate::egress::webrtc) fn outbox_with_way() -> Outbox {
        let mut outbox = Outbox::new(64);
        outbox.push(&transmit(DTLS_FIRST, 100, 5000));
        outbox.clear();
        outbox
    }

    /// What waits, datagram by datagram.
    pub(in crate::egress::webrtc) fn datagrams(outbox: &Outbox) -> Vec<Vec<u8>> {
        let of_run = |run: &Run| -> Vec<Vec<u8>> {
            outbox.bytes[run.range.clone()].chunks(run.segment_bytes).map(<[u8]>::to_vec).collect()
        };
        outbox.runs.iter().flat_map(of_run).collect()
    }

    #[test]
    fn media_goes_the_way_of_what_ice_chose_and_joins_its_runs() {
        let mut outbox = Outbox::new(64);
        let fill = |bytes: &mut Vec<u8>| bytes.extend([0x80; 1200]);
        outbox.push(&transmit(0, 100, 1));
        assert!(!outbox.write(fill), "a check of a way is no choice");
        outbox.push(&transmit(DTLS_FIRST, 1200, 2));
        assert!(outbox.write(fill));
        assert!(!outbox.write(|_| {}), "nothing was written");
        assert!(outbox.write(|bytes| bytes.push(0x80)));
        outbox.push(&transmit(1, 100, 3));
        assert!(outbox.write(fill));
        let runs: Vec<(u16, usize)> =
            outbox.runs.iter().map(|run| (run.way.destination.port(), run.datagrams)).collect();
        assert_eq!(runs, [(1, 1), (2, 3), (3, 1), (2, 1)]);
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
