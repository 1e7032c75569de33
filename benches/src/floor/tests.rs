//! Tests of the floors against a camera and sinks in this process.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use fixtures::{CameraConfig, Clip, Config, Join, PackedClip, Simulator};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::gso::{self, GsoArgs};
use super::reader::{self, KeepAlives, ReaderArgs};
use super::report::{self, Counters};
use super::sendfile::{self, Pace, SendfileArgs};
use super::sink::{self, Receive};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn bare_reader_is_steady_once_every_camera_has_sent_and_notices_one_that_goes() {
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/clips/bigbuckbunny-720p.mp4");
    let clip = PackedClip::new(&Clip::open(clip.as_ref(), 25.0).unwrap());
    let camera =
        |n| CameraConfig { join: Join::MidGop, ..CameraConfig::new(format!("cam_{n}"), Arc::clone(&clip)) };
    let simulator = Simulator::start(Config::loopback((1..=3).map(camera).collect())).await.unwrap();
    let address = simulator.rtsp_addr.to_string();
    let args = ReaderArgs { simulator: address, cameras: 3, prefix: "cam_".to_owned() };
    let counters = Arc::new(Counters::default());
    let (said, steady) = mpsc::channel(3);
    let mut tasks = JoinSet::new();
    let mut keep_alives = KeepAlives::default();
    for playing in reader::play_all(&args).await.unwrap() {
        let camera = keep_alives.take(playing);
        tasks.spawn(reader::throw_away(camera, Arc::clone(&counters), said.clone()));
    }
    timeout(PATIENCE, report::all_steady(3, steady, &mut tasks)).await.unwrap().unwrap();
    assert!(counters.bytes() > 0);
    drop(simulator);
    let lost = timeout(PATIENCE, tasks.join_next()).await.unwrap().unwrap().unwrap();
    assert!(lost.is_err(), "a camera that goes must not look like one that sends less");
}

#[tokio::test(flavor = "multi_thread")]
async fn sendfile_sends_to_all_at_the_pace_of_the_bitrate() {
    let pace = Pace { bitrate_bps: 800_000, part_ms: 20 };
    let args = SendfileArgs { connections: 3, pace };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let counters = Arc::new(Counters::default());
    let (said, steady) = mpsc::channel(3);
    let mut sinks = JoinSet::new();
    sinks.spawn(sink::read_connections(address, 3));
    let mut tasks = sendfile::send_to_all(&args, &listener, &counters, &said).await.unwrap();
    timeout(PATIENCE, report::all_steady(3, steady, &mut tasks)).await.unwrap().unwrap();
    assert_eq!(counters.bytes(), counters.frames() * 2000, "parts of 20 ms at 800 kbit/s");
}

#[tokio::test(flavor = "multi_thread")]
async fn gso_sends_each_viewer_whole_pictures_of_sealed_packets() {
    let args = GsoArgs { peers: 2, bitrate_bps: 4_000_000, fps: 25, receive: Receive::Plain };
    let viewers = sink::bind_sockets(2).await.unwrap();
    let addresses = viewers.iter().map(|viewer| viewer.local_addr().unwrap()).collect();
    let counters = Arc::new(Counters::default());
    let (said, _steady) = mpsc::channel(2);
    let (_tasks, _) = gso::send_to_all(&args, addresses, &counters, &said).unwrap();
    // 20,000 bytes of picture in packets of 1172, each with 12 bytes in front and 16 behind.
    let expected: Vec<usize> = [vec![1200; 17], vec![20_000 - 17 * 1172 + 28]].concat();
    for viewer in viewers {
        let mut sizes = Vec::new();
        let mut datagram = [0; 2000];
        while sizes.len() < expected.len() {
            sizes.push(timeout(PATIENCE, viewer.recv(&mut datagram)).await.unwrap().unwrap());
        }
        assert_eq!(sizes, expected);
        let is_media_in_clear = datagram.windows(4).any(|four| four == [5, 6, 7, 8]);
        assert!(!is_media_in_clear);
    }
}
