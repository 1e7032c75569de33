//! Slate: a path's slate as a task that feeds the path while nobody else does, for as long as the path has one.
//!
//! ```text
//!  source leaves ─► Waiting ends ─► Player ─unit when it is due─► Ingest, Output ─► junction ─► ring
//!      ▲                                                                             │ source's first unit
//!      └──────────────────────────── Waiting ◄───────────────────────────────────────┘
//! ```

use std::sync::Arc;

use media_core::hls::{Haste, Pacer};
use media_core::slate::{Player, Slate};
use tokio::time::sleep_until;
use tracing::{debug, info, info_span};

use super::intake::{Intake, Machine, whole_unit};
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;

/// Plays `slate` whenever nobody feeds the path, as a task of `tasks`.
pub(crate) fn spawn(tasks: &TaskSet, slate: &Arc<Slate>, intake: &Intake) {
    let (slate, intake, token) = (Arc::clone(slate), intake.clone(), tasks.token().clone());
    let span = info_span!("slate", path = %intake.stream().name());
    tasks.spawn(span, async move {
        let mut machine = intake.slate_machine();
        tokio::select! {
            () = play(&slate, &intake, &mut machine) => {}
            () = token.cancelled() => {}
        }
        machine.output.end();
    });
}

/// One turn after the other, without end.
async fn play(slate: &Arc<Slate>, intake: &Intake, machine: &mut Machine) {
    loop {
        intake.slate_wanted().await;
        info!("slate is shown until the source is there");
        turn(slate, machine).await;
    }
}

/// From its beginning until somebody else feeds the path.
async fn turn(slate: &Arc<Slate>, Machine { ingest, output }: &mut Machine) {
    // Ingest takes each of its tracks: its setups made the slate's lineup.
    if let Err(error) = ingest.start(&slate.setups(), clock::now()) {
        debug!(%error, "slate's tracks can't be used");
        return std::future::pending().await;
    }
    for (track, nals) in slate.parameter_sets().enumerate() {
        ingest.handle_parameter_sets(track, nals);
    }
    let mut pacer = Pacer::default();
    for due in Player::new(slate) {
        sleep_until(pacer.due(due.at_us, Haste::None, clock::now()).into()).await;
        if !output.may_go_on() {
            return;
        }
        if let Err(error) = ingest.handle_unit(due.track, &whole_unit(due.rtp_timestamp, due.payload)) {
            debug!(track = due.track, %error, "slate's access unit can't be used");
        }
        output.drain(ingest);
    }
}
