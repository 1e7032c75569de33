//! Feeding: a target and its corpus, without coverage: the same inputs in every run, or new ones for as long as is asked.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::mutation::mutate;
use crate::random::Random;

/// The longest input: a message with its body, a GOP of a small picture.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// No input may take longer; a thousandth of it is usual. It is as long as it is because test machines are busy.
pub const INPUT_TIME_MAX: Duration = Duration::from_secs(60);

/// Mutations of a short run, beside the seeds themselves.
const MUTATIONS: u64 = 1500;

/// Says for how many seconds each target runs, instead of that many.
const SECONDS: &str = "GTV_FUZZ_SECONDS";

/// Where inputs that were a finding are kept.
const FINDINGS: &str = "GTV_FUZZ_FINDINGS";

/// What the target was given last, and how many there were before it.
type Current = Arc<Mutex<(u64, Vec<u8>)>>;

/// Feeds the seeds of `corpus/NAME`, and mutations of them, to `run`.
///
/// Panics as `run` does, and when it takes longer than [`INPUT_TIME_MAX`]; what it was given is kept in a file then.
#[expect(clippy::print_stdout, reason = "a test's output is shown where it fails")]
pub fn feed(name: &'static str, run: impl Fn(&[u8]) + Send + 'static) {
    let current = Current::default();
    let fed = Arc::clone(&current);
    let seeds = seeds(name);
    let (done, is_done) = sync_channel(1);
    let worker = std::thread::spawn(move || {
        inputs(name, &seeds, &fed, &run);
        // Nobody listens any more when this took too long.
        done.send(()).ok();
    });
    if let Err(input) = watch(&current, &is_done) {
        panic!("{name}: no end after {} s, input {}", INPUT_TIME_MAX.as_secs(), keep(name, &input));
    }
    if let Err(panic) = worker.join() {
        let (count, input) = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        println!("{name}: input {count}, of {} bytes: {}", input.len(), keep(name, &input));
        std::panic::resume_unwind(panic);
    }
}

/// Returns when the worker has ended; the input that it is at when that takes too long.
fn watch(current: &Current, is_done: &Receiver<()>) -> Result<(), Vec<u8>> {
    let mut seen = u64::MAX;
    loop {
        match is_done.recv_timeout(INPUT_TIME_MAX) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let (count, input) = &*current.lock().unwrap_or_else(PoisonError::into_inner);
        if *count == seen {
            return Err(input.clone());
        }
        seen = *count;
    }
}

/// Everything that a target is given, one after the other.
fn inputs(name: &str, seeds: &[Vec<u8>], current: &Current, run: &impl Fn(&[u8])) {
    let until = std::env::var(SECONDS).ok().map(|seconds| {
        let seconds = seconds.parse().expect("GTV_FUZZ_SECONDS is a number of seconds");
        (Instant::now() + Duration::from_secs(seconds), clock_seed())
    });
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let mut random = Random::seeded(hasher.finish() ^ until.map_or(0, |(_, seed)| seed));
    let mut count = 0;
    let mut give = |input: Vec<u8>| {
        count += 1;
        *current.lock().unwrap_or_else(PoisonError::into_inner) = (count, input.clone());
        run(&input);
        count
    };
    give(Vec::new());
    for seed in seeds {
        give(seed.clone());
    }
    loop {
        let (seed, other) = (random.one_of(seeds), random.one_of(seeds));
        let count = give(mutate(seed, other, INPUT_BYTES_MAX, &mut random));
        match until {
            Some((until, _)) if Instant::now() < until => {}
            None if count < MUTATIONS => {}
            _ => break,
        }
    }
}

/// A long run is not to do again what the one before did.
fn clock_seed() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |since| since.as_secs())
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|error| panic!("corpus {}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    // The order of a folder is the file system's; inputs are to be the same everywhere.
    files.sort();
    assert!(!files.is_empty(), "corpus {} is empty", folder.display());
    files.iter().map(|file| std::fs::read(file).expect("a seed that can be read")).collect()
}

/// Writes an input that was a finding where it can be looked at; where that is.
fn keep(name: &str, input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let folder = std::env::var_os(FINDINGS).map_or_else(std::env::temp_dir, PathBuf::from);
    let file = folder.join(format!("{name}-{:016x}", hasher.finish()));
    match std::fs::write(&file, input) {
        Ok(()) => file.display().to_string(),
        Err(error) => format!("{}: {error}; its bytes: {}", file.display(), input.escape_ascii()),
    }
}
