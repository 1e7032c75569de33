//! Tests of supervision with cameras of the simulator: what one camera's trouble leaves alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fixtures::{CameraConfig, Clip, PackedClip, Running, Simulator};
use media_core::path_name::PathName;
use media_core::ring::Retention;

use super::{Camera, Intake, Supervisor, SupervisorTimes};
use crate::config::pulled::PulledSource;
use crate::config::resolved::{RtspSource, RtspTransport};
use crate::config::source_url::SourceUrl;
use crate::runtime::clock;
use crate::runtime::fuse::FuseAt;
use crate::runtime::tasks::TaskSet;
use crate::stream::{SourceStatus, Stream};

/// Until a camera has done what is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

struct Street {
    _simulator: Running,
    tasks: TaskSet,
    broken: Arc<Stream>,
    well: Arc<Stream>,
}

impl Street {
    /// Two cameras, supervised by tasks of one set.
    async fn online() -> Self {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/clips/car-detection.mp4");
        let clip = PackedClip::new(&Clip::open(&file, 0.0).unwrap());
        let cameras = ["broken", "well"].map(|name| CameraConfig::new(name, Arc::clone(&clip)));
        let simulator = Simulator::start(fixtures::Config::loopback(cameras.to_vec())).await.unwrap();
        let tasks = TaskSet::new("cameras");
        let [broken, well] = ["broken", "well"].map(|name| {
            let path = PathName::parse(name).unwrap();
            let stream = Stream::new(path, Retention::default(), clock::wall_now());
            let url = SourceUrl::parse(&simulator.url(name)).unwrap();
            let source = RtspSource {
                url,
                transport: RtspTransport::Tcp,
                fingerprint: None,
                play: crate::config::play::PlayHeaders::default(),
            };
            let camera = Camera { source: PulledSource::Rtsp(source), on_demand: None };
            Supervisor::spawn(&tasks, camera, &Intake::new(&stream), SupervisorTimes::default());
            stream
        });
        let street = Self { _simulator: simulator, tasks, broken, well };
        for stream in [&street.broken, &street.well] {
            until("online", || stream.state().status == SourceStatus::Online).await;
        }
        street
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

fn units(stream: &Stream) -> u64 {
    stream.counters.units.load(Ordering::Relaxed)
}

/// What is known of a camera that has had no trouble: its reconnects, panics, lost packets and lost units.
fn troubles(stream: &Stream) -> [u64; 4] {
    let ingest = stream.ingest.lock().unwrap().counters;
    let counters = &stream.counters;
    let own = [&counters.reconnects, &counters.panics].map(|counter| counter.load(Ordering::Relaxed));
    [own[0], own[1], ingest.lost_packets, ingest.lost_units]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_in_a_cameras_session_starts_it_again_and_leaves_the_others_alone() {
    let street = Street::online().await;
    let before = units(&street.well);
    street.broken.fuse.light(FuseAt::Publisher);
    until("counted", || street.broken.counters.panics.load(Ordering::Relaxed) == 1).await;
    until("back", || street.broken.state().status == SourceStatus::Online).await;
    assert_eq!((street.tasks.panics(), street.broken.counters.reconnects.load(Ordering::Relaxed)), (1, 1));
    // Its ring, whose lock the panic poisoned, takes units again.
    let after = units(&street.broken);
    until("filling again", || units(&street.broken) > after + 12).await;
    assert!(street.broken.ring_bytes() > 0);
    until("going on", || units(&street.well) > before + 60).await;
    // Ingest shows its counters with each receiver report.
    until("reported", || street.well.ingest.lock().unwrap().counters.packets > 0).await;
    assert_eq!(troubles(&street.well), [0; 4]);
    assert_eq!(street.well.state().status, SourceStatus::Online);
    street.tasks.shutdown(Duration::from_secs(5)).await;
}
