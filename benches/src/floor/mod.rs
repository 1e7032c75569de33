//! Floors: the least that the same work can cost on this machine, measured in the same run.
//!
//! Belongs here: modes of this program that do one bare thing, so that their CPU can be read from
//! outside. Does not: starting and measuring them (-> round).
//!
//! Each prints `{"ready": true, "pid": N}` when steady, runs until SIGTERM, and prints
//! `{"bytes": N, "frames": N}` at its end.

use anyhow::bail;

/// Which floor.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum FloorArgs {
    /// RTSP clients that throw away what they read.
    BareReader {
        /// Where the simulator serves RTSP.
        #[arg(long)]
        simulator: std::net::SocketAddr,
        /// How many of its cameras.
        #[arg(long)]
        cameras: usize,
    },
}

/// Runs a floor until SIGTERM.
///
/// # Errors
/// When it can't be what it should be.
pub(crate) async fn run(args: FloorArgs) -> anyhow::Result<()> {
    bail!("{args:?} is not built in")
}
