//! Process: what the operating system says of this process, read from `/proc` (Linux).

use std::fs;

/// Ticks per second in `/proc/PID/stat`: USER_HZ, 100 in the Linux ABI of every architecture
/// that this server runs on.
const USER_HZ: f64 = 100.0;

/// Numbers of this process; each is `None` where `/proc` does not tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessMetrics {
    /// CPU time used, user and system.
    pub(crate) cpu_seconds: Option<f64>,
    /// Memory in RAM.
    pub(crate) resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub(crate) open_fds: Option<u64>,
    /// The most file descriptors it may open.
    pub(crate) fds_max: Option<u64>,
    /// Threads.
    pub(crate) threads: Option<u64>,
}

impl ProcessMetrics {
    /// Reads them now; takes tens of microseconds.
    pub(crate) fn read() -> Self {
        let file = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let (stat, status, limits) = (file("stat"), file("status"), file("limits"));
        let fds = fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
        Self {
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: status_number(&status, "VmRSS:").map(|kib| kib.saturating_mul(1024)),
            open_fds: fds.and_then(|count| u64::try_from(count).ok()),
            fds_max: limits.lines().find_map(|line| {
                line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok()
            }),
            threads: status_number(&status, "Threads:"),
        }
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`; the name in field 2 may hold anything, so counting
/// begins after its closing parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some((ticks()? + ticks()?) / USER_HZ)
}

fn status_number(status: &str, key: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_any_name() {
        // Field order by proc(5).
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("42 (x"), None);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn this_process_has_numbers() {
        let metrics = ProcessMetrics::read();
        assert!(metrics.resident_bytes.unwrap() > 100_000);
        assert!(metrics.open_fds.unwrap() >= 3);
        assert!(metrics.cpu_seconds.is_some() && metrics.threads.unwrap() >= 1);
    }
}
