//! Tests with connected viewers (str0m's other side, over loopback): what one session's trouble leaves alone.
#![expect(clippy::disallowed_methods, reason = "a test owns its tasks by their handles")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use media_core::path_name::PathName;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::SenderInfo;
use str0m::rtp::{Extension, ExtensionMap, RtpPacket};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::tests::{SDP, config_for_tests, h264_format, key_frame, post, server_with};
use super::*;
use crate::runtime::fuse::FuseAt;
use crate::stream::{Publisher, ReaderKind};

/// Until something has happened that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which of a viewer's packets go astray.
#[derive(Clone, Copy, PartialEq)]
enum Link {
    Good,
    /// Each tenth of the pictures' packets when it is first sent.
    Lossy,
}

/// What a viewer has seen.
#[derive(Default)]
struct Seen {
    packets: AtomicU64,
    /// Of those that came although they had gone astray.
    repaired: AtomicU64,
    /// Sequence numbers that went astray, and did not come yet.
    missing: Mutex<Vec<u16>>,
    /// Sender reports, each once.
    reports: Mutex<Vec<SenderInfo>>,
}

impl Seen {
    fn take(&self, packet: &RtpPacket) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        let mut missing = self.missing.lock().unwrap();
        let before = missing.len();
        missing.retain(|seq| *seq != packet.header.sequence_number);
        self.repaired.fetch_add(u64::try_from(before - missing.len()).unwrap(), Ordering::Relaxed);
        let mut reports = self.reports.lock().unwrap();
        let is_news = |info: &SenderInfo| reports.last().is_none_or(|last| last.ntp_time != info.ntp_time);
        if let Some(info) = packet.last_sender_info.filter(is_news) {
            reports.push(info);
        }
    }

    /// The reports made when at least ten packets had been sent.
    fn settled_reports(&self) -> Vec<SenderInfo> {
        let reports = self.reports.lock().unwrap();
        reports.iter().copied().filter(|info| info.sender_packet_count >= 10).collect()
    }
}

/// Whether a packet is the tenth of the first synchronization source; counts and notes it.
#[derive(Default)]
struct Losing {
    ssrc: Option<[u8; 4]>,
    packets: u64,
}

impl Losing {
    fn loses(&mut self, datagram: &[u8], seen: &Seen) -> bool {
        let Some(&[128..=191, kind, high, low, _, _, _, _, s3, s2, s1, s0]) = datagram.first_chunk::<12>()
        else {
            return false;
        };
        let is_rtcp = (192..=223).contains(&kind);
        if is_rtcp || *self.ssrc.get_or_insert([s3, s2, s1, s0]) != [s3, s2, s1, s0] {
            return false;
        }
        self.packets += 1;
        let is_lost = self.packets.is_multiple_of(10);
        if is_lost {
            seen.missing.lock().unwrap().push(u16::from_be_bytes([high, low]));
        }
        is_lost
    }
}

/// A viewer that watches until it is dropped.
struct Viewer {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Viewer {
    async fn join(server: &Arc<WebRtcServer>) -> Self {
        Self::join_over(server, Link::Good, ExtensionMap::standard()).await
    }

    async fn join_over(server: &Arc<WebRtcServer>, link: Link, extensions: ExtensionMap) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let config = RtcConfig::new().set_crypto_provider(crypto).set_rtp_mode(true);
        let config = config.set_extension_map(extensions);
        let mut rtc = config.build(clock::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let answered = post(server, "/cam_1/whep", SDP, &offer.to_sdp_string()).await;
        assert_eq!(answered.status, StatusCode::CREATED, "{}", answered.text);
        let answer = SdpAnswer::from_sdp_string(&answered.text).unwrap();
        rtc.sdp_api().accept_answer(pending, answer).unwrap();
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(receive(rtc, socket, link, Arc::clone(&seen)));
        Self { seen, task }
    }

    fn packets(&self) -> u64 {
        self.seen.packets.load(Ordering::Relaxed)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(mut rtc: Rtc, socket: UdpSocket, link: Link, seen: Arc<Seen>) {
    let mut buffer = [0; 2000];
    let mut losing = Losing::default();
    let destination = socket.local_addr().unwrap();
    loop {
        match rtc.poll_output().unwrap() {
            Output::Transmit(transmit) => {
                socket.send_to(&transmit.contents, transmit.destination).await.unwrap();
            }
            Output::Event(Event::RtpPacket(packet)) => seen.take(&packet),
            Output::Event(_) => {}
            Output::Timeout(at) => {
                let received = tokio::time::timeout_at(at.into(), socket.recv_from(&mut buffer)).await;
                let now = clock::now();
                let input = match received {
                    Err(_) => Input::Timeout(now),
                    Ok(datagram) => {
                        let (length, source) = datagram.unwrap();
                        if link == Link::Lossy && losing.loses(&buffer[..length], &seen) {
                            continue;
                        }
                        let contents = buffer[..length].try_into().unwrap();
                        Input::Receive(now, Receive { proto: Protocol::Udp, source, destination, contents })
                    }
                };
                rtc.handle_input(input).unwrap();
            }
        }
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while !is_so() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not {what} in {PATIENCE:?}"));
}

/// A camera of 25 pictures a second at `cam_1`, until the handle is aborted.
fn film(server: &Arc<WebRtcServer>) -> JoinHandle<()> {
    let publisher = Publisher::new(&server.deps.registry.get(&PathName::parse("cam_1").unwrap()).unwrap());
    let format = h264_format();
    tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(40));
        for n in 1.. {
            pace.tick().await;
            publisher.publish(&format, key_frame(n));
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_in_a_session_ends_it_and_leaves_the_other_viewers_of_the_camera_alone() {
    let server = server_with(config_for_tests()).await;
    let camera = film(&server);
    let viewers = [Viewer::join(&server).await, Viewer::join(&server).await];
    until("watching", || viewers.iter().all(|viewer| viewer.packets() > 5)).await;
    let stream = server.deps.registry.get(&PathName::parse("cam_1").unwrap()).unwrap();
    stream.fuse.light(FuseAt::Reader(ReaderKind::WebRtcSession));
    until("ended", || server.sessions().len() == 1).await;
    assert_eq!(server.deps.tasks.panics(), 1);
    let readers = stream.reader_changes().borrow().len();
    assert_eq!(readers, 1, "the seat is given back");
    let before = [viewers[0].packets(), viewers[1].packets()];
    let more = |at: usize| viewers[at].packets() - before[at];
    until("going on", || more(0).max(more(1)) > 25).await;
    // What was under way when its session ended.
    assert!(more(0).min(more(1)) < 3, "one of them is gone: {} and {}", more(0), more(1));
    let newcomer = Viewer::join(&server).await;
    until("watching", || newcomer.packets() > 5).await;
    camera.abort();
    server.deps.tasks.shutdown(Duration::from_secs(5)).await;
    assert_eq!(server.deps.tasks.panics(), 1);
}

/// Media goes past str0m here (AES-256-GCM is agreed on); what it goes on doing has to fit.
// correctness: R3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_packets_come_again_and_sender_reports_tell_what_was_sent_and_when() {
    let server = server_with(config_for_tests()).await;
    let camera = film(&server);
    let viewer = Viewer::join_over(&server, Link::Lossy, ExtensionMap::standard()).await;
    until("repaired", || viewer.seen.repaired.load(Ordering::Relaxed) >= 5).await;
    until("reported to", || viewer.seen.settled_reports().len() >= 2).await;
    let counters = &server.sessions()[0].counters;
    assert!(counters.retransmitted_packets.load(Ordering::Relaxed) >= 5);
    let sent = counters.outbound_rtp_packets.load(Ordering::Relaxed);
    let reports = viewer.seen.settled_reports();
    for report in &reports {
        assert!(u64::from(report.sender_packet_count) <= sent, "{report:?} of {sent} packets");
        assert!(report.sender_octet_count > report.sender_packet_count, "{report:?}");
    }
    // The pictures' times are true, so what is said of them a second later lies a second on.
    let us =
        |time: SystemTime| i128::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros());
    let elapsed_us = us(reports[1].ntp_time).unwrap() - us(reports[0].ntp_time).unwrap();
    let ticks = i128::from(reports[1].rtp_time.numer()) - i128::from(reports[0].rtp_time.numer());
    let off = (ticks - elapsed_us * 9 / 100).rem_euclid(1 << 32);
    assert!(off.min((1 << 32) - off) <= 9, "{off} ticks off in {elapsed_us} us");
    assert!(reports[1].sender_packet_count > reports[0].sender_packet_count);
    camera.abort();
    server.deps.tasks.shutdown(Duration::from_secs(5)).await;
}

/// Header extensions with ids above 14 are one of the things that leave a viewer to str0m.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewer_that_is_left_to_str0m_gets_pictures_and_lost_packets_too() {
    let server = server_with(config_for_tests()).await;
    let camera = film(&server);
    let mut extensions = ExtensionMap::empty();
    extensions.set(15, Extension::RtpMid);
    let viewer = Viewer::join_over(&server, Link::Lossy, extensions).await;
    until("repaired", || viewer.seen.repaired.load(Ordering::Relaxed) >= 3).await;
    until("reported to", || viewer.seen.settled_reports().len() >= 2).await;
    let counters = &server.sessions()[0].counters;
    assert!(counters.retransmitted_packets.load(Ordering::Relaxed) >= 3);
    let sent = counters.outbound_rtp_packets.load(Ordering::Relaxed);
    let reports = viewer.seen.settled_reports();
    assert!(reports.iter().all(|report| u64::from(report.sender_packet_count) <= sent), "{reports:?}");
    camera.abort();
    server.deps.tasks.shutdown(Duration::from_secs(5)).await;
}
