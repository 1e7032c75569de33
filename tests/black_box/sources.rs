//! Sources: ways in which cameras are reached, and how they show their streams.
//!
//! Shown by 2: GStreamer's RTSP server, which is not ours, over TCP and UDP with Digest.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::USUAL;
use gtvision_tests::fmp4::Kind;
use gtvision_tests::{Server, Simulator, bitstream, ffmpeg, http, llhls, machine, peers, server, wait};
use serde_json::{Value, json};

const WATCHED: Duration = Duration::from_secs(6);

/// The stream of a path decodes over HLS without a complaint, at its full rate.
async fn plays(server: &Server, name: &str, audio: Option<&str>) -> anyhow::Result<()> {
    server.wait_online(name).await?;
    let run = llhls::follow(&server.hls(name), WATCHED).await.with_context(|| server.log_tail())?;
    let video = run.video()?;
    let dir = tempfile::tempdir()?;
    for (number, rendition) in run.renditions.iter().enumerate() {
        let file = dir.path().join(format!("{number}.mp4"));
        std::fs::write(&file, rendition.as_file()?)?;
        let complaints = ffmpeg::decode_errors(&file).await?;
        ensure!(complaints.is_empty(), "{name}: {complaints}");
    }
    let (_, init) = video.inits.values().next().context("init")?;
    let id = init.video()?.id;
    let samples = video.segment_samples()?;
    let frames = samples.iter().filter(|sample| sample.track == id).count();
    // At least what was sent while watching, less the segment that is not whole yet.
    ensure!(frames >= 25 * 4, "{name}: {frames} frames in {WATCHED:?}");
    if let Some(codec) = audio {
        let codecs: Vec<_> = run
            .renditions
            .iter()
            .flat_map(|one| one.inits.values())
            .flat_map(|(_, init)| init.tracks.values().map(|track| track.codec.clone()))
            .collect();
        ensure!(codecs.iter().any(|one| one == codec), "{name}: {codecs:?} has no {codec}");
    }
    Ok(())
}

#[tokio::test]
async fn a_gstreamer_camera_plays_over_tcp_and_udp_with_digest() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let mounts = ["a=h264", "b=h265", "c=h264+aac", "d=h264+pcma", "e=h264+opus"];
    let args = [&["--user", "viewer", "--password", "p@ss:w/rd"][..], &mounts[..]].concat();
    let (_camera, ready) = peers::serve("gst_camera.py", &args, Duration::from_secs(20)).await?;
    let address = ready["rtsp"].as_str().context("address")?;
    let mut config = String::from("paths:\n");
    let cases = [
        ("h264_tcp", "a", "tcp", None),
        ("h264_udp", "a", "udp", None),
        ("h264_automatic", "a", "automatic", None),
        ("h265_tcp", "b", "tcp", None),
        ("aac_tcp", "c", "tcp", Some("mp4a.40.2")),
        ("pcma_udp", "d", "udp", None),
        ("opus_tcp", "e", "tcp", Some("opus")),
    ];
    for (name, mount, transport, _) in cases {
        let url = format!("rtsp://viewer:p%40ss%3Aw%2Frd@{address}/{mount}");
        config += &format!("  {name}:\n    source: {url}\n    rtspTransport: {transport}\n");
    }
    let server = Server::start(&config).await?;
    for (name, _, _, audio) in cases {
        plays(&server, name, audio).await?;
    }
    // No secret in a log: neither as written nor decoded.
    let secrets = ["p%40ss", "p@ss"];
    let leak = server.log_lines().into_iter().find(|line| secrets.iter().any(|s| line.contains(s)));
    ensure!(leak.is_none(), "a password in the log: {leak:?}");
    Ok(())
}

#[tokio::test]
async fn every_way_to_sign_in_works_with_special_characters() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    for scheme in ["basic", "digest", "digest-sha256"] {
        let args = ["--auth", scheme, "--user", "ad min", "--password", "p@ss:w/rd?#%"];
        let simulator = Simulator::start_with(&[("cam_1", &clip)], &args).await?;
        let source = simulator.url("cam_1");
        let config = format!("paths:\n  cam_1:\n    source: \"{source}\"\n");
        let server = Server::start(&config).await?;
        server.wait_online("cam_1").await.context(scheme)?;
    }
    Ok(())
}

#[tokio::test]
async fn rtsps_is_pulled_when_the_fingerprint_is_right_and_refused_when_not() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start_with(&[("cam_1", &clip)], &["--tls-listen", "127.0.0.1:0"]).await?;
    let fingerprint = simulator.ready["fingerprint"].as_str().context("fingerprint")?;
    let wrong = "0a".repeat(32);
    let url = simulator.tls_url("cam_1")?;
    let mut config = String::from("paths:\n");
    for (name, fingerprint) in [("right", fingerprint), ("wrong", wrong.as_str())] {
        config += &format!(
            "  {name}:\n    source: {url}\n    rtspTransport: tcp\n    sourceFingerprint: \"{fingerprint}\"\n"
        );
    }
    let mut server = Server::start(&config).await?;
    server.expect_error("wrong");
    server.wait_online("right").await?;
    let refused = server.wait_state("wrong", "backingOff", Duration::from_secs(15)).await?;
    let reason = refused["stateReason"].as_str().unwrap_or_default().to_lowercase();
    ensure!(reason.contains("fingerprint") || reason.contains("certificate"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn parameter_sets_may_come_in_any_way() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let ways = ["in_sdp_and_band", "sdp_only", "band_only", "late"];
    let cameras: Vec<_> = ways.iter().map(|way| (*way, clip.as_path())).collect();
    let plan: Value = ways
        .iter()
        .map(|way| ((*way).to_owned(), json!({ "parameter_sets": way })))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let simulator = Simulator::start_planned(&cameras, &[], &plan).await?;
    let sources: Vec<_> = ways.iter().map(|way| (*way, simulator.url(way))).collect();
    let server = Server::start(&server::pull(&sources)).await?;
    for way in ways {
        plays(&server, way, None).await.context(way)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_second_video_and_a_metadata_track_do_no_harm() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let plan = json!({ "cam_1": { "extra_tracks": ["second_video", "onvif_metadata"] } });
    let simulator = Simulator::start_planned(&[("cam_1", &clip)], &[], &plan).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    plays(&server, "cam_1", None).await?;
    let path = server.path("cam_1").await?;
    ensure!(path["tracks"] == json!(["H264"]), "{path}");
    Ok(())
}

#[tokio::test]
async fn a_camera_that_joins_in_the_middle_of_a_gop_plays_from_the_next_key_frame() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start_with(&[("cam_1", &clip)], &["--join", "mid-gop"]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    plays(&server, "cam_1", None).await
}

#[tokio::test]
async fn changed_parameter_sets_give_a_new_init_segment_and_a_discontinuity() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let other = gtvision_tests::clips::Clip { size: "480x272", ..USUAL }.file().await?;
    let plan = json!({ "cam_1": { "second_clip": other } });
    let simulator = Simulator::start_planned(&[("cam_1", &clip)], &[], &plan).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    let change = async {
        wait::run_for(Duration::from_secs(5)).await;
        simulator.fault("cam_1", "change_parameters", json!({})).await
    };
    let url = server.hls("cam_1");
    let (run, ()) = tokio::try_join!(llhls::follow(&url, Duration::from_secs(14)), change)?;
    let video = run.video()?;
    ensure!(video.inits.len() == 2, "{} init segments", video.inits.len());
    ensure!(video.discontinuities().len() == 1, "{:?}", video.discontinuities());
    // correctness: H5, H14
    llhls::rules::h5_tags_before_parts(video)?;
    llhls::rules::h14_sequences(video)?;
    llhls::rules::f1_f2_samples(video)?;
    let clip_units = bitstream::of_clip(&other, Kind::H264).await?;
    let at = *video.discontinuities().first().context("discontinuity")?;
    let after: Vec<_> = video.segments.range(at..).map(|(_, segment)| segment).collect();
    let (_, init) = video.inits.get(&after.first().context("segments")?.init).context("init")?;
    let mut samples = Vec::new();
    for segment in after {
        let fragments = init.fragments(&segment.response.body)?;
        samples.extend(fragments.into_iter().flat_map(|fragment| fragment.samples));
    }
    bitstream::check_same(&clip_units, &bitstream::of_samples(init, &samples)?)
}

#[tokio::test]
async fn a_source_on_demand_starts_with_its_first_viewer_and_stops_after_the_last() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let config = server::pull(&[("cam_1", simulator.url("cam_1"))])
        + "    sourceOnDemand: yes\n    sourceOnDemandCloseAfter: 2s\n";
    let server = Server::start(&("hlsMuxerCloseAfter: 3s\n".to_owned() + &config)).await?;
    let idle = server.path("cam_1").await?;
    ensure!(idle["state"] == "idle" && idle["ready"] == false, "{idle}");
    let answer = http::get(&server.hls("cam_1")).await?;
    ensure!(answer.is_ok(), "the first request got {}: {}", answer.status, answer.text());
    server.wait_state("cam_1", "online", Duration::from_secs(10)).await?;
    server.wait_state("cam_1", "idle", Duration::from_secs(20)).await?;
    Ok(())
}
