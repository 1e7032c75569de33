//! Slate: what readers of a path get while its source is away (`alwaysAvailable`, `alwaysAvailableTracks`, `alwaysAvailableFile`).
//!
//! Paths with the same settings share one slate in memory. A file is read here: one that can't be used is a fault like any other.
//!
//! Limits: `media_core::slate::FILE_BYTES_MAX`, one track of pictures and one of sound.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use media_core::slate::{BuiltIn, FILE_BYTES_MAX, Slate};
use media_core::track::G711Law;

use super::fault::{FaultKind, Faults, Place};
use super::reader::Reader;
use super::tree::{Node, Value};
use super::values::Expected;

const TRACKS: &str = "alwaysAvailableTracks";
const FILE: &str = "alwaysAvailableFile";

const TRACK_KEYS: [&str; 4] = ["codec", "sampleRate", "channelCount", "muLaw"];

/// Codecs that there is something built in for.
const CODECS: [&str; 5] = ["H264", "H265", "MPEG4Audio", "Opus", "G711"];

/// What MediaMTX has besides.
const LATER_CODECS: [&str; 3] = ["AV1", "VP9", "LPCM"];

/// The rates that a track of sound can have.
const SAMPLE_RATES: std::ops::RangeInclusive<usize> = 7_350..=96_000;

/// The slates of a configuration, by what is written.
#[derive(Debug, Default)]
pub(super) struct Slates {
    made: BTreeMap<String, Option<Arc<Slate>>>,
}

impl Slates {
    /// The slate of a path, if it is to have one.
    ///
    /// # Errors
    /// The name of a codec that MediaMTX has and this server does not.
    pub(super) fn of(&mut self, reader: &mut Reader<'_>, path: &Place) -> Result<Option<Arc<Slate>>, String> {
        if !reader.off("alwaysAvailable") {
            return Ok(None);
        }
        let tracks = tracks(reader)?;
        let file = reader.text(FILE, "");
        let place = reader.find(FILE).map_or(path, |node| &node.place);
        let mut wrong = |message: String| {
            reader.faults().add(place, FaultKind::Conflict(message));
            Ok(None)
        };
        let (key, made) = match (file.as_str(), tracks.as_slice()) {
            ("", []) => (String::new(), Slate::built_in(&[BuiltIn::H264])),
            ("", tracks) => (format!("{tracks:?}"), Slate::built_in(tracks)),
            (_, [_, ..]) => return wrong(format!("\"{FILE}\" and \"{TRACKS}\" exclude each other")),
            (file, []) => {
                let key = format!("file {file}");
                if let Some(slate) = self.made.get(&key) {
                    return Ok(slate.clone());
                }
                match read(Path::new(file)) {
                    Ok(slate) => (key, Ok(Some(slate))),
                    Err(error) => return wrong(format!("\"{FILE}\": {file:?} can't be shown: {error}")),
                }
            }
        };
        match made {
            Ok(slate) => Ok(self.made.entry(key).or_insert_with(|| slate.map(Arc::new)).clone()),
            Err(error) => wrong(format!("\"{TRACKS}\": {error}")),
        }
    }
}

fn read(file: &Path) -> anyhow::Result<Slate> {
    let length = std::fs::metadata(file)?.len();
    anyhow::ensure!(file.is_file(), "it is no regular file");
    let max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    anyhow::ensure!(length <= max, "it has {length} bytes, the limit is {max}");
    Ok(Slate::read(&Bytes::from(std::fs::read(file)?))?)
}

fn tracks(reader: &mut Reader<'_>) -> Result<Vec<BuiltIn>, String> {
    let Some(list) = reader.find(TRACKS) else { return Ok(Vec::new()) };
    if !matches!(list.value, Value::List(_)) && list.text() != Some("") {
        reader.wrong_shape(list, TRACKS, "a list of tracks, each with a \"codec\"");
    }
    let mut tracks = Vec::new();
    for item in list.items() {
        tracks.extend(track(item, reader.faults())?);
    }
    let pictures = tracks.iter().filter(|track| track.is_video()).count();
    if pictures > 1 || tracks.len() - pictures > 1 {
        let message = format!("\"{TRACKS}\" may hold one track of pictures and one of sound");
        reader.faults().add(&list.place, FaultKind::Conflict(message));
    }
    // Pictures come first, wherever they are written.
    tracks.sort_by_key(|track| !track.is_video());
    Ok(tracks)
}

fn track(item: &Node, faults: &mut Faults) -> Result<Option<BuiltIn>, String> {
    for entry in item.entries() {
        if !TRACK_KEYS.contains(&entry.key.as_str()) {
            faults.add(&entry.place, FaultKind::UnknownKey { key: entry.key.clone(), suggestion: None });
        }
    }
    let mut reader = Reader::new(item, None, faults);
    let codec = reader.text("codec", "");
    if LATER_CODECS.contains(&codec.as_str()) {
        return Err(codec);
    }
    let sound = Sound::of(&mut reader, &codec);
    let track = match codec.as_str() {
        "H264" => Some(BuiltIn::H264),
        "H265" => Some(BuiltIn::H265),
        "MPEG4Audio" => {
            sound.map(|Sound { sample_rate, channels, .. }| BuiltIn::Aac { sample_rate, channels })
        }
        "Opus" => sound.map(|Sound { channels, .. }| BuiltIn::Opus { channels }),
        "G711" => {
            sound.map(|Sound { sample_rate, channels, law }| BuiltIn::G711 { law, sample_rate, channels })
        }
        _ => {
            let (key, expected) = ("codec".to_owned(), Expected::OneOf(&CODECS));
            faults.add(&item.place, FaultKind::BadValue { key, got: codec, expected });
            return Ok(None);
        }
    };
    // Of a rate that the codec has no number for there is no silence.
    let has_silence = track.is_some_and(|track| matches!(Slate::built_in(&[track]), Ok(Some(_))));
    if !has_silence {
        let message = format!(
            "\"{TRACKS}\": {codec} needs a \"sampleRate\" that it has, such as 48000, and a \"channelCount\" of 1 or 2"
        );
        faults.add(&item.place, FaultKind::Conflict(message));
    }
    Ok(track.filter(|_| has_silence))
}

/// What is written of a track of sound.
struct Sound {
    sample_rate: u32,
    channels: u8,
    law: G711Law,
}

impl Sound {
    /// `None` where rate or channels are not said; Opus has its own.
    fn of(reader: &mut Reader<'_>, codec: &str) -> Option<Self> {
        let (rate, channels) = if codec == "Opus" { (48_000, 2) } else { (0, 0) };
        let law = if reader.off("muLaw") { G711Law::Mu } else { G711Law::A };
        let sample_rate = reader.number("sampleRate", rate, 0..=*SAMPLE_RATES.end());
        let channels = reader.number("channelCount", channels, 0..=2);
        let sample_rate = u32::try_from(sample_rate).ok().filter(|_| SAMPLE_RATES.contains(&sample_rate))?;
        Some(Self { sample_rate, channels: u8::try_from(channels).ok().filter(|count| *count > 0)?, law })
    }
}

#[cfg(test)]
mod tests {
    use media_core::path_name::PathName;

    use crate::config::{Config, ConfigError, Layer, understand};

    const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../media-core/testdata/slate-tables.mp4");

    fn read(yaml: &str) -> Result<(Config, Vec<String>), String> {
        let loaded = understand(yaml, &[], &Layer::default())
            .map_err(|faults| ConfigError { name: "t.yml".into(), text: yaml.into(), faults }.to_string())?;
        Ok((loaded.config, loaded.warnings.iter().map(ToString::to_string).collect()))
    }

    fn shown(config: &Config, path: &str) -> String {
        let slate = config.paths[&PathName::parse(path).unwrap()].slate.as_ref();
        slate.map(|slate| slate.lineup().to_string()).unwrap_or_default()
    }

    #[test]
    fn slates_are_built_in_or_read_and_shared() {
        let yaml = format!(
            "paths:\n  a: {{alwaysAvailable: yes}}\n  b: {{alwaysAvailable: yes, alwaysAvailableFile: '{CLIP}'}}\n  \
             c: {{alwaysAvailable: yes, alwaysAvailableFile: '{CLIP}'}}\n  d: {{alwaysAvailableFile: /nowhere}}\n  \
             e: {{alwaysAvailable: yes, alwaysAvailableTracks: [{{codec: G711, sampleRate: 8000, channelCount: 1, muLaw: yes}}, \
             {{codec: H265}}]}}\n  f: {{alwaysAvailable: yes, alwaysAvailableTracks: [{{codec: AV1}}]}}\n  \
             g: {{source: redirect, sourceRedirect: /a, alwaysAvailable: yes}}\n"
        );
        let (config, warnings) = read(&yaml).unwrap();
        let expected = [
            ("a", "H264"),
            ("b", "H264 and MPEG-4 Audio of 16000 Hz in 1 channel(s)"),
            ("d", ""),
            ("e", "H265 and G711 (Mu-law) of 8000 Hz in 1 channel(s)"),
            ("g", ""),
        ];
        for (path, codecs) in expected {
            assert_eq!(shown(&config, path), codecs, "{path}");
        }
        let slate = |path: &str| config.paths[&PathName::parse(path).unwrap()].slate.clone().unwrap();
        assert!(std::sync::Arc::ptr_eq(&slate("b"), &slate("c")));
        assert!(!config.paths.contains_key(&PathName::parse("f").unwrap()));
        assert!(warnings.len() == 1 && warnings[0].contains("slates of AV1"), "{warnings:?}");
    }

    #[test]
    fn slates_that_can_not_be_are_faults_that_say_why() {
        let tracks = |tracks: &str| format!("alwaysAvailableTracks: [{tracks}]");
        let aac = "{codec: MPEG4Audio, sampleRate: 48000, channelCount: 2}";
        for (settings, said) in [
            ("alwaysAvailableFile: /nowhere".to_owned(), "\"/nowhere\" can't be shown: No such file"),
            (format!("alwaysAvailableFile: '{}'", env!("CARGO_MANIFEST_DIR")), "it is no regular file"),
            (
                format!("alwaysAvailableFile: '{}/Cargo.toml'", env!("CARGO_MANIFEST_DIR")),
                "box moov is missing",
            ),
            (format!("alwaysAvailableFile: x.mp4, {}", tracks(aac)), "exclude each other"),
            (tracks("{codec: MPEG4Audio}"), "MPEG4Audio needs a \"sampleRate\""),
            (
                tracks("{codec: MPEG4Audio, sampleRate: 47000, channelCount: 2}"),
                "MPEG4Audio needs a \"sampleRate\"",
            ),
            (tracks("{codec: H263}"), "\"codec\": \"H263\" is not"),
            (tracks("{codec: H264, rate: 1}"), "unknown key \"rate\""),
            (tracks("{codec: H264}, {codec: H265}"), "one track of pictures and one of sound"),
            ("runOnDemand: ffmpeg".to_owned(), "excludes patterns, \"sourceOnDemand\" and \"runOnDemand\""),
        ] {
            let error = read(&format!("paths:\n  a: {{alwaysAvailable: yes, {settings}}}\n")).unwrap_err();
            assert!(error.contains(said), "{settings}: {error}");
        }
    }
}
