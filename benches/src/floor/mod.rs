//! Floor: the least that a job can cost on this machine, as a program to be measured beside the server.
//!
//! | floor | its job | what it leaves out |
//! | --- | --- | --- |
//! | `bare-reader` | RTSP over TCP, one read per wake-up into a buffer that stays in the cache | everything after the socket |
//! | `bare-writer` | the same, the bytes written to a file per camera, 200 ms at once | framing, remuxing, an index |
//! | `sendfile` | one file over many TCP connections, a part's worth at a time, never in user space | HTTP |
//! | `nginx` | parts and playlists as static files over HTTP/1.1 | making them, blocking reloads |
//! | `gso-gcm` | RTP-sized packets, AES-128-GCM each, one UDP send (GSO) per picture | ICE, RTCP, retransmission, anything shared |
//!
//! A floor prints `{"ready":true,"pid":N}` once it is steady (`pid` is the process to measure), runs until
//! SIGTERM or SIGINT, and prints `{"bytes":..,"frames":..,"secs":..}`: what it moved since it was
//! ready. `frames` is what the job counts in (parts, pictures), or null where it does not look. What
//! receives runs in a process of its own, so that its CPU time is not the floor's.
//!
//! Belongs here: floors and their sinks. Does not: measuring them, starting the simulator (-> the load program).
//! Invariants: a floor that loses a peer ends with an error, never with a smaller figure.

mod child;
mod gso;
mod http;
mod nginx;
mod reader;
mod report;
mod rtsp;
mod sendfile;
mod sink;
#[cfg(test)]
mod tests;
mod writer;

use self::report::Stop;

/// Which floor, and how much of it.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum FloorArgs {
    /// Plays cameras over TCP and throws the bytes away.
    BareReader(reader::ReaderArgs),
    /// Plays cameras over TCP and appends the bytes to a file for each.
    BareWriter(writer::WriterArgs),
    /// Sends one file over TCP connections with sendfile, at a live pace.
    Sendfile(sendfile::SendfileArgs),
    /// Serves parts as static files with nginx, to clients that fetch them at a live pace.
    Nginx(nginx::NginxArgs),
    /// Encrypts packets with AES-128-GCM and sends them with UDP GSO, at a live pace.
    GsoGcm(gso::GsoArgs),
    /// The receiving process of another floor.
    #[command(subcommand, hide = true)]
    Sink(sink::SinkArgs),
}

/// Runs a floor until it is told to stop.
///
/// # Errors
/// When it can't start, or a peer is lost meanwhile: its figures would mean nothing.
pub(crate) async fn run(args: FloorArgs) -> anyhow::Result<()> {
    report::require_worker_threads()?;
    let stop = Stop::listen()?;
    match args {
        FloorArgs::BareReader(args) => reader::run(args, stop).await,
        FloorArgs::BareWriter(args) => writer::run(args, stop).await,
        FloorArgs::Sendfile(args) => sendfile::run(args, stop).await,
        FloorArgs::Nginx(args) => nginx::run(args, stop).await,
        FloorArgs::GsoGcm(args) => gso::run(args, stop).await,
        FloorArgs::Sink(args) => sink::run(args).await,
    }
}
