//! Always available: readers that stay while the publisher comes and goes, what they get meanwhile, and who may publish; with ffmpeg,
//! an LL-HLS client, and clients by hand that see each packet.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::fmp4::Init;
use gtvision_tests::llhls::client::load;
use gtvision_tests::llhls::playlist::{MediaPlaylist, MultivariantPlaylist};
use gtvision_tests::process::Process;
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, bitstream, ffmpeg, http, machine, peers, rtmp, wait};

use crate::rtmp::{copies, hls_shows};

const PATIENCE: Duration = Duration::from_secs(60);

const CLIP: Clip = Clip { seconds: 4, audio: "aac", ..USUAL };

/// As `make-clip` makes sound.
const TRACKS: &str = "[{codec: H264}, {codec: MPEG4Audio, sampleRate: 48000, channelCount: 2}]";

/// ffmpeg publishes a clip without end.
fn publish(clip: &Path, url: &str) -> anyhow::Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    Process::start("ffmpeg", command.args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", url]))
}

/// What a reader over HLS has got.
#[derive(Default)]
struct Watched {
    /// Whole segments by number: the address of their init segment, and their bytes.
    segments: BTreeMap<u64, (String, Bytes)>,
    inits: BTreeMap<String, Bytes>,
    /// Numbers of those that a discontinuity stands before.
    discontinuities: Vec<u64>,
}

impl Watched {
    /// The stretches with one init segment, in their order: its address and how many segments.
    fn stretches(&self) -> Vec<(&str, usize)> {
        let mut stretches: Vec<(&str, usize)> = Vec::new();
        for (init, _) in self.segments.values() {
            match stretches.last_mut() {
                Some((last, count)) if last == init => *count += 1,
                _ => stretches.push((init, 1)),
            }
        }
        stretches
    }

    async fn take(&mut self, url: &str, playlist: &MediaPlaylist) -> anyhow::Result<()> {
        let mut init = String::new();
        for segment in &playlist.segments {
            if let Some(map) = &segment.map {
                init = http::join(url, map)?;
            }
            let Some(uri) = segment.uri.as_ref().filter(|_| !self.segments.contains_key(&segment.msn)) else {
                continue;
            };
            if !self.inits.contains_key(&init) {
                self.inits.insert(init.clone(), http::get(&init).await?.ok()?.body);
            }
            let body = http::get(&http::join(url, uri)?).await?.ok()?.body;
            self.segments.insert(segment.msn, (init.clone(), body));
            if segment.discontinuity {
                self.discontinuities.push(segment.msn);
            }
        }
        Ok(())
    }

    /// Three stretches of one rising timeline, each of which ffmpeg reads without a complaint: the slate's, the clip's, the slate's.
    async fn check(&self) -> anyhow::Result<()> {
        let numbers: Vec<u64> = self.segments.keys().copied().collect();
        ensure!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a segment is missing: {numbers:?}");
        let dir = tempfile::tempdir()?;
        let (mut first, mut end, mut widths) = (0, 0, Vec::new());
        for (number, (address, count)) in self.stretches().into_iter().enumerate() {
            let init = self.inits.get(address).context("init segment")?;
            let parsed = Init::parse(init)?;
            let video = parsed.video()?.id;
            let file = dir.path().join(format!("{number}.mp4"));
            let mut bytes = init.to_vec();
            // correctness: H14
            ensure!(
                number == 0 || self.discontinuities.contains(&numbers[first]),
                "no discontinuity at {number}"
            );
            for (_, segment) in self.segments.values().skip(first).take(count) {
                bytes.extend_from_slice(segment);
                for sample in parsed.fragments(segment)?.into_iter().flat_map(|fragment| fragment.samples) {
                    ensure!(sample.track != video || sample.dts >= end, "{} after {end}", sample.dts);
                    end = if sample.track == video { sample.dts + 1 } else { end };
                }
            }
            first += count;
            std::fs::write(&file, bytes)?;
            let complaints = ffmpeg::decode_errors(&file).await?;
            ensure!(complaints.is_empty(), "stretch {number}: {complaints}");
            let streams = ffmpeg::probe(&file.to_string_lossy(), &["-show_streams"]).await?;
            ensure!(streams["streams"].as_array().is_some_and(|streams| streams.len() == 2), "{streams}");
            widths.push(streams["streams"][0]["width"].as_u64());
        }
        ensure!(widths == [Some(1280), Some(640), Some(1280)], "{widths:?}");
        Ok(())
    }
}

/// A player over LL-HLS: blocking reloads, each segment once.
async fn watch_hls(url: &str, watched: &Mutex<Watched>) -> anyhow::Result<Infallible> {
    let first = wait::until("multivariant playlist", PATIENCE, async || {
        Ok(Some(http::get_following(url).await?.ok()?))
    });
    let first = first.await?;
    let multivariant = MultivariantPlaylist::parse(&first.text())?;
    let url = http::join(&first.url, &multivariant.variants.first().context("variant")?.uri)?;
    let mut reload = load(&url, &[]).await?;
    loop {
        let mut taken = std::mem::take(&mut *watched.lock().unwrap());
        taken.take(&url, &reload.playlist).await?;
        *watched.lock().unwrap() = taken;
        let (msn, part) = reload.playlist.next_part();
        let directives = [("_HLS_msn", msn.to_string()), ("_HLS_part", part.to_string())];
        let directives = directives.each_ref().map(|(key, value)| (*key, value.as_str()));
        reload = load(&url, &directives).await?;
    }
}

/// A reader over RTSP that sees each packet of the pictures: none is missing, and their times never fall.
async fn watch_rtsp(server: &Server, packets: &Mutex<usize>) -> anyhow::Result<Infallible> {
    let mut client = RawClient::connect(server.ports.rtsp).await?;
    client.play(&server.rtsp("cam")).await?;
    let mut last: Option<(u16, u32)> = None;
    loop {
        let (channel, packet) = client.packet().await?;
        if channel != 0 {
            continue;
        }
        let header: &[u8; 8] = packet.first_chunk().context("a packet without a header")?;
        let seq = u16::from_be_bytes([header[2], header[3]]);
        let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if let Some((last_seq, last_timestamp)) = last {
            ensure!(seq == last_seq.wrapping_add(1), "{seq} after {last_seq}");
            ensure!(timestamp.wrapping_sub(last_timestamp) < 1 << 31, "{timestamp} after {last_timestamp}");
        }
        last = Some((seq, timestamp));
        *packets.lock().unwrap() += 1;
    }
}

/// A reader over RTMP: how often it was told of parameter sets. Times never fall.
async fn watch_rtmp(server: &Server, heads: &Mutex<usize>) -> anyhow::Result<Infallible> {
    let (mut client, code) = rtmp::RawClient::open(server.ports.rtmp, "play", "cam").await?;
    ensure!(code.starts_with("NetStream.Play.Start"), "{code}");
    let mut last_ms = 0;
    loop {
        let message = client.message().await?;
        if message.kind != rtmp::VIDEO {
            continue;
        }
        ensure!(message.timestamp_ms >= last_ms, "{} ms after {last_ms}", message.timestamp_ms);
        last_ms = message.timestamp_ms;
        // FLV: AVC's sequence header.
        if message.payload.get(1) == Some(&0) {
            *heads.lock().unwrap() += 1;
        }
    }
}

/// A viewer over WebRTC, for so long that the publisher comes meanwhile: it is told of other parameter sets, and times rise.
async fn watch_whep(server: &Server) -> anyhow::Result<()> {
    let url = server.whep("cam");
    let report = peers::script("whep_client.py", &["--url", &url, "--seconds", "12"], PATIENCE).await?;
    ensure!(
        report["status"] == 201 && report["deleted"] == 200,
        "{} {}",
        report["status"],
        report["deleted"]
    );
    let frames = report["video"].as_array().context("frames")?;
    let times: Vec<i64> = frames.iter().filter_map(|frame| frame["rtp"].as_i64()).collect();
    ensure!(times.len() > 50 && times.is_sorted(), "{} frames: {times:?}", times.len());
    let units = frames.iter().filter_map(|frame| frame["units"].as_array()).flatten();
    let sets = units.filter(|unit| unit["type"] == 7).map(|unit| unit["sha256"].to_string());
    let sets: BTreeSet<String> = sets.collect();
    ensure!(sets.len() == 2, "{} sequence parameter sets", sets.len());
    Ok(())
}

#[derive(Default)]
struct Readers {
    hls: Mutex<Watched>,
    rtsp_packets: Mutex<usize>,
    rtmp_heads: Mutex<usize>,
}

impl Readers {
    /// Until each of them is well within the stretch of this number.
    async fn reach(&self, stretch: usize) -> anyhow::Result<()> {
        let begin = *self.rtsp_packets.lock().unwrap();
        wait::until(&format!("stretch {stretch} with all readers"), PATIENCE, async || {
            let hls = self.hls.lock().unwrap();
            let stretches = hls.stretches();
            let shown = stretches.len() == stretch && stretches.last().is_some_and(|(_, count)| *count >= 2);
            let sent = *self.rtsp_packets.lock().unwrap() >= begin + 50;
            let told = *self.rtmp_heads.lock().unwrap() >= stretch;
            Ok((shown && sent && told).then_some(()))
        })
        .await
        .with_context(|| format!("over HLS {:?}", self.hls.lock().unwrap().stretches()))
    }
}

/// The slate, a publisher for a while, the slate again; how long the publisher was there at most.
async fn come_and_go(server: &Server, clip: &Path, readers: &Readers) -> anyhow::Result<Duration> {
    readers.reach(1).await?;
    let away = server.path("cam").await?;
    ensure!(away["online"] == false && away["available"] == true && away["ready"] == true, "{away}");
    let list = server.playback("list?path=cam");
    ensure!(http::get(&list).await?.status == 404, "a slate was recorded");
    let published = async {
        let begin = Instant::now();
        let mut publisher = publish(clip, &server.rtsp("cam"))?;
        let here = server.wait_online("cam").await?;
        ensure!(here["tracks"] == serde_json::json!(["H264", "MPEG-4 Audio"]), "{here}");
        readers.reach(2).await?;
        publisher.stop()?;
        server.wait_path("cam", "nobody", PATIENCE, |path| path["online"] == false).await?;
        let lasted = begin.elapsed();
        readers.reach(3).await?;
        Ok(lasted)
    };
    let (lasted, ()) = tokio::try_join!(published, watch_whep(server))?;
    Ok(lasted)
}

#[tokio::test]
async fn readers_stay_while_the_publisher_comes_and_goes() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = CLIP.file().await?;
    let config = format!(
        "playback: yes\npaths:\n  cam: {{record: yes, alwaysAvailable: yes, alwaysAvailableTracks: {TRACKS}}}\n"
    );
    let server = Server::start(&config).await?;
    let dir = tempfile::tempdir()?;
    let (copy, url) = (dir.path().join("copy.h264"), server.rtsp("cam"));
    let mut command = Command::new("ffmpeg");
    command.args([
        "-nostdin",
        "-v",
        "error",
        "-rtsp_transport",
        "tcp",
        "-i",
        &url,
        "-map",
        "0:v",
        "-c",
        "copy",
    ]);
    let mut player = Process::start("ffmpeg", command.arg(&copy))?;
    let (readers, hls) = (Readers::default(), server.hls("cam"));
    let watching = async {
        tokio::try_join!(
            watch_hls(&hls, &readers.hls),
            watch_rtsp(&server, &readers.rtsp_packets),
            watch_rtmp(&server, &readers.rtmp_heads),
        )
    };
    let lasted = tokio::select! {
        lasted = come_and_go(&server, &clip, &readers) => lasted?,
        ended = watching => bail!("a reader was sent away: {:?}\n{}", ended.err(), server.log_tail()),
    };
    ensure!(player.ended()?.is_none(), "ffmpeg ended: {}", player.log.tail(10));
    player.stop()?;
    let complaints = ffmpeg::decode_errors(&copy).await?;
    ensure!(complaints.is_empty(), "{complaints}");
    let frames = ffmpeg::probe(&copy.to_string_lossy(), &["-show_entries", "frame=width"]).await?;
    let frames = frames["frames"].as_array().context("frames")?;
    let mut widths: Vec<u64> = frames.iter().filter_map(|frame| frame["width"].as_u64()).collect();
    widths.dedup();
    ensure!(widths == [1280, 640, 1280], "{widths:?}");
    let watched = std::mem::take(&mut *readers.hls.lock().unwrap());
    watched.check().await?;
    // What was recorded is the publisher's alone: around it is a gap.
    let list = server.playback("list?path=cam");
    let recorded = wait::until("the recording", PATIENCE, async || {
        let answer = http::get(&list).await?;
        Ok(answer.is_ok().then_some(answer))
    });
    let recorded = recorded.await?.json()?;
    let seconds = recorded[0]["duration"].as_f64().context("duration")?;
    ensure!(recorded.as_array().is_some_and(|spans| spans.len() == 1), "{recorded}");
    ensure!(seconds > 2.0 && seconds < lasted.as_secs_f64() + 1.0, "{seconds} s of {lasted:?}: {recorded}");
    Ok(())
}

/// A file is played over and over as it is; a source that is away is stood in for too; other codecs are refused, and it is said why.
#[tokio::test]
async fn a_file_is_shown_and_a_publisher_of_other_codecs_is_refused() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = Clip { bframes: 2, ..CLIP }.file().await?;
    let (clip, other) = (
        bitstream::of_clip(&file).await?,
        Clip { codec: "h265", bframes: 2, audio: "none", ..CLIP }.file().await?,
    );
    let config = format!(
        "paths:\n  file: {{alwaysAvailable: yes, alwaysAvailableFile: '{}'}}\n  \
         pulled: {{source: 'rtsp://127.0.0.1:1/x', alwaysAvailable: yes}}\n",
        file.display()
    );
    let server = Server::start(&config).await?;
    let (url, over_tcp) = (server.rtsp("file"), ["-rtsp_transport", "tcp"]);
    let pulled = async {
        let mut client = RawClient::connect(server.ports.rtsp).await?;
        client.play(&server.rtsp("pulled")).await?;
        client.packet().await?;
        let path = server.path("pulled").await?;
        ensure!(path["available"] == true && path["online"] == false && path["state"] != "online", "{path}");
        anyhow::Ok(())
    };
    let refused = async {
        let mut publisher = publish(&other, &url)?;
        wait::until("the refusal of another codec", PATIENCE, async || publisher.ended()).await?;
        server.wait_log("they are H265, and the path's slate is H264 and MPEG-4 Audio", 1).await.map(drop)
    };
    tokio::try_join!(copies(&url, &over_tcp, &clip), hls_shows(&server, "file", &clip), pulled, refused)?;
    ensure!(server.path("file").await?["online"] == false);
    Ok(())
}
