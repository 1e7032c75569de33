//! RTSP: the streams as players and recorders read them, with ffmpeg, GStreamer and a raw socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, bitstream, ffmpeg, fmp4, machine, peers, server, wait};

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
async fn copies(scene: &Scene, name: &str, transport: &str, audio: &str) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mkv, mp4) = (dir.path().join("copy.mkv"), dir.path().join("copy.mp4"));
    let url = scene.server.rtsp(name);
    let (mkv_text, mp4_text) = (mkv.to_string_lossy(), mp4.to_string_lossy());
    let args = ["-rtsp_transport", transport, "-i", &url, "-t", RECORDED_S, "-map", "0", "-c", "copy", &mkv_text];
    let output = ffmpeg::ffmpeg(&args).await?;
    ensure!(output.success, "ffmpeg {url}: {}", output.stderr);
    let streams = ffmpeg::probe(&mkv_text, &["-show_streams"]).await?;
    let codecs: Vec<_> = streams["streams"].as_array().context("streams")?.iter().collect();
    ensure!(codecs.len() == 1 + usize::from(!audio.is_empty()), "{name}: {codecs:?}");
    ensure!(audio.is_empty() || codecs.iter().any(|stream| stream["codec_name"] == audio), "{name}: {codecs:?}");
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
    let copy = |format: &(&'static str, Clip, &'static str)| copies(&scene, format.0, "tcp", format.2);
    let [plain, b_frames, h265, aac, opus, pcma] = &FORMATS;
    tokio::try_join!(copy(plain), copy(b_frames), copy(h265), copy(aac), copy(opus), copy(pcma))?;
    Ok(())
}
