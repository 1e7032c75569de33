//! Paths: the owner of every path: its stream, and who feeds it: a camera's supervisor or a publish point.
//!
//! ```text
//!  configuration ─apply─► named paths ──────────────────┐
//!  a reader, a publisher ─instance─► paths of patterns ─┴─► registry (who reads), recorded (who is recorded)
//! ```
//!
//! A change of configuration touches what it changes: a path whose source is another one now keeps its stream and its
//! viewers, who see a discontinuity; limits and times of waiting change in place. A path of a pattern is made when somebody
//! wants it and goes once nobody uses it.
//!
//! Belongs here: which paths exist. Does not: connecting (-> ingest), finding (-> registry), recording (-> egress::recorder).
//! Limits: [`INSTANCES_MAX`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use media_core::path_name::PathName;
use media_core::ring::Retention;
use media_core::time::WallTime;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tracing::{info, info_span, warn};

use crate::config::pattern::PathPattern;
use crate::config::pulled::SourceKind;
use crate::config::redirect::SentOn;
use crate::config::resolved::{Config, PathConfig, PathSource, RecordConfig};
use crate::egress::forward::{ForwardLimits, Forwards};
use crate::events::{Events, Lasting, Origin, PathEvents, PathSettings};
use crate::hooks::on_demand;
use crate::ingest::publish::PublishPoint;
use crate::ingest::slate;
use crate::ingest::{Camera, Intake, SessionTimes, Supervisor, SupervisorTimes};
use crate::registry::{FIRST_PICTURE_WAIT, Instances, NoInstance, PathEntry, Purpose, Registry};
use crate::runtime::clock;
use crate::runtime::shards::Placer;
use crate::runtime::tasks::TaskSet;
use crate::stream::{SourceStatus, Stream};

/// Paths of patterns at once, whatever the pattern: four times the cameras of a server. Whoever asks for one more is told
/// that there is no stream.
pub(crate) const INSTANCES_MAX: usize = 1000;

/// How often unused paths of patterns are looked for.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// Unused for so many looks, a path of a pattern goes: somebody may just be on the way in.
const UNUSED_LOOKS: u32 = 2;

/// See the module's header.
pub(crate) struct Paths {
    registry: Arc<Registry>,
    cameras: TaskSet,
    placer: Placer,
    events: Events,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    times: SupervisorTimes,
    limits: ForwardLimits,
    patterns: Vec<PathPattern>,
    running: BTreeMap<PathName, Running>,
    /// Not in the registry any more, and ended once those who still held them are gone.
    leaving: Vec<Running>,
    is_full_told: bool,
}

/// What a path shall be.
struct Wanted {
    config: PathConfig,
    conf_name: Arc<str>,
    /// What the groups of its pattern match.
    groups: Vec<String>,
    kind: Kind,
}

impl Wanted {
    /// A path with an entry of its own.
    fn named(name: &PathName, config: &PathConfig) -> Self {
        let conf_name = name.as_str().into();
        Self { config: config.clone(), conf_name, groups: Vec::new(), kind: Kind::Named }
    }

    fn settings(&self) -> PathSettings {
        PathSettings {
            hooks: Arc::clone(&self.config.hooks),
            groups: self.groups.clone(),
            is_always_available: self.config.slate.is_some(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It has an entry of its own.
    Named,
    /// It is one of a pattern's; unused for so many looks.
    Instance { unused: u32 },
}

/// One path.
struct Running {
    config: PathConfig,
    times: SupervisorTimes,
    kind: Kind,
    intake: Intake,
    home: Handle,
    feed: Feed,
    events: Arc<PathEvents>,
    /// Told of while it is there.
    _made: Lasting,
    /// Has somebody publish while somebody watches.
    demand: Option<TaskSet>,
    /// Stands in for who feeds it.
    slate: Option<Standing>,
    forwards: Arc<Forwards>,
    entry: Arc<PathEntry>,
}

/// A slate of a path, among these tasks.
struct Standing {
    tasks: TaskSet,
    since: WallTime,
    /// Told of while it is there.
    _available: Lasting,
}

/// Who feeds a path.
enum Feed {
    /// A supervisor, among these tasks.
    Camera(SourceKind, TaskSet),
    Publishers(Arc<PublishPoint>),
    /// Nobody: readers are sent elsewhere.
    Nobody,
}

impl Feed {
    fn end(&self) {
        match self {
            Self::Camera(_, tasks) => tasks.token().cancel(),
            Self::Publishers(point) => point.close(),
            Self::Nobody => {}
        }
    }

    fn point(&self) -> Option<Arc<PublishPoint>> {
        match self {
            Self::Camera(..) | Self::Nobody => None,
            Self::Publishers(point) => Some(Arc::clone(point)),
        }
    }

    fn kind(&self) -> Option<SourceKind> {
        match self {
            Self::Camera(kind, _) => Some(*kind),
            Self::Publishers(_) | Self::Nobody => None,
        }
    }
}

impl Paths {
    /// No path yet. Cameras are tasks of `cameras`.
    pub(crate) fn new(
        registry: &Arc<Registry>,
        cameras: &TaskSet,
        placer: Placer,
        events: &Events,
    ) -> Arc<Self> {
        let paths = Arc::new(Self {
            registry: Arc::clone(registry),
            cameras: cameras.clone(),
            placer,
            events: events.clone(),
            table: Mutex::default(),
            changed: Notify::new(),
        });
        let instances: Weak<Self> = Arc::downgrade(&paths);
        registry.make_by(instances);
        paths
    }

    /// Makes the paths those of a configuration; the names of those that are gone come back.
    pub(crate) fn apply(&self, config: &Config) -> Vec<PathName> {
        let session = SessionTimes { request: config.timeouts.read, ..SessionTimes::default() };
        let times = SupervisorTimes { session, ..SupervisorTimes::default() };
        let mut table = self.lock();
        let limits = ForwardLimits::of(config);
        (table.times, table.limits) = (times, limits);
        table.patterns.clone_from(&config.patterns);
        let mut gone = Vec::new();
        for (name, mut running) in std::mem::take(&mut table.running) {
            match wanted(&name, config, running.kind) {
                Some(wanted) => {
                    self.change(&mut running, wanted, times);
                    self.forward(&running, limits);
                    table.running.insert(name, running);
                }
                None => {
                    info!(path = %name, "path removed");
                    running.end();
                    gone.push(name);
                }
            }
        }
        for (name, path) in &config.paths {
            if !table.running.contains_key(name) {
                let wanted = Wanted::named(name, path);
                let running = self.start(name, wanted, times);
                self.forward(&running, limits);
                table.running.insert(name.clone(), running);
            }
        }
        let entries = table.running.iter().map(|(name, running)| (name.clone(), Arc::clone(&running.entry)));
        self.registry.replace(entries.collect());
        drop(table);
        self.changed.notify_one();
        gone
    }

    /// Resolves when other paths than before may be recorded; for one who waits.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The paths that exist and are to be recorded.
    pub(crate) fn recorded(&self) -> BTreeMap<PathName, (Arc<Stream>, RecordConfig)> {
        let table = self.lock();
        let recorded = table.running.iter().filter_map(|(name, running)| {
            let record = running.config.record.clone()?;
            Some((name.clone(), (Arc::clone(running.intake.stream()), record)))
        });
        recorded.collect()
    }

    /// How a path would be recorded, whether it exists now or not.
    pub(crate) fn record_of(&self, name: &PathName) -> Option<RecordConfig> {
        let table = self.lock();
        match table.running.get(name) {
            Some(running) => running.config.record.clone(),
            None => table.patterns.iter().find_map(|pattern| pattern.instance(name))?.ok()?.record,
        }
    }

    /// Lets go of unused paths of patterns, until the server ends.
    pub(crate) async fn tend(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TEND_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.let_go(),
                () = self.cameras.token().cancelled() => return,
            }
        }
    }

    fn let_go(&self) {
        let mut table = self.lock();
        let Table { running, leaving, .. } = &mut *table;
        leaving.retain(|path| {
            let is_used = path.is_used();
            if !is_used {
                path.end();
            }
            is_used
        });
        let mut unused = Vec::new();
        for (name, path) in running.iter_mut() {
            let is_used = path.is_used();
            let Kind::Instance { unused: looks } = &mut path.kind else { continue };
            *looks = if is_used { 0 } else { *looks + 1 };
            if *looks >= UNUSED_LOOKS {
                unused.push(name.clone());
            }
        }
        for name in &unused {
            self.registry.remove(name);
            leaving.extend(running.remove(name));
            info!(path = %name, "path of a pattern is unused and goes");
        }
        drop(table);
        if !unused.is_empty() {
            self.changed.notify_one();
        }
    }

    fn start(&self, name: &PathName, wanted: Wanted, times: SupervisorTimes) -> Running {
        let stream = Stream::new(name.clone(), Retention::default(), clock::wall_now());
        let (intake, home) = (Intake::new(&stream), self.placer.place());
        let events = self.events.path(name, wanted.settings());
        stream.tell(&events);
        let _made = events.made();
        let feed = self.feed(&wanted.config, &intake, &home, times);
        let demand = self.demand(&wanted.config, &stream, &events);
        let slate = self.slate(&wanted.config, &intake, &home, &events);
        let forwards = Arc::default();
        let entry = entry(&wanted, &stream, (&feed, &forwards, slate.as_ref()));
        let Wanted { config, kind, .. } = wanted;
        Running { config, times, kind, intake, home, feed, events, _made, demand, slate, forwards, entry }
    }

    /// Makes a path what is wanted; its stream stays.
    fn change(&self, running: &mut Running, wanted: Wanted, times: SupervisorTimes) {
        let before = &running.config;
        match (&running.feed, &wanted.config.source) {
            (Feed::Publishers(point), PathSource::Publisher(replacing)) => point.allow(*replacing),
            (Feed::Nobody, PathSource::Redirect(_)) => {}
            (Feed::Camera(..), source)
                if before.source == *source
                    && before.on_demand == wanted.config.on_demand
                    && running.times == times => {}
            _ => {
                info!(path = %running.intake.stream().name(), "path has another source");
                running.feed.end();
                running.feed = self.feed(&wanted.config, &running.intake, &running.home, times);
            }
        }
        let (hooks, before) = (&wanted.config.hooks, &running.config.hooks);
        running.events.configure(wanted.settings());
        if hooks.init != before.init {
            running._made = running.events.made();
        }
        if hooks.on_demand != before.on_demand {
            if let Some(demand) = running.demand.take() {
                demand.token().cancel();
            }
            running.demand = self.demand(&wanted.config, running.intake.stream(), &running.events);
        }
        if wanted.config.slate != running.config.slate {
            if let Some(slate) = running.slate.take() {
                slate.tasks.token().cancel();
            }
            running.slate = self.slate(&wanted.config, &running.intake, &running.home, &running.events);
        }
        let fed = (&running.feed, &running.forwards, running.slate.as_ref());
        running.entry = entry(&wanted, running.intake.stream(), fed);
        running.times = times;
        running.kind = wanted.kind;
        running.config = wanted.config;
    }

    /// Has its media sent where its configuration says.
    fn forward(&self, running: &Running, limits: ForwardLimits) {
        let (stream, dests) = (running.intake.stream(), &running.config.forwards);
        running.forwards.apply(&self.cameras, stream, dests, limits);
    }

    fn feed(&self, config: &PathConfig, intake: &Intake, home: &Handle, times: SupervisorTimes) -> Feed {
        match &config.source {
            PathSource::Pulled(source) => {
                // The camera, and with it the remuxing.
                let tasks = self.cameras.on(Some(home.clone())).branch();
                intake.stream().set_origin(Origin::pulled(source.kind()));
                let camera = Camera { source: source.clone(), on_demand: config.on_demand };
                Supervisor::spawn(&tasks, camera, intake, times);
                Feed::Camera(source.kind(), tasks)
            }
            PathSource::Publisher(replacing) => {
                intake.stream().set_state(SourceStatus::Idle, "nobody publishes", clock::wall_now());
                Feed::Publishers(PublishPoint::new(intake, *replacing))
            }
            PathSource::Redirect(_) => {
                intake.stream().set_state(
                    SourceStatus::Idle,
                    "readers are sent elsewhere",
                    clock::wall_now(),
                );
                Feed::Nobody
            }
        }
    }

    /// What is shown while nobody feeds a path, where that is wanted.
    fn slate(
        &self,
        config: &PathConfig,
        intake: &Intake,
        home: &Handle,
        events: &PathEvents,
    ) -> Option<Standing> {
        intake.hold_to(config.slate.as_ref().map(|slate| slate.lineup()));
        let slate = config.slate.as_ref()?;
        let tasks = self.cameras.on(Some(home.clone())).branch();
        slate::spawn(&tasks, slate, intake);
        Some(Standing { tasks, since: clock::wall_now(), _available: events.available() })
    }

    /// Where a reader has somebody publish, what does so.
    fn demand(&self, config: &PathConfig, stream: &Arc<Stream>, events: &Arc<PathEvents>) -> Option<TaskSet> {
        config.hooks.on_demand.as_ref()?;
        let tasks = self.cameras.branch();
        let attended = on_demand::attend(Arc::clone(stream), Arc::clone(events), tasks.token().clone());
        tasks.spawn(info_span!("on_demand", path = %stream.name()), attended);
        Some(tasks)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn end(&self) {
        self.feed.end();
        let slate = self.slate.as_ref().map(|slate| &slate.tasks);
        self.demand.iter().chain(slate).for_each(|tasks| tasks.token().cancel());
        self.forwards.end();
    }

    /// Somebody reads, is about to, or sends. A source on demand runs on for a while without readers.
    fn is_used(&self) -> bool {
        let stream = self.intake.stream();
        !stream.reader_changes().borrow().is_empty() || stream.state().status != SourceStatus::Idle
    }
}

fn entry(
    wanted: &Wanted,
    stream: &Arc<Stream>,
    (feed, forwards, slate): (&Feed, &Arc<Forwards>, Option<&Standing>),
) -> Arc<PathEntry> {
    let publishing = wanted.config.hooks.on_demand.as_ref().map(|demand| demand.times);
    let on_demand = wanted.config.on_demand.or(publishing);
    stream.limit_readers(wanted.config.readers_max);
    let sent_on = match &wanted.config.source {
        PathSource::Redirect(to) => Some(SentOn::Always(to.clone())),
        // It is never without a stream.
        _ if slate.is_some() => None,
        _ => wanted.config.fallback.clone().map(SentOn::WhileOffline),
    };
    Arc::new(PathEntry {
        stream: Arc::clone(stream),
        start_timeout: on_demand.map_or(FIRST_PICTURE_WAIT, |on_demand| on_demand.start_timeout),
        conf_name: Arc::clone(&wanted.conf_name),
        is_on_demand: on_demand.is_some(),
        pulled: feed.kind(),
        always_since: slate.map(|slate| slate.since),
        sent_on,
        forwards: Arc::clone(forwards),
        point: feed.point(),
    })
}

/// What a configuration wants of a path that exists. One that lost its own entry may be one of a pattern's.
fn wanted(name: &PathName, config: &Config, kind: Kind) -> Option<Wanted> {
    if let Some(path) = config.paths.get(name) {
        return Some(Wanted::named(name, path));
    }
    let kind = if kind == Kind::Named { Kind::Instance { unused: 0 } } else { kind };
    let pattern = config.patterns.iter().find(|pattern| pattern.takes(name))?;
    let made = pattern.instance(name)?.ok()?;
    Some(Wanted { config: made, conf_name: pattern.name().into(), groups: pattern.groups(name), kind })
}

impl Instances for Paths {
    fn stands_for(&self, name: &PathName) -> bool {
        self.lock().patterns.iter().any(|pattern| pattern.takes(name))
    }

    fn instance(&self, name: &PathName, purpose: Purpose) -> Result<Arc<PathEntry>, NoInstance> {
        let mut table = self.lock();
        if let Some(running) = table.running.get(name) {
            return Ok(Arc::clone(&running.entry));
        }
        let pattern =
            table.patterns.iter().find(|pattern| pattern.takes(name)).ok_or(NoInstance::NoPattern)?;
        match (pattern.is_published_to(), purpose) {
            (true, Purpose::Read) if pattern.is_published_to_on_demand() => {}
            (true, Purpose::Read) => {
                return Err(NoInstance::NobodyPublishes { fallback: pattern.fallback().cloned() });
            }
            (false, Purpose::Publish) => return Err(NoInstance::Pulled),
            (true, Purpose::Publish) | (false, Purpose::Read) => {}
        }
        let (conf_name, groups) = (pattern.name().into(), pattern.groups(name));
        let made = pattern.instance(name).ok_or(NoInstance::NoPattern)?;
        let config = made.map_err(|expected| NoInstance::Refused(format!("its source is not {expected}")))?;
        let instances = table.running.values().filter(|path| path.kind != Kind::Named).count();
        if instances >= INSTANCES_MAX {
            if !std::mem::replace(&mut table.is_full_told, true) {
                warn!(max = INSTANCES_MAX, "no more paths of patterns are made until some are unused");
            }
            return Err(NoInstance::Refused("there are too many paths of patterns".to_owned()));
        }
        table.is_full_told = false;
        let wanted = Wanted { config, conf_name, groups, kind: Kind::Instance { unused: 0 } };
        let running = self.start(name, wanted, table.times);
        self.forward(&running, table.limits);
        let entry = Arc::clone(&running.entry);
        info!(path = %name, pattern = %entry.conf_name, "path of a pattern is made");
        table.running.insert(name.clone(), running);
        self.registry.insert(name, Arc::clone(&entry));
        drop(table);
        self.changed.notify_one();
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::runtime::shards::Shards;

    const PATTERNS: &str =
        "  '~^x(\\d+)$': {source: 'rtsp://127.0.0.1:1/$G1', sourceOnDemand: yes}\n  all_others:\n";

    struct Town {
        registry: Arc<Registry>,
        paths: Arc<Paths>,
        cameras: TaskSet,
        shards: Shards,
        folder: std::path::PathBuf,
    }

    impl Town {
        fn new(test: &str) -> Self {
            let (registry, cameras) = (Arc::new(Registry::default()), TaskSet::new("test"));
            let shards = Shards::start().unwrap();
            let paths = Paths::new(&registry, &cameras, shards.placer(), &Events::unheard(&cameras));
            let folder = std::env::temp_dir().join(format!("gtvision-paths-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self { registry, paths, cameras, shards, folder }
        }

        fn apply(&self, paths: &str) -> Vec<PathName> {
            let file = self.folder.join("t.yml");
            std::fs::write(&file, format!("paths:\n{paths}")).unwrap();
            self.paths.apply(&config::load(Some(&file), &[]).unwrap().config)
        }

        async fn end(self) {
            self.cameras.shutdown(Duration::from_secs(5)).await;
            self.shards.stop();
            std::fs::remove_dir_all(&self.folder).unwrap();
        }
    }

    fn name(text: &str) -> PathName {
        PathName::parse(text).unwrap()
    }

    // correctness: S6
    #[tokio::test]
    async fn paths_of_patterns_are_bounded_and_go_once_unused() {
        let town = Town::new("bounded");
        town.apply(PATTERNS);
        let make = |path: &str, purpose| {
            town.paths.instance(&name(path), purpose).map(|entry| entry.conf_name.clone())
        };
        assert_eq!(make("y", Purpose::Read), Err(NoInstance::NobodyPublishes { fallback: None }));
        assert_eq!(make("x1", Purpose::Publish), Err(NoInstance::Pulled));
        for number in 0..INSTANCES_MAX {
            assert_eq!(make(&format!("x{number}"), Purpose::Read).as_deref(), Ok("~^x(\\d+)$"));
        }
        assert!(matches!(make("y", Purpose::Publish), Err(NoInstance::Refused(_))));
        assert!(make("x7", Purpose::Read).is_ok(), "one that is there");
        let seat = town.registry.get(&name("x7")).unwrap().take_seat(crate::stream::ReaderKind::Waiting);
        (0..=UNUSED_LOOKS).for_each(|_| town.paths.let_go());
        let left: Vec<_> = town.registry.snapshot().keys().cloned().collect();
        assert_eq!(left, [name("x7")], "the one that somebody uses");
        drop(seat);
        town.end().await;
    }

    /// Follows what is published until it is of this codec, and a slate's.
    async fn shows(stream: &Arc<Stream>, codec: &str) {
        let shown = || {
            let format = stream.format()?;
            Some(format.is_slate && format.video()?.codec.api_name() == codec)
        };
        let followed = async {
            while shown() != Some(true) {
                stream.published().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), followed).await.unwrap();
    }

    #[tokio::test]
    async fn a_slate_comes_changes_and_goes_with_the_configuration() {
        let town = Town::new("slate");
        town.apply("  a: {alwaysAvailable: yes}\n  b:\n");
        let [a, b] = ["a", "b"].map(|path| town.registry.get(&name(path)).unwrap());
        let is_always = |path: &str| town.registry.entry(&name(path)).unwrap().always_since.is_some();
        shows(&a, "H264").await;
        assert!(is_always("a") && !is_always("b") && b.format().is_none());
        town.apply(
            "  a: {alwaysAvailable: yes, alwaysAvailableTracks: [{codec: H265}]}\n  b: {alwaysAvailable: yes}\n",
        );
        shows(&a, "H265").await;
        shows(&b, "H264").await;
        town.apply("  a:\n  b: {alwaysAvailable: yes}\n");
        assert!(!is_always("a") && is_always("b"));
        // By the other's pictures its own have ended.
        let ten_pictures = async || {
            for _ in 0..10 {
                b.published().await;
            }
            a.next_seq()
        };
        let ended = ten_pictures().await;
        assert_eq!(ten_pictures().await, ended);
        town.end().await;
    }

    #[tokio::test]
    async fn a_path_keeps_its_stream_through_every_change_but_its_end() {
        let town = Town::new("changes");
        town.apply("  a: {source: 'rtsp://127.0.0.1:1/a'}\n  b:\n");
        let stream = |path: &str| town.registry.get(&name(path));
        let (a, b) = (stream("a").unwrap(), stream("b").unwrap());
        let same =
            |path: &str, before: &Arc<Stream>| stream(path).is_some_and(|now| Arc::ptr_eq(&now, before));
        let changes = [
            "  a: {source: 'rtsp://127.0.0.1:1/other'}\n  b: {overridePublisher: no}\n",
            "  a:\n  b: {source: 'rtsp://127.0.0.1:1/b'}\n",
            "  '~^[ab]$': {source: 'rtsp://127.0.0.1:1/b', sourceOnDemand: yes}\n",
        ];
        for change in changes {
            assert_eq!(town.apply(change), []);
            assert!(same("a", &a) && same("b", &b), "{change}");
        }
        let entry = town.registry.entry(&name("a")).unwrap();
        assert!(entry.is_on_demand && &*entry.conf_name == "~^[ab]$" && entry.point.is_none());
        assert_eq!(town.apply("  b:\n"), [name("a")]);
        assert!(stream("a").is_none() && same("b", &b));
        assert!(town.registry.publish_point(&name("b")).is_ok());
        town.end().await;
    }
}
