//! Machine: where and of what a figure was taken, so that a committed row can be judged later.

use std::process::Command;
use std::time::SystemTime;

use anyhow::Context as _;
use gtvision_tests::workspace;
use serde::Serialize;

/// Said in every row.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Provenance {
    /// The commit of the checkout, with `+` when it has changes.
    pub(crate) commit: String,
    /// Processor, number of cores, memory, kernel.
    pub(crate) machine: String,
    /// How the program was called.
    pub(crate) command: String,
    /// When it began, seconds since 1970.
    pub(crate) at_unix_s: u64,
}

/// Of this run.
///
/// # Errors
/// When the system does not say.
pub(crate) fn provenance() -> anyhow::Result<Provenance> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let args: Vec<String> = std::env::args().skip(1).map(without_path).collect();
    Ok(Provenance {
        commit: commit(),
        machine: machine()?,
        command: format!("./bench {}", args.join(" ")),
        at_unix_s: since.as_secs(),
    })
}

/// Where a peer's program lies is nobody's business.
fn without_path(argument: String) -> String {
    match argument.split_once("=/") {
        Some((name, _)) => format!("{name}=PATH"),
        None => argument,
    }
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(workspace::root()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let is_clean =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| text.is_empty());
    if is_clean { commit } else { commit + "+" }
}

fn machine() -> anyhow::Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = field(&cpus, "model name").unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism()?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let total = field(&memory, "MemTotal").context("MemTotal")?;
    let kib: u64 = total.trim_end_matches("kB").trim().parse()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{model}, {cores} cores, {} GiB, Linux {}", kib >> 20, kernel.trim()))
}

/// The value of the first `key: value` line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_where_it_comes_from_but_not_where_a_program_lies() {
        let provenance = provenance().unwrap();
        assert!(provenance.machine.contains(" cores, ") && !provenance.commit.is_empty());
        assert_eq!(without_path("--peer=x".to_owned()), "--peer=x");
        assert_eq!(without_path("x=/usr/bin/x".to_owned()), "x=PATH");
    }
}
