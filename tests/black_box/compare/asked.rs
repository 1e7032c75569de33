//! Asked: what another program is asked about callers (`authMethod: http`), which is a part of each answer here: `$asked`.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use gtvision_tests::process::Process;
use gtvision_tests::server::Program;
use gtvision_tests::{Server, machine};

use super::rows::{self, Row};
use super::{Answers, CLIP, answer, differences, peer, publish_rtsp};
use crate::access::Provider;

/// A server, whom it asks, and somebody who publishes to it.
struct Scene {
    _publisher: Process,
    server: Server,
    provider: Provider,
}

impl Scene {
    async fn start(program: Program) -> anyhow::Result<Self> {
        let (clip, provider) = (CLIP.file().await?, Provider::start().await?);
        let config = include_str!("asked.yml").replace("PROVIDER", &provider.base);
        let server = Server::start_program(program, &config).await?;
        let url = server.rtsp("cam_1").replace("rtsp://", "rtsp://maria:s3cret@");
        let publisher = publish_rtsp(&clip, &url)?;
        server.wait_online("cam_1").await?;
        Ok(Self { _publisher: publisher, server, provider })
    }

    /// Answers, each with the question that was asked meanwhile; and what is not as expected.
    async fn answers(&self, rows: &[Row]) -> anyhow::Result<(Answers, Vec<String>)> {
        let (mut answers, mut complaints) = (Answers::new(), Vec::new());
        for row in rows {
            let mut answer = answer::ask(&self.server, row, &mut BTreeMap::new()).await?;
            let told = self.provider.told().await?;
            let question = told["asked"].as_array().context("asked")?.last().context("nothing was asked")?;
            answer::take_apart("$asked", question, &mut answer);
            complaints.extend(answer::unexpected(row, &answer));
            answers.insert(row.title.clone(), answer);
        }
        Ok((answers, complaints))
    }
}

#[tokio::test]
async fn another_program_is_asked_what_the_reference_says() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let rows = rows::parse(include_str!("asked.rows"))?;
    let scene = Scene::start(Program::Ours).await?;
    let (here, complaints) = scene.answers(&rows).await?;
    ensure!(complaints.is_empty(), "{}\nlog:\n{}", complaints.join("\n"), scene.server.log_tail());
    drop(scene);
    let Some(peer) = peer() else { return Ok(()) };
    let (there, _) = Scene::start(peer).await?.answers(&rows).await?;
    differences::check(&here, &there)
}
