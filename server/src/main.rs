//! The `gtvision` binary.

mod cli;
mod config;
mod registry;
mod runtime;
mod stream;

fn main() -> std::process::ExitCode {
    cli::main()
}
