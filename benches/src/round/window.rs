//! Window: what subject, simulator, viewers and the machine used between two moments.

use std::time::{Duration, Instant};

use crate::simulator::Simulator;
use crate::usage::{self, Cpu};

/// Readings at the beginning.
#[derive(Debug)]
pub(super) struct Window {
    pid: u32,
    at: Instant,
    cpu: Cpu,
    simulator: Cpu,
    load: Cpu,
    idle: Duration,
    write_calls: u64,
    pictures: u64,
}

/// What was used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    /// Between the two readings of the subject's processor time.
    pub(super) wall: Duration,
    pub(super) cpu: Cpu,
    pub(super) simulator: Cpu,
    pub(super) load: Cpu,
    pub(super) idle: Duration,
    pub(super) write_calls: u64,
    /// Pictures that cameras sent to somebody meanwhile.
    pub(super) pictures: u64,
}

impl Window {
    /// Begins.
    ///
    /// # Errors
    /// When a process is gone.
    pub(super) async fn open(pid: u32, simulator: &Simulator) -> anyhow::Result<Self> {
        let pictures = simulator.totals().await?.pictures;
        Ok(Self {
            pid,
            at: Instant::now(),
            cpu: Cpu::of(pid)?,
            simulator: Cpu::of(simulator.id())?,
            load: Cpu::of(std::process::id())?,
            idle: usage::machine_idle()?,
            write_calls: usage::write_calls(pid)?,
            pictures,
        })
    }

    /// Ends.
    ///
    /// # Errors
    /// When a process is gone.
    pub(super) async fn close(self, simulator: &Simulator) -> anyhow::Result<Spent> {
        let spent = Spent {
            wall: self.at.elapsed(),
            cpu: Cpu::of(self.pid)?.since(self.cpu),
            simulator: Cpu::of(simulator.id())?.since(self.simulator),
            load: Cpu::of(std::process::id())?.since(self.load),
            idle: usage::machine_idle()?.saturating_sub(self.idle),
            write_calls: usage::write_calls(self.pid)?.saturating_sub(self.write_calls),
            pictures: 0,
        };
        let totals = simulator.totals().await?;
        // Cameras run whether or not anybody is connected.
        let pictures = if totals.watched == 0 { 0 } else { totals.pictures - self.pictures };
        Ok(Spent { pictures, ..spent })
    }
}
