//! Command line: what the program is asked to do, and the exit codes it answers with.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::egress::recorder;
use crate::{app, config, verify};

/// The exit codes, as `--help` tells them.
const EXIT_CODES: &str = "Exit codes:
  0  the server was stopped, or what was checked is in order
  1  it failed while running, or an export is not authentic
  2  the command line or the configuration is wrong
  3  it can't listen on an address
  4  storage check: not all was in order, and everything found was put right or noted
  5  storage check: something is left that a person must look at

Every setting of the file can be overridden by an environment variable: the key in
upper case after MTX_ or GTV_, nested with _ (MTX_HLSADDRESS, MTX_PATHS_CAM1_SOURCE).";

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Stopped, or asked a question and answered it.
    Done,
    /// It failed while running.
    Failure,
    /// The configuration is wrong; clap ends with the same code for a wrong command line.
    Configuration,
    /// An address can't be listened on.
    Bind,
    /// Recordings were not in order and are now.
    Repaired,
    /// Recordings are not in order.
    NotInOrder,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::Failure => Self::from(1),
            Exit::Configuration => Self::from(2),
            Exit::Bind => Self::from(3),
            Exit::Repaired => Self::from(4),
            Exit::NotInOrder => Self::from(5),
        }
    }
}

/// City surveillance video server: cameras in, LL-HLS and WebRTC out.
#[derive(Debug, Parser)]
#[command(name = "gtvision", version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Configuration file [default: gtvision.yml or mediamtx.yml in the working directory,
    /// /usr/local/etc, /usr/etc, /etc/gtvision or /etc/mediamtx]
    pub(crate) config: Option<PathBuf>,
    /// What to do instead of running the server.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read a configuration file, say what is wrong with it, and end
    CheckConfig {
        /// The file to check
        file: PathBuf,
    },
    /// Look after recordings
    Storage {
        /// What to do with them.
        #[command(subcommand)]
        command: StorageCommand,
    },
    /// Say whether an exported file is authentic and complete, or which bytes are not
    Verify {
        /// The exported zip
        file: PathBuf,
        /// The public key that must have signed it, hexadecimal, as GET /export/key gives it
        #[arg(long)]
        key: Option<String>,
    },
}

/// What can be done with recordings.
#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Compare the catalogue with the files, put right what can be, and say what can't; a server may run meanwhile
    Check {
        /// Configuration file [default: as for the server]
        config: Option<PathBuf>,
    },
}

/// The environment's variables that are text; others can't name a setting.
pub(crate) fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Checks a configuration file and says what it found.
///
/// # Errors
/// When standard output or error can't be written.
pub(crate) fn check_config(file: &std::path::Path, variables: &[(String, String)]) -> io::Result<Exit> {
    match config::load(Some(file), variables) {
        Ok(loaded) => {
            let mut stderr = io::stderr().lock();
            for warning in &loaded.warnings {
                writeln!(stderr, "warning: {warning}")?;
            }
            writeln!(io::stdout(), "configuration is valid: {} paths", loaded.config.paths.len())?;
            Ok(Exit::Done)
        }
        Err(error) => {
            writeln!(io::stderr(), "{error}")?;
            Ok(Exit::Configuration)
        }
    }
}

/// Compares recordings with their catalogue and says what it found.
///
/// # Errors
/// When standard output or error can't be written, or no runtime can be started.
fn check_storage(file: Option<&std::path::Path>, variables: &[(String, String)]) -> io::Result<Exit> {
    let loaded = match config::load(file, variables) {
        Ok(loaded) => loaded,
        Err(error) => {
            writeln!(io::stderr(), "{error}")?;
            return Ok(Exit::Configuration);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = match runtime.block_on(recorder::check(&loaded.config)) {
        Ok(report) => report,
        Err(error) => {
            writeln!(io::stderr(), "{error}")?;
            return Ok(Exit::Failure);
        }
    };
    let mut out = io::stdout().lock();
    for finding in &report.findings {
        writeln!(out, "{} {}", finding.name.display(), finding.what)?;
    }
    writeln!(
        out,
        "{} files: {} sound, {} being written, {} missing, {} added, {} truncated, {} altered, {} empty and removed, \
         {} not ours, {} failed, {} in the bucket only, {} uploaded again, {} lost in the bucket, {} on disks that are \
         not there, {} wrong sums",
        report.files,
        report.sound,
        report.open,
        report.missing,
        report.added,
        report.truncated,
        report.altered,
        report.removed,
        report.foreign,
        report.failed,
        report.in_bucket,
        report.sent_again,
        report.lost,
        report.absent,
        report.sums,
    )?;
    Ok(match (report.is_sound(), report.needs_a_person()) {
        (true, _) => Exit::Done,
        (false, false) => Exit::Repaired,
        (false, true) => Exit::NotInOrder,
    })
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let exit = match arguments.command {
        Some(Command::CheckConfig { file }) => check_config(&file, &variables()).unwrap_or(Exit::Failure),
        Some(Command::Storage { command: StorageCommand::Check { config } }) => {
            check_storage(config.as_deref(), &variables()).unwrap_or(Exit::Failure)
        }
        Some(Command::Verify { file, key }) => verify::run(&file, key.as_deref()).unwrap_or(Exit::Failure),
        None => app::main(arguments.config.as_deref(), &variables()).unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "server failed");
            Exit::Failure
        }),
    };
    exit.into()
}
