//! Formats: what cameras send, read back over HLS by ffmpeg and compared with the clip.
//! Shown by 1: no error lines, continuous DTS, right frame counts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::llhls::{self, Rendition};
use gtvision_tests::{Server, Simulator, bitstream, ffmpeg, machine, server};

/// Long enough to pass over the end of the clip, where the simulator begins again.
const WATCHED: Duration = Duration::from_secs(14);
/// What ffmpeg copies from the live edge of the playlist.
const RECORDED_S: u32 = 8;

/// Shorter than a run, so that each run passes its end.
const CLIP: Clip = Clip { seconds: 10, ..USUAL };

async fn check(clip: Clip, audio_codec: Option<&str>) -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = clip.file().await?;
    let simulator = Simulator::start(&[("cam_1", &file)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    let url = server.hls("cam_1");
    let dir = tempfile::tempdir()?;

    let recorded = dir.path().join("recorded.mp4");
    let (run, complaints) =
        tokio::try_join!(llhls::follow(&url, WATCHED), ffmpeg::record(&url, RECORDED_S, &recorded))?;
    ensure!(complaints.is_empty(), "ffmpeg complained over HLS: {complaints}");
    check_recording(&recorded, clip, audio_codec).await?;

    let video = run.video()?;
    // correctness: F4
    check_bit_exact(video, &file).await?;
    // correctness: F5
    for (number, rendition) in run.renditions.iter().enumerate() {
        let whole = dir.path().join(format!("{number}.mp4"));
        std::fs::write(&whole, rendition.as_file()?)?;
        ffmpeg::probe(&whole.to_string_lossy(), &["-show_streams"]).await?;
        let complaints = ffmpeg::copy_errors(&whole).await?;
        ensure!(complaints.is_empty(), "ffmpeg -c copy: {complaints}");
        let complaints = ffmpeg::decode_errors(&whole).await?;
        ensure!(complaints.is_empty(), "ffmpeg decoding: {complaints}");
    }
    Ok(())
}

/// The recording has every frame of its length, evenly spaced and rising.
async fn check_recording(recorded: &Path, clip: Clip, audio_codec: Option<&str>) -> anyhow::Result<()> {
    let streams = ffmpeg::probe(&recorded.to_string_lossy(), &["-show_streams"]).await?;
    let streams = streams["streams"].as_array().context("streams")?;
    let codecs: Vec<&str> = streams.iter().filter_map(|stream| stream["codec_name"].as_str()).collect();
    match audio_codec {
        _ if codecs.is_empty() => anyhow::bail!("ffmpeg got no stream"),
        Some(audio) => ensure!(codecs.contains(&audio), "{codecs:?} has no {audio}"),
        None => ensure!(codecs.len() == 1, "{codecs:?} where video alone is sent"),
    }
    let packets = ffmpeg::packets(recorded, &[]).await?;
    let seconds = |packet: &ffmpeg::Packet| -> anyhow::Result<f64> {
        let time = packet.dts_time.as_deref().or(packet.pts_time.as_deref());
        Ok(time.context("a packet without time")?.parse()?)
    };
    for kind in ["video", "audio"] {
        let times: Vec<f64> = packets
            .iter()
            .filter(|packet| packet.codec_type == kind)
            .map(seconds)
            .collect::<anyhow::Result<_>>()?;
        if kind == "audio" && audio_codec.is_none() {
            continue;
        }
        // A frame of video lasts 40 ms, of AAC 21 ms, of Opus 20 ms.
        let longest = clip.frame().as_secs_f64() * 1.5;
        for pair in times.windows(2) {
            let step = pair[1] - pair[0];
            ensure!(step > 0.0 && step < longest, "{kind}: {step} s from {} on", pair[0]);
        }
        if kind == "video" {
            let due = RECORDED_S * clip.fps;
            let count = u32::try_from(times.len())?;
            ensure!(count.abs_diff(due) <= clip.fps, "{count} frames in {RECORDED_S} s");
        }
    }
    Ok(())
}

/// Every slice and SEI of the clip is there, byte for byte, none lost at the clip's end.
async fn check_bit_exact(video: &Rendition, clip: &Path) -> anyhow::Result<()> {
    let (_, init) = video.inits.values().next().context("init segment")?;
    let received = bitstream::of_samples(init, &video.segment_samples()?)?;
    bitstream::check_same(&bitstream::of_clip(clip).await?, &received)
}

#[tokio::test]
async fn h264_without_b_frames_arrives_whole() -> anyhow::Result<()> {
    check(CLIP, None).await
}

#[tokio::test]
async fn h264_with_b_frames_arrives_whole() -> anyhow::Result<()> {
    check(Clip { bframes: 2, ..CLIP }, None).await
}

#[tokio::test]
async fn h265_arrives_whole() -> anyhow::Result<()> {
    check(Clip { codec: "h265", ..CLIP }, None).await
}

#[tokio::test]
async fn h265_with_b_frames_arrives_whole() -> anyhow::Result<()> {
    check(Clip { codec: "h265", bframes: 2, ..CLIP }, None).await
}

#[tokio::test]
async fn aac_is_heard() -> anyhow::Result<()> {
    check(Clip { audio: "aac", ..CLIP }, Some("aac")).await
}

#[tokio::test]
async fn opus_is_heard() -> anyhow::Result<()> {
    check(Clip { audio: "opus", ..CLIP }, Some("opus")).await
}

#[tokio::test]
async fn g711_a_law_is_heard_in_hls() -> anyhow::Result<()> {
    check_g711("pcma").await
}

#[tokio::test]
async fn g711_mu_law_is_heard_in_hls() -> anyhow::Result<()> {
    check_g711("pcmu").await
}

/// No browser plays G.711 from HLS: it comes as Opus or AAC, whichever the server chose.
async fn check_g711(audio: &'static str) -> anyhow::Result<()> {
    let opus = check(Clip { audio, ..CLIP }, Some("opus")).await;
    match opus {
        Err(error) if error.to_string().contains("has no opus") => {
            check(Clip { audio, ..CLIP }, Some("aac")).await
        }
        other => other,
    }
}
