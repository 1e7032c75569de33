//! load: drives cameras and viewers against a server and says what it cost.
//!
//! ```text
//!  scenario (data) ─► round: simulator ─RTSP─► server | peer | floor ─HLS, WHEP, RTSP─► viewers
//!                       │                        ▲ /proc                                 │
//!                       └─► row ◄────────────────┴──────── frames, delays ◄──────────────┘
//!                            └─► table, JSON
//! ```
//!
//! The simulator, the server and the floors are processes of their own, so that what is measured is
//! theirs; the viewers live in this one. Started by `./bench`; what each figure means is in
//! `benches/README.md`.

mod audit;
mod bmff;
mod clip;
mod floor;
mod frames;
mod playlist;
mod poller;
mod program;
mod report;
mod round;
mod rtp;
mod scenario;
mod server;
mod simulator;
mod stats;
mod subject;
mod sweep;
mod usage;
mod viewer;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

use crate::floor::FloorArgs;
use crate::round::Row;
use crate::scenario::{Scenario, Verdict};
use crate::subject::Peer;
use crate::sweep::Sizes;

/// Measures what a media server costs under a stated load.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// A file of benches/scenarios, without its ending.
    #[arg(required_unless_present = "list")]
    scenario: Option<String>,
    /// Lists the scenarios.
    #[arg(long)]
    list: bool,
    /// A server that reads a MediaMTX configuration, to run beside ours: NAME=PATH.
    #[arg(long = "peer", value_name = "NAME=PATH")]
    peers: Vec<Peer>,
    /// Writes all rows there, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often server, peers and floors run in turn.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Another number of cameras: N, a list A,B,C or a range A..B in doubling steps.
    #[arg(long, value_name = "N")]
    cameras: Option<Sizes>,
    /// Another number of viewers, of each kind that the scenario has.
    #[arg(long, value_name = "N")]
    viewers: Option<usize>,
    /// Another length of the window, seconds.
    #[arg(long, value_name = "S")]
    window: Option<u64>,
    /// Leaves the floors out.
    #[arg(long)]
    no_floors: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Is a floor: the least that the work can cost, for the measuring side to look at.
    #[command(subcommand)]
    Floor(FloorArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    if let Some(Command::Floor(args)) = cli.command {
        return floor::run(args).await;
    }
    if cli.list {
        return list();
    }
    let scenario = chosen(&cli)?;
    let sizes = cli.cameras.as_ref().map_or_else(|| vec![scenario.cameras], Sizes::list);
    let mut rows = Vec::new();
    for cameras in sizes {
        let scenario = scenario.with_cameras(cameras);
        scenario.check()?;
        rows.extend(measure(&cli, &scenario).await?);
    }
    if let Some(file) = &cli.json {
        let text = serde_json::to_string_pretty(&rows)?;
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    }
    print(&report::table(&rows))?;
    if scenario.verdict == Verdict::Strict {
        report::check_strict(&scenario, &rows)?;
    }
    Ok(())
}

fn chosen(cli: &Cli) -> anyhow::Result<Scenario> {
    let name = cli.scenario.as_deref().context("no scenario; see --list")?;
    let mut scenario = scenario::load(name)?;
    if let Some(count) = cli.viewers {
        scenario.viewers.set_count(count);
    }
    if let Some(window_s) = cli.window {
        scenario.window_s = window_s;
    }
    if cli.no_floors {
        scenario.floors.clear();
    }
    Ok(scenario)
}

/// All rounds of one size: server, each peer, each floor, and again.
async fn measure(cli: &Cli, scenario: &Scenario) -> anyhow::Result<Vec<Row>> {
    if cli.rounds == 0 {
        bail!("--rounds 0");
    }
    let clip = clip::prepare(&scenario.clip).await?;
    let subjects = subject::of(scenario, &cli.peers)?;
    let mut rows = Vec::new();
    for round in 1..=cli.rounds {
        for subject in &subjects {
            say(&format!(
                "{} · {} cameras · round {round} · {}",
                scenario.name,
                scenario.cameras,
                subject.name()
            ));
            let row = round::run(scenario, subject, &clip, round).await;
            let row = row.with_context(|| format!("{} in {}", subject.name(), scenario.name))?;
            say(&report::line(&row));
            rows.push(row);
        }
    }
    Ok(rows)
}

fn list() -> anyhow::Result<()> {
    let mut text = String::new();
    for scenario in scenario::all()? {
        text += &format!("{:16} {}\n", scenario.name, scenario.about);
    }
    print(&text)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Progress, on standard error.
#[expect(clippy::print_stderr, reason = "a program that a person watches")]
fn say(text: &str) {
    eprintln!("{text}");
}
