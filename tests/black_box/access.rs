//! Access: who gets what: every endpoint with every kind of credentials, by clients that were not written here.
//!
//! Each case comes from an address of its own (127.0.0.0/8), so that none is slowed for another's failures.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::browser::{self, Browser};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::http::{Method, Response};
use gtvision_tests::process::Process;
use gtvision_tests::recording::Archive;
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, ffmpeg, gstreamer, http, machine, peers, server, wait};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Shorter than what is watched of it.
const CLIP: Clip = Clip { gop: 25, seconds: 4, ..USUAL };
/// A recording's first part, on a machine with other tests.
const LIMIT: Duration = Duration::from_secs(40);
const OFFER: &str = include_str!("chromium_offer.sdp");
const SDP: (&str, &str) = ("content-type", "application/sdp");
const JSON: (&str, &str) = ("content-type", "application/json");

/// The harness looks at the API and the metrics from 127.0.0.1; everybody else has to be somebody. The hash is `s3cret`'s, by
/// openssl.
const USERS: &str = "authInternalUsers:
- user: any
  ips: [127.0.0.1]
  permissions: [{action: api}, {action: metrics}]
- user: maria
  pass: sha256:HsHCa1DV08WNlYMYGvgHZlX+AHVr9yhZQLo2cPmfy6A=
  permissions: [{action: read, path: cam_1}, {action: playback, path: cam_1}, {action: publish, path: pushed}]
- user: other
  pass: other
  permissions: [{action: read, path: ~^cam_2$}, {action: playback, path: cam_2}, {action: publish, path: elsewhere}]
- user: admin
  pass: adm1n
  ips: [127.0.0.0/8]
  permissions: [{action: api}, {action: metrics}]
- user: guard
  pass: gu4rd
  permissions: [{action: api}, {action: read, path: cam_1}]
- user: afar
  pass: afar
  ips: [192.0.2.0/24]
  permissions: [{action: read}, {action: playback}, {action: api}, {action: metrics}, {action: publish}]
";

/// A fresh address of this machine.
fn somewhere() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::from(0x7f01_0000 + std::process::id() % 200 * 0x100 * 8 + number % 2000 + 1)
}

/// MediaMTX's other way to show a name and a password.
fn bearer(user: &str, password: &str) -> String {
    format!("Bearer {user}:{password}")
}

async fn ask(
    (method, url): (Method, &str),
    headers: &[(&str, &str)],
    authorization: Option<&str>,
    body: &str,
) -> anyhow::Result<Response> {
    let mut headers = headers.to_vec();
    headers.extend(authorization.map(|value| ("authorization", value)));
    http::send_from(somewhere(), (method, url), &headers, body.to_owned()).await
}

/// What a caller shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Wrong,
    /// Of a user who may do the same with another camera.
    OtherCameras,
    /// Of a user who may do everything, from elsewhere.
    FromElsewhere,
    Right,
}

const ALL: [Shown; 5] =
    [Shown::Nothing, Shown::Wrong, Shown::OtherCameras, Shown::FromElsewhere, Shown::Right];

/// An endpoint, and the status that the right user gets.
struct Endpoint {
    method: Method,
    url: String,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
    right: (&'static str, &'static str),
    status: u16,
    /// A page, which asks a person again.
    is_page: bool,
}

fn get(url: String, status: u16) -> Endpoint {
    let right = ("maria", "s3cret");
    Endpoint {
        method: Method::GET,
        url,
        headers: Vec::new(),
        body: String::new(),
        right,
        status,
        is_page: false,
    }
}

fn admin(method: Method, url: String, status: u16) -> Endpoint {
    Endpoint { method, right: ("admin", "adm1n"), ..get(url, status) }
}

struct Scene {
    // Ends before its folder and its cameras do.
    server: Server,
    _archive: Archive,
    _simulator: Simulator,
}

async fn scene(config: &str) -> anyhow::Result<Scene> {
    let clip = CLIP.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip), ("cam_2", &clip)]).await?;
    let archive = Archive::new()?;
    let cameras = [("cam_1", simulator.url("cam_1")), ("cam_2", simulator.url("cam_2"))];
    let mut config = format!("{config}{}{}", archive.config(&[]), server::pull(&cameras));
    config += "  pushed:\n    record: no\n  elsewhere:\n    record: no\n";
    let server = Server::start(&config).await?;
    server.wait_online("cam_1").await?;
    server.wait_online("cam_2").await?;
    Ok(Scene { server, _archive: archive, _simulator: simulator })
}

/// The first line of a playlist that names something, or the value of an attribute of a tag.
fn named(playlist: &str, tag: &str) -> anyhow::Result<String> {
    let line =
        playlist.lines().find(|line| line.starts_with(tag)).with_context(|| format!("{tag}: {playlist}"))?;
    let uri = line.split_once("URI=\"").and_then(|(_, rest)| rest.split_once('"'));
    Ok(uri.context("URI")?.0.to_owned())
}

impl Scene {
    /// Every endpoint, with what it takes to have something behind it.
    async fn endpoints(&self) -> anyhow::Result<Vec<Endpoint>> {
        let server = &self.server;
        let maria = bearer("maria", "s3cret");
        let list = wait::until("a recording", LIMIT, async || {
            let url = server.playback("list?path=cam_1");
            let list = ask((Method::GET, &url), &[], Some(&maria), "").await?;
            Ok((list.is_ok() && list.json()?[0]["duration"].as_f64() > Some(4.0)).then_some(list.json()?))
        })
        .await?;
        let start = list[0]["start"].as_str().context("start")?;
        let end = start.parse::<Timestamp>()? + SignedDuration::from_secs(2);
        let folder = |file: &str| server.hls("cam_1").replace("index.m3u8", file);
        let playlist_url = folder("main_stream.m3u8");
        let recorded_url = format!("{}?start={start}", server.hls("cam_1"));
        let recorded = http::join(&recorded_url, &self.recorded_segment(&recorded_url).await?)?;
        let export = json!({
            "cameras": ["cam_1"], "start": start, "end": end.to_string(), "operator": "o", "reason": "r",
        });
        let export = Endpoint {
            method: Method::POST,
            headers: vec![JSON],
            body: export.to_string(),
            ..get(server.playback("export"), 202)
        };
        let made = ask((Method::POST, &export.url), &[JSON], Some(&maria), &export.body).await?.ok()?;
        let job = http::join(&export.url, made.header("location"))?;
        let whep = |method, status| Endpoint {
            method,
            headers: vec![SDP],
            body: OFFER.to_owned(),
            ..get(server.whep("cam_1"), status)
        };
        let publishing = |method, status| Endpoint { url: server.whip("pushed"), ..whep(method, status) };
        let page = |url| Endpoint { is_page: true, ..get(url, 200) };
        let head = |url| Endpoint { method: Method::HEAD, ..get(url, 200) };
        let playlist = ask((Method::GET, &playlist_url), &[], Some(&maria), "").await?.ok()?.text();
        // What the playlist names goes soon: it is asked for first.
        let mut endpoints = vec![
            get(folder(&named(&playlist, "#EXT-X-PRELOAD-HINT")?), 200),
            head(folder(&named(&playlist, "#EXT-X-PRELOAD-HINT")?)),
            get(folder(&named(&playlist, "#EXT-X-MAP")?), 200),
            page(folder("")),
            get(folder("index.m3u8"), 302),
            get(playlist_url.clone(), 200),
            get(format!("{playlist_url}?_HLS_skip=YES"), 200),
            get(recorded_url, 302),
            get(recorded, 200),
            get(folder("index.m3u8?dvr=1h"), 302),
            // Of a window that there never was.
            get(folder("recorded.m3u8?dvr=60&target=4&first=1"), 410),
            page(server.webrtc_page("cam_1")),
            whep(Method::OPTIONS, 204),
            whep(Method::POST, 201),
            publishing(Method::OPTIONS, 204),
            // A viewer's offer.
            publishing(Method::POST, 400),
            get(server.playback("list?path=cam_1"), 200),
            get(server.playback(&format!("get?path=cam_1&start={start}&duration=1")), 200),
            head(server.playback(&format!("get?path=cam_1&start={start}&duration=1"))),
            get(server.playback(&format!("timeline?path=cam_1&start={start}&end={end}")), 200),
            get(server.playback(&format!("thumbnail?path=cam_1&time={start}")), 200),
            export,
            get(job.clone(), 200),
            get(format!("{job}/result"), 0),
            Endpoint { method: Method::DELETE, ..get(job, 204) },
            page(server.control("/")),
            get(server.control("/api/cameras"), 200),
        ];
        endpoints.extend(self.of_administrators(start, &end.to_string()));
        Ok(endpoints)
    }

    /// Those of the API and the metrics.
    fn of_administrators(&self, start: &str, end: &str) -> Vec<Endpoint> {
        let server = &self.server;
        let hold = json!({ "path": "cam_1", "start": start, "end": end, "reason": "r" });
        vec![
            admin(Method::GET, server.api("info"), 200),
            admin(Method::GET, server.api("paths/list"), 200),
            admin(Method::GET, server.api("paths/get/cam_1"), 200),
            Endpoint { right: ("guard", "gu4rd"), ..get(server.api("paths/get/cam_1/snapshot"), 200) },
            admin(Method::GET, server.api("config/global/get"), 200),
            admin(Method::GET, server.api("config/paths/get/cam_1"), 200),
            // No JSON.
            admin(Method::PATCH, server.api("config/pathdefaults/patch"), 400),
            admin(Method::GET, server.api("recordings/get/cam_1"), 200),
            admin(
                Method::DELETE,
                server.api("recordings/deletesegment?path=cam_1&start=2001-01-01T00:00:00Z"),
                404,
            ),
            admin(Method::POST, server.api("auth/jwks/refresh"), 200),
            admin(Method::GET, server.api("../v1/storage"), 200),
            Endpoint {
                headers: vec![JSON],
                body: hold.to_string(),
                ..admin(Method::POST, server.api("../v1/holds"), 201)
            },
            admin(Method::GET, server.api("no/such/thing"), 404),
            admin(Method::GET, format!("http://127.0.0.1:{}/metrics", server.ports.metrics), 200),
        ]
    }

    async fn recorded_segment(&self, url: &str) -> anyhow::Result<String> {
        let playlist = self.follow(url, "maria", "s3cret").await?;
        let line = playlist.1.lines().find(|line| line.starts_with("recorded.mp4")).context("no segment")?;
        Ok(line.to_owned())
    }

    /// Follows redirections as a player does; the last address and what is there.
    async fn follow(&self, url: &str, user: &str, password: &str) -> anyhow::Result<(String, String)> {
        let (source, authorization) = (somewhere(), bearer(user, password));
        let mut url = url.to_owned();
        for _ in 0..4 {
            let headers = [("authorization", authorization.as_str())];
            let answer = http::send_from(source, (Method::GET, &url), &headers, "").await?;
            if !answer.status.is_redirection() {
                return Ok((url, answer.ok()?.text()));
            }
            url = http::join(&url, answer.header("location"))?;
        }
        anyhow::bail!("{url} leads nowhere")
    }
}

async fn check(endpoint: &Endpoint, shown: Shown) -> anyhow::Result<()> {
    let authorization = match shown {
        Shown::Nothing => None,
        Shown::Wrong => Some(bearer(endpoint.right.0, "wrong")),
        Shown::OtherCameras => Some(bearer("other", "other")),
        Shown::FromElsewhere => Some(bearer("afar", "afar")),
        Shown::Right => Some(bearer(endpoint.right.0, endpoint.right.1)),
    };
    let Endpoint { method, url, headers, body, .. } = endpoint;
    let answer = ask((method.clone(), url), headers, authorization.as_deref(), body).await?;
    let status = answer.status.as_u16();
    let what = format!("{method} {url} with {shown:?}: {status} {}", answer.text());
    if shown == Shown::Right {
        // What takes a while has another status until it is done.
        ensure!(
            status == endpoint.status || (endpoint.status == 0 && [200, 404].contains(&status)),
            "{what}"
        );
        return Ok(());
    }
    // MediaMTX's: the challenge is for those who showed nothing; a page asks again.
    let is_challenged = answer.header("www-authenticate") == "Basic realm=\"mediamtx\"";
    ensure!(status == 401, "{what}");
    ensure!(is_challenged == (shown == Shown::Nothing || endpoint.is_page), "{what}: {:?}", answer.headers);
    if *method != Method::HEAD {
        let expected = json!({ "status": "error", "error": "authentication error" });
        ensure!(answer.json()? == expected, "{what}");
    }
    Ok(())
}

// correctness: S1
#[tokio::test]
async fn every_endpoint_is_closed_to_all_but_the_right_user() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let mut scene = scene(USERS).await?;
    let endpoints = scene.endpoints().await?;
    for endpoint in &endpoints {
        // The right one last: it may take away what others ask for.
        for shown in ALL {
            // The page of another user's cameras is that user's own.
            let is_own_page = shown == Shown::OtherCameras
                && endpoint.url.contains(&format!(":{}/", scene.server.ports.control));
            if !is_own_page {
                check(endpoint, shown).await?;
            }
        }
    }
    // The API alone is no leave to look.
    let snapshot = scene.server.api("paths/get/cam_1/snapshot");
    let refused = ask((Method::GET, &snapshot), &[], Some(&bearer("admin", "adm1n")), "").await?;
    ensure!(refused.status.as_u16() == 401, "{snapshot}: {}", refused.status);
    // correctness: S5
    scene.server.wait_log("failed to authenticate", 1).await?;
    let log = scene.server.log_lines().join("\n");
    for secret in ["s3cret", "adm1n", "gu4rd", "HsHCa1DV08WNlYMYGvgHZlX", "Bearer"] {
        ensure!(!log.contains(secret), "the log shows {secret}");
    }
    let metrics = scene.server.metrics().await?;
    for name in ["gtvision_auth_denied_total", "gtvision_auth_challenged_total"] {
        ensure!(metrics.sum(name, &[]) >= Some(20.0), "{name}");
    }
    what_a_session_is_worth(&scene).await?;
    what_the_page_gives(&scene).await?;
    guessing_is_slowed(&scene).await?;
    scene.server.restart().await
}

/// correctness: S4
async fn what_a_session_is_worth(scene: &Scene) -> anyhow::Result<()> {
    let server = &scene.server;
    let source = somewhere();
    let authorization = bearer("maria", "s3cret");
    let headers = [("authorization", authorization.as_str())];
    let index = server.hls("cam_1");
    let sent = http::send_from(source, (Method::GET, &format!("{index}?a=b")), &headers, "").await?;
    let inside = http::join(&index, sent.header("location"))?;
    ensure!(inside.contains("/cam_1/session=") && inside.ends_with("/index.m3u8?a=b"), "{inside}");
    let from = async |source, url: &str| http::send_from(source, (Method::GET, url), &[], "").await;
    let multivariant = from(source, &inside).await?.ok()?.text();
    let child = multivariant.lines().find(|line| line.starts_with("main_stream.m3u8")).context("child")?;
    let child = http::join(&inside, child)?;
    let playlist = from(source, &child).await?.ok()?.text();
    let part = http::join(&child, &named(&playlist, "#EXT-X-PART:")?)?;
    from(source, &part).await?.ok()?;
    let segments = from(source, &http::join(&child, &named(&playlist, "#EXT-X-MAP")?)?).await?;
    segments.ok()?;
    for url in [&inside, &child, &part] {
        let stolen = from(somewhere(), url).await?;
        ensure!(stolen.status.as_u16() == 401, "{url} from another address: {}", stolen.status);
        let other = url.replace("/cam_1/", "/cam_2/");
        let status = from(source, &other).await?.status.as_u16();
        ensure!(status == 401, "{other}: another camera: {status}");
    }
    let recorded = format!(
        "{}?start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z",
        inside.split('?').next().context("url")?
    );
    let status = from(source, &recorded).await?.status.as_u16();
    ensure!(status == 401, "what is recorded is another permission: {status}");
    Ok(())
}

/// The page's visitor sees its own cameras, and its players play without further questions.
async fn what_the_page_gives(scene: &Scene) -> anyhow::Result<()> {
    let server = &scene.server;
    let (source, maria) = (somewhere(), bearer("maria", "s3cret"));
    let url = server.control("/api/cameras");
    let headers = [("authorization", maria.as_str())];
    let list = http::send_from(source, (Method::GET, &url), &headers, "").await?.ok()?.json()?;
    let names: Vec<&str> =
        list["items"].as_array().context("items")?.iter().filter_map(|item| item["name"].as_str()).collect();
    ensure!(names == ["cam_1"], "{list}");
    let session = list["session"].as_str().context("session")?;
    let playlist = server.hls("cam_1").replace("index.m3u8", &format!("session={session}/index.m3u8"));
    http::send_from(source, (Method::GET, &playlist), &[], "").await?.ok()?;
    let stolen = http::send_from(somewhere(), (Method::GET, &playlist), &[], "").await?;
    ensure!(stolen.status.as_u16() == 401, "{}", stolen.status);
    Ok(())
}

/// Whoever guesses waits, and is at last not heard; others are.
async fn guessing_is_slowed(scene: &Scene) -> anyhow::Result<()> {
    let server = &scene.server;
    let (guesser, url) = (somewhere(), server.whep("cam_1"));
    let guess = async || {
        let headers = [("authorization", "Bearer maria:guess")];
        http::send_from(guesser, (Method::OPTIONS, &url), &headers, "").await
    };
    let unheard = wait::until("a try that is not heard", LIMIT, async || {
        let (a, b, c, d) = tokio::try_join!(guess(), guess(), guess(), guess())?;
        Ok([a, b, c, d].into_iter().find(|answer| answer.status.as_u16() == 429))
    })
    .await?;
    ensure!(unheard.header("retry-after").parse::<u64>()? >= 1, "{:?}", unheard.headers);
    ask((Method::OPTIONS, &url), &[], Some(&bearer("maria", "s3cret")), "").await?.ok()?;
    let metrics = server.metrics().await?;
    ensure!(metrics.sum("gtvision_auth_refused_unseen_total", &[]) >= Some(1.0), "not counted");
    ensure!(metrics.sum("gtvision_auth_slowed_addresses", &[]) >= Some(1.0), "not shown");
    Ok(())
}

async fn curl(args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]);
    command.args(args);
    Ok(peers::run(command, Duration::from_secs(40)).await?.stdout)
}

async fn probe(url: &str) -> anyhow::Result<bool> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-rtsp_transport", "tcp", "-show_streams", url]);
    Ok(peers::run(command, Duration::from_secs(60)).await?.success)
}

/// With Basic and with Digest, by ffmpeg, GStreamer, libcurl and by hand.
#[tokio::test]
async fn players_and_publishers_sign_in_with_basic_and_digest() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = CLIP.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let users = "authInternalUsers: [{user: any, ips: [127.0.0.1], permissions: [{action: api}, {action: metrics}]}, \
                 {user: maria, pass: s3cret, permissions: [{action: read, path: cam_1}, {action: publish, path: pushed}, \
                 {action: read, path: pushed}]}]\n";
    for (methods, challenges) in [("[basic]", 1), ("[digest]", 2), ("[basic, digest]", 3)] {
        let config = format!(
            "{users}rtspAuthMethods: {methods}\nrtspTransports: [tcp]\n{}  pushed:\n",
            server::pull(&[("cam_1", simulator.url("cam_1"))])
        );
        let server = Server::start(&config).await?;
        server.wait_online("cam_1").await?;
        let with = |who: &str, path: &str| server.rtsp(path).replace("rtsp://", &format!("rtsp://{who}@"));
        let mut raw = RawClient::connect(server.ports.rtsp).await?;
        let answer = raw.ask("DESCRIBE", &server.rtsp("cam_1"), "").await?;
        let found = answer.text.matches("WWW-Authenticate: ").count();
        let (basic, digest) = (answer.text.contains("Basic realm"), answer.text.contains("Digest realm"));
        ensure!(answer.status == 401 && found == challenges, "{methods}: {}", answer.text);
        ensure!(
            basic == methods.contains("basic") && digest == methods.contains("digest"),
            "{}",
            answer.text
        );
        let wrong = "Authorization: Basic bWFyaWE6d3Jvbmc=\r\n";
        let answer = raw.ask("DESCRIBE", &server.rtsp("cam_1"), wrong).await?;
        ensure!(answer.status == 401, "{}", answer.text);
        let (played, mistyped) = (with("maria:s3cret", "cam_1"), with("maria:wrong", "cam_1"));
        let packets = [gstreamer::PACKETS];
        let (ffmpeg, refused, ()) =
            tokio::try_join!(probe(&played), probe(&mistyped), gstreamer::reads(&played, "tcp", &packets))?;
        ensure!(ffmpeg && !refused, "{methods}: ffmpeg {ffmpeg}, wrong {refused}");
        if digest {
            let args = ["--url", &server.rtsp("cam_1"), "--user", "maria", "--password", "s3cret"];
            let answer = peers::script("curl_rtsp.py", &args, Duration::from_secs(20)).await?;
            ensure!(answer["status"] == 200, "{answer}");
        }
        publishes(&server, &with("maria:s3cret", "pushed"), &clip).await?;
        let elsewhere = publish(&with("maria:s3cret", "cam_1"), &clip).await?;
        ensure!(!elsewhere, "published to a path that is not its own");
    }
    Ok(())
}

/// Whether ffmpeg could publish a clip to its end.
async fn publish(url: &str, clip: &std::path::Path) -> anyhow::Result<bool> {
    let clip = clip.to_string_lossy();
    let args = ["-re", "-i", &clip, "-map", "0:v", "-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", url];
    Ok(ffmpeg::ffmpeg(&args).await?.success)
}

async fn publishes(server: &Server, url: &str, clip: &std::path::Path) -> anyhow::Result<()> {
    let (published, online) = tokio::try_join!(publish(url, clip), server.wait_online("pushed"))?;
    ensure!(published && online["online"] == true, "{online}");
    Ok(())
}

/// A server that is asked who may do what.
pub(crate) struct Provider {
    _process: Process,
    pub(crate) base: String,
}

impl Provider {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let (process, ready) = peers::serve("auth_server.py", &[], Duration::from_secs(30)).await?;
        Ok(Self { _process: process, base: format!("http://127.0.0.1:{}", ready["port"]) })
    }

    pub(crate) async fn told(&self) -> anyhow::Result<Value> {
        http::get(&format!("{}/asked", self.base)).await?.ok()?.json()
    }

    pub(crate) async fn token(&self, query: &str) -> anyhow::Result<String> {
        Ok(http::get(&format!("{}/token?{query}", self.base)).await?.ok()?.text())
    }
}

/// The harness itself is let in by `authHTTPExclude` and `authJWTExclude`.
fn excluded(method: &str) -> String {
    format!("auth{method}Exclude: [{{action: api}}, {{action: metrics}}]\n")
}

#[tokio::test]
async fn a_server_is_asked_as_mediamtx_asks() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let (clip, provider) = (CLIP.file().await?, Provider::start().await?);
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let camera = simulator.url("cam_1");
    let config = |address: &str| {
        let exclude = excluded("HTTP");
        format!(
            "authMethod: http\nauthHTTPAddress: {address}\n{exclude}playback: yes\n{}",
            server::pull(&[("cam_1", camera.clone()), ("cam_10", camera.clone()), ("cam_2", camera.clone())])
        )
    };
    let mut server = Server::start(&config(&format!("{}/auth", provider.base))).await?;
    server.wait_online("cam_1").await?;
    let (url, maria) = (server.whep("cam_1"), bearer("maria", "s3cret"));
    let agent = ("user-agent", "probe/1");
    let answer = ask((Method::POST, &format!("{url}?a=b")), &[SDP, agent], Some(&maria), OFFER).await?;
    ensure!(answer.status.as_u16() == 201, "{}", answer.text());
    let told = provider.told().await?;
    let asked = told["asked"].as_array().context("asked")?.last().context("nothing was asked")?.clone();
    let id = asked["id"].as_str().context("id")?.to_owned();
    ensure!(id == answer.header("id"), "{asked} {:?}", answer.headers);
    let ip = asked["ip"].as_str().context("ip")?.to_owned();
    let expected = json!({
        "ip": ip, "user": "maria", "password": "s3cret", "token": "s3cret", "action": "read", "path": "cam_1",
        "protocol": "webrtc", "id": id, "query": "a=b", "userAgent": "probe/1", "contentType": "application/json",
    });
    ensure!(asked == expected && ip.starts_with("127."), "{asked}");
    for (url, authorization, status) in [
        (server.hls("cam_1"), None, 401),
        (server.hls("cam_1"), Some("Bearer maria:wrong"), 401),
        (server.hls("cam_1"), Some(maria.as_str()), 302),
        (server.hls("cam_2"), Some(maria.as_str()), 401),
        (format!("{}?ticket=right", server.hls("cam_2")), None, 302),
        (format!("{}?ticket=wrong", server.hls("cam_2")), None, 401),
        (server.playback("list?path=cam_2"), Some(maria.as_str()), 401),
        (server.api("info"), None, 200),
    ] {
        let answer = ask((Method::GET, &url), &[], authorization, "").await?;
        ensure!(answer.status.as_u16() == status, "{url} {authorization:?}: {}", answer.status);
    }
    ensure!(probe(&server.rtsp("cam_1").replace("rtsp://", "rtsp://maria:s3cret@")).await?, "RTSP");
    ensure!(!probe(&server.rtsp("cam_2").replace("rtsp://", "rtsp://maria:s3cret@")).await?, "RTSP");
    ensure!(probe(&format!("{}?ticket=right", server.rtsp("cam_2"))).await?, "RTSP");
    let told = provider.told().await?;
    let (asked, connections) = (told["asked"].as_array().map_or(0, Vec::len), &told["connections"]);
    ensure!(asked > 10 && connections.as_u64() < Some(4), "{asked} questions over {connections} connections");
    yes_is_remembered_for_a_moment(&server, &provider).await?;
    drop(server);
    // Whoever does not answer, or is broken, lets nobody in.
    for address in ["slow", "broken"].map(|how| format!("{}/auth?{how}", provider.base)) {
        server = Server::start(&format!("readTimeout: 2s\n{}", config(&address))).await?;
        let answer = ask((Method::OPTIONS, &server.whep("cam_1")), &[], Some(&maria), "").await?;
        ensure!(answer.status.as_u16() == 401, "{address}: {}", answer.status);
        server.wait_log("callers can't be authenticated", 1).await?;
        let log = server.log_lines().join("\n");
        ensure!(!log.contains("s3cret"), "{log}");
    }
    Ok(())
}

async fn yes_is_remembered_for_a_moment(server: &Server, provider: &Provider) -> anyhow::Result<()> {
    let (source, maria) = (somewhere(), bearer("maria", "s3cret"));
    let url = server.hls("cam_10").replace("index.m3u8", "main_stream.m3u8");
    let before = provider.told().await?["asked"].as_array().map_or(0, Vec::len);
    for _ in 0..5 {
        http::send_from(source, (Method::GET, &url), &[("authorization", &maria)], "").await?.ok()?;
    }
    let after = provider.told().await?["asked"].as_array().map_or(0, Vec::len);
    ensure!(after - before <= 2, "five requests within a moment were asked about {} times", after - before);
    Ok(())
}

#[tokio::test]
async fn tokens_allow_what_they_say_and_no_longer_than_they_say() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let (clip, provider) = (CLIP.file().await?, Provider::start().await?);
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let config = format!(
        "authMethod: jwt\nauthJWTJWKS: {}/jwks\n{}authJWTIssuer: here\nauthJWTAudience: gtv\nauthJWTInHTTPQuery: yes\n{}",
        provider.base,
        excluded("JWT"),
        server::pull(&[("cam_1", simulator.url("cam_1"))])
    );
    let server = Server::start(&config).await?;
    server.wait_online("cam_1").await?;
    const REST: &str = "iss=here&aud=gtv&permissions=[{\"action\":\"read\",\"path\":\"cam_1\"}]";
    let permissions = |text: &str| {
        REST.split("&permissions").next().unwrap_or_default().to_owned() + "&permissions=" + text
    };
    let url = server.whep("cam_1");
    for (what, query, status) in [
        ("right", REST.to_owned(), 204),
        ("RSA", format!("alg=RS256&{REST}"), 204),
        ("without kid", format!("kid=&{REST}"), 204),
        ("permissions as text", format!("text=1&{REST}"), 204),
        ("a pattern", permissions("[{\"action\":\"read\",\"path\":\"~^cam\"}]"), 204),
        ("expired", format!("exp=-60&{REST}"), 401),
        ("another camera's", permissions("[{\"action\":\"read\",\"path\":\"cam_2\"}]"), 401),
        ("another action's", permissions("[{\"action\":\"publish\",\"path\":\"\"}]"), 401),
        ("another claim", format!("claim=permissions&{REST}"), 401),
        ("an unknown action", permissions("[{\"action\":\"fly\"},{\"action\":\"read\"}]"), 401),
        ("another issuer", REST.replace("here", "there"), 401),
        ("another audience", REST.replace("gtv", "web"), 401),
        ("no audience", REST.replace("aud=gtv&", ""), 401),
        ("unsigned", format!("alg=none&{REST}"), 401),
        ("signed with the public key", format!("alg=HS256&{REST}"), 401),
        ("signed by another", format!("foreign=1&{REST}"), 401),
        ("of an unknown key", format!("kid=nobody&{REST}"), 401),
    ] {
        let token = provider.token(&query).await?;
        let answer = ask((Method::OPTIONS, &url), &[], Some(&format!("Bearer {token}")), "").await?;
        ensure!(answer.status.as_u16() == status, "{what}: {} {}", answer.status, answer.text());
    }
    let token = provider.token(REST).await?;
    // In a URL, as a password, and over RTSP, where there is no other place.
    ask((Method::OPTIONS, &format!("{url}?token={token}")), &[], None, "").await?.ok()?;
    ensure!(
        curl(&["--user", &format!("any:{token}"), "--request", "OPTIONS", &url]).await? == "204",
        "password"
    );
    for name in ["token", "jwt"] {
        ensure!(probe(&format!("{}?{name}={token}", server.rtsp("cam_1"))).await?, "RTSP ?{name}=");
    }
    ensure!(!probe(&server.rtsp("cam_1")).await?, "RTSP without a token");
    let keys = provider.told().await?["keys"].as_u64().context("keys")?;
    ensure!(keys <= 2, "keys were fetched {keys} times");
    // The provider changes its keys: the old ones are not believed once the new ones are there.
    http::get(&format!("{}/rotate", provider.base)).await?.ok()?;
    http::send(Method::POST, &server.api("auth/jwks/refresh"), &[], "").await?.ok()?;
    let newer = provider.token(REST).await?;
    ask((Method::OPTIONS, &url), &[], Some(&format!("Bearer {newer}")), "").await?.ok()?;
    let answer = ask((Method::OPTIONS, &url), &[], Some(&format!("Bearer {token}")), "").await?;
    ensure!(answer.status.as_u16() == 401, "a token of a key that is gone: {}", answer.status);
    Ok(())
}

/// A person writes name and password into the browser's dialogue; the page's players need no more.
#[tokio::test]
async fn a_browser_signs_in_and_watches() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let clip = CLIP.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    // Of `s3cret`, by OpenSSL.
    let users = "authInternalUsers: [{user: any, ips: [127.0.0.1], permissions: [{action: api}, {action: metrics}]}, \
                 {user: maria, pass: 'argon2:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aiw2o9oMq/9ebSZcoiTcfCAvRu6fmltcIeT3flB1dAo', permissions: [{action: read}]}]\n";
    let server =
        Server::start(&(users.to_owned() + &server::pull(&[("cam_1", simulator.url("cam_1"))]))).await?;
    server.wait_online("cam_1").await?;
    let frames = 100;
    let watch = async |url: &str| {
        let sign_in = ["--user", "maria", "--password", "s3cret"];
        let length = Duration::from_secs(2);
        let watched = browser::watch_with(Browser::Chromium, url, length, frames, &sign_in).await?;
        ensure!(watched.pictures > 10, "{url}: {} pictures, {:?}", watched.pictures, watched.errors);
        ensure!(!watched.errors.iter().any(|error| error.contains("401")), "{url}: {:?}", watched.errors);
        anyhow::Ok(())
    };
    let (grid, hls, webrtc) = (server.control("/"), server.hls_page("cam_1"), server.webrtc_page("cam_1"));
    tokio::try_join!(watch(&grid), watch(&hls), watch(&webrtc))?;
    let hashes = server.metrics().await?.sum("gtvision_auth_hashes_total", &[]).context("hashes")?;
    // Three browsers, thousands of requests: two may have been computed at once.
    ensure!((1.0..=3.0).contains(&hashes), "{hashes} password hashes were computed");
    Ok(())
}
