//! Floor: a mode of this program, started and measured as a server is.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gtvision_tests::workspace;
use serde::Deserialize;

use super::window::Window;
use super::{Row, UnderTest};
use crate::program::Program;
use crate::scenario::{Floor, Traffic};
use crate::usage::Memory;

/// A floor's own warm-up: it has no rings to fill.
const WARM_UP: Duration = Duration::from_secs(3);
/// From its start to its ready line.
const START_LIMIT: Duration = Duration::from_secs(90);

/// What a floor prints at its end, of the time since it was ready.
#[derive(Debug, Deserialize)]
struct End {
    bytes: u64,
    frames: Option<u64>,
    secs: Option<f64>,
}

impl UnderTest<'_> {
    /// Measures a floor.
    pub(super) async fn stand_on(&self, floor: Floor, row: &mut Row) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("floor").arg(floor.name()).args(self.arguments(floor)?);
        let started = Instant::now();
        let mut process = Program::start(floor.name(), &mut command)?;
        let ready = process.ready_line(START_LIMIT).await?;
        row.start_s = Some(started.elapsed().as_secs_f64());
        let pid = ready.get("pid").and_then(serde_json::Value::as_u64).map(u32::try_from).transpose()?;
        let pid = pid.unwrap_or_else(|| process.id());
        tokio::time::sleep(WARM_UP).await;
        let window = Window::open(pid, self.simulator).await?;
        tokio::time::sleep(Duration::from_secs(self.scenario.window_s)).await;
        let spent = window.close(self.simulator).await?;
        row.take_memory(Memory::of(pid)?);
        process.end();
        let lines = process.log.lines();
        let end = lines.iter().rev().find(|line| line.starts_with('{') && line.contains("\"bytes\""));
        let end: End = serde_json::from_str(end.context("no counters at its end")?)?;
        ensure!(end.bytes > 0, "it moved no byte");
        row.take_spent(&spent, self.clip.bytes_of(spent.pictures), 0, Traffic::Ingest);
        self.take_pace(&spent, row);
        row.frames_out = end.frames.unwrap_or(0);
        if let (Traffic::Egress, Some(secs)) = (traffic(floor), end.secs) {
            row.take_egress_rate(end.bytes, secs);
        }
        Ok(())
    }

    fn arguments(&self, floor: Floor) -> anyhow::Result<Vec<String>> {
        let viewers = &self.scenario.viewers;
        let clip = &self.scenario.clip;
        let simulator = vec![
            format!("--simulator={}", self.simulator.rtsp),
            format!("--cameras={}", self.scenario.cameras),
        ];
        let bitrate = format!("--bitrate-bps={}", clip.bitrate_bps);
        Ok(match floor {
            Floor::BareReader => simulator,
            Floor::BareWriter => {
                let dir = format!("--dir={}", workspace::target_dir("load")?.display());
                [simulator, vec![dir]].concat()
            }
            // RTSP readers get each picture for itself, HLS viewers a part.
            Floor::Sendfile if viewers.rtsp.count > 0 => vec![
                format!("--connections={}", viewers.rtsp.count),
                format!("--part-ms={}", 1000 / u64::from(clip.fps).max(1)),
                bitrate,
            ],
            Floor::Sendfile => vec![format!("--connections={}", viewers.llhls.count), bitrate],
            Floor::Nginx => vec![format!("--clients={}", viewers.llhls.count), bitrate],
            Floor::GsoGcm => {
                vec![format!("--peers={}", viewers.whep.count), bitrate, format!("--fps={}", clip.fps)]
            }
        })
    }
}

/// Whose bytes a floor moves: the cameras', or its own toward sinks.
fn traffic(floor: Floor) -> Traffic {
    match floor {
        Floor::BareReader | Floor::BareWriter => Traffic::Ingest,
        Floor::Sendfile | Floor::Nginx | Floor::GsoGcm => Traffic::Egress,
    }
}
