//! Tests of hooks with real processes, which tell of themselves by files.

use std::path::{Path, PathBuf};

use super::command::CommandLine;
use super::*;

const LIMIT: Duration = Duration::from_secs(20);

struct Rig {
    hooks: Arc<Hooks>,
    tasks: TaskSet,
    folder: PathBuf,
}

impl Rig {
    fn new(test: &str) -> Self {
        let tasks = TaskSet::new("test");
        let hooks = Hooks::new(&tasks, &Handle::current());
        hooks.open();
        let folder = std::env::temp_dir().join(format!("gtvision-hooks-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { hooks, tasks, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn environment(&self) -> Environment {
        let mut environment = Environment::default();
        environment.set("DIR", self.folder.to_str().unwrap());
        environment
    }

    async fn end(self) {
        self.tasks.shutdown(LIMIT).await;
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn shell(script: &str) -> HookCommand {
    let line = CommandLine::parse(&format!("sh -c '{script}'")).unwrap().unwrap();
    HookCommand { name: "test", line, restarts: false }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while !is_so() {
            looks.tick().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn is_alive(pid: &str) -> bool {
    // A zombie is a process that ended.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

#[tokio::test]
async fn a_command_ends_with_all_that_it_started_and_then_the_one_for_the_end_runs() {
    let rig = Rig::new("group");
    let begin = shell("echo $$ >${DIR}/leader; sh -c \"echo \\$\\$ >${DIR}/child; exec sleep 1000\"; true");
    let end = shell("echo over >${DIR}/end");
    let pair = HookPair { begin: Some(begin), end: Some(end) };
    let guard = rig.hooks.begin(&pair, None, || rig.environment());
    let (child, leader) = (rig.file("child"), rig.file("leader"));
    until("both processes", || lines(&child).len() == 1 && lines(&leader).len() == 1).await;
    assert!(!rig.file("end").exists());
    drop(guard);
    until("the end", || lines(&rig.file("end")) == ["over"]).await;
    assert!(!is_alive(&lines(&child)[0]) && !is_alive(&lines(&leader)[0]));
    rig.end().await;
}

const STUBBORN: &str = "trap '' INT\necho $$ >\"$DIR/leader\"\nwhile :; do sleep 1; done\n";

/// A script of its own, as operators have them: `$` in a hook's text is ours.
fn script(rig: &Rig, name: &str, text: &str) -> String {
    let file = rig.file(name);
    std::fs::write(&file, text).unwrap();
    format!("sh {}", file.display())
}

#[tokio::test]
async fn a_command_that_does_not_listen_is_killed_when_the_server_ends() {
    let rig = Rig::new("stubborn");
    let line = CommandLine::parse(&script(&rig, "stubborn.sh", STUBBORN)).unwrap().unwrap();
    let pair = HookPair { begin: Some(HookCommand { name: "test", line, restarts: true }), end: None };
    let guard = rig.hooks.begin(&pair, None, || rig.environment());
    let leader = rig.file("leader");
    until("the process", || lines(&leader).len() == 1).await;
    let pid = lines(&leader)[0].clone();
    rig.tasks.shutdown(LIMIT).await;
    assert!(!is_alive(&pid));
    drop(guard);
    rig.end().await;
}

#[tokio::test]
async fn nothing_runs_before_the_listeners_are_there_or_when_it_was_over_by_then() {
    let rig = Rig::new("opened");
    let closed = Hooks::new(&rig.tasks, &Handle::current());
    let pair =
        |word: &str| HookPair { begin: Some(shell(&format!("echo {word} >>${{DIR}}/ran"))), end: None };
    drop(closed.begin(&pair("early"), None, || rig.environment()));
    let guard = closed.begin(&pair("kept"), None, || rig.environment());
    tokio::task::yield_now().await;
    assert!(!rig.file("ran").exists());
    closed.open();
    until("the hook that lasts", || !lines(&rig.file("ran")).is_empty()).await;
    assert_eq!(lines(&rig.file("ran")), ["kept"]);
    drop(guard);
    rig.end().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_counted_and_nothing_else() {
    let rig = Rig::new("missing");
    let line = CommandLine::parse("/no/such/program").unwrap().unwrap();
    let command = HookCommand { name: "test", line, restarts: false };
    rig.hooks.run(Some(&command), &PathName::parse("cam_1").unwrap(), Environment::default);
    until("the failure", || rig.hooks.snapshot().failed == 1).await;
    assert_eq!(rig.hooks.snapshot(), HookMetrics { failed: 1, ..HookMetrics::default() });
    rig.end().await;
}
