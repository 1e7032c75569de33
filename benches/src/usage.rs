//! Usage: what a process has used of the machine, read from `/proc` and so without its help.
//!
//! Spec: proc(5). Units: ticks of 10 ms (`USER_HZ` is 100 on Linux), pages of 4 KiB.

use std::time::Duration;

use anyhow::Context as _;

const TICK_MS: u64 = 10;

/// Processor time of a process since its start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cpu {
    /// # Errors
    /// When there is no such process.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = read(pid, "stat")?;
        // Fields are counted after the ")" of the name; utime and stime are 14 and 15 of all.
        let (_, fields) = stat.rsplit_once(')').context("stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let time = |index: usize| -> anyhow::Result<Duration> {
            let ticks: u64 = fields.get(index).context("stat")?.parse()?;
            Ok(Duration::from_millis(ticks * TICK_MS))
        };
        Ok(Self { user: time(11)?, system: time(12)? })
    }

    /// Since an earlier reading.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }

    /// Both together, seconds.
    pub(crate) fn total_s(self) -> f64 {
        (self.user + self.system).as_secs_f64()
    }
}

/// Calls by which a process wrote since its start, to whatever: `write`, `writev`, `pwrite` and the like, not `send`.
///
/// # Errors
/// When there is no such process.
pub(crate) fn write_calls(pid: u32) -> anyhow::Result<u64> {
    let io = read(pid, "io")?;
    let value = io.lines().find_map(|line| line.strip_prefix("syscw:")).context("no syscw")?;
    Ok(value.trim().parse()?)
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident set.
    pub(crate) rss_bytes: u64,
    /// Its highest so far.
    pub(crate) rss_peak_bytes: u64,
    /// Resident set with shared pages divided among their users.
    pub(crate) pss_bytes: u64,
}

impl Memory {
    /// # Errors
    /// When there is no such process.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = read(pid, "status")?;
        let rollup = read(pid, "smaps_rollup")?;
        Ok(Self {
            rss_bytes: kib(&status, "VmRSS:")?,
            rss_peak_bytes: kib(&status, "VmHWM:")?,
            pss_bytes: kib(&rollup, "Pss:")?,
        })
    }
}

/// Seconds during which the whole machine's processors had nothing to do, all of them together.
///
/// # Errors
/// When the system does not say.
pub(crate) fn machine_idle() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let idle: u64 = stat.split_whitespace().nth(4).context("/proc/stat")?.parse()?;
    Ok(Duration::from_millis(idle * TICK_MS))
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

fn kib(text: &str, key: &str) -> anyhow::Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
    let kib: u64 = value.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let pid = std::process::id();
        let memory = Memory::of(pid).unwrap();
        assert!(memory.rss_bytes > 100 << 10 && memory.rss_peak_bytes >= memory.rss_bytes);
        assert!(memory.pss_bytes > 0);
        let start = Cpu::of(pid).unwrap();
        assert!(write_calls(pid).is_ok());
        let work: u64 =
            std::hint::black_box(0..10_000_000_u64).filter(|n| n % 7 == 0).count().try_into().unwrap();
        assert!(work > 0);
        assert!(Cpu::of(pid).unwrap().since(start).total_s() < 60.0);
        assert!(machine_idle().is_ok());
    }
}
