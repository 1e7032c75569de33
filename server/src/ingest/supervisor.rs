//! Supervisor: one task per camera that keeps its session going, for ever.
//!
//! ```text
//!           readers (on demand)
//!   Idle ──────────────────────► Connecting ──first unit──► Online ──15 s nothing──► Frozen ─┐
//!    ▲  no readers, close_after      ▲   │                    │                              │
//!    └───────────────────────────────┼───┴── failure ─────────┴──────────────────────────────┤
//!                                    └── BackingOff / OpenCircuit (runtime::retry) ◄─────────┘
//! ```
//!
//! A panic in a session is a failure like any other: counted, logged, retried. Nothing here is shared with
//! another camera.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use media_core::ingest::Ingest;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use super::intake::{Intake, Machine};
use super::session::{self, SessionContext, SessionEnd, SessionError, SessionTimes, TryTransport};
use super::{hls, rtmp, whep};
use crate::config::pulled::PulledSource;
use crate::config::resolved::{OnDemand, RtspTransport};
use crate::runtime::clock;
use crate::runtime::retry::{RetryConfig, RetryPolicy, Wait};
use crate::runtime::tasks::{Ended, TaskSet, catch_panic};
use crate::stream::{SourceStatus, Stream};

/// All times of one camera's supervision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SupervisorTimes {
    /// Of a session.
    pub(crate) session: SessionTimes,
    /// Between sessions.
    pub(crate) retry: RetryConfig,
}

/// What is kept connected, and when.
#[derive(Clone, Debug)]
pub(crate) struct Camera {
    /// Where it is.
    pub(crate) source: PulledSource,
    /// Set when it is connected only while there are readers.
    pub(crate) on_demand: Option<OnDemand>,
}

/// Keeps one camera connected.
#[derive(Debug)]
pub(crate) struct Supervisor {
    source: PulledSource,
    on_demand: Option<OnDemand>,
    stream: Arc<Stream>,
    times: SupervisorTimes,
    retry: RetryPolicy,
    machine: OwnedMutexGuard<Machine>,
    /// With `automatic`: UDP was silent or refused, stay with TCP.
    prefer_tcp: bool,
    /// Joined for their panics' count.
    tasks: TaskSet,
}

impl Supervisor {
    /// Spawns the supervision of one camera as a task of `tasks`. It begins once whoever feeds the path now is done.
    pub(crate) fn spawn(tasks: &TaskSet, camera: Camera, intake: &Intake, times: SupervisorTimes) {
        let stream = Arc::clone(intake.stream());
        let seed = stream.name().as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            // FNV-1a: the same camera waits the same times, two cameras do not.
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let span = info_span!("camera", path = %stream.name());
        let (token, intake, set) = (tasks.token().clone(), intake.clone(), tasks.clone());
        tasks.spawn(span, async move {
            let machine = tokio::select! {
                machine = intake.take() => machine,
                () = token.cancelled() => return,
            };
            let supervisor = Self {
                source: camera.source,
                on_demand: camera.on_demand,
                stream,
                times,
                retry: RetryPolicy::new(times.retry, seed),
                machine,
                prefer_tcp: false,
                tasks: set,
            };
            supervisor.run(token).await;
        });
    }

    async fn run(mut self, token: CancellationToken) {
        while !token.is_cancelled() {
            if let Some(on_demand) = self.on_demand {
                self.stream.set_state(SourceStatus::Idle, "nobody watches", clock::wall_now());
                tokio::select! {
                    () = wait_for_readers(&self.stream) => {}
                    () = token.cancelled() => break,
                }
                let session_token = token.child_token();
                let stream = Arc::clone(&self.stream);
                let idle = close_when_idle(&stream, on_demand);
                let connected = self.keep_connected(&session_token);
                tokio::pin!(connected);
                tokio::select! {
                    () = &mut connected => {}
                    () = idle => {
                        debug!("on-demand source closes: no readers");
                        session_token.cancel();
                        // The session says goodbye to the camera before it ends.
                        connected.await;
                    }
                }
            } else {
                self.keep_connected(&token).await;
            }
        }
        self.stream.set_state(SourceStatus::Idle, "stopped", clock::wall_now());
        self.machine.output.end();
    }

    /// Sessions and the waits between them, until cancelled.
    async fn keep_connected(&mut self, token: &CancellationToken) {
        while !token.is_cancelled() {
            let Some(reason) = self.one_session(token).await else { return };
            let wait = self.retry.failed();
            self.stream.counters.reconnects.fetch_add(1, Ordering::Relaxed);
            self.announce(&reason, wait);
            self.machine.output.end();
            tokio::select! {
                () = tokio::time::sleep(wait.duration()) => {}
                () = token.cancelled() => return,
            }
        }
    }

    /// Says what went wrong, once per change of mind: a camera that is down for days is one line, not thousands.
    fn announce(&self, reason: &str, wait: Wait) {
        let (status, verb) = match wait {
            // Frozen stays to be seen until the next try.
            Wait::BackOff(_) if self.stream.state().status == SourceStatus::Frozen => {
                (SourceStatus::Frozen, "next try")
            }
            Wait::BackOff(_) => (SourceStatus::BackingOff, "next try"),
            Wait::OpenCircuit(_) => (SourceStatus::OpenCircuit, "circuit open, one trial"),
        };
        let failures = self.retry.failures();
        let seconds = wait.duration().as_secs_f32();
        if failures == 1 || failures == self.times.retry.breaker_failures {
            warn!(failures, reason, "camera lost: {verb} in {seconds:.1} s");
        } else {
            debug!(failures, reason, "camera still lost: {verb} in {seconds:.1} s");
        }
        self.stream.set_state(status, reason, clock::wall_now());
    }

    /// The transport of an RTSP camera's next try; of no concern for other sources.
    fn transport(&self) -> TryTransport {
        let PulledSource::Rtsp(source) = &self.source else { return TryTransport::Tcp };
        match source.transport {
            RtspTransport::Tcp => TryTransport::Tcp,
            RtspTransport::Udp => TryTransport::Udp,
            RtspTransport::Automatic if self.prefer_tcp || source.url.scheme().is_tls() => TryTransport::Tcp,
            RtspTransport::Automatic => TryTransport::UdpFirst,
        }
    }

    /// One session; `None` when it was cancelled, else the reason of its end.
    async fn one_session(&mut self, token: &CancellationToken) -> Option<String> {
        let transport = self.transport();
        self.stream.set_state(SourceStatus::Connecting, "", clock::wall_now());
        let (stream, retry) = (Arc::clone(&self.stream), &mut self.retry);
        let online = || {
            info!("camera online");
            stream.set_state(SourceStatus::Online, "", clock::wall_now());
            retry.succeeded();
        };
        let Machine { ingest, output } = &mut *self.machine;
        let context =
            SessionContext { stream: &self.stream, output, ingest, times: self.times.session, token };
        let ended = match &self.source {
            PulledSource::Rtsp(source) => {
                let span = info_span!("session", ?transport);
                catch_panic(session::run(source, context, transport, online).instrument(span)).await
            }
            PulledSource::Rtmp(source) => {
                catch_panic(rtmp::run(source, context, online).instrument(info_span!("session"))).await
            }
            PulledSource::Hls(source) => {
                // A large future, which sources of other kinds need not have room for.
                let session = Box::pin(hls::run(source, context, online));
                catch_panic(session.instrument(info_span!("session"))).await
            }
            PulledSource::Whep(source) => {
                let session = Box::pin(whep::run(source, context, online));
                catch_panic(session.instrument(info_span!("session"))).await
            }
        };
        match ended {
            Ended::Done(Ok(SessionEnd::Cancelled)) => None,
            Ended::Done(Err(err)) => Some(self.after_error(&err)),
            Ended::Panicked(message) => {
                error!(message, "camera's session panicked; it is started again");
                self.tasks.count_panic();
                self.stream.counters.panics.fetch_add(1, Ordering::Relaxed);
                // What the machine knew may be half-changed.
                self.machine.ingest = Ingest::new(clock::now());
                Some(format!("internal error: {message}"))
            }
        }
    }

    fn after_error(&mut self, err: &SessionError) -> String {
        let udp_refused = matches!(
            err,
            SessionError::UdpSilent | SessionError::Rtsp(media_core::rtsp::ClientError::UnsupportedTransport)
        );
        if self.transport() == TryTransport::UdpFirst && udp_refused {
            info!("camera does not do udp, tcp from now on");
            self.prefer_tcp = true;
        }
        err.to_string()
    }
}

async fn wait_for_readers(stream: &Arc<Stream>) {
    let mut readers = stream.reader_changes();
    // An error means that the stream is gone, and with it this task's reason to run.
    drop(readers.wait_for(|readers| !readers.is_empty()).await);
}

/// Returns when there have been no readers for `close_after`.
async fn close_when_idle(stream: &Arc<Stream>, on_demand: OnDemand) {
    let mut readers = stream.reader_changes();
    loop {
        drop(readers.wait_for(Vec::is_empty).await);
        let stays_empty =
            tokio::time::timeout(on_demand.close_after, readers.wait_for(|now| !now.is_empty()));
        if stays_empty.await.map(drop).is_err() {
            return;
        }
    }
}
