//! Tests of the HLS server over real sockets with curl and ffmpeg, and of its waiting with a clock that tests move.
#![expect(clippy::disallowed_methods, reason = "a test owns its tasks by their handles")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use media_core::access_unit::AccessUnit;
use media_core::path_name::PathName;
use media_core::ring::Retention;
use media_core::time::{Timescale, WallTime};
use media_core::track::{AacConfig, CodecConfig, H264Config, SharedFormat, StreamFormat, TrackId, TrackInfo};

use super::body::ChunkBody;
use super::{Asset, HlsDeps, HlsServer, Pages};
use crate::access::Access;
use crate::config::resolved::{HlsConfig, HlsMuxers, HlsVariant, HttpConfig, TlsFiles};
use crate::registry::{PathEntry, Registry};
use crate::runtime::clock;
use crate::runtime::fuse::FuseAt;
use crate::runtime::tasks::TaskSet;
use crate::stream::{Publisher, SourceStatus, Stream};

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000);

struct TestPages;

impl Pages for TestPages {
    fn player(&self) -> Option<Asset> {
        Some(Asset { content_type: "text/html", body: Bytes::from_static(b"<video>") })
    }

    fn asset(&self, name: &str) -> Option<Asset> {
        let body = Bytes::from_static(b"script");
        (name == "player/page.js").then_some(Asset { content_type: "text/javascript", body })
    }
}

fn config() -> HlsConfig {
    HlsConfig {
        http: HttpConfig {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            allow_origins: vec!["*".to_owned()],
            trusted_proxies: Vec::new(),
        },
        muxers: HlsMuxers::OnRequest,
        variant: HlsVariant::LowLatency,
        segment_count: 7,
        segment_duration: Duration::from_secs(1),
        part_duration: Duration::from_millis(200),
        segment_max_bytes: 50 << 20,
        muxer_close_after: Duration::from_secs(60),
        cdn_secret: None,
    }
}

/// A camera that plays a clip of fixtures, and the server in front of it.
struct Bench {
    server: Arc<HlsServer>,
    registry: Arc<Registry>,
    stream: Arc<Stream>,
    publisher: Publisher,
    /// A second camera, which plays the same at the same time.
    beside: Option<Publisher>,
    tasks: TaskSet,
    units: Vec<AccessUnit>,
    format: SharedFormat,
    next: usize,
}

impl Bench {
    fn new(config: HlsConfig) -> Self {
        let path = PathName::parse("city/cam").unwrap();
        let stream = Stream::new(path.clone(), Retention::default(), clock::wall_now());
        let registry = Arc::new(Registry::default());
        let entry = PathEntry::pulled(&stream, Duration::from_secs(10));
        registry.insert(&path, entry);
        let tasks = TaskSet::new("hls_test");
        let deps = HlsDeps {
            registry: Arc::clone(&registry),
            access: Access::open(),
            tasks: tasks.clone(),
            recordings: Arc::new(|| None),
            pages: Arc::new(TestPages),
        };
        let publisher = Publisher::new(&stream);
        let (format, units) = clip();
        Self {
            server: HlsServer::new(config, deps),
            registry,
            stream,
            publisher,
            beside: None,
            tasks,
            units,
            format,
            next: 0,
        }
    }

    /// Publishes what the camera sends in `secs`.
    async fn play(&mut self, secs: i64) {
        let from = self.units.get(self.next).map_or(0, |unit| unit.wall.unix_us());
        while let Some(unit) =
            self.units.get(self.next).filter(|unit| unit.wall.unix_us() < from + secs * 1_000_000)
        {
            self.publisher.publish(&self.format, unit.clone());
            if let Some(beside) = &self.beside {
                beside.publish(&self.format, unit.clone());
            }
            self.next += 1;
            // The muxer's turn, as between the packets of a real camera.
            tokio::task::yield_now().await;
        }
    }

    async fn get(&self, target: &str) -> Response<ChunkBody> {
        self.send(Request::get(target)).await
    }

    async fn send(&self, request: http::request::Builder) -> Response<ChunkBody> {
        self.server.answer(&request.body(()).unwrap(), PEER).await
    }

    async fn playlist(&self) -> String {
        self.playlist_of("city/cam").await
    }

    async fn playlist_of(&self, path: &str) -> String {
        let response = self.get(&format!("/{path}/main_stream.m3u8")).await;
        assert_eq!(response.status(), StatusCode::OK);
        text(response).await
    }

    /// Puts a second camera beside the first.
    fn add_beside(&mut self, path: &str) {
        let path = PathName::parse(path).unwrap();
        let stream = Stream::new(path.clone(), Retention::default(), clock::wall_now());
        self.beside = Some(Publisher::new(&stream));
        self.registry.insert(&path, PathEntry::pulled(&stream, Duration::from_secs(10)));
    }
}

async fn text(response: Response<ChunkBody>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn header<'a>(response: &'a Response<ChunkBody>, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

/// The street clip (H.264 Baseline 12.5 fps, AAC 48 kHz stereo), in the order of its times.
fn clip() -> (SharedFormat, Vec<AccessUnit>) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/clips/car-detection.mp4");
    let clip = fixtures::Clip::open(&file, 0.0).unwrap();
    let sets = &clip.video.parameter_sets;
    let audio = clip.audio.as_ref().unwrap();
    let fixtures::AudioCodec::Aac { config } = &audio.codec else { panic!("not AAC") };
    let tracks = vec![
        TrackInfo {
            id: TrackId(0),
            timescale: Timescale::VIDEO,
            codec: CodecConfig::H264(H264Config::from_parameter_sets(&sets.sps[0], &sets.pps[0]).unwrap()),
            transcoded_from: None,
        },
        TrackInfo {
            id: TrackId(1),
            timescale: Timescale::new(audio.clock_rate).unwrap(),
            codec: CodecConfig::Aac(AacConfig::from_audio_specific_config(config).unwrap()),
            transcoded_from: None,
        },
    ];
    let format = Arc::new(StreamFormat { generation: 1, is_slate: false, tracks });
    let start = clock::wall_now();
    let mut units: Vec<AccessUnit> =
        clip.video.access_units.iter().map(|unit| video_unit(unit, start)).collect();
    let scale = format.tracks[1].timescale;
    for (index, frame) in audio.frames.iter().enumerate() {
        let ticks = i64::try_from(index).unwrap() * i64::from(audio.frame_ticks);
        units.push(AccessUnit {
            track: TrackId(1),
            dts_ticks: ticks,
            pts_ticks: ticks,
            wall: start.plus_us(scale.ticks_to_us(ticks)),
            is_random_access: true,
            payload: frame.clone(),
        });
    }
    units.sort_by_key(|unit| unit.wall);
    (format, units)
}

fn video_unit(unit: &fixtures::AccessUnit, start: WallTime) -> AccessUnit {
    let mut payload = BytesMut::new();
    for nal in &unit.nal_units {
        payload.put_u32(u32::try_from(nal.len()).unwrap());
        payload.put_slice(nal);
    }
    AccessUnit {
        track: TrackId(0),
        dts_ticks: unit.dts_90k,
        pts_ticks: unit.pts_90k,
        wall: start.plus_us(Timescale::VIDEO.ticks_to_us(unit.dts_90k)),
        is_random_access: unit.is_random_access,
        payload: payload.freeze(),
    }
}

fn run(program: &str, args: &[&str]) -> (String, String) {
    let output = Command::new(program).args(args).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (out.into_owned(), err.into_owned())
}

/// Runs a tool beside the server.
async fn peer(program: &'static str, args: Vec<String>) -> (String, String) {
    tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run(program, &args)
    })
    .await
    .unwrap()
}

fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("gtvision-hls-{}-{number}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

// correctness: F5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_reads_the_live_playlist_without_a_word() {
    let mut bench = Bench::new(config());
    bench.play(8).await;
    let address = bench.server.listen().await.unwrap();
    let url = format!("http://{address}/city/cam/index.m3u8");
    let args = ["-v", "warning", "-i", &url, "-t", "6", "-c", "copy", "-f", "null", "-"].map(str::to_owned);
    let ffmpeg = tokio::spawn(peer("ffmpeg", args.to_vec()));
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    while !ffmpeg.is_finished() {
        pace.tick().await;
        bench.play(1).await;
    }
    let (_, complaints) = ffmpeg.await.unwrap();
    // ffmpeg's HLS reader loads EXT-X-MAP again at each reload of a live playlist and says so, whoever serves it.
    let is_known =
        |line: &str| line.contains("Found duplicated MOOV Atom") || line.contains("Last message repeated");
    let complaints: Vec<&str> = complaints.lines().filter(|line| !is_known(line)).collect();
    assert_eq!(complaints, Vec::<&str>::new());
    bench.tasks.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_running_camera_is_answered_at_once_from_its_ring() {
    let mut bench = Bench::new(config());
    bench.play(10).await;
    let playlist = bench.playlist().await;
    assert!(playlist.contains("#EXTINF") && playlist.contains("#EXT-X-PRELOAD-HINT"));
    let index = text(bench.get("/city/cam/index.m3u8?token=x").await).await;
    assert!(index.contains("CODECS=\"avc1.") && index.contains("mp4a.40.2"), "{index}");
    assert!(index.ends_with("main_stream.m3u8?token=x\n"), "{index}");
}

#[tokio::test]
async fn every_file_of_the_playlist_is_served_and_none_of_another_prefix() {
    let mut bench = Bench::new(config());
    bench.play(10).await;
    let playlist = bench.playlist().await;
    let uris: Vec<&str> = playlist
        .lines()
        .filter(|line| !line.contains("PRELOAD-HINT"))
        .filter_map(|line| {
            if line.starts_with('#') { line.split("URI=\"").nth(1)?.split('"').next() } else { Some(line) }
        })
        .collect();
    assert!(uris.len() > 10);
    for uri in &uris {
        let response = bench.get(&format!("/city/cam/{uri}")).await;
        assert_eq!(response.status(), StatusCode::OK, "{uri}");
        assert_eq!(header(&response, "content-type"), "video/mp4");
        assert!(header(&response, "cache-control").contains("immutable"));
        let length: usize = header(&response, "content-length").parse().unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), length);
    }
    let other = uris[0].replacen(&uris[0][..4], "ffff", 1);
    assert_eq!(bench.get(&format!("/city/cam/{other}")).await.status(), StatusCode::NOT_FOUND);
    let snapshot = bench.server.snapshot();
    assert!(
        snapshot[0].sent_bytes > 10_000 && snapshot[0].requests > 10 && snapshot[0].window_bytes > 10_000
    );
}

// correctness: H15
#[tokio::test]
async fn playlists_are_compressed_media_can_be_ranged_and_pages_may_read_both() {
    let mut bench = Bench::new(config());
    bench.play(10).await;
    let plain = bench.playlist().await;
    let request = Request::get("/city/cam/main_stream.m3u8")
        .header("accept-encoding", "gzip")
        .header("origin", "http://a");
    let response = bench.send(request).await;
    assert_eq!(header(&response, "content-encoding"), "gzip");
    assert_eq!(header(&response, "vary"), "Accept-Encoding");
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    let packed = response.into_body().collect().await.unwrap().to_bytes();
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain);

    let segment = plain.lines().find(|line| line.contains("_seg")).unwrap();
    let whole =
        bench.get(&format!("/city/cam/{segment}")).await.into_body().collect().await.unwrap().to_bytes();
    let request = Request::get(format!("/city/cam/{segment}")).header("range", "bytes=100-5099");
    let response = bench.send(request).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&response, "content-range"), format!("bytes 100-5099/{}", whole.len()));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), whole[100..5100]);

    let request = Request::options("/city/cam/index.m3u8").header("access-control-request-method", "GET");
    let response = bench.send(request).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(header(&response, "access-control-allow-headers").contains("Range"));

    let response = bench.send(Request::head("/city/cam/main_stream.m3u8")).await;
    assert_eq!(header(&response, "content-length"), plain.len().to_string());
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn pages_redirects_and_faults_are_answered_as_documented() {
    let mut bench = Bench::new(config());
    bench.play(10).await;
    let response = bench.get("/city/cam?x=1").await;
    assert_eq!((response.status(), header(&response, "location")), (StatusCode::FOUND, "/city/cam/?x=1"));
    assert_eq!(text(bench.get("/city/cam/").await).await, "<video>");
    assert_eq!(text(bench.get("/_/player/page.js").await).await, "script");
    for (target, status) in [
        ("/other/", StatusCode::NOT_FOUND),
        ("/other/index.m3u8", StatusCode::NOT_FOUND),
        ("/_/nothing", StatusCode::NOT_FOUND),
        ("/city/cam/main_stream.m3u8?_HLS_part=1", StatusCode::BAD_REQUEST),
        ("/city/cam/main_stream.m3u8?_HLS_msn=99999999999", StatusCode::BAD_REQUEST),
        ("/city%2f..%2fcam/index.m3u8", StatusCode::NOT_FOUND),
    ] {
        let response = bench.get(target).await;
        assert_eq!(response.status(), status, "{target}");
        assert!(text(response).await.starts_with("{\"error\":"), "{target}");
    }
    assert_eq!(
        bench.send(Request::post("/city/cam/index.m3u8")).await.status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

fn next_part(playlist: &str) -> (String, String) {
    let uri =
        playlist.lines().last().unwrap().split("URI=\"").nth(1).unwrap().trim_end_matches('"').to_owned();
    let (msn, part) = uri.split("_part").nth(1).unwrap().trim_end_matches(".mp4").split_once('_').unwrap();
    (format!("/city/cam/main_stream.m3u8?_HLS_msn={msn}&_HLS_part={part}"), format!("/city/cam/{uri}"))
}

// correctness: H6, H8, H10
#[tokio::test(start_paused = true)]
async fn a_held_reload_and_a_hinted_part_are_answered_when_the_part_is_there() {
    let mut bench = Bench::new(config());
    bench.play(10).await;
    let (reload, part) = next_part(&bench.playlist().await);
    let server = Arc::clone(&bench.server);
    let held = tokio::spawn(async move {
        let ask = |target: String| {
            let server = Arc::clone(&server);
            async move { server.answer(&Request::get(target).body(()).unwrap(), PEER).await }
        };
        tokio::join!(ask(reload), ask(part))
    });
    tokio::task::yield_now().await;
    assert!(!held.is_finished());
    bench.play(1).await;
    let (reload, part) = held.await.unwrap();
    assert_eq!((reload.status(), part.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(header(&reload, "cache-control"), "public, max-age=1");
    assert!(text(reload).await.starts_with("#EXTM3U"));
}

// correctness: H7
#[tokio::test(start_paused = true)]
async fn a_held_reload_is_refused_after_three_target_durations_of_outage_and_the_playlist_stays() {
    let mut bench = Bench::new(config());
    bench.play(10).await;
    let before = bench.playlist().await;
    let target: u64 =
        before.lines().find_map(|line| line.strip_prefix("#EXT-X-TARGETDURATION:")).unwrap().parse().unwrap();
    let (reload, part) = next_part(&before);
    for held in [reload, part] {
        let since = tokio::time::Instant::now();
        let response = bench.get(&held).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&response, "retry-after"), "1");
        let waited = since.elapsed();
        assert!(
            waited >= Duration::from_secs((target * 3).min(9)) && waited < Duration::from_secs(10),
            "{waited:?}"
        );
    }
    assert_eq!(bench.playlist().await, before);
}

// correctness: H14
#[tokio::test]
async fn viewers_ride_through_a_reconnect_with_a_discontinuity() {
    let mut bench = Bench::new(config());
    bench.play(10).await;
    let before = bench.playlist().await;
    bench.stream.set_state(SourceStatus::BackingOff, "gone", clock::wall_now());
    assert_eq!(bench.get("/city/cam/index.m3u8").await.status(), StatusCode::OK);
    // Back again: another format from the beginning of the clip.
    bench.format = Arc::new(StreamFormat { generation: 2, ..StreamFormat::clone(&bench.format) });
    bench.next = 0;
    bench.play(5).await;
    let after = bench.playlist().await;
    assert!(after.contains("#EXT-X-DISCONTINUITY\n#EXT-X-MAP:"));
    assert!(!after.contains("ENDLIST"));
    let sequence = |text: &str| -> u64 {
        text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap().parse().unwrap()
    };
    assert!(sequence(&after) >= sequence(&before));
}

/// MEDIA-SEQUENCE and DISCONTINUITY-SEQUENCE.
fn numbers(playlist: &str) -> (u64, u64) {
    let number = |tag: &str| -> u64 {
        playlist.lines().find_map(|line| line.strip_prefix(tag)).unwrap().parse().unwrap()
    };
    (number("#EXT-X-MEDIA-SEQUENCE:"), number("#EXT-X-DISCONTINUITY-SEQUENCE:"))
}

// correctness: H14
#[tokio::test]
async fn panic_in_a_muxer_starts_its_playlist_again_above_its_numbers_and_leaves_the_others_alone() {
    let mut bench = Bench::new(config());
    bench.add_beside("city/well");
    bench.play(10).await;
    let before = [bench.playlist().await, bench.playlist_of("city/well").await];
    bench.stream.fuse.light(FuseAt::HlsWindow);
    bench.play(2).await;
    assert_eq!(bench.tasks.panics(), 1);
    // It begins with what the remuxer made last, under the numbers that this has.
    let restarted = bench.playlist().await;
    assert!(numbers(&restarted).0 >= numbers(&before[0]).0, "{restarted}");
    assert!(numbers(&restarted).1 > numbers(&before[0]).1, "{restarted}");
    assert!(!before[0].lines().filter(|line| line.contains("_seg")).any(|name| restarted.contains(name)));
    // Longer than the clip's GOP of 4.8 s.
    bench.play(5).await;
    let well = bench.playlist_of("city/well").await;
    let [last, next] =
        [&before[1], &well].map(|text| text.matches("#EXTINF").count() as u64 + numbers(text).0);
    assert!(next > last && !well.contains("#EXT-X-DISCONTINUITY\n"), "{well}");
    assert_eq!(numbers(&well).1, numbers(&before[1]).1);
    let restarts: Vec<u64> = bench.server.snapshot().iter().map(|muxer| muxer.restarts).collect();
    assert_eq!((restarts, bench.tasks.panics()), (vec![1, 0], 1));
}

// correctness: H14
#[tokio::test]
async fn panic_in_the_remuxer_starts_its_playlist_again_above_its_numbers_and_leaves_the_camera_alone() {
    let mut bench = Bench::new(config());
    bench.play(10).await;
    let before = bench.playlist().await;
    bench.stream.fuse.light(FuseAt::Remuxer);
    bench.play(2).await;
    assert_eq!(bench.stream.counters.panics.load(Ordering::Relaxed), 1);
    assert!(bench.stream.ring_bytes() > 0);
    // It lies low for a second, in which this camera sends nothing.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    bench.play(10).await;
    let after = bench.playlist().await;
    let segments = before.matches("#EXTINF").count() as u64;
    assert!(numbers(&after).0 >= numbers(&before).0 + segments, "{after}");
    assert!(numbers(&after).1 > numbers(&before).1, "{after}");
    assert_eq!(bench.tasks.panics(), 1, "the window's own count: it was begun anew");
}

// correctness: H14
#[tokio::test]
async fn a_muxer_made_again_goes_on_above_the_numbers_of_the_last() {
    let mut bench = Bench::new(HlsConfig { muxer_close_after: Duration::ZERO, ..config() });
    bench.play(10).await;
    let first = bench.playlist().await;
    let last_segment = first.matches("#EXTINF").count() as u64;
    bench.server.muxers.close_idle();
    assert!(bench.server.snapshot().is_empty());
    let second = bench.playlist().await;
    assert!(numbers(&second).0 > numbers(&first).0 + last_segment);
    assert!(numbers(&second).1 > numbers(&first).1);
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_never_sent_anything_is_not_found_after_its_start_timeout() {
    let bench = Bench::new(config());
    let since = tokio::time::Instant::now();
    let response = bench.get("/city/cam/index.m3u8").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(header(&response, "retry-after"), "1");
    assert_eq!(since.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn muxers_that_always_run_start_without_a_viewer() {
    let mut bench = Bench::new(HlsConfig { muxers: HlsMuxers::Always, ..config() });
    bench.play(5).await;
    let server = Arc::clone(&bench.server);
    bench.tasks.spawn(tracing::Span::none(), async move { server.muxers.tend(&server.viewers).await });
    tokio::time::advance(Duration::from_secs(3)).await;
    tokio::task::yield_now().await;
    assert!(bench.server.snapshot().is_empty(), "the source is not online");
    bench.stream.set_state(SourceStatus::Online, "", clock::wall_now());
    tokio::time::advance(Duration::from_secs(3)).await;
    tokio::task::yield_now().await;
    assert_eq!(bench.server.snapshot().len(), 1);
}

#[tokio::test]
async fn a_path_that_is_configured_anew_gets_a_new_muxer() {
    let mut bench = Bench::new(config());
    bench.play(5).await;
    let first = bench.playlist().await;
    let path = bench.stream.name().clone();
    let stream = Stream::new(path.clone(), Retention::default(), clock::wall_now());
    let entry = PathEntry::pulled(&stream, Duration::from_secs(1));
    bench.registry.insert(&path, entry);
    bench.publisher = Publisher::new(&stream);
    bench.next = 0;
    bench.play(5).await;
    let old = first.lines().find(|line| line.contains("_seg")).unwrap();
    assert_eq!(bench.get(&format!("/city/cam/{old}")).await.status(), StatusCode::NOT_FOUND);
    let second = bench.playlist().await;
    assert!(!second.contains(old));
}

// correctness: H15
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_speaks_http_2_over_tls_and_http_1_without() {
    let folder = scratch("tls");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = TlsFiles { key: folder.join("key.pem"), certificate: folder.join("cert.pem") };
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
    let mut encrypted = config();
    encrypted.http.tls = Some(tls);
    for (config, scheme, version) in [(encrypted, "https", "2 200"), (config(), "http", "1.1 200")] {
        let mut bench = Bench::new(config);
        bench.play(5).await;
        let address = bench.server.listen().await.unwrap();
        let url = format!("{scheme}://{address}/city/cam/index.m3u8");
        let args = ["-sk", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", &url]
            .map(str::to_owned);
        let (answer, complaints) = peer("curl", args.to_vec()).await;
        assert_eq!((answer.as_str(), complaints.as_str()), (version, ""));
        bench.tasks.shutdown(Duration::from_secs(5)).await;
    }
    std::fs::remove_dir_all(folder).unwrap();
}

// correctness: S6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_header_is_refused() {
    let bench = Bench::new(config());
    let address = bench.server.listen().await.unwrap();
    let header = format!("x: {}", "y".repeat(40_000));
    let url = format!("http://{address}/city/cam/index.m3u8");
    let args = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url].map(str::to_owned);
    let (answer, _) = peer("curl", args.to_vec()).await;
    assert_eq!(answer, "431");
    bench.tasks.shutdown(Duration::from_secs(5)).await;
}
