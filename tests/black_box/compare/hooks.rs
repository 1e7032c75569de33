//! Hooks: which commands run, and what is in their environment.

use anyhow::ensure;
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, machine};

use super::answer::{Answer, normalised};
use super::rows::is_like;
use super::{Answers, CLIP, differences, peer, publish_rtsp};
use crate::hooks::Seen;

/// Every hook's own variables, from the reference; those of paths and `RTSP_PORT` are looked at for all.
const EXPECTED: [(&str, &[(&str, &str)]); 13] = [
    ("connect", &[("MTX_CONN_TYPE", "rtspConn"), ("MTX_CONN_ID", "ID")]),
    ("disconnect", &[("MTX_CONN_TYPE", "rtspConn"), ("MTX_CONN_ID", "ID")]),
    ("init", &[("MTX_PATH", "plain"), ("RTSP_PATH", "plain")]),
    ("demand", &[("MTX_PATH", "asked"), ("MTX_QUERY", "who%3Dme")]),
    ("undemand", &[("MTX_PATH", "asked"), ("MTX_QUERY", "who%3Dme")]),
    ("available", SOURCE),
    ("unavailable", SOURCE),
    ("online", SOURCE),
    ("offline", SOURCE),
    ("read", READER),
    ("unread", READER),
    ("create", &[("MTX_PATH", "cam_gate"), ("MTX_SEGMENT_PATH", "recordings/cam_gate/TIME.mp4")]),
    ("complete", SEGMENT),
];

const SOURCE: &[(&str, &str)] = &[
    ("MTX_PATH", "cam_gate"),
    ("RTSP_PATH", "cam_gate"),
    ("G1", "gate"),
    ("MTX_QUERY", "key%3D7"),
    ("MTX_SOURCE_TYPE", "rtspSession"),
    ("MTX_SOURCE_ID", "ID"),
];

const SEGMENT: &[(&str, &str)] = &[
    ("MTX_PATH", "cam_gate"),
    ("G1", "gate"),
    ("MTX_SEGMENT_PATH", "recordings/cam_gate/TIME.mp4"),
    ("MTX_SEGMENT_DURATION", "NUMBER"),
];

const READER: &[(&str, &str)] = &[
    ("MTX_PATH", "cam_gate"),
    ("G1", "gate"),
    ("MTX_QUERY", "from%3Dhere"),
    ("MTX_READER_TYPE", "rtspSession"),
    ("MTX_READER_ID", "ID"),
];

fn config(seen: &Seen) -> String {
    let hook = |name: &str| seen.command(name);
    let mut text = include_str!("hooks.yml").to_owned();
    for (key, name) in [
        ("runOnConnect", "connect"),
        ("runOnDisconnect", "disconnect"),
        ("runOnInit", "init"),
        ("runOnDemand", "demand"),
        ("runOnUnDemand", "undemand"),
        ("runOnAvailable", "available"),
        ("runOnUnavailable", "unavailable"),
        ("runOnOnline", "online"),
        ("runOnOffline", "offline"),
        ("runOnRead", "read"),
        ("runOnUnread", "unread"),
        ("runOnRecordSegmentCreate", "create"),
        ("runOnRecordSegmentComplete", "complete"),
    ] {
        text = text.replace(&format!("{key}: HOOK"), &format!("{key}: {}", hook(name)));
    }
    text
}

/// The variables that the server set, of every hook.
fn environments(server: &Server, seen: &Seen) -> anyhow::Result<Answers> {
    let port = server.ports.rtsp.to_string();
    let mut answers = Answers::new();
    for (hook, _) in EXPECTED {
        let is_ours = |name: &str| name.starts_with("MTX_") || name.starts_with("RTSP_") || name == "G1";
        let value = |name: &str, value: String| match name {
            "RTSP_PORT" if value == port => "PORT".to_owned(),
            "MTX_SEGMENT_DURATION" if value.parse::<f64>().is_ok() => "NUMBER".to_owned(),
            // Folders are the test's own.
            "MTX_SEGMENT_PATH" => {
                normalised(value.find("recordings/").map_or(value.as_str(), |at| &value[at..]))
            }
            _ => normalised(&value),
        };
        let environment = seen.environment(hook)?.into_iter().filter(|(name, _)| is_ours(name));
        let answer: Answer = environment.map(|(name, found)| (name.clone(), value(&name, found))).collect();
        answers.insert(format!("hook {hook}"), answer);
    }
    Ok(answers)
}

/// Has every hook run once.
async fn run_all(server: &Server, seen: &Seen) -> anyhow::Result<()> {
    let clip = CLIP.file().await?;
    seen.wait("init").await?;
    let mut publisher = publish_rtsp(&clip, &format!("{}?key=7", server.rtsp("cam_gate")))?;
    for hook in ["connect", "available", "online", "create"] {
        seen.wait(hook).await?;
    }
    let mut reader = RawClient::connect(server.ports.rtsp).await?;
    reader.play(&format!("{}?from=here", server.rtsp("cam_gate"))).await?;
    seen.wait("read").await?;
    drop(reader);
    seen.wait("unread").await?;
    seen.wait("disconnect").await?;
    seen.wait("complete").await?;
    publisher.stop()?;
    seen.wait("unavailable").await?;
    seen.wait("offline").await?;
    let mut reader = RawClient::connect(server.ports.rtsp).await?;
    let answer = reader.ask("DESCRIBE", &format!("{}?who=me", server.rtsp("asked")), "").await?;
    // Here it is 404, as for any path without media.
    ensure!([400, 404].contains(&answer.status), "{}", answer.text);
    seen.wait("demand").await?;
    seen.wait("undemand").await
}

#[tokio::test]
async fn hooks_see_what_the_reference_says() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let seen = Seen::new()?;
    let server = Server::start(&config(&seen)).await?;
    run_all(&server, &seen).await?;
    let here = environments(&server, &seen)?;
    for (hook, variables) in EXPECTED {
        let environment = &here[&format!("hook {hook}")];
        for (name, pattern) in variables.iter().chain(&[("RTSP_PORT", "PORT")]) {
            let found = environment.get(*name).map(String::as_str);
            ensure!(
                found.is_some_and(|found| is_like(pattern, found)),
                "{hook}: {name} is {found:?}, not {pattern}"
            );
        }
    }
    drop(server);
    let Some(peer) = peer() else { return Ok(()) };
    let seen = Seen::new()?;
    let server = Server::start_program(peer, &config(&seen)).await?;
    run_all(&server, &seen).await?;
    differences::check(&here, &environments(&server, &seen)?)
}
