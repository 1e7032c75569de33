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
    cli::main()
}
