//! Logging: the one tracing subscriber, made from `log*` settings.
//!
//! Our own crates log at the chosen level. Those we depend on log at `warn` at most, unless the
//! level is `debug`: then at `info`. Secrets never reach a log: the types that hold them print
//! `***`.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Mutex;

use tracing::Level;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::resolved::{LogFormat, LogLevel, LogSink, LoggingConfig};

/// Targets that are ours.
const OUR_TARGETS: [&str; 4] = ["gtvision", "media_core", "control_api", "storage"];

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoggingError {
    /// The log file can't be opened for appending.
    #[error("log file {} can't be opened: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is a subscriber already.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Changes how much is logged.
pub(crate) struct LogControl(reload::Handle<Targets, Registry>);

impl LogControl {
    /// Logs so much from now on.
    pub(crate) fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.0.reload(filter(level)) {
            tracing::error!(%error, "log level can't be changed");
        }
    }
}

/// Sets up logging for the whole process; call once, before the first log line.
///
/// # Errors
/// [`LoggingError`].
pub(crate) fn init(config: &LoggingConfig) -> Result<LogControl, LoggingError> {
    let file = config.file.as_ref().map(open).transpose()?;
    let stdout = (config.stdout == LogSink::On).then(|| {
        let colour = if std::io::stdout().is_terminal() { Colour::Ansi } else { Colour::Plain };
        lines(config.format, colour, std::io::stdout)
    });
    let (filter, control) = reload::Layer::new(filter(config.level));
    tracing_subscriber::registry()
        .with(filter)
        .with(stdout)
        .with(file.map(|file| lines(config.format, Colour::Plain, Mutex::new(file))))
        .try_init()
        .map_err(|_| LoggingError::AlreadySet)?;
    Ok(LogControl(control))
}

fn open(path: &PathBuf) -> Result<File, LoggingError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|source| LoggingError::File { path: path.clone(), source })
}

/// Which lines pass.
fn filter(level: LogLevel) -> Targets {
    let (ours, theirs) = match level {
        LogLevel::Error => (Level::ERROR, Level::ERROR),
        LogLevel::Warn => (Level::WARN, Level::WARN),
        LogLevel::Info => (Level::INFO, Level::WARN),
        LogLevel::Debug => (Level::DEBUG, Level::INFO),
    };
    let targets = OUR_TARGETS.map(|target| (target, LevelFilter::from_level(ours)));
    Targets::new().with_default(LevelFilter::from_level(theirs)).with_targets(targets)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    Ansi,
    Plain,
}

/// Writes each event as one line.
fn lines<S, W>(format: LogFormat, colour: Colour, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour == Colour::Ansi);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel, act: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let layer = lines(format, Colour::Plain, move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer).with(filter(level));
        tracing::subscriber::with_default(subscriber, act);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn structured_lines_are_json_objects_with_fields_and_span() {
        let text = logged(LogFormat::Json, LogLevel::Info, || {
            let span = tracing::info_span!("camera", name = "cam_1");
            span.in_scope(|| tracing::warn!(error = "timed out", "source lost"));
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "source lost");
        assert_eq!(line["error"], "timed out");
        assert_eq!(line["span"]["name"], "camera");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn text_lines_hold_one_event_each() {
        let text = logged(LogFormat::Text, LogLevel::Info, || {
            tracing::info!(count = 3, "cameras\nlistening");
            tracing::debug!("not this");
        });
        assert!(text.contains("INFO") && text.contains("count=3"), "{text}");
        assert!(!text.contains("not this"), "{text}");
    }

    #[test]
    fn dependencies_are_heard_from_warn_on() {
        let text = logged(LogFormat::Text, LogLevel::Info, || {
            tracing::info!(target: "str0m", "chatter");
            tracing::warn!(target: "str0m", "trouble");
            tracing::info!(target: "media_core::ring", "ours");
        });
        assert!(!text.contains("chatter") && text.contains("trouble") && text.contains("ours"), "{text}");
    }
}
