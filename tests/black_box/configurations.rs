//! Configurations: those that people run MediaMTX with, each started and looked at shortly.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::USUAL;
use gtvision_tests::http::{self, Method};
use gtvision_tests::process::Process;
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, machine, wait};

use crate::access::Provider;

/// A camera connects, a file appears, while nine other servers start.
const PATIENCE: Duration = Duration::from_secs(40);

/// Stands for the cameras' server in the files.
const CAMERAS: &str = "CAMERAS";

async fn plays(server: &Server, path: &str) -> anyhow::Result<()> {
    let mut client = RawClient::connect(server.ports.rtsp).await?;
    client.play(&server.rtsp(path)).await.with_context(|| path.to_owned())?;
    client.packet().await?;
    Ok(())
}

async fn shows(server: &Server, path: &str) -> anyhow::Result<()> {
    http::get(&server.hls(path)).await?.ok()?;
    Ok(())
}

/// Nobody answers at an address.
async fn is_off(url: &str) -> anyhow::Result<()> {
    ensure!(http::get(url).await.is_err(), "{url} answers");
    Ok(())
}

async fn wait_recorded(server: &Server, path: &str) -> anyhow::Result<()> {
    let url = server.playback(&format!("list?path={path}"));
    wait::until(&format!("a recording of {path}"), PATIENCE, async || {
        Ok(http::get(&url).await?.is_ok().then_some(()))
    })
    .await
}

/// 250 cameras in one file, connected when they are watched.
async fn a_city(cameras: &str) -> anyhow::Result<()> {
    let mut file = "pathDefaults: {rtspTransport: tcp, sourceOnDemand: yes}\npaths:\n".to_owned();
    for number in 1..=250 {
        writeln!(file, "  cam_{number}: {{source: '{cameras}/cam_{}'}}", number % 2 + 1)?;
    }
    let server = Server::start(&file).await?;
    let list = http::get(&server.api("paths/list?itemsPerPage=10")).await?.ok()?.json()?;
    ensure!(list["itemCount"] == 250 && list["pageCount"] == 25, "{list}");
    plays(&server, "cam_77").await
}

async fn on_demand_regex(server: Server) -> anyhow::Result<()> {
    plays(&server, "site/cam_1").await?;
    shows(&server, "site/cam_2").await?;
    ensure!(http::get(&server.hls("site/cam_x")).await?.status == 404);
    Ok(())
}

async fn record_all(server: Server) -> anyhow::Result<()> {
    wait_recorded(&server, "gate").await?;
    wait_recorded(&server, "yard").await?;
    let storage = http::get(&server.api("info").replace("/v3/info", "/v1/storage")).await?.ok()?.json()?;
    ensure!(storage.to_string().contains("/gate"), "the gate's own folder: {storage}");
    Ok(())
}

async fn publishers(server: Server, clip: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    let url = server.rtsp("anywhere/else");
    let _publisher =
        Process::start("ffmpeg", command.args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", &url]))?;
    wait::until("the published path", PATIENCE, async || {
        let answer = http::get(&server.api("paths/get/anywhere/else")).await?;
        Ok((answer.is_ok() && answer.json()?["online"] == true).then_some(()))
    })
    .await?;
    plays(&server, "anywhere/else").await
}

async fn hls_only(server: Server) -> anyhow::Result<()> {
    server.wait_online("square").await?;
    let headers = [("origin", "https://a.city.example")];
    let answer = http::send(Method::GET, &server.hls("square"), &headers, "").await?.ok()?;
    ensure!(answer.header("access-control-allow-origin") == "https://a.city.example", "{:?}", answer.headers);
    is_off(&server.control("/")).await?;
    is_off(&server.whep("square")).await
}

async fn webrtc_only(server: Server) -> anyhow::Result<()> {
    server.wait_online("desk").await?;
    let answer = http::send(Method::OPTIONS, &server.whep("desk"), &[], "").await?.ok()?;
    let links: Vec<_> = answer.headers.get_all("link").iter().filter_map(|link| link.to_str().ok()).collect();
    ensure!(links.iter().any(|link| link.contains("turn:turn.example")), "{links:?}");
    is_off(&server.hls("desk")).await
}

async fn rtsp_relay(server: Server) -> anyhow::Result<()> {
    server.wait_online("relay/1").await?;
    plays(&server, "relay/1").await?;
    plays(&server, "relay/2").await?;
    is_off(&server.hls("relay/1")).await
}

async fn older_names(server: Server) -> anyhow::Result<()> {
    server.wait_online("old").await?;
    shows(&server, "old").await?;
    is_off(&server.whep("old")).await?;
    server.wait_log("sourceProtocol is now rtspTransport", 1).await?;
    Ok(())
}

async fn behind_a_proxy(server: Server) -> anyhow::Result<()> {
    server.wait_online("lobby").await?;
    let headers = [("origin", "https://portal.example"), ("x-forwarded-for", "203.0.113.9")];
    let answer = http::send(Method::GET, &server.hls("lobby"), &headers, "").await?.ok()?;
    ensure!(answer.header("access-control-allow-origin") == "https://portal.example", "{:?}", answer.headers);
    let strange = [("origin", "https://evil.example")];
    let answer = http::send(Method::GET, &server.hls("lobby"), &strange, "").await?.ok()?;
    ensure!(answer.header("access-control-allow-origin").is_empty(), "{:?}", answer.headers);
    Ok(())
}

async fn tenants(server: Server) -> anyhow::Result<()> {
    wait_recorded(&server, "north/center/cam-1").await?;
    plays(&server, "north/center/cam-2").await?;
    plays(&server, "south/spare/cam_2").await?;
    let spare = server.path("south/spare/cam_2").await?;
    ensure!(spare["confName"] == "~^south/spare/(cam_[12])$", "{spare}");
    ensure!(server.path("south/bridge.east").await?["state"] == "idle");
    Ok(())
}

#[tokio::test]
async fn ten_configurations_of_the_field_do_what_they_say() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip), ("cam_2", &clip)]).await?;
    let url = simulator.url("cam_1");
    let cameras = url.strip_suffix("/cam_1").context("url")?;
    let start = async |file: &str| Server::start(&file.replace(CAMERAS, cameras)).await;
    // Some at a time: each is a server, on two cores.
    tokio::try_join!(
        async { a_city(cameras).await.context("a city") },
        async { on_demand_regex(start(include_str!("configurations/on-demand-regex.yml")).await?).await },
        async { record_all(start(include_str!("configurations/record-all.yml")).await?).await },
        async { publishers(start(include_str!("configurations/publishers.yml")).await?, &clip).await },
        async { hls_only(start(include_str!("configurations/hls-only.yml")).await?).await },
    )?;
    tokio::try_join!(
        async { webrtc_only(start(include_str!("configurations/webrtc-only.yml")).await?).await },
        async { rtsp_relay(start(include_str!("configurations/rtsp-relay.yml")).await?).await },
        async { older_names(start(include_str!("configurations/older-names.yml")).await?).await },
        async { behind_a_proxy(start(include_str!("configurations/behind-a-proxy.yml")).await?).await },
        async { tenants(start(include_str!("configurations/tenants.yml")).await?).await },
    )?;
    Ok(())
}

async fn asks_another_program(server: Server) -> anyhow::Result<()> {
    server.wait_online("cam_1").await?;
    ensure!(http::get(&server.hls("cam_1")).await?.status == 401);
    let maria = [("authorization", "Bearer maria:s3cret")];
    let answer = http::send(Method::GET, &server.hls("cam_1"), &maria, "").await?;
    ensure!(answer.status == 302, "{}", answer.status);
    Ok(())
}

async fn takes_encoders(server: Server, clip: &Path) -> anyhow::Result<()> {
    let _encoder = crate::rtmp::publish(clip, &server.rtmp("stage/main"))?;
    let path = server.wait_path("stage/main", "online", PATIENCE, |path| path["online"] == true).await?;
    ensure!(path["source"]["type"] == "rtmpConn", "{path}");
    shows(&server, "stage/main").await?;
    ensure!(TcpStream::connect(("127.0.0.1", server.ports.rtsp)).is_err(), "RTSP listens");
    Ok(())
}

async fn keeps_the_books(server: Server, books: &Path) -> anyhow::Result<()> {
    plays(&server, "film/noir").await?;
    for entry in ["noir-begins", "noir-ends"] {
        let written = async || Ok(books.join(entry).exists().then_some(()));
        wait::until(entry, PATIENCE, written).await.with_context(|| server.log_tail())?;
    }
    Ok(())
}

#[tokio::test]
async fn an_authentication_server_encoders_and_hooks_do_what_they_say() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let (simulator, provider) = (Simulator::start(&[("cam_1", &clip)]).await?, Provider::start().await?);
    let url = simulator.url("cam_1");
    let books = tempfile::tempdir()?;
    let auth = include_str!("configurations/auth-http.yml")
        .replace("PROVIDER", &provider.base)
        .replace(CAMERAS, url.strip_suffix("/cam_1").context("url")?);
    let hooks = include_str!("configurations/hooks.yml")
        .replace("CLIP", &clip.to_string_lossy())
        .replace("BOOKS", &books.path().to_string_lossy());
    let encoders = include_str!("configurations/rtmp-in.yml");
    tokio::try_join!(
        async { asks_another_program(Server::start(&auth).await?).await.context("auth-http") },
        async { takes_encoders(Server::start(encoders).await?, &clip).await.context("rtmp-in") },
        async { keeps_the_books(Server::start(&hooks).await?, books.path()).await.context("hooks") },
    )?;
    Ok(())
}
