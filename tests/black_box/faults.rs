//! Faults: cameras that misbehave, all at once, with fixed seeds. Shown by 5: each one
//! recovers in its stated time, viewers of it are never turned away, and a camera beside
//! them loses no frame.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use gtvision_tests::clips::USUAL;
use gtvision_tests::llhls::client::load;
use gtvision_tests::llhls::playlist::MultivariantPlaylist;
use gtvision_tests::{Server, Simulator, clips, http, latency, llhls, machine, server, wait};
use serde_json::{Value, json};

/// What one camera does wrong, for how long, and how soon it is well again.
struct Case {
    kind: &'static str,
    /// Camera name when two cases have the same kind.
    camera: &'static str,
    options: Value,
    /// The fault is over so many seconds after it began.
    lasts_s: u64,
    /// Seconds from its end to new pictures.
    recovers_s: u64,
    /// What must be seen of the camera meanwhile.
    seen: Option<Seen>,
}

/// What the API must say of a camera while it misbehaves.
#[derive(Clone, Copy)]
enum Seen {
    /// It waits before the next try.
    BackingOff,
    /// Five failures in a row: it waits for a minute.
    OpenCircuit,
    /// It was counted as frozen; that state itself lasts only until the reconnect.
    Frozen,
}

/// A camera that fails five times in a row is left alone for 60 s with jitter, and then
/// connects, which may take 10 s.
const CIRCUIT_S: u64 = 75;

impl Seen {
    fn is_in(self, path: &Value) -> bool {
        match self {
            Self::BackingOff => path["state"] == "backingOff",
            Self::OpenCircuit => path["state"] == "openCircuit",
            Self::Frozen => {
                let reason = path["stateReason"].as_str().unwrap_or_default();
                path["state"] == "frozen" || reason.contains("frozen")
            }
        }
    }
}

/// A case that never stops the stream.
fn harmless(kind: &'static str, options: Value) -> Case {
    Case { kind, camera: kind, options, lasts_s: 12, recovers_s: 3, seen: None }
}

/// A case that breaks the connection at once and lets the next one work.
fn breaking(kind: &'static str, options: Value) -> Case {
    Case { kind, camera: kind, options, lasts_s: 1, recovers_s: 10, seen: None }
}

fn cases() -> Vec<Case> {
    let none = || json!({});
    // Answers at once, and wrongly: five failures are soon together.
    let failing = |camera, kind, options| Case {
        kind,
        camera,
        options,
        lasts_s: 12,
        recovers_s: CIRCUIT_S,
        seen: Some(Seen::OpenCircuit),
    };
    // Takes the 10 s of the connect time-out to fail.
    let slow = |kind, options| Case { seen: Some(Seen::BackingOff), ..failing(kind, kind, options) };
    vec![
        breaking("drop", none()),
        breaking("garbage", json!({ "bytes": 4096 })),
        Case { lasts_s: 4, recovers_s: CIRCUIT_S, ..breaking("vanish", none()) },
        Case { lasts_s: 20, recovers_s: 30, seen: Some(Seen::Frozen), ..breaking("freeze", none()) },
        harmless("lose", json!({ "percent": 2 })),
        harmless("reorder", json!({ "percent": 2 })),
        harmless("repeat_timestamps", json!({ "every": 10 })),
        harmless("jump_timestamps", json!({ "ms": 3_600_000 })),
        Case { camera: "jump_back", ..harmless("jump_timestamps", json!({ "ms": -3_600_000 })) },
        harmless("stray_frames", json!({ "offset_hours": 7, "every_s": 2 })),
        harmless("idr_burst", json!({ "count": 8 })),
        harmless("change_parameters", none()),
        Case { recovers_s: 15, ..harmless("bad_rtp", json!({ "percent": 100 })) },
        failing("answer_401", "answer", json!({ "status": 401 })),
        failing("answer_503", "answer", json!({ "status": 503 })),
        slow("hang", json!({ "at": "describe", "half_response": true })),
        slow("slow_byte", none()),
        failing("endless_sdp", "endless_sdp", none()),
        harmless("ssrc_blank", none()),
        harmless("ssrc_leading_space", none()),
        harmless("seq_zero", none()),
        Case { recovers_s: 15, ..harmless("wrong_ssrc", none()) },
        harmless("keepalive_wrong_cseq", none()),
        harmless("clock_offset", json!({ "ms": 7_200_000 })),
    ]
}

/// Faults that show only in the answer to a new connection.
fn needs_reconnect(kind: &str) -> bool {
    matches!(
        kind,
        "answer"
            | "hang"
            | "slow_byte"
            | "endless_sdp"
            | "ssrc_blank"
            | "ssrc_leading_space"
            | "seq_zero"
            | "wrong_ssrc"
            | "idr_burst"
    )
}

#[tokio::test]
async fn every_misbehaviour_recovers_in_its_time_and_harms_no_other_camera() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let clip = USUAL.file().await?;
    let second = clips::Clip { size: "480x272", ..USUAL }.file().await?;
    let cases = cases();
    let mut cameras: Vec<_> = cases.iter().map(|case| (case.camera, clip.as_path())).collect();
    cameras.push(("well", clip.as_path()));
    let plan = json!({ "change_parameters": { "second_clip": second } });
    // A keep-alive every few seconds, so that a wrong answer to one falls into the run.
    let args = ["--seed", "7", "--session-timeout", "10"];
    let simulator = Simulator::start_planned(&cameras, &args, &plan).await?;
    let sources: Vec<_> = cameras.iter().map(|(name, _)| (*name, simulator.url(name))).collect();
    let mut server = Server::start(&server::pull(&sources)).await?;
    for (name, _) in &cameras {
        server.wait_online(name).await?;
        media_playlist(&server, name).await?;
    }
    // A camera that refuses its password, or never ends its answer, is for a person to mend.
    server.expect_error("answer_401");

    let well_url = server.hls("well");
    let runs = join_all(cases.iter().map(|case| run_case(&simulator, &server, case)));
    let watched = Duration::from_secs(60);
    let (results, well) = tokio::join!(runs, llhls::count(&well_url, watched, USUAL.fps));

    let well = well.context("the camera that was well")?;
    ensure!(well.discontinuities == 0, "the well camera: {well:?}");
    let due = watched.as_secs() * u64::from(USUAL.fps);
    ensure!(well.frames + u64::from(USUAL.gop) * 3 >= due, "the well camera: {well:?}");
    let mut broken = Vec::new();
    for (case, result) in cases.iter().zip(results) {
        match result {
            Ok(took_s) => latency::note(&format!("recovery from {}, s", case.camera), &took_s)?,
            Err(error) => broken.push(format!("{}: {error:#}", case.camera)),
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// Makes one camera misbehave for its time and gives the seconds that it needed after.
async fn run_case(simulator: &Simulator, server: &Server, case: &Case) -> anyhow::Result<f64> {
    let playlist = media_playlist(server, case.camera).await?;
    simulator.fault(case.camera, case.kind, case.options.clone()).await?;
    if needs_reconnect(case.kind) {
        simulator.fault(case.camera, "drop", json!({})).await?;
    }
    let lasts = Duration::from_secs(case.lasts_s);
    let began = Instant::now();
    if let Some(seen) = case.seen {
        let limit = lasts.max(Duration::from_secs(25));
        server.wait_path(case.camera, "seen to misbehave", limit, |path| seen.is_in(path)).await?;
    }
    while began.elapsed() < lasts {
        still_served(&playlist).await?;
        wait::run_for(Duration::from_millis(500)).await;
    }
    simulator.clear_fault(case.camera).await?;

    let ended = Instant::now();
    let edge = load(&playlist, &[]).await?.playlist.next_part();
    let limit = Duration::from_secs(case.recovers_s);
    let context = || format!("log:\n{}", camera_log(server, case.camera));
    let moves_on = |due| {
        let playlist = &playlist;
        wait::until("new parts", limit, async move || {
            Ok((load(playlist, &[]).await?.playlist.next_part() > due).then_some(()))
        })
    };
    moves_on(edge).await.with_context(context)?;
    let took = ended.elapsed();
    // It plays on: not only the rest of what had come before.
    moves_on((edge.0 + 2, 0)).await.with_context(context)?;
    let state = server.wait_state(case.camera, "online", Duration::from_secs(5)).await?;
    ensure!(state["stateSince"].is_string(), "no stateSince: {state}");
    Ok(took.as_secs_f64())
}

/// H14 and the promise to viewers: whatever the camera does, its playlist is there.
async fn still_served(playlist: &str) -> anyhow::Result<()> {
    let answer = http::get(playlist).await?;
    ensure!(answer.is_ok(), "a viewer of it got {}: {}", answer.status, answer.text());
    Ok(())
}

async fn media_playlist(server: &Server, name: &str) -> anyhow::Result<String> {
    let url = server.hls(name);
    let answer =
        wait::until("playlist", Duration::from_secs(15), async || Ok(Some(http::get(&url).await?.ok()?)))
            .await?;
    let playlist = MultivariantPlaylist::parse(&answer.text())?;
    http::join(&url, &playlist.variants[0].uri)
}

fn camera_log(server: &Server, name: &str) -> String {
    let lines = server.log_lines();
    let of_camera = lines.iter().filter(|line| line.contains(name));
    of_camera.cloned().collect::<Vec<_>>().join("\n")
}
