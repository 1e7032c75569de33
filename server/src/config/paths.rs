//! Paths: the `paths` section, each entry over `pathDefaults`, into cameras.
//!
//! A path that MediaMTX would run and this server can't yet (another protocol) is left
//! out with a warning; one that is wrong is a fault. Entries that stand for many become patterns (-> `pattern`). Schemes are allow-listed: nothing here runs a
//! command (correctness: S2).
//!
//! Limits: [`PATHS_MAX`].

use std::collections::BTreeMap;
use std::time::Duration;

use media_core::path_name::PathName;
use regex::bytes::Regex;

use super::Warning;
use super::check::is_default;
use super::fault::{FaultKind, Faults, Place};
use super::forward;
use super::hooks;
use super::pattern::{self, PathPattern, is_pattern};
use super::play;
use super::pulled::{PulledSource, RemoteSource, WhepSource};
use super::reader::Reader;
use super::record;
use super::redirect;
use super::resolved::{OnDemand, PathConfig, PathSource, Replacing, RtspSource, RtspTransport};
use super::slate::Slates;
use super::source_url::{Secret, SourceScheme, SourceUrl, split_scheme};
use super::tree::{Entry, Node};
use super::values::{self, Expected};

/// The most paths in one configuration; one more is a fault.
pub(crate) const PATHS_MAX: usize = 10_000;

/// Sources that MediaMTX pulls and this server does not yet.
const LATER_SCHEMES: &[&str] = &[
    "srt",
    "udp",
    "udp+mpegts",
    "unix+mpegts",
    "udp+rtp",
    "unix+rtp",
    "moq",
    "rtsp+http",
    "rtsps+http",
    "rtsp+ws",
    "rtsps+ws",
];

/// Sources that are words and not URLs.
const LATER_WORDS: &[&str] = &["rpiCamera"];

/// What the `paths` section says.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// Entries that are one path each.
    pub(crate) named: BTreeMap<PathName, PathConfig>,
    /// Entries that stand for many, in the order in which they are tried.
    pub(crate) patterns: Vec<PathPattern>,
}

/// Reads the `paths` section.
pub(crate) fn resolve(root: &Node, warnings: &mut Vec<Warning>, faults: &mut Faults) -> Paths {
    let mut paths = Paths::default();
    let Some(section) = root.get("paths") else { return paths };
    let entries = section.entries();
    if entries.len() > PATHS_MAX {
        let kind = FaultKind::TooMany { what: "paths", got: entries.len(), max: PATHS_MAX };
        faults.add(&section.place, kind);
    }
    let defaults = root.get("pathDefaults");
    let (mut left_out, mut slates) = (Vec::new(), Slates::default());
    for entry in entries.iter().take(PATHS_MAX) {
        match path(entry, defaults, &mut slates, faults) {
            Outcome::Path(name, config) => {
                warn_of(entry, defaults, &config, warnings);
                paths.named.insert(name, *config);
            }
            Outcome::Pattern(regex, config) => {
                warn_of(entry, defaults, &config, warnings);
                let template = source_text(&entry.node, defaults);
                paths.patterns.push(PathPattern::new(&entry.key, regex, *config, template));
            }
            Outcome::LeftOut(why) => left_out.push((entry.key.clone(), why)),
            Outcome::Wrong => {}
        }
    }
    if !left_out.is_empty() {
        warnings.push(Warning::PathsLeftOut(left_out));
    }
    let all: Vec<_> = entries.iter().filter(|entry| pattern::is_all(&entry.key)).collect();
    if let [_, second, ..] = all.as_slice() {
        let message = "\"all_others\", \"all\" and \"~^.*$\" are names of the same entry";
        faults.add(&second.place, FaultKind::Conflict(message.to_owned()));
    }
    paths.patterns.sort_by(|a, b| a.order().cmp(&b.order()));
    paths
}

/// What may surprise about a path.
fn warn_of(entry: &Entry, defaults: Option<&Node>, config: &PathConfig, warnings: &mut Vec<Warning>) {
    let protocols = forward::left_out(&entry.node, defaults);
    if !protocols.is_empty() {
        warnings.push(Warning::ForwardsLeftOut { path: entry.key.clone(), protocols });
    }
    let PathSource::Pulled(source) = &config.source else { return };
    if source.fingerprint().is_some() && !source.url().scheme().is_tls() {
        warnings.push(Warning::FingerprintWithoutTls { path: entry.key.clone() });
    }
    if matches!(source, PulledSource::Rtsp(_)) && is_multicast(&entry.node, defaults) {
        warnings.push(Warning::MulticastTransport { path: entry.key.clone() });
    }
}

enum Outcome {
    Path(PathName, Box<PathConfig>),
    /// It stands for many.
    Pattern(Regex, Box<PathConfig>),
    /// MediaMTX would run it; why it is left out.
    LeftOut(String),
    /// A fault says why.
    Wrong,
}

fn path(entry: &Entry, defaults: Option<&Node>, slates: &mut Slates, faults: &mut Faults) -> Outcome {
    let name = match EntryName::parse(&entry.key) {
        Ok(name) => name,
        Err(error) => {
            faults.add(&entry.place, FaultKind::Conflict(error));
            return Outcome::Wrong;
        }
    };
    let mut reader = Reader::new(&entry.node, defaults, faults);
    let source = source(&mut reader, &entry.place, &name);
    check_rules(entry, source.as_ref(), &mut reader);
    match source {
        Some(Source::Known(source)) => {
            let readers_max = match reader.number("maxReaders", 0, 0..=1_000_000) {
                0 => None,
                max => Some(max),
            };
            let is_pulled = !matches!(source, PathSource::Publisher(_) | PathSource::Redirect(_));
            let on_demand = on_demand(&mut reader).filter(|_| is_pulled);
            let fallback = redirect::destination(&mut reader, "fallback");
            let forwards = forward::resolve(&mut reader);
            let record = record::resolve(&mut reader, entry);
            let path = hooks::PathKind {
                is_named: matches!(name, EntryName::One(_)),
                is_published_to: matches!(source, PathSource::Publisher(_)),
            };
            let hooks = hooks::resolve(&mut reader, path);
            let slate = match slates.of(&mut reader, &entry.place) {
                Ok(slate) => slate.filter(|_| !matches!(source, PathSource::Redirect(_))),
                Err(codec) => return Outcome::LeftOut(format!("slates of {codec} are not implemented yet")),
            };
            let config = Box::new(PathConfig {
                source,
                on_demand,
                readers_max,
                fallback,
                forwards,
                record,
                slate,
                hooks,
            });
            match name {
                EntryName::One(name) => Outcome::Path(name, config),
                EntryName::Many(regex) => Outcome::Pattern(regex, config),
            }
        }
        Some(Source::Later(what)) => Outcome::LeftOut(format!("{what} are not implemented yet")),
        None => Outcome::Wrong,
    }
}

fn is_multicast(node: &Node, defaults: Option<&Node>) -> bool {
    let transport = node.get("rtspTransport").or_else(|| defaults?.get("rtspTransport"));
    transport.and_then(Node::text) == Some("multicast")
}

/// An entry's name.
enum EntryName {
    One(PathName),
    Many(Regex),
}

impl EntryName {
    fn parse(name: &str) -> Result<Self, String> {
        if is_pattern(name) {
            let wrong = |error| format!("path {name:?} is not a usable regular expression: {error}");
            return pattern::compile(name).map(Self::Many).map_err(wrong);
        }
        PathName::parse(name).map(Self::One).map_err(|error| error.to_string())
    }
}

/// The text of a path's source.
fn source_text<'a>(node: &'a Node, defaults: Option<&'a Node>) -> &'a str {
    let text = |node: &'a Node| node.get("source").and_then(Node::text);
    text(node).or_else(|| defaults.and_then(text)).unwrap_or("publisher").trim()
}

/// What `source` says.
#[derive(PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, while a path is read")]
enum Source {
    Known(PathSource),
    /// MediaMTX knows it; what it is, in the plural.
    Later(String),
}

fn source(reader: &mut Reader<'_>, path_place: &Place, name: &EntryName) -> Option<Source> {
    let (text, place) = match reader.find("source") {
        None => ("publisher", path_place),
        Some(node) => match node.text() {
            Some(text) => (text.trim(), &node.place),
            None => {
                reader.wrong_shape(node, "source", "a single value");
                return None;
            }
        },
    };
    let bad = |expected: Expected| FaultKind::BadSecret { key: "source".to_owned(), expected };
    if text.is_empty() || text == "publisher" {
        return Some(Source::Known(PathSource::Publisher(replacing(reader))));
    }
    if text == "redirect" {
        let destination = redirect::destination(reader, "sourceRedirect");
        if destination.is_none()
            && reader.find("sourceRedirect").and_then(Node::text).is_none_or(str::is_empty)
        {
            let message = "\"source: redirect\" needs \"sourceRedirect\": where readers are sent";
            reader.faults().add(place, FaultKind::Conflict(message.to_owned()));
        }
        return Some(Source::Known(PathSource::Redirect(destination?)));
    }
    if let Some(word) = LATER_WORDS.iter().find(|word| **word == text) {
        return Some(Source::Later(format!("{word} sources")));
    }
    if text.contains("$MTX_QUERY") {
        return Some(Source::Later("sources with $MTX_QUERY".to_owned()));
    }
    let scheme = split_scheme(text).map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("rtsp" | "rtsps" | "rtmp" | "rtmps" | "http" | "https" | "whep" | "wheps") => {
            match source_url(text, name) {
                Ok(url) => Some(Source::Known(PathSource::Pulled(pulled(url, reader)))),
                Err(expected) => {
                    reader.faults().add(place, bad(expected));
                    None
                }
            }
        }
        Some(later) if LATER_SCHEMES.contains(&later) => Some(Source::Later(format!("{later} sources"))),
        Some(_) | None => {
            let expected = Expected::Other(
                "a source: write \"publisher\", \"redirect\" or a URL that begins with rtsp://, rtsps://, rtmp://, rtmps://, \
                 http://, https://, whep:// or wheps://",
            );
            reader.faults().add(place, bad(expected));
            None
        }
    }
}

fn source_url(text: &str, name: &EntryName) -> Result<SourceUrl, Expected> {
    match name {
        EntryName::One(_) => SourceUrl::parse(text),
        EntryName::Many(regex) => SourceUrl::parse(&pattern::sample(text, regex)?),
    }
}

fn replacing(reader: &mut Reader<'_>) -> Replacing {
    if reader.on("overridePublisher") { Replacing::Allowed } else { Replacing::Refused }
}

fn pulled(url: SourceUrl, reader: &mut Reader<'_>) -> PulledSource {
    let fingerprint = reader.value("sourceFingerprint", None, |text| match text {
        "" => Ok(None),
        text => values::fingerprint(text).map(Some),
    });
    // Read whatever the protocol: a wrong value shall not wait for the day it matters.
    let (transport, play) = (rtsp_transport(reader), play::resolve(reader));
    match url.scheme() {
        SourceScheme::Rtsp | SourceScheme::Rtsps => {
            PulledSource::Rtsp(RtspSource { url, transport, fingerprint, play })
        }
        SourceScheme::Rtmp | SourceScheme::Rtmps => PulledSource::Rtmp(RemoteSource { url, fingerprint }),
        SourceScheme::Http | SourceScheme::Https => PulledSource::Hls(RemoteSource { url, fingerprint }),
        // WHIP is for sending: `source` does not let it through.
        SourceScheme::Whep | SourceScheme::Wheps | SourceScheme::Whip | SourceScheme::Whips => {
            PulledSource::Whep(whep_source(RemoteSource { url, fingerprint }, reader))
        }
    }
}

fn whep_source(remote: RemoteSource, reader: &mut Reader<'_>) -> WhepSource {
    let second = Duration::from_secs(1);
    let bearer_token = Some(reader.text("whepBearerToken", "")).filter(|token| !token.is_empty());
    WhepSource {
        remote,
        bearer_token: bearer_token.map(Secret::new),
        handshake_timeout: reader.duration("whepHandshakeTimeout", 10 * second, second..=3600 * second),
        track_gather_timeout: reader.duration(
            "whepTrackGatherTimeout",
            2 * second,
            second / 10..=60 * second,
        ),
    }
}

fn rtsp_transport(reader: &mut Reader<'_>) -> RtspTransport {
    reader.value("rtspTransport", RtspTransport::Automatic, |text| match text {
        // Multicast is not implemented; nearly every camera that has it has UDP as well.
        "automatic" | "" | "multicast" => Ok(RtspTransport::Automatic),
        "udp" => Ok(RtspTransport::Udp),
        "tcp" => Ok(RtspTransport::Tcp),
        _ => Err(Expected::OneOf(&["automatic", "udp", "tcp"])),
    })
}

fn on_demand(reader: &mut Reader<'_>) -> Option<OnDemand> {
    let second = Duration::from_secs(1);
    let start_timeout =
        reader.duration("sourceOnDemandStartTimeout", 10 * second, second / 10..=3600 * second);
    let close_after =
        reader.duration("sourceOnDemandCloseAfter", 10 * second, Duration::ZERO..=86_400 * second);
    reader.off("sourceOnDemand").then_some(OnDemand { start_timeout, close_after })
}

/// MediaMTX's rules between the settings of one path.
fn check_rules(entry: &Entry, source: Option<&Source>, reader: &mut Reader<'_>) {
    let pattern = is_pattern(&entry.key);
    let publisher = matches!(source, Some(Source::Known(PathSource::Publisher(_))));
    let redirect = matches!(source, Some(Source::Known(PathSource::Redirect(_))));
    let on_demand = reader.off("sourceOnDemand");
    let always_available = reader.off("alwaysAvailable");
    let is_run = reader.find("runOnDemand").is_some_and(|node| !is_default(node, ""));
    let written = |key: &str| entry.node.get(key).filter(|node| !is_default(node, "false"));
    let mut say = |key: &str, message: String| {
        let place = entry.node.get(key).map_or(&entry.place, |node| &node.place);
        reader.faults().add(place, FaultKind::Conflict(message));
    };
    let name = &entry.key;
    if publisher && written("sourceOnDemand").is_some() {
        say(
            "sourceOnDemand",
            format!("path {name:?}: \"sourceOnDemand\" needs a source other than \"publisher\""),
        );
    }
    if pattern && !publisher && !redirect && !on_demand && source.is_some() {
        say("source", format!("path {name:?}: a pattern with a source needs \"sourceOnDemand: true\""));
    }
    if pattern && written("runOnInit").is_some_and(|node| !is_default(node, "")) {
        say("runOnInit", format!("path {name:?}: a pattern can't have \"runOnInit\""));
    }
    if !publisher && source.is_some() && written("runOnDemand").is_some_and(|node| !is_default(node, "")) {
        say("runOnDemand", format!("path {name:?}: \"runOnDemand\" needs \"source: publisher\""));
    }
    if always_available && (pattern || on_demand || is_run) {
        let message = format!(
            "path {name:?}: \"alwaysAvailable\" excludes patterns, \"sourceOnDemand\" and \"runOnDemand\""
        );
        say("alwaysAvailable", message);
    }
}
