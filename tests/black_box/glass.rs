//! Glass: real browsers on our own player pages, and the time from the camera's sending of
//! a frame to its showing on the screen, read from the bar code in the picture. Shown by 3.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::browser::{self, Browser, Watched};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::{Server, Simulator, latency, machine, server};

/// Pictures of this long after the first one are left out of percentiles: the player
/// catches up with live meanwhile.
const SETTLE: Duration = Duration::from_secs(4);
const WATCHED: Duration = Duration::from_secs(16);
/// More than are sent during a test; the simulator keeps fewer.
const ALL_SENT: usize = 10_000;

/// One glass-to-glass measurement.
struct Bars {
    name: &'static str,
    p95_ms: f64,
    first_picture_ms: f64,
}

/// Which of our pages.
enum Page {
    Hls,
    WebRtc,
}

async fn measure(page: Page, settings: &str, clip: Clip, bars: Bars) -> anyhow::Result<Watched> {
    let _machine = machine::alone().await;
    let file = clip.file().await?;
    let simulator = Simulator::start(&[("cam_1", &file)]).await?;
    let config = settings.to_owned() + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let server = Server::start(&config).await?;
    server.wait_online("cam_1").await?;
    let url = match page {
        Page::Hls => server.hls_page("cam_1"),
        Page::WebRtc => server.webrtc_page("cam_1"),
    };
    let watched = browser::watch(Browser::Chromium, &url, WATCHED, clip.fps * clip.seconds).await?;
    let sent = simulator.sent("cam_1", ALL_SENT).await?;

    let first = watched.seen.first().with_context(|| format!("no picture: {watched:?}"))?;
    let settled = first.seen_unix_us + u64::try_from(SETTLE.as_micros())?;
    let pictures: Vec<_> = watched.seen.iter().filter(|seen| seen.seen_unix_us >= settled).copied().collect();
    let ages = latency::glass_to_glass(&sent, &pictures)?;
    latency::note(&format!("{}: glass to glass", bars.name), &ages)?;
    latency::note(
        &format!("{}: pictures", bars.name),
        &serde_json::json!({
            "shown": watched.pictures,
            "unreadable": watched.unreadable,
            "skipped": watched.skipped,
            "repeated": watched.repeated,
            "backward": watched.backward,
            "first_picture_in_a_cold_browser_ms": watched.first_picture_cold_ms,
        }),
    )?;
    ensure!(watched.backward == 0, "pictures jumped back: {watched:?}");
    ensure!(watched.unreadable <= 2, "unreadable pictures: {watched:?}");
    let first_ms = watched.first_picture_ms.context("no first picture")?;
    latency::report(&format!("{}: first picture", bars.name), first_ms, bars.first_picture_ms)?;
    latency::report(&format!("{}: p95", bars.name), ages.p95_ms, bars.p95_ms)?;
    Ok(watched)
}

#[tokio::test]
async fn ll_hls_with_200_ms_parts_is_under_900_ms_in_chromium() -> anyhow::Result<()> {
    let bars = Bars { name: "Chromium LL-HLS, 200 ms parts", p95_ms: 900.0, first_picture_ms: 1000.0 };
    measure(Page::Hls, "hlsPartDuration: 200ms\n", USUAL, bars).await?;
    Ok(())
}

#[tokio::test]
async fn ll_hls_with_100_ms_parts_is_under_600_ms_in_chromium() -> anyhow::Result<()> {
    // 100 ms parts hold whole frames only at rates that divide it: 20 fps, 2 frames.
    let clip = Clip { fps: 20, gop: 40, ..USUAL };
    let bars = Bars { name: "Chromium LL-HLS, 100 ms parts", p95_ms: 600.0, first_picture_ms: 1000.0 };
    measure(Page::Hls, "hlsPartDuration: 100ms\n", clip, bars).await?;
    Ok(())
}

#[tokio::test]
async fn webrtc_is_under_150_ms_in_chromium() -> anyhow::Result<()> {
    let bars = Bars { name: "Chromium WebRTC", p95_ms: 150.0, first_picture_ms: 500.0 };
    measure(Page::WebRtc, "", USUAL, bars).await?;
    Ok(())
}

/// The viewer gets the GOP from its random access point at once and then catches up.
#[tokio::test]
async fn webrtc_shows_its_first_picture_at_once_with_a_gop_of_ten_seconds() -> anyhow::Result<()> {
    let clip = Clip { gop: 250, ..USUAL };
    let bars = Bars { name: "Chromium WebRTC, GOP of 10 s", p95_ms: 150.0, first_picture_ms: 500.0 };
    measure(Page::WebRtc, "", clip, bars).await?;
    Ok(())
}

/// A camera with a GOP that lasts longer than cameras usually take to come online.
async fn long_gop(gop: u32) -> anyhow::Result<(Simulator, Server)> {
    let file = Clip { gop, ..USUAL }.file().await?;
    // It sends at once, from the middle of its GOP, as most cameras do.
    let simulator = Simulator::start_with(&[("cam_1", &file)], &["--join", "mid-gop"]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_state("cam_1", "online", Duration::from_secs(30)).await?;
    Ok((simulator, server))
}

/// The worst moment to join a long GOP over LL-HLS is just before its end: all its parts are needed for one picture.
#[tokio::test]
async fn ll_hls_shows_its_first_picture_soon_at_the_end_of_a_long_gop() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    for (gop, bar_ms) in [(250, 1500.0), (500, 2500.0)] {
        let (simulator, server) = long_gop(gop).await?;
        let (sent, gop, begin) = (simulator.sent_url("cam_1"), gop.to_string(), (gop * 9 / 10).to_string());
        let args = ["--sent", sent.as_str(), "--gop", &gop, "--begin-at", &begin];
        let (page, frames) = (server.hls_page("cam_1"), USUAL.fps * USUAL.seconds);
        let watched =
            browser::watch_with(Browser::Chromium, &page, Duration::from_secs(6), frames, &args).await?;
        let first_ms = watched.first_picture_ms.with_context(|| format!("no picture: {watched:?}"))?;
        latency::report(
            &format!("Chromium LL-HLS, GOP of {gop} frames, at its end: first picture"),
            first_ms,
            bar_ms,
        )?;
        ensure!(watched.backward == 0, "pictures jumped back: {watched:?}");
    }
    Ok(())
}

/// The grid's tiles are some seconds behind, also where a segment lasts 20.
#[tokio::test]
async fn a_tile_of_the_grid_is_seconds_behind_with_a_gop_of_twenty() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let (simulator, server) = long_gop(500).await?;
    let frames = USUAL.fps * USUAL.seconds;
    let watched = browser::watch(Browser::Chromium, &server.control("/"), WATCHED, frames).await?;
    let sent = simulator.sent("cam_1", ALL_SENT).await?;
    let ages = latency::glass_to_glass(&sent, &watched.seen)?;
    latency::note("grid, GOP of 20 s: glass to glass", &ages)?;
    latency::report("grid, GOP of 20 s: p95", ages.p95_ms, 8000.0)?;
    // A quarter of what was sent: a browser beside everything else on two cores. A tile that waits for whole segments shows less.
    let due = usize::try_from(WATCHED.as_secs() * u64::from(USUAL.fps) / 4)?;
    ensure!(watched.seen.len() >= due, "{} pictures in {WATCHED:?}: {:?}", watched.seen.len(), watched.page);
    Ok(())
}

/// Browsers show B-frames out of order over WebRTC: the page goes to LL-HLS by itself.
#[tokio::test]
async fn the_webrtc_page_plays_b_frames_over_ll_hls() -> anyhow::Result<()> {
    let clip = Clip { bframes: 2, ..USUAL };
    let bars = Bars { name: "Chromium, B-frames by fallback", p95_ms: 1500.0, first_picture_ms: 1500.0 };
    let watched = measure(Page::WebRtc, "", clip, bars).await?;
    ensure!(watched.page["mode"] == "hls", "{:?}", watched.page);
    Ok(())
}

#[tokio::test]
async fn h265_plays_over_ll_hls_in_firefox() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let clip = Clip { codec: "h265", ..USUAL };
    let file = clip.file().await?;
    let simulator = Simulator::start(&[("cam_1", &file)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    let frames = clip.fps * clip.seconds;
    let watched = browser::watch(Browser::Firefox, &server.hls_page("cam_1"), WATCHED, frames).await?;
    let sent = simulator.sent("cam_1", ALL_SENT).await?;
    let ages = latency::glass_to_glass(&sent, &watched.seen)?;
    latency::note("Firefox LL-HLS, H.265: glass to glass", &ages)?;
    // Half of what was sent: software decoding beside everything else on two cores.
    let due = usize::try_from(WATCHED.as_secs() * u64::from(clip.fps) / 2)?;
    ensure!(watched.seen.len() >= due, "{} pictures: {watched:?}", watched.seen.len());
    ensure!(watched.backward == 0, "pictures jumped back: {watched:?}");
    Ok(())
}

/// Chromium learns of a goodbye from the DTLS transport; its connection says so only 7 s later.
#[tokio::test]
async fn a_session_that_the_server_closes_is_opened_again_within_two_seconds() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let file = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &file)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    let (page, frames) = (server.webrtc_page("cam_1"), USUAL.fps * USUAL.seconds);
    let args = ["--end-session-after", "4"];
    let watched =
        browser::watch_with(Browser::Chromium, &page, Duration::from_secs(6), frames, &args).await?;
    let ended = watched.session_ended_unix_us.context("the session was not ended")?;
    let dark_ms = longest_dark_ms(&watched, ended)?;
    latency::report("Chromium WebRTC, session closed by the server: without picture", dark_ms, 2000.0)?;
    ensure!(watched.page["reconnects"].as_u64() == Some(1), "{:?}", watched.page);
    ensure!(watched.page["mode"] == "webrtc", "{:?}", watched.page);
    Ok(())
}

/// The same when the whole server goes and comes back.
#[tokio::test]
async fn a_webrtc_page_is_back_soon_after_the_server_is() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let file = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &file)]).await?;
    let mut server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    let (page, frames) = (server.webrtc_page("cam_1"), USUAL.fps * USUAL.seconds);
    let watching = browser::watch(Browser::Chromium, &page, Duration::from_secs(14), frames);
    let restarting = async {
        // The page's two visits and some seconds of watching.
        gtvision_tests::wait::run_for(Duration::from_secs(7)).await;
        let from = simulator.sent("cam_1", 1).await?.last().context("nothing sent")?.sent_unix_us;
        server.restart().await?;
        anyhow::Ok(from)
    };
    let (watched, from) = tokio::try_join!(watching, restarting)?;
    // Stop, start, the camera's next key frame (2 s at most), the page's next try (2 s at most).
    let dark_ms = longest_dark_ms(&watched, from)?;
    latency::report("Chromium WebRTC, server restarted: without picture", dark_ms, 5000.0)?;
    Ok(())
}

/// The longest time without a new picture from `from_unix_us` on; the last picture must be of the end.
fn longest_dark_ms(watched: &Watched, from_unix_us: u64) -> anyhow::Result<f64> {
    let after: Vec<u64> =
        watched.seen.iter().map(|seen| seen.seen_unix_us).filter(|at| *at > from_unix_us).collect();
    ensure!(after.len() > 25, "{} pictures after the end of the session: {watched:?}", after.len());
    let starts = std::iter::once(from_unix_us).chain(after.iter().copied());
    let longest = starts.zip(after.iter().copied()).map(|(from, to)| to.saturating_sub(from)).max();
    Ok(Duration::from_micros(longest.context("no pictures")?).as_secs_f64() * 1000.0)
}

/// A player that is watching rides through an outage by itself.
#[tokio::test]
async fn a_player_recovers_by_itself_when_the_camera_comes_back() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let file = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &file)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    let frames = USUAL.fps * USUAL.seconds;
    let length = Duration::from_secs(30);
    let page = server.hls_page("cam_1");
    let outage = async {
        gtvision_tests::wait::run_for(Duration::from_secs(10)).await;
        simulator.fault("cam_1", "vanish", serde_json::json!({ "secs": 6 })).await
    };
    let (watched, ()) = tokio::try_join!(browser::watch(Browser::Chromium, &page, length, frames), outage)?;
    let gaps = watched.seen.windows(2);
    let gaps = gaps.map(|pair| pair[1].seen_unix_us.saturating_sub(pair[0].seen_unix_us));
    let longest_s = Duration::from_micros(gaps.max().context("no pictures")?).as_secs_f64();
    latency::note("Chromium LL-HLS, camera gone for 6 s: without picture, s", &longest_s)?;
    let last = watched.seen.last().context("no picture")?.seen_unix_us;
    let sent = simulator.sent("cam_1", 1).await?;
    let end = sent.last().context("nothing sent")?.sent_unix_us;
    ensure!(end.saturating_sub(last) < 8_000_000, "no picture for the last seconds: {watched:?}");
    ensure!(longest_s > 2.0, "the camera was never gone: {longest_s} s");
    ensure!(longest_s < 20.0, "no picture for {longest_s} s");
    Ok(())
}
