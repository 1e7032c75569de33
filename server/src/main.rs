//! The `gtvision` binary: video server for city surveillance.

mod access;
mod administration;
mod app;
mod assets;
mod byte_range;
mod cli;
mod config;
mod control;
mod decode;
mod egress;
mod events;
mod hooks;
mod http_listener;
mod ingest;
mod listeners;
mod paths;
mod playback;
mod reconciler;
mod registry;
mod runtime;
mod snapshot;
mod stream;
mod telemetry;
mod tls_client;
mod verify;
mod webhooks;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
