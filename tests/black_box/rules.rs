//! Rules: our LL-HLS held against its standard, rule by rule, by a viewer that keeps to
//! them (`llhls`), and by a parser that was not written here.

use std::io::Read as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::http::Method;
use gtvision_tests::llhls::client::{load, with_directives};
use gtvision_tests::llhls::{self, Rendition, Run, rules};
use gtvision_tests::{Server, Simulator, http, latency, machine, peers, server};
use serde_json::{Value, json};

/// Several segments, several GOPs, and time for parts to leave the playlist.
const WATCHED: Duration = Duration::from_secs(18);
/// A window that is longer than the skip limit of 6 target durations, so that a delta
/// update has something to leave out; segments of one second fill it while being watched.
const LONG_WINDOW: &str = "hlsSegmentCount: 16\nhlsSegmentDuration: 1s\n";
const GOP_OF_A_SECOND: Clip = Clip { gop: 25, ..USUAL };

#[tokio::test]
async fn a_live_playlist_keeps_to_every_rule_of_the_standard() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let clip = Clip { audio: "aac", ..GOP_OF_A_SECOND }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let config = LONG_WINDOW.to_owned() + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let server = Server::start(&config).await?;
    server.wait_online("cam_1").await?;
    let run = llhls::follow(&server.hls("cam_1"), WATCHED).await?;

    let mut broken = Vec::new();
    let mut note = |rule: &str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            broken.push(format!("{rule}: {error:#}"));
        }
    };
    for rendition in &run.renditions {
        // correctness: H1
        note("H1", rules::h1_hold_backs(rendition));
        // correctness: H2
        note("H2", rules::h2_part_durations(rendition));
        // correctness: H3
        note(
            "H3",
            rules::h3_parts_in_time(rendition)
                .and_then(|worst_ms| latency::note("longest wait for a part, ms", &worst_ms)),
        );
        // correctness: H4
        note("H4", rules::h4_segments_are_their_parts(rendition));
        // correctness: H5
        note("H5", rules::h5_tags_before_parts(rendition));
        // correctness: H6
        note("H6", rules::h6_reloads_wait(rendition));
        // correctness: H7
        note("H6, H7", rules::h6_h7_bad_reloads(&rendition.url).await);
        // correctness: H8
        note("H8", rules::h8_whole_playlists(rendition));
        // correctness: H9
        note("H9", rules::h9_delta_updates(&rendition.url).await);
        // correctness: H10
        note("H10", rules::h10_hints(rendition));
        // correctness: H11
        note("H11", rules::h11_old_parts_leave(rendition));
        note("H11", rules::h11_old_parts_can_be_had(rendition).await);
        // correctness: H13
        note("H13", rules::h13_target_duration(rendition));
        // correctness: H14
        note("H14", rules::h14_sequences(rendition));
        // correctness: H15
        note("H15", rules::h15_headers(rendition));
        // correctness: F1, F2
        note("F1, F2", rules::f1_f2_samples(rendition));
    }
    // correctness: H12
    note("H12", rules::h12_rendition_reports(&run));
    // correctness: F3
    note("F3", rules::f3_codecs(&run));
    ensure!(broken.is_empty(), "broken rules:\n{}", broken.join("\n"));
    strict_parser_accepts(&run).await
}

/// The one rule that hls-parser simplifies: it counts three segments from the end, where the
/// standard counts three target durations, which shorter segments fill more of. Rule H11
/// checks that in seconds.
const SIMPLIFIED: &str = "Remove EXT-X-PART tags from the Playlist";

/// npm hls-parser in strict mode over every playlist of the run.
async fn strict_parser_accepts(run: &Run) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for (number, text) in run.playlist_texts().enumerate() {
        std::fs::write(dir.path().join(format!("{number:05}.m3u8")), text)?;
    }
    let dir = dir.path().to_string_lossy();
    let report = peers::script("hls_validate.mjs", &["--dir", &dir], Duration::from_secs(30)).await?;
    let errors = report["errors"].as_array().context("report")?.iter();
    let ours = |error: &&Value| !error["error"].as_str().is_some_and(|text| text.contains(SIMPLIFIED));
    let errors: Vec<_> = errors.filter(ours).collect();
    ensure!(errors.is_empty(), "hls-parser: {errors:#?}");
    ensure!(report["files"].as_u64() > Some(10), "{report}");
    Ok(())
}

/// One camera behind a server, for tests that look at one thing.
struct Setting {
    simulator: Simulator,
    server: Server,
    playlist: String,
}

async fn setting(settings: &str, clip: Clip) -> anyhow::Result<Setting> {
    let file = clip.file().await?;
    // As cameras do: what a new client gets first is the middle of a GOP.
    let simulator = Simulator::start_with(&[("cam_1", &file)], &["--join", "mid-gop"]).await?;
    let config = settings.to_owned() + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let server = Server::start(&config).await?;
    server.wait_online("cam_1").await?;
    let run = llhls::follow(&server.hls("cam_1"), Duration::ZERO).await?;
    let playlist = run.renditions.first().context("playlist")?.url.clone();
    Ok(Setting { simulator, server, playlist })
}

/// Rates at which 200 ms is no whole number of frames.
#[tokio::test]
async fn odd_frame_rates_keep_parts_within_the_rule() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clips = [7, 12, 15].map(|fps| Clip { fps, gop: fps * 2, ..USUAL });
    let mut files = Vec::new();
    for clip in clips {
        files.push((format!("fps_{}", clip.fps), clip.file().await?));
    }
    let cameras: Vec<_> = files.iter().map(|(name, file)| (name.as_str(), file.as_path())).collect();
    let simulator = Simulator::start(&cameras).await?;
    let sources: Vec<_> = cameras.iter().map(|(name, _)| (*name, simulator.url(name))).collect();
    let server = Server::start(&server::pull(&sources)).await?;
    for (name, _) in &cameras {
        server.wait_online(name).await?;
        let run = llhls::follow(&server.hls(name), Duration::from_secs(7)).await?;
        for rendition in &run.renditions {
            // correctness: H2
            rules::h2_part_durations(rendition).context((*name).to_owned())?;
            rules::f1_f2_samples(rendition).context((*name).to_owned())?;
        }
    }
    Ok(())
}

/// A key frame every 20 s, and two a second.
#[tokio::test]
async fn any_length_of_gop_keeps_to_the_target_duration() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let long = Clip { gop: 500, ..USUAL }.file().await?;
    let short = Clip { gop: 12, ..USUAL }.file().await?;
    let cameras = [("long", long.as_path()), ("short", short.as_path())];
    // As cameras do that don't wait for a viewer with their next key frame.
    let simulator = Simulator::start_with(&cameras, &["--join", "mid-gop"]).await?;
    let sources: Vec<_> = cameras.iter().map(|(name, _)| (*name, simulator.url(name))).collect();
    let server = Server::start(&server::pull(&sources)).await?;
    let a_gop_and_more = Duration::from_secs(30);
    for (name, _) in cameras {
        server.wait_path(name, "online", a_gop_and_more, |path| path["online"] == true).await?;
        let run = llhls::follow(&server.hls(name), Duration::from_secs(12)).await?;
        let video = run.video()?;
        // correctness: H13
        rules::h13_target_duration(video).context(name)?;
        rules::h2_part_durations(video).context(name)?;
        rules::h3_parts_in_time(video).context(name)?;
    }
    Ok(())
}

/// A first playlist comes at once from the ring, however long the GOP is.
#[tokio::test]
async fn the_first_request_to_a_running_camera_is_answered_at_once() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let file = Clip { gop: 250, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &file)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    // Long after the key frame, long before the next one.
    gtvision_tests::wait::run_for(Duration::from_secs(4)).await;
    let asked = Instant::now();
    let run = llhls::follow(&server.hls("cam_1"), Duration::ZERO).await?;
    let took_ms = asked.elapsed().as_secs_f64() * 1000.0;
    ensure!(run.video()?.parts.len() > 5, "{} parts", run.video()?.parts.len());
    latency::report("first playlist and its parts", took_ms, 300.0)
}

#[tokio::test]
async fn a_reload_is_not_held_for_ever_when_the_camera_freezes() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting("", USUAL).await?;
    setting.simulator.fault("cam_1", "freeze", json!({})).await?;
    let playlist = load(&setting.playlist, &[]).await?.playlist;
    let (msn, part) = playlist.next_part();
    let (msn, part) = ((msn + 1).to_string(), part.to_string());
    let url = with_directives(&setting.playlist, &[("_HLS_msn", &msn), ("_HLS_part", &part)])?;
    let answer = http::get(&url).await?;
    let held = answer.last_byte - answer.asked;
    // correctness: H7
    ensure!(answer.status == 503, "{} after {held:?}", answer.status);
    let limit = Duration::from_secs(playlist.target_duration * 3);
    ensure!(held <= limit + Duration::from_secs(1), "held for {held:?}, the limit is {limit:?}");
    ensure!(held >= limit / 2, "given up after {held:?} only");
    Ok(())
}

/// A viewer that rides through a camera's outage carries on with the same playlist.
#[tokio::test]
async fn the_playlist_goes_on_after_a_reconnect_with_a_discontinuity() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting("", USUAL).await?;
    let before = load(&setting.playlist, &[]).await?.playlist;
    setting.simulator.fault("cam_1", "drop", json!({})).await?;
    let rendition: Rendition = {
        let url = setting.server.hls("cam_1");
        let run = llhls::follow(&url, Duration::from_secs(12)).await?;
        run.video()?.clone()
    };
    ensure!(rendition.url == setting.playlist, "the playlist has moved to {}", rendition.url);
    // correctness: H14
    rules::h14_sequences(&rendition)?;
    rules::f1_f2_samples(&rendition)?;
    let first = rendition.reloads.first().context("reloads")?;
    ensure!(first.playlist.media_sequence >= before.media_sequence, "numbers begin again");
    ensure!(!rendition.discontinuities().is_empty(), "no discontinuity after the reconnect");
    Ok(())
}

#[tokio::test]
async fn playlists_are_compressed_for_those_who_accept_it() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting("", USUAL).await?;
    let accept = [("accept-encoding", "gzip")];
    // correctness: H15
    // The multivariant playlist is smaller than a packet: compressing it gains nothing.
    for url in [setting.playlist.clone()] {
        let packed = http::send(Method::GET, &url, &accept, "").await?.ok()?;
        ensure!(packed.header("content-encoding") == "gzip", "{url}: {:?}", packed.headers);
        ensure!(packed.header("vary").to_lowercase().contains("accept-encoding"), "no Vary");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text)?;
        ensure!(text.starts_with("#EXTM3U"), "{text}");
        let plain = http::get(&url).await?.ok()?;
        ensure!(plain.header("content-encoding").is_empty(), "{:?}", plain.headers);
    }
    Ok(())
}

#[tokio::test]
async fn a_page_of_another_origin_may_ask_for_ranges() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting("", USUAL).await?;
    let headers = [
        ("origin", "https://operators.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "range"),
    ];
    // correctness: H15
    let answer = http::send(Method::OPTIONS, &setting.playlist, &headers, "").await?.ok()?;
    ensure!(answer.header("access-control-allow-origin") == "*", "{:?}", answer.headers);
    let allowed = answer.header("access-control-allow-headers").to_lowercase();
    ensure!(allowed.contains("range") || allowed == "*", "{allowed}");
    Ok(())
}

/// curl is the client: an HTTP/2 that was not written for us.
#[tokio::test]
async fn playlists_come_over_http_2_with_tls() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let dir = tempfile::tempdir()?;
    let (key, certificate) = (dir.path().join("server.key"), dir.path().join("server.crt"));
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    let made = peers::run(openssl, Duration::from_secs(20)).await?;
    ensure!(made.success, "openssl: {}", made.stderr);

    let file = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &file)]).await?;
    let config = format!(
        "hlsEncryption: yes\nhlsServerKey: {}\nhlsServerCert: {}\n{}",
        key.display(),
        certificate.display(),
        server::pull(&[("cam_1", simulator.url("cam_1"))])
    );
    let server = Server::start(&config).await?;
    server.wait_online("cam_1").await?;
    let url = server.hls("cam_1").replace("http:", "https:");
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--location", flag, "--max-time", "20"])
            .arg("--cacert")
            .arg(&certificate)
            .args(["--write-out", "\nversion=%{http_version}"])
            .arg(&url);
        let output = peers::run(curl, Duration::from_secs(30)).await?;
        // correctness: H15
        ensure!(output.success, "curl {flag}: {}", output.stderr);
        ensure!(output.stdout.starts_with("#EXTM3U"), "{}", output.stdout);
        let spoken = format!("version={version}");
        ensure!(output.stdout.ends_with(&spoken), "{flag}: {}", output.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn the_fmp4_variant_has_segments_and_no_parts() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting("hlsVariant: fmp4\n", GOP_OF_A_SECOND).await?;
    let url = setting.server.hls("cam_1");
    let counted = llhls::count(&url, Duration::from_secs(8), USUAL.fps).await?;
    ensure!(counted.segments >= 4, "{counted:?}");
    let playlist = load(&setting.playlist, &[]).await?.playlist;
    ensure!(playlist.part_target.is_none() && playlist.part_hint.is_none(), "{}", playlist.text);
    Ok(())
}
