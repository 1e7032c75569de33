//! RTSP: the streams as players and recorders read them, with ffmpeg, GStreamer and a raw socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::fmp4::Kind;
use gtvision_tests::process::Process;
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, bitstream, ffmpeg, gstreamer, http, machine, peers, server, wait};

/// Shorter than a capture, so that each capture passes its end.
const CLIP: Clip = Clip { seconds: 4, ..USUAL };

/// What ffmpeg copies; the backlog comes at once, so it takes less.
const RECORDED_S: &str = "6";

/// Every format that cameras send, its sound as ffmpeg names it.
const FORMATS: [(&str, Clip, &str); 6] = [
    ("plain", CLIP, ""),
    ("b_frames", Clip { bframes: 2, ..CLIP }, ""),
    ("h265", Clip { codec: "h265", bframes: 2, ..CLIP }, ""),
    ("aac", Clip { audio: "aac", ..CLIP }, "aac"),
    ("opus", Clip { audio: "opus", ..CLIP }, "opus"),
    ("pcma", Clip { audio: "pcma", ..CLIP }, "pcm_alaw"),
];

struct Scene {
    server: Server,
    simulator: Option<Simulator>,
    clips: BTreeMap<&'static str, std::path::PathBuf>,
}

async fn scene(config: &str, cameras: &[(&'static str, Clip)]) -> anyhow::Result<Scene> {
    let mut clips = BTreeMap::new();
    for (name, clip) in cameras {
        clips.insert(*name, clip.file().await?);
    }
    let cameras: Vec<(&str, &Path)> = clips.iter().map(|(name, file)| (*name, file.as_path())).collect();
    let simulator = Simulator::start(&cameras).await?;
    let pulled: Vec<(&str, String)> = clips.keys().map(|name| (*name, simulator.url(name))).collect();
    let server = Server::start(&(config.to_owned() + &server::pull(&pulled))).await?;
    for name in clips.keys() {
        server.wait_online(name).await?;
    }
    Ok(Scene { server, simulator: Some(simulator), clips })
}

/// ffmpeg copies a stream without decoding it: each of the clip's pictures is there byte for byte, and the sound without
/// a hole. The pictures go into a byte stream: ffmpeg's containers want decode times, which RTP does not have.
async fn copies(
    scene: &Scene,
    (name, url): (&str, &str),
    transport: &str,
    audio: &str,
) -> anyhow::Result<()> {
    let sent = scene.clips.get(name).context("clip")?;
    let kind = if name == "h265" { Kind::H265 } else { Kind::H264 };
    let format = if kind == Kind::H265 { "hevc" } else { "h264" };
    let dir = tempfile::tempdir()?;
    let (video, sound) = (dir.path().join("video"), dir.path().join("sound.mka"));
    let (video_text, sound_text) = (video.to_string_lossy(), sound.to_string_lossy());
    let mut args = vec!["-rtsp_transport", transport, "-i", url];
    args.extend(["-t", RECORDED_S, "-map", "0:v", "-c", "copy", "-f", format, &video_text]);
    if !audio.is_empty() {
        args.extend(["-t", RECORDED_S, "-map", "0:a", "-c", "copy", &sound_text]);
    }
    let output = ffmpeg::ffmpeg(&args).await?;
    ensure!(output.success, "ffmpeg {url}: {}", output.stderr);
    if !audio.is_empty() {
        let streams = ffmpeg::probe(&sound_text, &["-show_streams"]).await?;
        ensure!(streams["streams"][0]["codec_name"] == audio, "{name}: {streams}");
        check_times(&sound, name).await?;
    }
    // correctness: R2
    let (clip, frames) = (bitstream::of_clip(sent).await?, bitstream::frames_of_clip(sent).await?.len());
    let received = bitstream::of_byte_stream(kind, &std::fs::read(&video)?);
    bitstream::check_same(&clip, &received).with_context(|| format!("{name} over {transport}"))?;
    let pictures = received.len() * frames / clip.len();
    ensure!(pictures >= 5 * 25, "{name} over {transport}: {pictures} pictures in {RECORDED_S} s");
    Ok(())
}

/// No hole between two packets of sound.
async fn check_times(file: &Path, name: &str) -> anyhow::Result<()> {
    let packets = ffmpeg::packets(file, &[]).await?;
    let mut times: Vec<f64> = Vec::new();
    for packet in &packets {
        times.push(packet.pts_time.as_deref().context("a packet without time")?.parse()?);
    }
    ensure!(times.len() > 80, "{name}: {} packets of sound", times.len());
    for pair in times.windows(2) {
        ensure!(pair[1] - pair[0] < 0.066, "{name}: a hole in the sound from {} s to {} s", pair[0], pair[1]);
    }
    Ok(())
}

#[tokio::test]
async fn ffmpeg_copies_every_format_byte_for_byte() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let cameras: Vec<_> = FORMATS.iter().map(|(name, clip, _)| (*name, *clip)).collect();
    let scene = scene("", &cameras).await?;
    let copy = async |(name, _, audio): (&str, Clip, &str)| {
        copies(&scene, (name, &scene.server.rtsp(name)), "tcp", audio).await
    };
    let [plain, b_frames, h265, aac, opus, pcma] = FORMATS;
    tokio::try_join!(copy(plain), copy(b_frames), copy(h265), copy(aac), copy(opus), copy(pcma))?;
    Ok(())
}

/// Loss on loopback would be the server's: it sends faster than a player's socket takes.
#[tokio::test]
async fn ffmpeg_copies_over_udp_and_tls_byte_for_byte() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let dir = tempfile::tempdir()?;
    let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("certificate.pem"));
    make_certificate(&key, &certificate).await?;
    let config = format!(
        "rtspEncryption: optional\nrtspServerKey: {}\nrtspServerCert: {}\n",
        key.display(),
        certificate.display()
    );
    // Key frames of some hundred packets.
    let large = Clip { bitrate_bps: 4_000_000, size: "1280x720", audio: "aac", ..CLIP };
    let scene = scene(&config, &[("large", large)]).await?;
    let server = &scene.server;
    let plain = server.rtsp("large");
    let encrypted = format!("rtsps://127.0.0.1:{}/large", server.ports.rtsps);
    tokio::try_join!(
        copies(&scene, ("large", &plain), "udp", "aac"),
        copies(&scene, ("large", &encrypted), "tcp", "aac"),
    )?;
    // An encrypted connection's media does not leave it.
    let lists = http::get(&server.api("rtspssessions/list")).await?.ok()?.json()?;
    ensure!(lists["itemCount"] == 0, "{lists}");
    Ok(())
}

pub(crate) async fn make_certificate(key: &Path, certificate: &Path) -> anyhow::Result<()> {
    let mut command = std::process::Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]);
    command.arg("-keyout").arg(key).arg("-out").arg(certificate);
    let output = peers::run(command, Duration::from_secs(30)).await?;
    ensure!(output.success, "openssl: {}", output.stderr);
    Ok(())
}

/// GStreamer decodes a hundred pictures, over both transports.
#[tokio::test]
async fn gstreamer_reads_over_tcp_and_udp() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let scene = scene("", &[("cam_1", Clip { audio: "aac", bframes: 2, ..CLIP })]).await?;
    let url = scene.server.rtsp("cam_1");
    let takes = [gstreamer::DECODED];
    tokio::try_join!(gstreamer::reads(&url, "tcp", &takes), gstreamer::reads(&url, "udp", &takes))?;
    Ok(())
}

/// The first picture does not wait for the camera's next key frame, 10 s away; sender reports tell the source's clock.
#[tokio::test]
async fn a_reader_starts_at_once_with_the_backlog_and_the_source_clock() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let long = Clip { gop: 250, seconds: 20, ..USUAL };
    let scene = scene("", &[("cam_1", long)]).await?;
    // Several pictures after a key frame.
    wait::until("pictures after a key frame", Duration::from_secs(30), async || {
        let sent = scene.simulator.as_ref().context("simulator")?.sent("cam_1", 30).await?;
        Ok((sent.len() == 30 && !sent.iter().any(|one| one.key)).then_some(()))
    })
    .await?;
    let mut client = RawClient::connect(scene.server.ports.rtsp).await?;
    client.play(&scene.server.rtsp("cam_1")).await?;
    // correctness: R3
    let (channel, report) = client.packet().await?;
    ensure!(channel == 1 && report.get(1) == Some(&200), "no sender report first: {channel} {report:?}");
    let word = |at: usize| {
        report.get(at..at + 4).and_then(|word| word.first_chunk()).map(|word| u32::from_be_bytes(*word))
    };
    let ntp_s = u64::from(word(8).context("ntp")?) - 2_208_988_800;
    let report_rtp = word(16).context("rtp")?;
    let (channel, first) = client.packet().await?;
    let first_rtp = u32::from_be_bytes(*first.get(4..8).and_then(|word| word.first_chunk()).context("rtp")?);
    ensure!(channel == 0 && first_rtp == report_rtp, "the report is of another picture");
    let now_s = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    ensure!(
        (1..12).contains(&now_s.saturating_sub(ntp_s)),
        "the first picture was taken {} s ago",
        now_s - ntp_s
    );
    Ok(())
}

async fn total(server: &Server, name: &str) -> anyhow::Result<f64> {
    server.metrics().await?.sum(name, &[]).with_context(|| format!("no metric {name}"))
}

/// Whoever does not read is cut, and nobody else loses a picture for it.
#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_and_another_loses_nothing() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let fat = Clip { bitrate_bps: 8_000_000, size: "1280x720", ..CLIP };
    let mut scene = scene("writeQueueSize: 128\n", &[("cam_1", fat)]).await?;
    let url = scene.server.rtsp("cam_1");
    let mut stuck = RawClient::connect(scene.server.ports.rtsp).await?;
    stuck.play(&url).await?;
    stuck.packet().await?;
    copies(&scene, ("cam_1", &url), "tcp", "").await?;
    wait::until("the cut of the stuck reader", Duration::from_secs(60), async || {
        let cut = total(&scene.server, "gtvision_rtsp_readers_cut_total").await?;
        Ok((cut >= 1.0).then_some(()))
    })
    .await?;
    // correctness: S6
    stuck.drain(Duration::from_secs(20)).await?;
    let logged = scene.server.wait_log("RTSP reader cut", 1).await?.len();
    ensure!(logged == 1, "logged {logged} times");
    let discarded = total(&scene.server, "gtvision_rtsp_packets_discarded_total").await?;
    ensure!(discarded >= 128.0, "{discarded} packets discarded");
    // A server that stops with readers ends cleanly.
    let mut last = RawClient::connect(scene.server.ports.rtsp).await?;
    last.play(&url).await?;
    scene.server.restart().await
}

/// correctness: R1, S4
#[tokio::test]
async fn statuses_sessions_and_the_api_say_what_is_so() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = CLIP.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let url = simulator.url("cam_1");
    let config = format!(
        "rtspTransports: [tcp]\npaths:\n  cam_1:\n    source: {url}\n    rtspTransport: tcp\n  demanded:\n    source: {url}\n    \
         rtspTransport: tcp\n    sourceOnDemand: yes\n"
    );
    let server = Server::start(&config).await?;
    server.wait_online("cam_1").await?;
    let port = server.ports.rtsp;
    let cam = server.rtsp("cam_1");
    let mut client = RawClient::connect(port).await?;
    for (method, url, headers, status) in [
        ("OPTIONS", cam.clone(), "", 200),
        ("DESCRIBE", server.rtsp("cam_9"), "", 404),
        ("DESCRIBE", server.rtsp("..%2fetc"), "", 404),
        ("PLAY", cam.clone(), "", 454),
        ("SETUP", format!("{cam}/trackID=0"), "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n", 461),
        ("SETUP", format!("{cam}/trackID=7"), "Transport: RTP/AVP/TCP;interleaved=0-1\r\n", 404),
        ("DESCRIBE", cam.clone(), "Require: com.example.feature\r\n", 551),
        ("ANNOUNCE", cam.clone(), "Content-Type: application/sdp\r\n", 400),
    ] {
        let answer = client.ask(method, &url, headers).await?;
        ensure!(answer.status == status, "{method} {url}: {}", answer.text);
    }
    // An on-demand camera starts for a DESCRIBE.
    let described = client.ask("DESCRIBE", &server.rtsp("demanded"), "").await?;
    ensure!(described.status == 200 && described.text.contains("H264/90000"), "{}", described.text);
    client.play(&cam).await?;
    let set_up_again = client.ask("SETUP", &format!("{cam}/trackID=0"), "Transport: RTP/AVP/TCP\r\n").await?;
    ensure!(set_up_again.status == 455, "{}", set_up_again.text);
    // A session belongs to the connection that made it.
    let mut thief = RawClient::connect(port).await?;
    thief.session.clone_from(&client.session);
    for method in ["TEARDOWN", "PAUSE", "PLAY"] {
        let answer = thief.ask(method, &cam, "").await?;
        ensure!(answer.status == 454, "{method}: {}", answer.text);
    }
    check_api(&server, &mut client).await?;
    // Paused and played on.
    ensure!(client.ask("PAUSE", &cam, "").await?.status == 200);
    ensure!(client.ask("GET_PARAMETER", &cam, "").await?.status == 200);
    ensure!(client.ask("PLAY", &cam, "").await?.status == 200);
    client.packet().await?;
    // Ended through the API, with its connection.
    let sessions = http::get(&server.api("rtspsessions/list")).await?.ok()?.json()?;
    let id = sessions["items"][0]["id"].as_str().context("id")?.to_owned();
    let kick = server.api(&format!("rtspsessions/kick/{id}"));
    http::send(http::Method::POST, &kick, &[], bytes::Bytes::new()).await?.ok()?;
    client.drain(Duration::from_secs(20)).await?;
    let again = http::send(http::Method::POST, &kick, &[], bytes::Bytes::new()).await?;
    ensure!(again.status == 404, "kicked twice: {}", again.status);
    Ok(())
}

/// MediaMTX's lists and metrics of a connection that plays `cam_1`.
async fn check_api(server: &Server, client: &mut RawClient) -> anyhow::Result<()> {
    client.packet().await?;
    let sessions = http::get(&server.api("rtspsessions/list")).await?.ok()?.json()?;
    let session = &sessions["items"][0];
    ensure!(
        sessions["itemCount"] == 1 && session["state"] == "read" && session["path"] == "cam_1",
        "{sessions}"
    );
    ensure!(session["transport"] == "TCP" && session["outboundRTPPackets"].as_u64() > Some(0), "{sessions}");
    let id = session["id"].as_str().context("id")?;
    ensure!(id != client.session, "the id on the wire is a secret");
    let one = http::get(&server.api(&format!("rtspsessions/get/{id}"))).await?.ok()?.json()?;
    ensure!(one["id"] == session["id"], "{one}");
    let conn_id = session["conns"][0].as_str().context("conns")?;
    let conn = http::get(&server.api(&format!("rtspconns/get/{conn_id}"))).await?.ok()?.json()?;
    ensure!(conn["session"] == session["id"] && conn["outboundBytes"].as_u64() > Some(0), "{conn}");
    let path = server.path("cam_1").await?;
    ensure!(path["readers"][0]["type"] == "rtspSession" && path["readers"][0]["id"] == id, "{path}");
    // Without a TLS listener its lists are not there, as in MediaMTX.
    ensure!(http::get(&server.api("rtspsconns/list")).await?.status == 404);
    ensure!(total(server, "rtsp_sessions").await? >= 1.0, "no session in the metrics");
    ensure!(total(server, "rtsp_sessions_outbound_rtp_packets").await? > 0.0, "nothing sent, by the metrics");
    ensure!(total(server, "rtsp_conns").await? >= 1.0, "no connection in the metrics");
    Ok(())
}

/// ffmpeg publishes, over TCP and UDP; what is read is what it sent. A second publisher takes a path over, or is refused
/// where that is configured; readers stay.
#[tokio::test]
async fn ffmpeg_publishes_and_a_second_publisher_takes_over() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { audio: "aac", ..CLIP }.file().await?;
    let server =
        Server::start("paths:\n  pushed: {}\n  datagrams: {}\n  kept:\n    overridePublisher: no\n").await?;
    let port = server.ports.rtsp;
    let publish = |path: &str, transport: &str| -> anyhow::Result<Process> {
        let url = format!("rtsp://127.0.0.1:{port}/{path}");
        let mut command = std::process::Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(&clip);
        command.args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", transport, &url]);
        Process::start("ffmpeg", &mut command)
    };
    let _tcp = publish("pushed", "tcp")?;
    let _udp = publish("datagrams", "udp")?;
    let mut first = publish("kept", "tcp")?;
    for path in ["pushed", "datagrams", "kept"] {
        let state = server.wait_online(path).await?;
        ensure!(state["source"]["type"] == "rtspSession" && state["source"]["id"] != "", "{state}");
    }
    let clips = BTreeMap::from([("pushed", clip.clone()), ("datagrams", clip.clone())]);
    let scene = Scene { server, simulator: None, clips };
    let server = &scene.server;
    let (pushed, datagrams) = (server.rtsp("pushed"), server.rtsp("datagrams"));
    tokio::try_join!(
        copies(&scene, ("pushed", &pushed), "tcp", "aac"),
        copies(&scene, ("datagrams", &datagrams), "tcp", "aac"),
    )?;
    // Taken over; who reads goes on.
    let mut reader = RawClient::connect(server.ports.rtsp).await?;
    reader.play(&pushed).await?;
    let before = server.path("pushed").await?["source"]["id"].clone();
    let _second = publish("pushed", "tcp")?;
    server
        .wait_path("pushed", "another publisher", Duration::from_secs(30), |path| {
            path["online"] == true && path["source"]["id"].is_string() && path["source"]["id"] != before
        })
        .await?;
    reader.packet().await?;
    // Refused where it says so.
    let mut refused = publish("kept", "tcp")?;
    wait::until("the refusal of a second publisher", Duration::from_secs(30), async || refused.ended())
        .await?;
    ensure!(server.path("kept").await?["online"] == true, "the first publisher is still there");
    // A publisher that leaves is noticed at once.
    first.stop()?;
    server.wait_path("kept", "no publisher", Duration::from_secs(20), |path| path["online"] == false).await?;
    // A path that is pulled, or unknown, takes none.
    let mut client = RawClient::connect(server.ports.rtsp).await?;
    let sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    let headers = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", sdp.len());
    let answer = client.ask_with("ANNOUNCE", &server.rtsp("nobody"), &headers, sdp).await?;
    ensure!(answer.status == 404, "{}", answer.text);
    Ok(())
}
