//! The `gtvision` binary.

mod cli;
mod config;
mod egress;
mod registry;
mod runtime;
mod stream;

fn main() -> std::process::ExitCode {
    cli::main()
}
