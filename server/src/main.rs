//! The `gtvision` binary.

mod app;
mod cli;
mod config;
mod egress;
mod ingest;
mod registry;
mod runtime;
mod stream;
mod telemetry;

fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    cli::main()
}
