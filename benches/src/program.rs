//! Program: a process that is being measured or helps to; its end is bounded and never fails a run.

use std::ops::{Deref, DerefMut};
use std::process::Command;

use gtvision_tests::process::Process;

/// A running program; it is told to end when dropped, and killed when it does not.
pub(crate) struct Program {
    process: Process,
    name: String,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self { process: Process::start(name, command)?, name: name.to_owned() })
    }

    /// Ends it. That it had to be killed is said, not an error: a busy machine delays that too.
    pub(crate) fn end(&mut self) {
        if self.process.stop().is_err() {
            crate::say(&format!("  {} was still there some seconds after SIGTERM and was killed", self.name));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

impl Deref for Program {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
