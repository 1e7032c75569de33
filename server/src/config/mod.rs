//! Configuration: one YAML file and the environment into typed settings of each subsystem.
//!
//! ```text
//!  FILE ─► tree ─► env (MTX_*, GTV_*) ─► API's layer ─► check (known keys) ─► resolve ─► Config + warnings
//!                                                           └──── faults, all at once, each with its line ──┘
//! ```
//!
//! Keys and meanings are MediaMTX's where the concept is the same, so that an existing
//! `mediamtx.yml` starts this server unchanged.
//!
//! Belongs here: reading and understanding. Does not: acting on it, reloading (-> `reconciler`).
//! Limits: `tree::CONFIG_BYTES_MAX`, `paths::PATHS_MAX`, `fault::FAULTS_MAX` and those named in
//! `tree` and `resolve`; a file beyond one is refused.

pub(crate) mod access;
mod check;
mod env;
mod fault;
pub(crate) mod forward;
pub(crate) mod hooks;
pub(crate) mod kept;
mod keys;
pub(crate) mod layer;
mod paths;
pub(crate) mod pattern;
pub(crate) mod play;
pub(crate) mod pulled;
mod reader;
mod record;
pub(crate) mod redirect;
mod resolve;
pub(crate) mod resolved;
mod s3;
mod schema;
mod seal;
pub(crate) mod shown;
mod slate;
pub(crate) mod source_url;
pub(crate) mod tree;
mod values;
pub(crate) mod webhooks;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use check::NoEffect;
use fault::{Fault, FaultKind, Faults, Place};
use layer::Layer;
use tree::Node;

pub(crate) use resolved::Config;

/// Names searched in the working directory and then in [`SEARCH_FOLDERS`], ours first.
const SEARCH_NAMES: [&str; 2] = ["gtvision.yml", "mediamtx.yml"];

/// Folders searched when the working directory has no configuration.
const SEARCH_FOLDERS: [&str; 4] = ["/usr/local/etc", "/usr/etc", "/etc/gtvision", "/etc/mediamtx"];

/// A configuration that was understood.
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) config: Config,
    /// What the person who wrote the file should know; each is one log line.
    pub(crate) warnings: Vec<Warning>,
    /// The file, if there was one.
    pub(crate) file: Option<PathBuf>,
    /// What was understood, for the API.
    pub(crate) tree: Node,
    /// The entries of `paths` in the file and the environment.
    pub(crate) file_paths: BTreeSet<String>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The tree holds passwords.
        f.debug_struct("Loaded")
            .field("config", &self.config)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Something that is not wrong and may surprise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Warning {
    /// Known keys without effect.
    NoEffect(NoEffect),
    /// Older names of keys, with today's.
    OlderNames(Vec<(String, &'static str)>),
    /// Paths that can't run yet, with why.
    PathsLeftOut(Vec<(String, String)>),
    /// `MTX_` and `GTV_` variables that name no setting.
    UnknownVariables(Vec<String>),
    /// `allowUnauthenticated` beside access rules, which older versions set aside.
    RulesAreEnforced,
    /// Destinations of `forward` that can't be sent to yet.
    ForwardsLeftOut {
        /// The path.
        path: String,
        /// What they speak.
        protocols: Vec<&'static str>,
    },
    /// A certificate's fingerprint where there is no certificate.
    FingerprintWithoutTls {
        /// The path.
        path: String,
    },
    /// `hlsVariant: mpegts`.
    MpegTsVariant,
    /// `rtspTransport: multicast`.
    MulticastTransport {
        /// The path.
        path: String,
    },
    /// `logDestinations: [syslog]`.
    SyslogDestination,
    /// No file was given and none was found.
    NoFile,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEffect(keys) => keys.fmt(f),
            Self::OlderNames(names) => {
                let names: Vec<_> = names.iter().map(|(old, new)| format!("{old} is now {new}")).collect();
                write!(f, "older names of settings were used: {}", names.join(", "))
            }
            Self::PathsLeftOut(paths) => fmt_left_out(paths, f),
            Self::UnknownVariables(names) => {
                write!(f, "environment variables that name no setting: {}", names.join(", "))
            }
            Self::RulesAreEnforced => f.write_str(
                "allowUnauthenticated has no effect any more: access rules are enforced. To let anyone in, \
                 give \"user: any\" the permissions",
            ),
            Self::ForwardsLeftOut { path, protocols } => {
                write!(
                    f,
                    "path {path:?}: forwarding over {} is not implemented yet, only over rtsp, rtmp and whip",
                    protocols.join(", ")
                )
            }
            Self::FingerprintWithoutTls { path } => {
                write!(
                    f,
                    "path {path:?}: sourceFingerprint has no effect on an rtsp:// source, only on rtsps://"
                )
            }
            Self::MpegTsVariant => f.write_str("hlsVariant mpegts is not implemented; fmp4 is used"),
            Self::MulticastTransport { path } => {
                write!(f, "path {path:?}: multicast from cameras is not implemented yet; UDP or TCP is used")
            }
            Self::SyslogDestination => {
                f.write_str("logs to syslog are not implemented; standard output is used")
            }
            Self::NoFile => {
                f.write_str("no configuration file was found; defaults are used, without cameras")
            }
        }
    }
}

fn fmt_left_out(paths: &[(String, String)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    /// Paths named in the warning; the rest are counted.
    const NAMED_MAX: usize = 10;
    let named: Vec<_> = paths.iter().take(NAMED_MAX).map(|(name, why)| format!("{name} ({why})")).collect();
    write!(f, "paths left out: {}", named.join(", "))?;
    match paths.len().saturating_sub(NAMED_MAX) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// A configuration that can't be used: every fault found, with the lines they are on.
///
/// `Display` gives one block for each fault, `FILE:LINE:COL: message` and the line itself with
/// secrets masked.
#[derive(Debug)]
pub(crate) struct ConfigError {
    name: String,
    text: String,
    faults: Vec<Fault>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match &fault.place {
                Place::File { line, column } => {
                    write!(f, "{}:{line}:{column}: {fault}", self.name)?;
                    let number = usize::try_from(*line).unwrap_or(usize::MAX).saturating_sub(1);
                    if let Some(line) = self.text.lines().nth(number) {
                        write!(f, "\n    {}", masked(line.trim()))?;
                    }
                }
                Place::Environment(_) | Place::Api { .. } => write!(f, "{fault}")?,
                Place::Whole => write!(f, "{}: {fault}", self.name)?,
            }
        }
        Ok(())
    }
}

/// Where the configuration comes from: a file, and the environment's variables over it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
    variables: Vec<(String, String)>,
    /// What it said when it was last right.
    text: String,
    /// What was set through the API.
    pub(crate) layer: Layer,
}

impl Source {
    /// The file that is given, or the first that is found, or none.
    pub(crate) fn new(file: Option<&Path>, variables: &[(String, String)]) -> Self {
        let file = file.map(Path::to_owned).or_else(find_file);
        Self { file, variables: variables.to_vec(), text: String::new(), layer: Layer::default() }
    }

    /// Reads and understands it, under the API's layer.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault.
    pub(crate) fn load(&mut self) -> Result<Loaded, ConfigError> {
        let name = self.name();
        let text = match &self.file {
            Some(file) => read(file).map_err(|kind| ConfigError {
                name: name.clone(),
                text: String::new(),
                faults: vec![Fault { place: Place::Whole, kind }],
            })?,
            None => String::new(),
        };
        match understand(&text, &self.variables, &self.layer) {
            Ok(mut loaded) => {
                self.text = text;
                loaded.file.clone_from(&self.file);
                if self.file.is_none() {
                    loaded.warnings.insert(0, Warning::NoFile);
                }
                Ok(loaded)
            }
            Err(faults) => Err(ConfigError { name, text, faults }),
        }
    }

    /// Lays the API's settings over what was read. Those that make no sense any more are left out, and come back by the names
    /// of their paths: they must not keep a server from starting.
    ///
    /// # Errors
    /// [`ConfigError`], when it is not their fault.
    pub(crate) fn begin_with(&mut self, layer: Layer) -> Result<(Loaded, Vec<String>), ConfigError> {
        self.layer = layer;
        let mut left_out = Vec::new();
        loop {
            let faults = match self.consider(&self.layer) {
                Ok(loaded) => return Ok((loaded, left_out)),
                Err(error) => error,
            };
            let of_api = faults.faults.iter().filter_map(|fault| match &fault.place {
                Place::Api { of } => Some(of.clone()),
                _ => None,
            });
            let of_api: BTreeSet<String> = of_api.collect();
            let mut removed: Vec<String> = of_api.into_iter().filter(|of| self.layer.leave_out(of)).collect();
            // Where two settings exclude each other, the fault may stand at the file's.
            if removed.is_empty() && self.layer.leave_out("") {
                removed.push(String::new());
            }
            if removed.is_empty() {
                self.layer = Layer::default();
                return Err(faults);
            }
            left_out.extend(removed);
        }
    }

    /// What would be with another layer over what was last read.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault.
    pub(crate) fn consider(&self, layer: &Layer) -> Result<Loaded, ConfigError> {
        let understood = understand(&self.text, &self.variables, layer);
        let loaded = understood.map(|loaded| Loaded { file: self.file.clone(), ..loaded });
        loaded.map_err(|faults| ConfigError { name: self.name(), text: String::new(), faults })
    }

    fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| "environment".to_owned(), |file| file.display().to_string())
    }
}

/// Reads the configuration once.
///
/// # Errors
/// [`ConfigError`] with every fault.
pub(crate) fn load(file: Option<&Path>, variables: &[(String, String)]) -> Result<Loaded, ConfigError> {
    Source::new(file, variables).load()
}

/// Understands a configuration's text.
fn understand(text: &str, variables: &[(String, String)], layer: &Layer) -> Result<Loaded, Vec<Fault>> {
    let mut root = Node::parse(text).map_err(|fault| vec![fault])?;
    let mut faults = Faults::default();
    let mut warnings = Vec::new();
    let unknown = env::overlay(&mut root, variables, &mut faults);
    let paths = root.get("paths").map(Node::entries).unwrap_or_default();
    let file_paths = paths.iter().map(|entry| entry.key.clone()).collect();
    layer.apply(&mut root);
    let findings = check::check_keys(&mut root, &mut faults);
    if !findings.no_effect.is_empty() {
        warnings.push(Warning::NoEffect(findings.no_effect));
    }
    if !findings.renamed.is_empty() {
        let mut names: Vec<_> = findings.renamed.into_iter().map(|(old, new, _)| (old, new)).collect();
        names.sort_unstable();
        names.dedup();
        warnings.push(Warning::OlderNames(names));
    }
    if !unknown.is_empty() {
        warnings.push(Warning::UnknownVariables(unknown));
    }
    let config = resolve::resolve(&root, variables, &mut warnings, &mut faults);
    match faults.into_sorted() {
        faults if faults.is_empty() => Ok(Loaded { config, warnings, file: None, tree: root, file_paths }),
        faults => Err(faults),
    }
}

/// A duration as configurations write it, for other places where MediaMTX takes one.
pub(crate) fn duration_value(text: &str) -> Option<std::time::Duration> {
    values::duration(text).ok()
}

/// Access as it is when nothing is written, for tests.
#[cfg(test)]
pub(crate) fn default_access() -> access::AccessConfig {
    understand("", &[], &Layer::default()).unwrap().config.access
}

fn find_file() -> Option<PathBuf> {
    let here = SEARCH_NAMES.iter().map(PathBuf::from);
    let there = SEARCH_FOLDERS
        .iter()
        .flat_map(|folder| SEARCH_NAMES.iter().map(move |name| Path::new(folder).join(name)));
    here.chain(there).find(|file| file.is_file())
}

fn read(file: &Path) -> Result<String, FaultKind> {
    let unreadable = |error: std::io::Error| FaultKind::Unreadable(format!("can't be read: {error}"));
    let limit = u64::try_from(tree::CONFIG_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    File::open(file).and_then(|opened| opened.take(limit).read_to_string(&mut text)).map_err(unreadable)?;
    Ok(text)
}

/// A line of the file with what may be a secret replaced (correctness: S5).
fn masked(line: &str) -> String {
    // Commands may hold anything.
    const SECRET_WORDS: [&str; 5] = ["pass", "secret", "token", "credential", "runon"];
    let line = masked_url(line);
    // Lower case of ASCII only: positions stay.
    let lower = line.to_ascii_lowercase();
    let after_word = SECRET_WORDS.iter().filter_map(|word| lower.find(word)).min();
    let colon = after_word.and_then(|at| Some(at + lower.get(at..)?.find(':')?));
    match colon.and_then(|colon| line.get(..=colon)) {
        Some(visible) => format!("{visible} ***"),
        None => line,
    }
}

/// User information and, where it may hold a secret, the rest of a URL replaced.
fn masked_url(line: &str) -> String {
    match (line.split_once("://"), line.rfind('@')) {
        (Some((before, _)), Some(at)) => {
            let after = line.get(at..).unwrap_or_default();
            format!("{before}://***{}", after.split('?').next().unwrap_or_default())
        }
        (Some((before, after)), None)
            if after.contains('?') || after.to_ascii_lowercase().contains("pass") =>
        {
            format!("{before}://***")
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
