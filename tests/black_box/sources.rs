//! Sources: ways in which cameras are reached, and how they show their streams.
//!
//! Shown by 2: GStreamer's RTSP server, which is not ours, over TCP and UDP with Digest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::USUAL;
use gtvision_tests::process::Process;
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

/// What `digest_door.py` said of the requests it has seen.
fn requests(door: &Process) -> Vec<Value> {
    let lines = door.log.lines();
    lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|said: &Value| said["method"].is_string())
        .collect()
}

/// Our answers to a challenge, checked by hashlib; the simulator behind the door asks nobody.
#[tokio::test]
async fn an_independent_checker_takes_our_digests_with_md5_and_sha_256() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let to = simulator.ready["rtsp"].as_str().context("address")?.to_owned();
    let ways = [
        ("md5_plain", "MD5", "none"),
        ("md5_qop", "MD5", "auth"),
        ("sha256_plain", "SHA-256", "none"),
        ("sha256_qop", "SHA-256", "auth"),
    ];
    let mut config = String::from("paths:\n");
    let mut doors = Vec::new();
    for (name, algorithm, qop) in ways {
        let user = ["--user", "ad min", "--password", "p@ss:w/rd?#%\u{e9}"];
        let args = [&["--to", &to, "--algorithm", algorithm, "--qop", qop][..], &user[..]].concat();
        let (door, ready) = peers::serve("digest_door.py", &args, Duration::from_secs(20)).await?;
        let address = ready["rtsp"].as_str().context("address")?;
        config += &format!(
            "  {name}:\n    source: rtsp://ad%20min:p%40ss%3Aw%2Frd%3F%23%25%C3%A9@{address}/cam_1\n    rtspTransport: tcp\n"
        );
        doors.push((name, door));
    }
    let server = Server::start(&config).await?;
    for (name, door) in &doors {
        server.wait_online(name).await?;
        let requests = requests(door);
        let refused: Vec<_> = requests.iter().filter(|request| request["let_in"] == false).collect();
        ensure!(refused.len() == 1 && refused[0]["why"] == "no digest", "{name}: {refused:?}");
        let let_in = |method: &str| {
            requests.iter().any(|request| request["method"] == method && request["let_in"] == true)
        };
        ensure!(["DESCRIBE", "SETUP", "PLAY"].into_iter().all(let_in), "{name}: {requests:?}");
    }
    Ok(())
}

/// And the simulator's own check of a digest, with libcurl as the client.
#[tokio::test]
async fn the_simulators_digest_is_that_of_libcurl() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    for scheme in ["digest", "digest-sha256"] {
        let args = ["--auth", scheme, "--user", "viewer", "--password", "p@ss:w/rd"];
        let simulator = Simulator::start_with(&[("cam_1", &clip)], &args).await?;
        let url = format!("rtsp://{}/cam_1", simulator.ready["rtsp"].as_str().context("address")?);
        for (password, status) in [("p@ss:w/rd", 200), ("wrong", 401)] {
            let args = ["--url", url.as_str(), "--user", "viewer", "--password", password];
            let answer = peers::script("curl_rtsp.py", &args, Duration::from_secs(20)).await?;
            ensure!(answer["status"] == status, "{scheme}, {password:?}: {answer}");
            let asked_sha_256 = answer["challenge"].to_string().contains("SHA-256");
            ensure!(asked_sha_256 == (scheme == "digest-sha256"), "{scheme}: {answer}");
            let has_video = answer["sdp"].as_str().is_some_and(|sdp| sdp.contains("m=video"));
            ensure!(has_video == (status == 200), "{scheme}: {answer}");
        }
    }
    Ok(())
}

/// GStreamer's server over TLS (GnuTLS behind GLib), with a certificate of openssl's.
#[tokio::test]
async fn a_gstreamer_camera_is_pulled_over_rtsps_by_its_fingerprint() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let dir = tempfile::tempdir()?;
    let (identity, fingerprint) = self_signed(dir.path()).await?;
    let identity = identity.to_string_lossy();
    let args = ["--user", "viewer", "--password", "secret", "--tls", &identity, "a=h264"];
    let (_camera, ready) = peers::serve("gst_camera.py", &args, Duration::from_secs(20)).await?;
    let address = ready["rtsp"].as_str().context("address")?;
    let mut config = String::from("paths:\n");
    let wrong = "0a".repeat(32);
    for (name, fingerprint) in [("right", fingerprint.as_str()), ("wrong", wrong.as_str())] {
        let url = format!("rtsps://viewer:secret@{address}/a");
        config += &format!("  {name}:\n    source: {url}\n    sourceFingerprint: \"{fingerprint}\"\n");
    }
    // Without a fingerprint the certificate must be one that the system trusts.
    config += &format!("  unstated:\n    source: rtsps://viewer:secret@{address}/a\n");
    let server = Server::start(&config).await?;
    plays(&server, "right", None).await?;
    for name in ["wrong", "unstated"] {
        // By now it may have been tried so often that the circuit is open.
        let refused = |path: &Value| path["state"] == "backingOff" || path["state"] == "openCircuit";
        let refused = server.wait_path(name, "refused", Duration::from_secs(15), refused).await?;
        let reason = refused["stateReason"].as_str().unwrap_or_default().to_lowercase();
        ensure!(reason.contains("certificate"), "{refused}");
    }
    Ok(())
}

/// A file with a key and a certificate, and the certificate's SHA-256 as openssl says it.
async fn self_signed(dir: &Path) -> anyhow::Result<(PathBuf, String)> {
    let openssl = async |args: &[&str]| {
        let mut command = Command::new("openssl");
        command.current_dir(dir).args(args);
        let output = peers::run(command, Duration::from_secs(20)).await?;
        ensure!(output.success, "openssl {args:?}: {}", output.stderr);
        Ok(output.stdout)
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=camera",
        "-keyout",
        "key",
        "-out",
        "cert",
    ])
    .await?;
    let said = openssl(&["x509", "-in", "cert", "-noout", "-fingerprint", "-sha256"]).await?;
    let fingerprint = said.trim().rsplit('=').next().context("fingerprint")?.to_owned();
    let identity = std::fs::read_to_string(dir.join("key"))? + &std::fs::read_to_string(dir.join("cert"))?;
    let file = dir.join("identity.pem");
    std::fs::write(&file, identity)?;
    Ok((file, fingerprint))
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
    let clip_units = bitstream::of_clip(&other).await?;
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
