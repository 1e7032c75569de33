//! File watch: tells when the configuration file has another content.
//!
//! Editors and orchestrators put a new file in the old one's place, so the folder is watched, and where the file is a link,
//! the folder it leads to. What happens to other files there is passed over, and so are our own looks.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// The file is read once it was left alone for so long: editors write in several steps.
const QUIET: Duration = Duration::from_millis(300);
/// Or after so many such waits: somebody writes all the time.
const WAITS_MAX: usize = 10;

/// A file that is watched.
pub(crate) struct FileWatch {
    file: PathBuf,
    events: Arc<Notify>,
    /// Its folder was touched since the last look.
    is_touched: bool,
    seen: Option<u64>,
    /// Watches as long as it lives, on a thread of its own.
    _watcher: RecommendedWatcher,
}

impl FileWatch {
    /// Watches a file, whose content is known as it is now.
    ///
    /// # Errors
    /// When the system has no more watches.
    pub(crate) fn new(file: &Path) -> notify::Result<Self> {
        let led_to = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        // Kubernetes exchanges the folder behind this link.
        let mut names = vec![std::ffi::OsString::from("..data")];
        names.extend([file, &led_to].iter().filter_map(|file| Some(file.file_name()?.to_owned())));
        let events = Arc::new(Notify::new());
        let told = Arc::clone(&events);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let is_ours =
                |path: &PathBuf| path.file_name().is_some_and(|name| names.iter().any(|ours| ours == name));
            // An error says that events were lost.
            if event.is_ok_and(|event| !is_change(event.kind) || !event.paths.iter().any(is_ours)) {
                return;
            }
            told.notify_one();
        })?;
        let mut folders = vec![folder_of(file), folder_of(&led_to)];
        folders.dedup();
        for folder in folders {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
        let seen = std::fs::read(file).ok().map(|content| hash(&content));
        Ok(Self { file: file.to_owned(), events, is_touched: false, seen, _watcher: watcher })
    }

    /// Resolves once the file has another content than when it last resolved. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        loop {
            if !self.is_touched {
                self.events.notified().await;
                self.is_touched = true;
            }
            for _ in 0..WAITS_MAX {
                if tokio::time::timeout(QUIET, self.events.notified()).await.is_err() {
                    break;
                }
            }
            let content = tokio::fs::read(&self.file).await.ok().map(|content| hash(&content));
            self.is_touched = false;
            // A file that is not there is about to be put there, or gone with what it said in force.
            if content.is_some() && content != self.seen {
                self.seen = content;
                return;
            }
        }
    }
}

fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_))
}

fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn sees(watch: &mut FileWatch, what: &str) {
        tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap_or_else(|_| panic!("not seen: {what}"));
    }

    #[tokio::test]
    async fn a_file_that_is_written_replaced_or_led_elsewhere_is_seen_and_one_that_stays_is_not() {
        let folder = std::env::temp_dir().join(format!("gtvision-watch-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("there")).unwrap();
        let (file, other) = (folder.join("a.yml"), folder.join("there/b.yml"));
        std::fs::write(&file, "1").unwrap();
        let mut watch = FileWatch::new(&file).unwrap();
        std::fs::write(&file, "2").unwrap();
        sees(&mut watch, "written in place").await;
        std::fs::write(folder.join("new"), "3").unwrap();
        std::fs::rename(folder.join("new"), &file).unwrap();
        sees(&mut watch, "replaced").await;
        // The same content, another file, a look: then something else.
        std::fs::write(&file, "3").unwrap();
        std::fs::write(folder.join("unrelated"), "x").unwrap();
        std::fs::read(&file).unwrap();
        assert!(tokio::time::timeout(3 * QUIET, watch.changed()).await.is_err(), "nothing changed");
        std::fs::write(&other, "4").unwrap();
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        sees(&mut watch, "led elsewhere").await;
        let mut watch = FileWatch::new(&file).unwrap();
        std::fs::write(&other, "5").unwrap();
        sees(&mut watch, "written where it leads").await;
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
