//! Configuration through the API: what MediaMTX's clients do, and that it is there after a restart.

use anyhow::ensure;
use gtvision_tests::clips::USUAL;
use gtvision_tests::http::{self, Method, Response};
use gtvision_tests::{Server, Simulator, machine};
use serde_json::{Value, json};

async fn send(server: &Server, method: Method, endpoint: &str, body: &Value) -> anyhow::Result<Response> {
    // As curl does it without being told otherwise.
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    http::send(method, &server.api(endpoint), &headers, body.to_string()).await
}

async fn get(server: &Server, endpoint: &str) -> anyhow::Result<Value> {
    http::get(&server.api(endpoint)).await?.ok()?.json()
}

/// An answer that refuses, with its words.
fn refused(answer: &Response, status: u16, words: &str) -> anyhow::Result<()> {
    let error = answer.json()?;
    ensure!(answer.status == status && error["status"] == "error", "{} {error}", answer.status);
    ensure!(
        error["error"].as_str().is_some_and(|error| error.contains(words)),
        "{words:?} is not in {error}"
    );
    Ok(())
}

/// MediaMTX's names and types (its OpenAPI document), for settings that work here and for those that do not.
async fn check_shown(server: &Server) -> anyhow::Result<()> {
    let global = get(server, "config/global/get").await?;
    for (key, value) in [
        ("logLevel", json!("info")),
        ("readTimeout", json!("10s")),
        ("writeQueueSize", json!(512)),
        ("rtspTransports", json!(["udp", "multicast", "tcp"])),
        ("rtspEncryption", json!("no")),
        ("hls", json!(true)),
        ("hlsSegmentMaxSize", json!("50M")),
        ("srtAddress", json!(":8890")),
        ("pprof", json!(false)),
        ("multicastRTPPort", json!(8002)),
        ("runOnConnect", json!("")),
        ("api", json!(true)),
    ] {
        ensure!(global[key] == value, "{key}: {}", global[key]);
    }
    ensure!(global["authInternalUsers"][0]["permissions"][0]["action"] == "publish", "{global}");
    ensure!(global.get("paths").is_none() && global.get("pathDefaults").is_none(), "{global}");
    let defaults = get(server, "config/pathdefaults/get").await?;
    for (key, value) in [
        ("source", json!("publisher")),
        ("sourceOnDemandStartTimeout", json!("10s")),
        ("recordSegmentDuration", json!("1h0m0s")),
        ("rtspUDPSourcePortRange", json!([32768, 60999])),
        ("maxReaders", json!(0)),
    ] {
        ensure!(defaults[key] == value, "{key}: {}", defaults[key]);
    }
    Ok(())
}

async fn check_refusals(server: &Server) -> anyhow::Result<()> {
    let add = async |name: &str, body: Value| {
        send(server, Method::POST, &format!("config/paths/add/{name}"), &body).await
    };
    refused(&add("cam_1", json!({})).await?, 400, "path already exists")?;
    refused(&add("x", json!({"recrd": true})).await?, 400, "did you mean \"record\"?")?;
    refused(&add("x", json!({"record": "yes"})).await?, 400, "\"record\" must be true or false")?;
    refused(&add("x", json!({"source": "exec://rm"})).await?, 400, "\"source\" is not a source")?;
    refused(&add("x//y", json!({})).await?, 400, "empty segment")?;
    refused(&add("~^(x$", json!({})).await?, 400, "regular expression")?;
    let answer = http::send(Method::POST, &server.api("config/paths/add/x"), &[], "{".to_owned()).await?;
    refused(&answer, 400, "invalid body")?;
    let patch = async |endpoint: &str, body: Value| send(server, Method::PATCH, endpoint, &body).await;
    refused(&patch("config/paths/patch/nobody", json!({})).await?, 404, "path not found")?;
    refused(&patch("config/global/patch", json!({"hlsSegmentCount": 2})).await?, 400, "hlsSegmentCount")?;
    let taken = format!("127.0.0.1:{}", server.ports.rtsp);
    refused(&patch("config/global/patch", json!({"hlsAddress": taken})).await?, 400, "hlsAddress")?;
    let answer = send(server, Method::DELETE, "config/paths/delete/nobody", &Value::Null).await?;
    refused(&answer, 404, "path not found")?;
    ensure!(http::get(&server.api("config/paths/get/nobody")).await?.status == 404);
    // An address that somebody else has: the listener stays where it is.
    let other = std::net::TcpListener::bind("127.0.0.1:0")?;
    let busy = json!({"hlsAddress": other.local_addr()?.to_string()});
    refused(&patch("config/global/patch", busy).await?, 400, "cannot listen on")?;
    http::get(&server.hls("cam_1")).await?.ok()?;
    Ok(())
}

#[tokio::test]
async fn what_is_set_through_the_api_is_in_force_at_once_and_after_a_restart() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let args = ["--auth", "digest", "--user", "viewer", "--password", "hunter2"];
    let simulator = Simulator::start_with(&[("cam_1", &clip), ("cam_2", &clip)], &args).await?;
    let file = format!(
        "paths:\n  cam_1:\n    source: {}\n    rtspTransport: tcp\n  all_others:\n",
        simulator.url("cam_1")
    );
    let mut server = Server::start(&file).await?;
    server.expect_error("listener stays as it was");
    server.wait_online("cam_1").await?;
    check_shown(&server).await?;
    check_refusals(&server).await?;

    let source = simulator.url("cam_2");
    let body = json!({"source": source, "rtspTransport": "tcp", "name": "city/cam_2"});
    send(&server, Method::POST, "config/paths/add/city/cam_2", &body).await?.ok()?;
    server.wait_online("city/cam_2").await?;
    let body = json!({"recordDeleteAfter": "36h", "maxReaders": 7});
    send(&server, Method::PATCH, "config/paths/patch/city/cam_2", &body).await?.ok()?;
    let path = get(&server, "config/paths/get/city/cam_2").await?;
    ensure!(path["name"] == "city/cam_2" && path["source"] == source.as_str(), "{path}");
    ensure!(path["recordDeleteAfter"] == "1d12h0m0s" && path["maxReaders"] == 7, "{path}");
    send(&server, Method::PATCH, "config/pathdefaults/patch", &json!({"sourceOnDemandCloseAfter": "1m30s"}))
        .await?
        .ok()?;
    send(&server, Method::PATCH, "config/global/patch", &json!({"srt": true, "logLevel": "debug"}))
        .await?
        .ok()?;
    send(&server, Method::DELETE, "config/paths/delete/all_others", &Value::Null).await?.ok()?;
    ensure!(server.path("city/cam_2").await?["reconnects"] == 0, "a change of its limits connected it again");

    // The file is written anew, and the server starts again: both hold.
    server.reconfigure(&format!("{file}  pushed:\n")).await?;
    server.restart().await?;
    server.wait_online("city/cam_2").await?;
    let list = get(&server, "config/paths/list").await?;
    let names: Vec<_> =
        list["items"].as_array().into_iter().flatten().map(|item| item["name"].clone()).collect();
    ensure!(names == ["cam_1", "city/cam_2", "pushed"], "{list}");
    let page = get(&server, "config/paths/list?itemsPerPage=1&page=1").await?;
    ensure!(page["pageCount"] == 3 && page["items"][0]["name"] == "city/cam_2", "{page}");
    ensure!(get(&server, "config/paths/get/cam_1").await?["sourceOnDemandCloseAfter"] == "1m30s");
    let global = get(&server, "config/global/get").await?;
    ensure!(global["srt"] == true && global["logLevel"] == "debug", "{global}");

    // Replaced: what is not named is as the defaults say.
    let body = json!({"source": source, "rtspTransport": "tcp"});
    send(&server, Method::POST, "config/paths/replace/city/cam_2", &body).await?.ok()?;
    ensure!(get(&server, "config/paths/get/city/cam_2").await?["maxReaders"] == 0);
    send(&server, Method::DELETE, "config/paths/delete/city/cam_2", &Value::Null).await?.ok()?;
    ensure!(http::get(&server.api("paths/get/city/cam_2")).await?.status == 404);

    // correctness: S5
    let leak = server.log_lines().into_iter().find(|line| line.contains("hunter2"));
    ensure!(leak.is_none(), "a password in the log: {leak:?}");
    let database = server.file("gtvision.db")?;
    ensure!(!database.windows(7).any(|bytes| bytes == b"hunter2"), "a password in the database");
    server.restart().await?;
    ensure!(http::get(&server.api("config/paths/get/city/cam_2")).await?.status == 404);
    Ok(())
}
