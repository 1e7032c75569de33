//! Hooks: the `runOn...` settings of a path and of the whole server.
//!
//! Their text is split here, so that a quote that is not closed is a fault with its line. No fault shows a command: there may
//! be a password in it.

use std::sync::Arc;
use std::time::Duration;

use super::fault::FaultKind;
use super::reader::Reader;
use super::resolved::OnDemand;
use super::values::Expected;
use crate::hooks::command::{CommandError, CommandLine};

/// A command and its setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookCommand {
    /// The setting's name.
    pub(crate) name: &'static str,
    /// What runs.
    pub(crate) line: CommandLine,
    /// It is started again when it ends too early.
    pub(crate) restarts: bool,
}

/// What runs while something lasts, and when it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HookPair {
    /// From its begin, to its end at most.
    pub(crate) begin: Option<HookCommand>,
    /// At its end.
    pub(crate) end: Option<HookCommand>,
}

/// `runOnDemand`: who publishes while somebody watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DemandHooks {
    /// `runOnDemand`, `runOnUnDemand`.
    pub(crate) pair: HookPair,
    /// `runOnDemandStartTimeout` and `runOnDemandCloseAfter`, default 10 s each.
    pub(crate) times: OnDemand,
}

/// The hooks of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathHooks {
    /// `runOnInit`; not for patterns.
    pub(crate) init: HookPair,
    /// Only where somebody publishes.
    pub(crate) on_demand: Option<DemandHooks>,
    /// `runOnAvailable`, `runOnUnavailable`.
    pub(crate) available: HookPair,
    /// `runOnOnline`, `runOnOffline`.
    pub(crate) online: HookPair,
    /// `runOnRead`, `runOnUnread`.
    pub(crate) read: HookPair,
    /// `runOnRecordSegmentCreate`.
    pub(crate) segment_create: Option<HookCommand>,
    /// `runOnRecordSegmentComplete`.
    pub(crate) segment_complete: Option<HookCommand>,
}

/// What kind of path the hooks are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathKind {
    /// It has an entry of its own, and begins with the server.
    pub(crate) is_named: bool,
    /// Somebody publishes to it.
    pub(crate) is_published_to: bool,
}

/// The hooks of a path; those that can't be for its kind are left out, since they may come from `pathDefaults`.
pub(crate) fn resolve(reader: &mut Reader<'_>, path: PathKind) -> Arc<PathHooks> {
    let second = Duration::from_secs(1);
    let times = OnDemand {
        start_timeout: reader.duration("runOnDemandStartTimeout", 10 * second, second / 10..=3600 * second),
        close_after: reader.duration("runOnDemandCloseAfter", 10 * second, Duration::ZERO..=86_400 * second),
    };
    let mut pair = |begin, restart, end| HookPair {
        begin: command(reader, begin, Some(restart)),
        end: command(reader, end, None),
    };
    let on_demand = pair("runOnDemand", "runOnDemandRestart", "runOnUnDemand");
    let available = pair("runOnAvailable", "runOnAvailableRestart", "runOnUnavailable");
    let online = pair("runOnOnline", "runOnOnlineRestart", "runOnOffline");
    let read = pair("runOnRead", "runOnReadRestart", "runOnUnread");
    let init = HookPair { begin: command(reader, "runOnInit", Some("runOnInitRestart")), end: None };
    Arc::new(PathHooks {
        init: if path.is_named { init } else { HookPair::default() },
        on_demand: (path.is_published_to && on_demand.begin.is_some())
            .then_some(DemandHooks { pair: on_demand, times }),
        available,
        online,
        read,
        segment_create: command(reader, "runOnRecordSegmentCreate", None),
        segment_complete: command(reader, "runOnRecordSegmentComplete", None),
    })
}

/// `runOnConnect`, `runOnDisconnect`.
pub(crate) fn connect(reader: &mut Reader<'_>) -> HookPair {
    HookPair {
        begin: command(reader, "runOnConnect", Some("runOnConnectRestart")),
        end: command(reader, "runOnDisconnect", None),
    }
}

fn command(reader: &mut Reader<'_>, name: &'static str, restart: Option<&str>) -> Option<HookCommand> {
    let restarts = restart.is_some_and(|restart| reader.off(restart));
    let node = reader.find(name)?;
    let Some(text) = node.text() else {
        reader.wrong_shape(node, name, "a single value");
        return None;
    };
    match CommandLine::parse(text) {
        Ok(line) => line.map(|line| HookCommand { name, line, restarts }),
        Err(error) => {
            let expected = Expected::Other(match error {
                CommandError::OpenQuote => "a command: a quote is not closed",
                CommandError::OpenEscape => "a command: it ends with a backslash",
            });
            reader.faults().add(&node.place, FaultKind::BadSecret { key: name.to_owned(), expected });
            None
        }
    }
}
