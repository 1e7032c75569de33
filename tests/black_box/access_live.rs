//! Access while the server runs: rules that change under those who watch; and RTMP, which has its credentials in its URL.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use gtvision_tests::clips::USUAL;
use gtvision_tests::http::{Method, Response};
use gtvision_tests::{Server, Simulator, http, machine, peers, server};

/// Not where the harness looks at the API and the metrics from.
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HARNESS: &str = "authInternalUsers:
- user: any
  ips: [127.0.0.1]
  permissions: [{action: api}, {action: metrics}]
";
const MARIA: &str = "- {user: maria, pass: s3cret, permissions: [{action: read, path: cam_1}]}\n";
const ANA: &str = "- {user: ana, pass: an4, permissions: [{action: read, path: cam_1}]}\n";

async fn get(url: &str, authorization: Option<&str>) -> anyhow::Result<Response> {
    let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
    http::send_from(HERE, (Method::GET, url), &headers, "").await
}

async fn expect(url: &str, authorization: Option<&str>, status: u16) -> anyhow::Result<Response> {
    let answer = get(url, authorization).await?;
    ensure!(answer.status.as_u16() == status, "{url} as {authorization:?}: {}", answer.status);
    Ok(answer)
}

async fn reads(url: &str) -> anyhow::Result<bool> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_streams", url]);
    Ok(peers::run(command, Duration::from_secs(60)).await?.success)
}

// correctness: S1
#[tokio::test]
async fn users_come_and_go_while_others_watch() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let with =
        |users: &str| format!("{HARNESS}{users}{}", server::pull(&[("cam_1", simulator.url("cam_1"))]));
    let server = Server::start(&with(MARIA)).await?;
    server.wait_online("cam_1").await?;
    let (index, maria, ana) = (server.hls("cam_1"), Some("Bearer maria:s3cret"), Some("Bearer ana:an4"));
    let inside = http::join(&index, expect(&index, maria, 302).await?.header("location"))?;
    expect(&inside, None, 200).await?;
    expect(&index, ana, 401).await?;
    let rtmp = |who: &str| format!("{}?{who}", server.rtmp("cam_1"));
    let (right, wrong) = (rtmp("user=maria&pass=s3cret"), rtmp("user=maria&pass=an4"));
    let bare = server.rtmp("cam_1");
    let (right, wrong, nobody) = tokio::try_join!(reads(&right), reads(&wrong), reads(&bare))?;
    ensure!(right && !wrong && !nobody, "RTMP: right {right}, wrong {wrong}, nobody {nobody}");

    server.reconfigure(&with(&format!("{MARIA}{ANA}"))).await?;
    expect(&index, ana, 302).await?;
    expect(&inside, None, 200).await?;
    server.reconfigure(&with(ANA)).await?;
    expect(&index, maria, 401).await?;
    expect(&inside, None, 401).await?;
    expect(&index, ana, 302).await?;
    Ok(())
}
