//! WHEP: our WebRTC egress held against RFC 9725 and the WHEP draft, and against a WebRTC
//! implementation that is not a browser. Shown by 4.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::bitstream::{self, UnitHash};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::fmp4::Kind;
use gtvision_tests::http::{Method, Response};
use gtvision_tests::{Server, Simulator, http, latency, machine, peers, server, wait};
use serde::Deserialize;
use serde_json::{Value, json};

/// An offer of Chromium 156 for one video and one audio track to receive.
const OFFER: &str = include_str!("chromium_offer.sdp");
const SDP: [(&str, &str); 1] = [("content-type", "application/sdp")];

/// What `whep_client.py` reports.
#[derive(Debug, Deserialize)]
struct Watched {
    status: u16,
    #[serde(default)]
    body: String,
    #[serde(default)]
    answer: String,
    #[serde(default)]
    deleted: Option<u16>,
    #[serde(default)]
    first_frame_ms: Option<f64>,
    #[serde(default)]
    video: Vec<Frame>,
    #[serde(default)]
    audio: Value,
}

#[derive(Debug, Deserialize)]
struct Frame {
    rtp: i64,
    units: Vec<Unit>,
}

#[derive(Debug, Deserialize)]
struct Unit {
    #[serde(rename = "type")]
    kind: u8,
    sha256: String,
}

struct Setting {
    _simulator: Simulator,
    server: Server,
    clip: std::path::PathBuf,
}

async fn setting(clip: Clip) -> anyhow::Result<Setting> {
    let file = clip.file().await?;
    let simulator = Simulator::start(&[("cam_1", &file)]).await?;
    let mut config = server::pull(&[("cam_1", simulator.url("cam_1"))]);
    // A camera that is not there: nothing listens on the discard port.
    config += "  gone:\n    source: rtsp://127.0.0.1:9/x\n    rtspTransport: tcp\n";
    let server = Server::start(&config).await?;
    server.wait_online("cam_1").await?;
    Ok(Setting { _simulator: simulator, server, clip: file })
}

async fn watch(server: &Server, seconds: &str, more: &[&str]) -> anyhow::Result<Watched> {
    let url = server.whep("cam_1");
    let args = [&["--url", url.as_str(), "--seconds", seconds][..], more].concat();
    let report = peers::script("whep_client.py", &args, Duration::from_secs(60)).await?;
    Ok(serde_json::from_value(report)?)
}

/// Slices and SEI of all frames, in order; other units may come and go.
fn units(watched: &Watched) -> anyhow::Result<Vec<UnitHash>> {
    let units = watched.video.iter().flat_map(|frame| &frame.units);
    units
        .filter(|unit| bitstream::must_survive(Kind::H264, &[unit.kind]))
        .map(|unit| parse_hash(&unit.sha256))
        .collect()
}

fn parse_hash(hex: &str) -> anyhow::Result<UnitHash> {
    let mut hash = UnitHash::default();
    for (at, byte) in hash.iter_mut().enumerate() {
        let digits = hex.get(at * 2..at * 2 + 2).context("hash")?;
        *byte = u8::from_str_radix(digits, 16)?;
    }
    Ok(hash)
}

#[tokio::test]
async fn aiortc_gets_the_cameras_frames_bit_exact() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let setting = setting(USUAL).await?;
    let watched = watch(&setting.server, "10", &[]).await?;
    ensure!(watched.status == 201, "{} {}", watched.status, watched.body);
    let clip = bitstream::of_clip(&setting.clip).await?;
    bitstream::check_same(&clip, &units(&watched)?)?;
    let frames = watched.video.len();
    ensure!(frames >= 8 * 25, "{frames} frames in 10 s");
    ensure!(watched.deleted == Some(200), "DELETE: {:?}", watched.deleted);
    let first = watched.first_frame_ms.context("no frame")?;
    latency::report("aiortc WHEP: first frame", first, 500.0)?;
    // RFC 6184 s5.1: one timestamp per access unit, 90 kHz, rising.
    for pair in watched.video.windows(2) {
        ensure!(pair[1].rtp > pair[0].rtp, "RTP time from {} to {}", pair[0].rtp, pair[1].rtp);
    }
    Ok(())
}

/// One packet in 25 is thrown away on arrival: NACK brings it back, from the ring.
#[tokio::test]
async fn lost_packets_are_sent_again_and_nothing_is_missing() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let setting = setting(USUAL).await?;
    let told = wait::until("packets sent again, by the metrics", Duration::from_secs(60), async || {
        let metrics = setting.server.metrics().await?;
        let again = metrics.sum("gtvision_webrtc_session_retransmitted_packets_total", &[("path", "cam_1")]);
        Ok((again > Some(0.0)).then_some(()))
    });
    let (watched, ()) = tokio::try_join!(watch(&setting.server, "10", &["--lose", "0.04"]), told)?;
    let clip = bitstream::of_clip(&setting.clip).await?;
    bitstream::check_same(&clip, &units(&watched)?)?;
    ensure!(watched.video.len() >= 8 * 25, "{} frames in 10 s", watched.video.len());
    Ok(())
}

/// H.265 where the viewer offers it; GStreamer's webrtcbin does, and decodes what it gets.
#[tokio::test]
async fn h265_goes_to_a_viewer_that_offers_it() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    for codec in ["h265", "h264"] {
        let setting = setting(Clip { codec, ..USUAL }).await?;
        let (url, offered) = (setting.server.whep("cam_1"), codec.to_uppercase());
        let args = ["--url", url.as_str(), "--codec", &offered, "--seconds", "8"];
        let watched = peers::script("gst_whep.py", &args, Duration::from_secs(60)).await?;
        ensure!(watched["status"] == 201, "{codec}: {watched}");
        let count = |what: &str| watched[what].as_u64().unwrap_or(0);
        // 25 a second, less what ICE and DTLS take; the GOP begun before comes on top.
        ensure!(count("access_units") >= 4 * 25, "{codec}: {watched}");
        ensure!(count("key_frames") >= 2, "{codec}: {watched}");
        ensure!(count("pictures") + 2 >= count("access_units"), "{codec}: not all decoded: {watched}");
        ensure!(watched["size"] == json!([640, 360]), "{codec}: {watched}");
    }
    Ok(())
}

/// A link that loses one RTP packet in 20, also of those sent again; with a retransmission stream (RFC 4588) and without, where
/// the packet itself must come once more (RFC 4585 s6.2.1).
#[tokio::test]
async fn frames_arrive_whole_over_a_lossy_link_with_and_without_rtx() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let setting = setting(USUAL).await?;
    let clip = bitstream::of_clip(&setting.clip).await?;
    for rtx in ["yes", "no"] {
        let watched = watch(&setting.server, "10", &["--link-loss", "0.05", "--rtx", rtx]).await?;
        ensure!(watched.status == 201, "{} {}", watched.status, watched.body);
        ensure!(watched.answer.contains(" rtx/") == (rtx == "yes"), "{}", watched.answer);
        ensure!(watched.video.len() >= 8 * 25, "rtx {rtx}: {} frames in 10 s", watched.video.len());
        bitstream::check_same(&clip, &units(&watched)?).with_context(|| format!("rtx {rtx}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn g711_goes_through_as_it_is_and_aac_becomes_opus() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    for (audio, heard) in [("pcma", "PCMA"), ("pcmu", "PCMU"), ("opus", "opus"), ("aac", "opus")] {
        let setting = setting(Clip { audio, ..USUAL }).await?;
        let watched = watch(&setting.server, "6", &["--audio", "yes"]).await?;
        ensure!(watched.audio["codec"] == heard, "{audio}: {}", watched.audio);
        // 20 ms a frame: 300 in 6 s.
        let frames = watched.audio["frames"].as_u64().context("frames")?;
        ensure!(frames >= 220, "{audio}: {frames} audio frames");
    }
    Ok(())
}

async fn post(server: &Server, path: &str) -> anyhow::Result<Response> {
    http::send(Method::POST, &server.whep(path), &SDP, OFFER).await
}

#[tokio::test]
async fn an_offer_is_answered_with_all_that_a_viewer_needs() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting(USUAL).await?;
    // correctness: W1
    let answer = post(&setting.server, "cam_1").await?;
    ensure!(answer.status == 201, "{}: {}", answer.status, answer.text());
    ensure!(answer.header("content-type") == "application/sdp", "{:?}", answer.headers);
    ensure!(!answer.header("location").is_empty(), "no Location: {:?}", answer.headers);
    ensure!(!answer.header("etag").is_empty(), "no ETag: {:?}", answer.headers);
    let sdp = answer.text();
    for due in ["a=sendonly", "a=rtcp-mux", "a=candidate:", "a=fingerprint:", "a=setup:"] {
        ensure!(sdp.contains(due), "no {due} in:\n{sdp}");
    }
    let udp = format!(" {} typ host", setting.server.ports.webrtc_udp);
    let tcp = format!(" {} typ host", setting.server.ports.webrtc_tcp);
    ensure!(sdp.contains(&udp) && sdp.contains(&tcp), "no candidate{udp} and{tcp} in:\n{sdp}");
    ensure!(!sdp.contains("a=recvonly") && !sdp.contains("a=sendrecv"), "{sdp}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_offer_is_refused_with_a_reason() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting(USUAL).await?;
    let url = setting.server.whep("cam_1");
    let text = [("content-type", "text/plain")];
    // correctness: W1
    let cases: [(&[(&str, &str)], &str); 4] =
        [(&text, OFFER), (&SDP, ""), (&SDP, "v=0\r\nnonsense"), (&SDP, "\u{0}\u{1}\u{2}")];
    for (headers, body) in cases {
        let answer = http::send(Method::POST, &url, headers, body.to_owned()).await?;
        ensure!(answer.status.is_client_error(), "{headers:?}: {}", answer.status);
        let json = answer.json()?;
        ensure!(json["error"].as_str().is_some_and(|error| !error.is_empty()), "{json}");
    }
    Ok(())
}

#[tokio::test]
async fn a_path_without_a_picture_says_so_and_when_to_ask_again() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting(USUAL).await?;
    // correctness: W2
    // MediaMTX's answer for a path that no configuration names, kept for its clients.
    let unknown = post(&setting.server, "nobody").await?;
    ensure!(unknown.status == 400, "{}", unknown.status);
    let gone = post(&setting.server, "gone").await?;
    ensure!(gone.status == 404, "a camera that is away: {}", gone.status);
    ensure!(!gone.header("retry-after").is_empty(), "no Retry-After: {:?}", gone.headers);
    Ok(())
}

/// A session begun with Chromium's offer, and PATCHes of it.
struct Session {
    url: String,
    etag: String,
}

/// Lines of an ICE fragment after its credentials (RFC 8840 s9).
const FRAGMENT: &str = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n";
/// Other credentials than the offer's: an ICE restart.
const RESTART: &str = "a=ice-ufrag:other\r\na=ice-pwd:otherotherotherotherother\r\n";

impl Session {
    async fn begin(server: &Server) -> anyhow::Result<Self> {
        let answer = post(server, "cam_1").await?.ok()?;
        let url = http::join(&server.whep("cam_1"), answer.header("location"))?;
        Ok(Self { url, etag: answer.header("etag").to_owned() })
    }

    async fn patch(&self, credentials: &str, if_match: Option<&str>) -> anyhow::Result<Response> {
        let kind = ("content-type", "application/trickle-ice-sdpfrag");
        let tag = if_match.map(|tag| ("if-match", tag));
        let headers: Vec<_> = std::iter::once(kind).chain(tag).collect();
        http::send(Method::PATCH, &self.url, &headers, credentials.to_owned() + FRAGMENT).await
    }
}

#[tokio::test]
async fn candidates_may_trickle_and_a_session_ends_with_delete() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting(USUAL).await?;
    let session = Session::begin(&setting.server).await?;
    // correctness: W3
    let ufrag = attribute(OFFER, "a=ice-ufrag:")?;
    let pwd = attribute(OFFER, "a=ice-pwd:")?;
    let same = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
    let answer = session.patch(&same, Some(&session.etag)).await?;
    ensure!(answer.status == 204, "trickle: {} {}", answer.status, answer.text());

    let whep = setting.server.whep("cam_1");
    let options = http::send(Method::OPTIONS, &whep, &[], "").await?.ok()?;
    ensure!(options.header("accept-post").contains("application/sdp"), "{:?}", options.headers);
    let ended = http::send(Method::DELETE, &session.url, &[], "").await?;
    ensure!(ended.status == 200, "DELETE: {}", ended.status);
    let again = http::send(Method::DELETE, &session.url, &[], "").await?;
    ensure!(again.status == 404, "DELETE of an ended session: {}", again.status);
    Ok(())
}

#[tokio::test]
async fn an_ice_restart_needs_the_sessions_own_etag_and_gets_a_new_one() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting(USUAL).await?;
    let session = Session::begin(&setting.server).await?;
    // correctness: W3
    let etag = session.etag.as_str();
    ensure!(etag.starts_with('"'), "a strong ETag, not {etag}");
    let missing = session.patch(RESTART, None).await?;
    ensure!(missing.status == 428, "without If-Match: {}", missing.status);
    let stale = session.patch(RESTART, Some("\"stale\"")).await?;
    ensure!(stale.status == 412, "with a stale If-Match: {}", stale.status);
    let fresh = session.patch(RESTART, Some("*")).await?;
    ensure!(fresh.status == 200, "restart: {} {}", fresh.status, fresh.text());
    let new = fresh.header("etag");
    ensure!(new.starts_with('"') && new != etag, "ETag was {etag}, is {new}");
    Ok(())
}

fn attribute<'a>(sdp: &'a str, name: &str) -> anyhow::Result<&'a str> {
    let line = sdp.lines().find_map(|line| line.strip_prefix(name));
    line.with_context(|| format!("no {name}"))
}

#[tokio::test]
async fn whep_never_redirects_and_takes_bearer_tokens() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting(USUAL).await?;
    // correctness: W4
    for method in [Method::GET, Method::PUT] {
        let answer = http::send(method.clone(), &setting.server.whep("cam_1"), &[], "").await?;
        ensure!(answer.status == 405, "{method}: {}", answer.status);
    }
    let bearer = [SDP[0], ("authorization", "Bearer not-asked-for")];
    let answer = http::send(Method::POST, &setting.server.whep("cam_1"), &bearer, OFFER).await?;
    ensure!(answer.status == 201, "{}", answer.status);
    Ok(())
}

#[tokio::test]
async fn a_vanished_viewer_is_gone_within_thirty_seconds() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting(USUAL).await?;
    let url = setting.server.whep("cam_1");
    let args = ["--url", url.as_str(), "--seconds", "3", "--vanish", "yes"];
    let report = peers::script("whep_client.py", &args, Duration::from_secs(30)).await?;
    ensure!(report["status"] == 201, "{report}");
    ensure!(report["video"].as_array().is_some_and(|video| !video.is_empty()), "no picture");
    // correctness: W5
    let limit = Duration::from_secs(30);
    let gone = |path: &Value| path["readers"].as_array().is_some_and(Vec::is_empty);
    setting.server.wait_path("cam_1", "without readers", limit, gone).await?;
    Ok(())
}

#[tokio::test]
async fn b_frames_get_a_clear_answer_that_names_the_hls_playlist() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting(Clip { bframes: 2, ..USUAL }).await?;
    // B-frames are known once one was seen: some pictures after the first.
    let answer = wait::until("a refusal", Duration::from_secs(5), async || {
        let answer = post(&setting.server, "cam_1").await?;
        Ok(answer.status.is_client_error().then_some(answer))
    })
    .await?;
    ensure!(answer.status.is_client_error(), "{}: {}", answer.status, answer.text());
    let json = answer.json()?;
    ensure!(json["fallback"] == "hls", "{json}");
    ensure!(json["error"].as_str().is_some_and(|error| error.contains("B-frame")), "{json}");
    let link = answer.header("link");
    ensure!(link.contains("rel=\"alternate\"") && link.contains(".m3u8"), "Link: {link}");
    Ok(())
}

#[tokio::test]
async fn sessions_are_counted_among_the_readers() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let setting = setting(USUAL).await?;
    let watching = watch(&setting.server, "5", &[]);
    let counted = setting.server.wait_path("cam_1", "with a reader", Duration::from_secs(10), |path| {
        path["readers"][0]["type"] == "webRTCSession"
    });
    let (watched, path) = tokio::try_join!(watching, counted)?;
    ensure!(watched.status == 201, "{}", watched.status);
    ensure!(path["readers"].as_array().map(Vec::len) == Some(1), "{}", json!(path["readers"]));
    Ok(())
}
