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
mod bucket;
mod clip;
mod file_watch;
mod floor;
mod frames;
mod machine;
mod playlist;
mod plot;
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

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};

use crate::clip::Clip;
use crate::floor::FloorArgs;
use crate::machine::Provenance;
use crate::plot::PlotArgs;
use crate::round::Row;
use crate::scenario::{Scenario, Verdict};
use crate::subject::Peer;
use crate::sweep::Sizes;

/// Measures what a media server costs under a stated load.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
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
    /// Another number of viewers, of each kind that the scenario has; forms as above.
    #[arg(long, value_name = "N")]
    viewers: Option<Sizes>,
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
    /// Is the store that recordings are copied to.
    #[command(hide = true)]
    Bucket,
    /// Draws a figure of measured rows as SVG.
    Plot(PlotArgs),
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
    match cli.command {
        Some(Command::Floor(args)) => return floor::run(args).await,
        Some(Command::Bucket) => return bucket::serve().await,
        Some(Command::Plot(args)) => return plot::run(&args),
        None => {}
    }
    if cli.list {
        return list();
    }
    ensure!(cli.rounds > 0, "--rounds 0");
    let scenario = chosen(&cli)?;
    let clip = clip::prepare(&scenario.clip).await?;
    let mut results =
        Results { file: cli.json.clone(), provenance: machine::provenance()?, ..Results::default() };
    let cameras = cli.cameras.as_ref().map_or_else(|| vec![scenario.cameras], Sizes::list);
    let viewers: Vec<Option<usize>> = match &cli.viewers {
        None => vec![None],
        Some(sizes) => sizes.list().into_iter().map(Some).collect(),
    };
    for cameras in cameras {
        for viewers in &viewers {
            let sized = scenario.sized(cameras, *viewers);
            sized.check()?;
            results.measure(&cli, &sized, &clip).await?;
        }
    }
    print(&report::table(&results.rows))?;
    ensure!(results.failures.is_empty(), "not measured: {}", results.failures.join("; "));
    match scenario.verdict {
        Verdict::None => Ok(()),
        Verdict::Strict => report::check_strict(&scenario, &results.rows),
    }
}

fn chosen(cli: &Cli) -> anyhow::Result<Scenario> {
    let name = cli.scenario.as_deref().context("no scenario; see --list")?;
    let mut scenario = scenario::load(name)?;
    if let Some(window_s) = cli.window {
        scenario.window_s = window_s;
    }
    if cli.no_floors {
        scenario.floors.clear();
    }
    Ok(scenario)
}

/// What was measured so far.
#[derive(Default)]
struct Results {
    rows: Vec<Row>,
    /// What could not be measured, and why; the others go on.
    failures: Vec<String>,
    file: Option<PathBuf>,
    provenance: Provenance,
}

impl Results {
    /// All rounds of one size: server, each peer, each floor, and again.
    async fn measure(&mut self, cli: &Cli, scenario: &Scenario, clip: &Clip) -> anyhow::Result<()> {
        let subjects = subject::of(scenario, &cli.peers)?;
        for round in 1..=cli.rounds {
            for subject in &subjects {
                let what = format!(
                    "{} · {} cameras, {} viewers · round {round} · {}",
                    scenario.name,
                    scenario.cameras,
                    scenario.viewers.total(),
                    subject.name()
                );
                say(&what);
                match round::run(scenario, subject, clip, round).await {
                    Ok(row) => self.add(row)?,
                    Err(error) => {
                        say(&format!("  failed: {error:#}"));
                        self.failures.push(what);
                    }
                }
            }
        }
        Ok(())
    }

    /// Rows are written as they come: a long run that is broken off has left something.
    fn add(&mut self, row: Row) -> anyhow::Result<()> {
        say(&report::line(&row));
        self.rows.push(Row { provenance: self.provenance.clone(), ..row });
        let Some(file) = &self.file else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.rows)?;
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))
    }
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
