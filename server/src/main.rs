//! The `gtvision` binary: arguments, configuration, the running server, an exit code.

mod cli;
mod config;

fn main() -> std::process::ExitCode {
    cli::main()
}
