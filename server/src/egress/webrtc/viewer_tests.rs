//! Tests with connected viewers (str0m's other side, over loopback): what one session's trouble leaves alone.
#![expect(clippy::disallowed_methods, reason = "a test owns its tasks by their handles")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use media_core::path_name::PathName;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::tests::{SDP, config_for_tests, h264_format, key_frame, post, server_with};
use super::*;
use crate::runtime::fuse::FuseAt;
use crate::stream::{Publisher, ReaderKind};

/// Until something has happened that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A viewer that counts its packets until it is dropped.
struct Viewer {
    packets: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Viewer {
    async fn join(server: &Arc<WebRtcServer>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let config = RtcConfig::new().set_crypto_provider(crypto).set_rtp_mode(true);
        let mut rtc = config.build(clock::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let answered = post(server, "/cam_1/whep", SDP, &offer.to_sdp_string()).await;
        assert_eq!(answered.status, StatusCode::CREATED, "{}", answered.text);
        let answer = SdpAnswer::from_sdp_string(&answered.text).unwrap();
        rtc.sdp_api().accept_answer(pending, answer).unwrap();
        let packets = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(receive(rtc, socket, Arc::clone(&packets)));
        Self { packets, task }
    }

    fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(mut rtc: Rtc, socket: UdpSocket, packets: Arc<AtomicU64>) {
    let mut buffer = [0; 2000];
    let destination = socket.local_addr().unwrap();
    loop {
        match rtc.poll_output().unwrap() {
            Output::Transmit(transmit) => {
                socket.send_to(&transmit.contents, transmit.destination).await.unwrap();
            }
            Output::Event(Event::RtpPacket(_)) => {
                packets.fetch_add(1, Ordering::Relaxed);
            }
            Output::Event(_) => {}
            Output::Timeout(at) => {
                let received = tokio::time::timeout_at(at.into(), socket.recv_from(&mut buffer)).await;
                let now = clock::now();
                let input = match received {
                    Err(_) => Input::Timeout(now),
                    Ok(datagram) => {
                        let (length, source) = datagram.unwrap();
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
