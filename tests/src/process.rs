//! Process: a program under test, its log, and an end that is always seen.
//!
//! Invariant: dropping it ends the program; one that does not end within `STOP_LIMIT`
//! after SIGTERM, or ends badly, fails the test.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::wait;

/// The server's own promise of a bounded shutdown.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Lines of a log that are kept; the oldest go first. A test reads far fewer.
const LOG_LINES_MAX: usize = 50_000;

/// The lines that a program wrote, both streams, in the order of their arrival.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LOG_LINES_MAX {
            lines.drain(..LOG_LINES_MAX / 2);
        }
        lines.push(line);
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last `count` lines, for a message.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    fn follow(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        })
    }
}

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    followers: Vec<JoinHandle<()>>,
    /// What it wrote.
    pub log: Log,
}

impl Process {
    /// Starts it with both output streams captured and stdin held open.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        let log = Log::default();
        let followers = [
            child.stdout.take().map(|stream| log.follow(stream)),
            child.stderr.take().map(|stream| log.follow(stream)),
        ];
        Ok(Self { name: name.to_owned(), child, followers: followers.into_iter().flatten().collect(), log })
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// When it does not read any more.
    pub fn order(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().with_context(|| format!("{} has no stdin", self.name))?;
        Ok(writeln!(stdin, "{line}")?)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, when it has ended already.
    ///
    /// # Errors
    /// When the system can't say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The first line that starts as a JSON object, with which peers say that they are ready.
    ///
    /// # Errors
    /// After `limit`, or when the program ends first; the message holds its log.
    pub async fn ready_line(&mut self, limit: Duration) -> anyhow::Result<serde_json::Value> {
        let start = Instant::now();
        loop {
            let line = self.log.lines().into_iter().find(|line| line.starts_with('{'));
            if let Some(line) = line {
                return serde_json::from_str(&line).with_context(|| format!("{} said {line}", self.name));
            }
            if self.ended()?.is_some() || start.elapsed() > limit {
                bail!("{} is not ready: {}", self.name, self.log.tail(30));
            }
            wait::run_for(Duration::from_millis(10)).await;
        }
    }

    /// Ends it at once, without asking.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.join_followers();
        Ok(())
    }

    /// Asks it to end, waits, and gives its exit status.
    ///
    /// # Errors
    /// When it is still there after [`STOP_LIMIT`]; it is killed then.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            self.join_followers();
            return Ok(status);
        }
        self.signal(rustix::process::Signal::TERM)?;
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                self.join_followers();
                return Ok(status);
            }
            wait::pause_thread();
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("{} did not end within {STOP_LIMIT:?} after SIGTERM:\n{}", self.name, self.log.tail(30))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id())?;
        let pid = rustix::process::Pid::from_raw(pid).context("a child has a positive id")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    fn join_followers(&mut self) {
        for follower in self.followers.drain(..) {
            follower.join().unwrap_or_default();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.stop();
        let complaint = match ended {
            Ok(_) => return,
            Err(error) => format!("{error:#}"),
        };
        fail(&complaint);
    }
}

/// Fails the running test from a drop; only prints when the test fails already.
#[expect(clippy::panic, clippy::print_stderr, reason = "this is how a drop fails a test")]
pub(crate) fn fail(complaint: &str) {
    if std::thread::panicking() {
        eprintln!("{complaint}");
    } else {
        panic!("{complaint}");
    }
}
