//! RTMP: encoders that publish, players that read, with ffmpeg and GStreamer; Enhanced RTMP with a client of our own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::bitstream::{self, UnitHash};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::fmp4::{self, Kind};
use gtvision_tests::process::Process;
use gtvision_tests::rtmp::{AUDIO, EnhancedClip, Message, RawClient, VIDEO};
use gtvision_tests::{Server, ffmpeg, http, llhls, machine, peers, wait};

/// What encoders send: pictures out of order, and sound.
pub(crate) const CLIP: Clip = Clip { seconds: 4, bframes: 2, audio: "aac", ..USUAL };

/// What is copied; the backlog comes at once, so it takes less.
const RECORDED_S: &str = "5";

const PATIENCE: Duration = Duration::from_secs(40);

/// ffmpeg publishes a clip without end.
pub(crate) fn publish(clip: &Path, url: &str) -> anyhow::Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    Process::start("ffmpeg", command.args(["-c", "copy", "-f", "flv", url]))
}

async fn total(server: &Server, name: &str) -> anyhow::Result<f64> {
    server.metrics().await?.sum(name, &[]).with_context(|| format!("no metric {name}"))
}

/// ffmpeg copies a stream without decoding it: the clip's pictures byte for byte in their order, and the sound without a hole.
pub(crate) async fn copies(url: &str, options: &[&str], clip: &[UnitHash]) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (video, sound) = (dir.path().join("video"), dir.path().join("sound.mka"));
    let (video_text, sound_text) = (video.to_string_lossy(), sound.to_string_lossy());
    let input = [options, &["-i", url][..]].concat();
    let outputs = [
        &["-t", RECORDED_S, "-map", "0:v", "-c", "copy", "-f", "h264", &*video_text][..],
        &["-t", RECORDED_S, "-map", "0:a", "-c", "copy", &*sound_text],
    ];
    let output = ffmpeg::ffmpeg(&[&input[..], &outputs.concat()[..]].concat()).await?;
    ensure!(output.success, "ffmpeg {url}: {}", output.stderr);
    let received = bitstream::of_byte_stream(Kind::H264, &std::fs::read(&video)?);
    bitstream::check_same(clip, &received).with_context(|| url.to_owned())?;
    ensure!(received.len() >= 4 * 25, "{url}: {} units in {RECORDED_S} s", received.len());
    let mut times: Vec<f64> = Vec::new();
    for packet in ffmpeg::packets(&sound, &[]).await? {
        times.push(packet.pts_time.as_deref().context("a packet without time")?.parse()?);
    }
    ensure!(times.len() > 80, "{url}: {} packets of sound", times.len());
    let hole = times.windows(2).find(|pair| pair[1] - pair[0] > 0.066);
    ensure!(hole.is_none(), "{url}: a hole in the sound: {hole:?}");
    Ok(())
}

/// GStreamer decodes a hundred pictures.
async fn gstreamer_reads(source: &str, url: &str) -> anyhow::Result<()> {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", source, &format!("location={url}"), "!", "flvdemux", "name=demux"]);
    command.args([
        "demux.video",
        "!",
        "queue",
        "!",
        "decodebin",
        "!",
        "fakesink",
        "sync=false",
        "num-buffers=100",
    ]);
    let output = peers::run(command, Duration::from_secs(60)).await?;
    let said = output.stdout + &output.stderr;
    ensure!(output.success && !said.contains("ERROR"), "{source}: {said}");
    Ok(())
}

/// What is sent over HLS is what was published, in decode order, and decodes.
pub(crate) async fn hls_shows(server: &Server, path: &str, clip: &[UnitHash]) -> anyhow::Result<()> {
    let run = llhls::follow(&server.hls(path), Duration::from_secs(6)).await?;
    let video = run.video()?;
    let (_, init) = video.inits.values().next().context("init")?;
    bitstream::check_same(clip, &bitstream::of_samples(init, &video.segment_samples()?)?)?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("video.mp4");
    std::fs::write(&file, video.as_file()?)?;
    let complaints = ffmpeg::decode_errors(&file).await?;
    ensure!(complaints.is_empty(), "{path}: {complaints}");
    // Shown in their order, evenly: no presentation time is off by a picture.
    let mut times: Vec<f64> = Vec::new();
    for packet in ffmpeg::packets(&file, &["-select_streams", "v"]).await? {
        times.push(packet.pts_time.as_deref().context("a packet without time")?.parse()?);
    }
    times.sort_by(f64::total_cmp);
    let uneven = times.windows(2).find(|pair| !(0.03..0.06).contains(&(pair[1] - pair[0])));
    // Where ffmpeg begins its clip anew it may leave out a picture's time.
    ensure!(times.len() > 80 && uneven.is_none_or(|pair| pair[1] - pair[0] < 0.13), "{path}: {uneven:?}");
    Ok(())
}

pub(crate) async fn make_certificate(dir: &Path) -> anyhow::Result<String> {
    let (key, certificate) = (dir.join("key.pem"), dir.join("certificate.pem"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let output = peers::run(command, Duration::from_secs(30)).await?;
    ensure!(output.success, "openssl: {}", output.stderr);
    let (key, certificate) = (key.display(), certificate.display());
    Ok(format!("rtmpEncryption: optional\nrtmpServerKey: {key}\nrtmpServerCert: {certificate}\n"))
}

#[tokio::test]
async fn ffmpeg_publishes_and_everybody_reads_what_it_sent() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = CLIP.file().await?;
    let clip = bitstream::of_clip(&file).await?;
    let dir = tempfile::tempdir()?;
    let config = make_certificate(dir.path()).await?;
    let server = Server::start(&(config + "paths:\n  studio/a: {}\n  secure: {}\n")).await?;
    let (plain, secure) =
        (server.rtmp("studio/a"), format!("rtmps://127.0.0.1:{}/secure", server.ports.rtmps));
    let _plain = publish(&file, &format!("{plain}?user=u&pass=hunter2"))?;
    let _secure = publish(&file, &secure)?;
    let state = server.wait_online("studio/a").await?;
    ensure!(state["source"]["type"] == "rtmpConn" && state["tracks"].to_string().contains("H264"), "{state}");
    let state = server.wait_online("secure").await?;
    ensure!(state["source"]["type"] == "rtmpsConn", "{state}");
    let (rtsp, over_tcp) = (server.rtsp("studio/a"), ["-rtsp_transport", "tcp"]);
    tokio::try_join!(
        copies(&plain, &[], &clip),
        copies(&secure, &[], &clip),
        copies(&rtsp, &over_tcp, &clip),
        hls_shows(&server, "studio/a", &clip),
    )?;
    tokio::try_join!(gstreamer_reads("rtmpsrc", &plain), gstreamer_reads("rtmp2src", &plain))?;
    ensure!(!server.log_lines().iter().any(|line| line.contains("hunter2")), "a password in the log");
    let list = http::get(&server.api("rtmpconns/list")).await?.ok()?.text();
    ensure!(list.contains("user=u") && !list.contains("hunter2"), "{list}");
    Ok(())
}

/// MediaMTX's lists, metrics and kick; who may publish where.
#[tokio::test]
async fn the_api_tells_of_connections_and_ends_them() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = CLIP.file().await?;
    let server = Server::start("paths:\n  cam_1: {}\n  kept: {overridePublisher: no}\n").await?;
    let port = server.ports.rtmp;
    let mut publisher = publish(&file, &server.rtmp("cam_1"))?;
    let source = server.wait_online("cam_1").await?["source"]["id"].clone();
    let (mut reader, code) = RawClient::open(port, "play", "cam_1").await?;
    ensure!(code.starts_with("NetStream.Play.Start"), "{code}");
    reader.message().await?;
    for (command, path, expected) in [
        ("play", "nobody", "NetStream.Play.StreamNotFound"),
        ("play", "../etc", "NetStream.Play.StreamNotFound"),
        ("publish", "nobody", "NetStream.Publish.BadName"),
    ] {
        let (_client, code) = RawClient::open(port, command, path).await?;
        ensure!(code.starts_with(expected), "{command} {path}: {code}");
    }
    let (_first, code) = RawClient::open(port, "publish", "kept").await?;
    ensure!(code.starts_with("NetStream.Publish.Start"), "{code}");
    let (mut second, code) = RawClient::open(port, "publish", "kept").await?;
    ensure!(code.starts_with("NetStream.Publish.BadName"), "{code}");
    second.drain().await?;
    let list = http::get(&server.api("rtmpconns/list")).await?.ok()?.json()?;
    let items = list["items"].as_array().context("items")?;
    let of = |state: &str| items.iter().find(|conn| conn["state"] == state && conn["path"] == "cam_1");
    let (sends, reads) = (of("publish").context("publisher")?, of("read").context("reader")?);
    ensure!(sends["id"] == source && sends["inboundBytes"].as_u64() > Some(0), "{list}");
    ensure!(sends["bytesReceived"] == sends["inboundBytes"], "{list}");
    let path = server.path("cam_1").await?;
    ensure!(path["readers"][0]["type"] == "rtmpConn" && path["readers"][0]["id"] == reads["id"], "{path}");
    ensure!(
        total(&server, "rtmp_conns").await? >= 2.0
            && total(&server, "rtmp_conns_outbound_bytes").await? > 0.0
    );
    ensure!(http::get(&server.api("rtmpsconns/list")).await?.status == 404);
    for id in [&reads["id"], &sends["id"]] {
        let id = id.as_str().context("id")?;
        ensure!(http::get(&server.api(&format!("rtmpconns/get/{id}"))).await?.ok()?.json()?["id"] == id);
        let kick = server.api(&format!("rtmpconns/kick/{id}"));
        http::send(http::Method::POST, &kick, &[], bytes::Bytes::new()).await?.ok()?;
    }
    reader.drain().await?;
    wait::until("the publisher's end", PATIENCE, async || publisher.ended()).await?;
    server.wait_path("cam_1", "offline", PATIENCE, |path| path["online"] == false).await?;
    Ok(())
}

/// A publisher, and a reader that keeps up with it: one that sends as fast as it can is ahead of the server's ring, by which
/// readers are cut that read.
struct Relay {
    publisher: RawClient,
    reader: RawClient,
    /// Pictures sent that have not arrived.
    ahead: usize,
}

impl Relay {
    /// A second.
    const AHEAD_MAX: usize = 25;

    /// Sends a message, `shift_ms` later than it says; gives what has arrived.
    async fn pass(&mut self, message: &Message, shift_ms: u32) -> anyhow::Result<Vec<Message>> {
        self.publisher.send(message.kind, shift_ms + message.timestamp_ms, &message.payload).await?;
        self.ahead += usize::from(message.kind == VIDEO);
        let mut arrived = Vec::new();
        while self.ahead > Self::AHEAD_MAX {
            arrived.push(self.next().await?);
        }
        Ok(arrived)
    }

    async fn next(&mut self) -> anyhow::Result<Message> {
        let message = self.reader.message().await?;
        let is_picture = message.kind == VIDEO && matches!(message.payload.first(), Some(0x91 | 0xa1));
        self.ahead -= usize::from(is_picture);
        Ok(message)
    }
}

/// H.265 and Opus in Enhanced RTMP, in and out; a reader that does not read is cut.
#[tokio::test]
async fn enhanced_rtmp_goes_in_and_out_and_a_slow_reader_is_cut() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = Clip { codec: "h265", audio: "opus", ..CLIP }.file().await?;
    let clip = EnhancedClip::of(&file).await?;
    let server = Server::start("writeQueueSize: 64\npaths:\n  new: {}\n").await?;
    let port = server.ports.rtmp;
    let (mut publisher, code) = RawClient::open(port, "publish", "new").await?;
    ensure!(code.starts_with("NetStream.Publish.Start"), "{code}");
    // Readers come when there is something.
    let (before, after) =
        clip.media.split_at(clip.media.iter().take_while(|one| one.timestamp_ms < 500).count());
    for message in clip.starts.iter().chain(before) {
        publisher.send(message.kind, message.timestamp_ms, &message.payload).await?;
    }
    let state = server.wait_online("new").await?;
    ensure!(state["tracks"] == serde_json::json!(["H265", "Opus"]), "{state}");
    let (reader, _) = RawClient::open(port, "play", "new").await?;
    let (mut stuck, _) = RawClient::open(port, "play", "new").await?;
    stuck.message().await?;
    let ahead = before.iter().filter(|one| one.kind == VIDEO).count();
    let mut relay = Relay { publisher, reader, ahead };
    let mut got = Vec::new();
    for message in after {
        got.extend(relay.pass(message, 0).await?);
    }
    // The last picture is complete when something follows: sound of after it is not waited for.
    while relay.ahead > 0 {
        got.push(relay.next().await?);
    }
    let mut units = Vec::new();
    let (mut records, mut sounds) = (Vec::new(), 0);
    for message in got {
        let payload = message.payload;
        match (message.kind, payload.first(), payload.get(1..5)) {
            (VIDEO, Some(0x90), Some(b"hvc1")) | (AUDIO, Some(0x90), Some(b"Opus")) => records.push(payload),
            (VIDEO, Some(0x91 | 0xa1), Some(b"hvc1")) => {
                let nals = fmp4::nal_units(&payload.slice(8..))?;
                let kept = nals.iter().filter(|nal| bitstream::must_survive(Kind::H265, nal));
                units.extend(kept.map(|nal| bitstream::hash(nal)));
            }
            (AUDIO, Some(0x91), Some(b"Opus")) => sounds += 1,
            (AUDIO | VIDEO, ..) => anyhow::bail!("a tag of {:?}", payload.get(..8)),
            _ => {}
        }
    }
    ensure!(records.len() == 2 && sounds > 100, "{} records, {sounds} frames of sound", records.len());
    bitstream::check_same(&bitstream::of_clip(&file).await?, &units)?;
    // Until the stuck one is cut, which is told in the metrics; each time the clip comes later.
    let length_ms = clip.media.last().context("media")?.timestamp_ms + 40;
    let mut round = 0;
    let cut = wait::until("the cut of the stuck reader", PATIENCE, async || {
        round += 1;
        for message in &clip.media {
            relay.pass(message, round * length_ms).await?;
        }
        Ok((total(&server, "gtvision_rtmp_readers_cut_total").await? >= 1.0).then_some(()))
    });
    cut.await.with_context(|| format!("the reader that reads was cut too? {}", server.log_tail()))?;
    // correctness: S6
    stuck.drain().await
}
