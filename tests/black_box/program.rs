//! Program: the command line, MediaMTX's API and metrics, and the pages, as clients use them.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::peers::Output;
use gtvision_tests::{Server, Simulator, http, machine, peers, server, wait, workspace};

async fn gtvision(args: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(workspace::program("gtvision", "GTVISION_BIN")?);
    command.args(args);
    peers::run(command, Duration::from_secs(10)).await
}

#[tokio::test]
async fn help_and_version_answer_and_end_well() -> anyhow::Result<()> {
    let help = gtvision(&["--help"]).await?;
    ensure!(help.success && help.stdout.contains("check-config"), "{help:?}");
    let version = gtvision(&["--version"]).await?;
    ensure!(version.success && version.stdout.starts_with("gtvision "), "{version:?}");
    Ok(())
}

#[tokio::test]
async fn a_good_configuration_is_accepted_and_a_bad_one_named_with_its_line() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("gtvision.yml");
    let name = file.to_string_lossy().into_owned();
    std::fs::write(&file, "hlsAddress: :8888\npaths:\n  cam_1:\n    source: rtsp://10.0.0.1/x\n")?;
    let good = gtvision(&["check-config", &name]).await?;
    ensure!(good.success, "{good:?}");

    for (text, line) in [
        ("hlsAddress: :8888\nhlsNoSuchKey: 1\n", 2),
        ("paths:\n  cam_1:\n    sorce: rtsp://10.0.0.1/x\n", 3),
        ("readTimeout: 10s\n\nhlsPartDuration: soon\n", 3),
        ("paths:\n  cam_1:\n    source: exec://rm\n", 3),
        ("paths: [\n", 1),
    ] {
        std::fs::write(&file, text)?;
        let bad = gtvision(&["check-config", &name]).await?;
        ensure!(!bad.success, "accepted: {text}");
        let place = format!("gtvision.yml:{line}");
        ensure!(bad.stderr.contains(&place), "no {place} in {:?}", bad.stderr);
    }
    let missing = gtvision(&["check-config", "/nowhere.yml"]).await?;
    ensure!(!missing.success && missing.stderr.contains("/nowhere.yml"), "{missing:?}");
    Ok(())
}

#[tokio::test]
async fn an_address_in_use_ends_the_program_with_its_name() -> anyhow::Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("gtvision.yml");
    let mut text = format!("hlsAddress: {address}\n");
    let others = [
        "webrtcAddress",
        "webrtcLocalUDPAddress",
        "controlAddress",
        "rtspAddress",
        "rtpAddress",
        "rtcpAddress",
    ];
    for key in others {
        text += &format!("{key}: 127.0.0.1:{}\n", gtvision_tests::ports::free()?);
    }
    std::fs::write(&file, text)?;
    let output = gtvision(&[&file.to_string_lossy()]).await?;
    ensure!(!output.success, "{output:?}");
    let said = output.stdout + &output.stderr;
    ensure!(said.contains(&address), "{address} is not named: {said}");
    Ok(())
}

#[tokio::test]
async fn the_api_answers_with_mediamtxs_fields() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { audio: "aac", ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("city/north/cam_1", &clip)]).await?;
    let source = simulator.url("city/north/cam_1");
    let config = server::pull(&[("city/north/cam_1", source.clone()), ("cam_2", source)]);
    let server = Server::start(&config).await?;
    server.wait_online("city/north/cam_1").await?;
    server.wait_online("cam_2").await?;

    let info = http::get(&server.api("info")).await?.ok()?.json()?;
    ensure!(info["version"].is_string() && info["started"].is_string(), "{info}");
    let path = server.path("city/north/cam_1").await?;
    for (field, good) in [
        ("name", path["name"] == "city/north/cam_1"),
        ("confName", path["confName"] == "city/north/cam_1"),
        ("ready", path["ready"] == true),
        ("readyTime", path["readyTime"].is_string()),
        ("available", path["available"] == true),
        ("availableTime", path["availableTime"].is_string()),
        ("online", path["online"] == true),
        ("onlineTime", path["onlineTime"].is_string()),
        ("source", path["source"]["type"] == "rtspSource"),
        ("tracks", path["tracks"] == serde_json::json!(["H264", "MPEG-4 Audio"])),
        ("tracks2", path["tracks2"][0]["codecProps"]["width"] == 640),
        ("inboundBytes", path["inboundBytes"].as_u64() > Some(1000)),
        ("bytesReceived", path["bytesReceived"].as_u64() > Some(1000)),
        ("outboundBytes", path["outboundBytes"].is_u64()),
        ("bytesSent", path["bytesSent"].is_u64()),
        ("inboundFramesInError", path["inboundFramesInError"].is_u64()),
        ("readers", path["readers"].is_array()),
        ("state", path["state"] == "online"),
        ("stateReason", path.get("stateReason").is_some()),
        ("stateSince", path["stateSince"].is_string()),
    ] {
        ensure!(good, "{field} in {path}");
    }
    check_list(&server).await
}

async fn check_list(server: &Server) -> anyhow::Result<()> {
    let list = http::get(&server.api("paths/list")).await?.ok()?.json()?;
    ensure!(list["itemCount"] == 2 && list["pageCount"] == 1, "{list}");
    ensure!(list["items"][0]["name"] == "cam_2", "sorted by name: {list}");
    let page = http::get(&server.api("paths/list?itemsPerPage=1&page=1")).await?.ok()?.json()?;
    ensure!(page["items"][0]["name"] == "city/north/cam_1", "{page}");
    ensure!(page["pageCount"] == 2, "{page}");
    let past = http::get(&server.api("paths/list?page=9")).await?.ok()?.json()?;
    ensure!(past["items"].as_array().is_some_and(Vec::is_empty), "{past}");
    for wrong in ["paths/list?itemsPerPage=0", "paths/list?page=x"] {
        let answer = http::get(&server.api(wrong)).await?;
        ensure!(answer.status == 400, "{wrong}: {}", answer.status);
        ensure!(answer.json()?["status"] == "error", "{}", answer.text());
    }
    let unknown = http::get(&server.api("paths/get/nobody")).await?;
    ensure!(unknown.status == 404, "{}", unknown.status);
    ensure!(unknown.json()?["error"].is_string(), "{}", unknown.text());
    Ok(())
}

#[tokio::test]
async fn metrics_carry_mediamtxs_names_and_count() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    http::get(&server.hls("cam_1")).await?.ok()?;
    let metrics = server.metrics().await?;
    let ready = metrics.sum("paths", &[("name", "cam_1"), ("state", "ready")]);
    ensure!(ready == Some(1.0), "{metrics:?}");
    for name in ["paths_bytes_received", "paths_inbound_bytes"] {
        let bytes = metrics.sum(name, &[("name", "cam_1")]);
        ensure!(bytes > Some(1000.0), "{name}: {bytes:?}");
    }
    ensure!(metrics.sum("hls_muxers", &[("name", "cam_1")]) == Some(1.0), "{metrics:?}");
    ensure!(metrics.sum("hls_muxers_bytes_sent", &[("name", "cam_1")]).is_some(), "{metrics:?}");
    Ok(())
}

#[tokio::test]
async fn the_pages_are_in_the_binary_and_the_grid_lists_every_camera() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    let pages = [server.control("/"), server.hls_page("cam_1"), server.webrtc_page("cam_1")];
    for url in &pages {
        let page = http::get(url).await?.ok()?;
        ensure!(page.header("content-type").starts_with("text/html"), "{url}: {:?}", page.headers);
        let policy = page.header("content-security-policy");
        ensure!(policy.contains("script-src 'self'"), "{url}: {policy:?}");
        // Every script and style that a page names is served by the same listener.
        let html = page.text();
        let references = html.split(['"', '\'']).filter(|text| text.starts_with("/_/"));
        for reference in references {
            http::get(&http::join(url, reference)?).await?.ok()?;
        }
    }
    let cameras = http::get(&server.control("/api/cameras")).await?.ok()?.json()?;
    let camera = &cameras["items"][0];
    ensure!(camera["name"] == "cam_1" && camera["state"] == "online", "{cameras}");
    ensure!(camera["tracks"] == serde_json::json!(["H264"]), "{cameras}");
    Ok(())
}

/// A slow viewer hurts itself only, and shutdown does not wait for it.
#[tokio::test]
async fn shutdown_is_bounded_while_viewers_hold_requests() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    let run = gtvision_tests::llhls::follow(&server.hls("cam_1"), Duration::ZERO).await?;
    let playlist = run.renditions.first().context("playlist")?;
    simulator.fault("cam_1", "freeze", serde_json::json!({})).await?;
    let (msn, _) = playlist.reloads[0].playlist.next_part();
    let url = gtvision_tests::llhls::client::with_directives(
        &playlist.url,
        &[("_HLS_msn", &(msn + 1).to_string())],
    )?;
    let held = tokio::spawn(async move { http::get(&url).await });
    let webrtc = std::net::TcpStream::connect(("127.0.0.1", server.ports.webrtc))?;
    wait::run_for(Duration::from_millis(500)).await;
    // Dropping it fails the test when it takes longer than 5 s.
    tokio::task::spawn_blocking(move || drop(server)).await?;
    drop(webrtc);
    // However the held request ended, it ended.
    tokio::time::timeout(Duration::from_secs(2), held).await???;
    Ok(())
}
