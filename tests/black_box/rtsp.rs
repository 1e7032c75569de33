//! RTSP: the streams as players and recorders read them, with ffmpeg, GStreamer and a raw socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, bitstream, ffmpeg, fmp4, http, machine, peers, server, wait};

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
    simulator: Simulator,
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
    Ok(Scene { server, simulator, clips })
}

/// ffmpeg copies a stream without decoding it; the file holds each of the clip's pictures byte for byte, and sound.
async fn copies(
    scene: &Scene,
    (name, url): (&str, &str),
    transport: &str,
    audio: &str,
) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mkv, mp4) = (dir.path().join("copy.mkv"), dir.path().join("copy.mp4"));
    let (mkv_text, mp4_text) = (mkv.to_string_lossy(), mp4.to_string_lossy());
    let args =
        ["-rtsp_transport", transport, "-i", url, "-t", RECORDED_S, "-map", "0", "-c", "copy", &mkv_text];
    let output = ffmpeg::ffmpeg(&args).await?;
    ensure!(output.success, "ffmpeg {url}: {}", output.stderr);
    let streams = ffmpeg::probe(&mkv_text, &["-show_streams"]).await?;
    let codecs: Vec<_> = streams["streams"].as_array().context("streams")?.iter().collect();
    ensure!(codecs.len() == 1 + usize::from(!audio.is_empty()), "{name}: {codecs:?}");
    ensure!(
        audio.is_empty() || codecs.iter().any(|stream| stream["codec_name"] == audio),
        "{name}: {codecs:?}"
    );
    for kind in ["v", "a"].into_iter().take(codecs.len()) {
        check_times(&mkv, name, kind).await?;
    }
    // Fragments of one sample's worth of order: decode order, as it came.
    let flags = "frag_keyframe+empty_moov+default_base_moof+skip_trailer";
    let args = ["-i", &mkv_text, "-map", "0:v:0", "-c", "copy", "-movflags", flags, "-f", "mp4", &mp4_text];
    let output = ffmpeg::ffmpeg(&args).await?;
    ensure!(output.success, "{name}: {}", output.stderr);
    let (init, media) = fmp4::split_init(&std::fs::read(&mp4)?.into())?;
    let init = fmp4::Init::parse(&init)?;
    let samples: Vec<_> = init.fragments(&media)?.into_iter().flat_map(|fragment| fragment.samples).collect();
    ensure!(samples.len() >= 5 * 25, "{name}: {} pictures in {RECORDED_S} s", samples.len());
    // correctness: R2
    let sent = bitstream::of_clip(scene.clips.get(name).context("clip")?).await?;
    bitstream::check_same(&sent, &bitstream::of_samples(&init, &samples)?).with_context(|| name.to_owned())
}

/// No hole between two packets of a track.
async fn check_times(file: &Path, name: &str, kind: &str) -> anyhow::Result<()> {
    let packets = ffmpeg::packets(file, &["-select_streams", kind]).await?;
    let mut times: Vec<f64> = Vec::new();
    for packet in &packets {
        let time = packet.pts_time.as_deref().or(packet.dts_time.as_deref());
        times.push(time.context("a packet without time")?.parse()?);
    }
    times.sort_by(f64::total_cmp);
    ensure!(times.len() > 100, "{name}: {} packets of {kind}", times.len());
    for pair in times.windows(2) {
        ensure!(pair[1] - pair[0] < 0.065, "{name}, {kind}: a hole from {} s to {} s", pair[0], pair[1]);
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

async fn make_certificate(key: &Path, certificate: &Path) -> anyhow::Result<()> {
    let mut command = std::process::Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]);
    command.arg("-keyout").arg(key).arg("-out").arg(certificate);
    let output = peers::run(command, Duration::from_secs(30)).await?;
    ensure!(output.success, "openssl: {}", output.stderr);
    Ok(())
}

/// GStreamer decodes every picture of what it gets, over both transports.
#[tokio::test]
async fn gstreamer_reads_over_tcp_and_udp() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let scene = scene("", &[("cam_1", Clip { audio: "aac", bframes: 2, ..CLIP })]).await?;
    let url = scene.server.rtsp("cam_1");
    let read = async |transport: &str| {
        let args = ["--url", &url, "--transport", transport, "--pictures", "100"];
        let report = peers::script("gst_rtsp.py", &args, Duration::from_secs(60)).await?;
        ensure!(report["pictures"].as_u64() >= Some(100), "{transport}: {report}");
        ensure!(report["sounds"].as_u64() >= Some(50), "{transport}: {report}");
        ensure!(report["errors"] == 0 && report["lost"] == 0, "{transport}: {report}");
        anyhow::Ok(())
    };
    tokio::try_join!(read("tcp"), read("udp"))?;
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
        let sent = scene.simulator.sent("cam_1", 30).await?;
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
    let logged = scene.server.log_lines().iter().filter(|line| line.contains("RTSP reader cut")).count();
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
