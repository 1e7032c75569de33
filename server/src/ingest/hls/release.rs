//! Release: what lanes have fetched, into ingest, each unit when it is due.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use media_core::hls::{Brought, Haste, Pacer, Unit, rtp_time};
use media_core::ingest::TrackSetup;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::SOUND_PATIENCE;
use super::lane::Batch;
use crate::ingest::arrivals::{Arrivals, Progress};
use crate::ingest::session::SessionError;
use crate::runtime::clock;

type Batches = mpsc::Receiver<Result<Batch, SessionError>>;

/// More segments than this wait in the playlist: time runs faster.
const BACKLOG_MAX: usize = 3;

/// One lane's end of it.
struct Queue {
    batches: Batches,
    /// Heads with a unit, once tracks and parameter sets before it are taken.
    waiting: VecDeque<Brought>,
    setups: Vec<TrackSetup>,
    sets: Vec<(usize, Vec<Bytes>)>,
    /// Index of its first track among those of all lanes.
    first_track: usize,
    backlog: usize,
    ended: Option<SessionError>,
}

/// The unit that comes next.
#[derive(Clone, Copy)]
struct Next {
    lane: usize,
    at_us: i64,
    due: Instant,
}

/// One session's end of the lanes.
pub(super) struct Release<'a> {
    queues: Vec<Queue>,
    arrivals: Arrivals<'a>,
    pacer: Pacer,
    next: Option<Next>,
    /// Some lane has told its tracks since ingest was.
    is_untold: bool,
}

/// What woke the loop.
enum Woken {
    Batch(usize, Option<Result<Batch, SessionError>>),
    Due,
    Timer,
}

impl<'a> Release<'a> {
    /// Nothing has come.
    pub(super) fn new(lanes: Vec<Batches>, arrivals: Arrivals<'a>) -> Self {
        let queues = lanes.into_iter().map(|batches| Queue {
            batches,
            waiting: VecDeque::new(),
            setups: Vec::new(),
            sets: Vec::new(),
            first_track: 0,
            backlog: 0,
            ended: None,
        });
        Self { queues: queues.collect(), arrivals, pacer: Pacer::default(), next: None, is_untold: false }
    }

    /// Hands units on until a lane has ended and all that it brought is out, or nothing comes.
    pub(super) async fn run(mut self, mut online: impl FnMut()) -> Result<Infallible, SessionError> {
        loop {
            self.take_heads();
            if let Some(ended) = self.queues.iter_mut().find_map(Queue::take_end) {
                return Err(ended);
            }
            self.find_next();
            match self.wait().await {
                Woken::Batch(lane, batch) => self.take_batch(lane, batch),
                Woken::Timer => self.arrivals.check(clock::now())?,
                Woken::Due => {
                    self.release()?;
                    if self.arrivals.publish(clock::now()) == Progress::Online {
                        online();
                    }
                }
            }
        }
    }

    /// Takes what stands before the next unit of each lane.
    fn take_heads(&mut self) {
        for queue in &mut self.queues {
            while let Some(head) = queue.waiting.pop_front_if(|head| !matches!(head, Brought::Unit(_))) {
                match head {
                    Brought::Tracks(setups) => {
                        (queue.setups, self.is_untold) = (setups, true);
                        queue.sets.clear();
                    }
                    Brought::ParameterSets { track, nals } => queue.sets.push((track, nals)),
                    Brought::Unit(_) => {}
                }
            }
        }
    }

    /// The earliest of the lanes' heads, and when it is due. A lane that has none is waited for a while.
    fn find_next(&mut self) {
        let heads =
            self.queues.iter().enumerate().filter_map(|(lane, queue)| Some((queue.head()?.at_us, lane)));
        let Some((at_us, lane)) = heads.min() else {
            self.next = None;
            return;
        };
        if self.next.is_some_and(|next| (next.lane, next.at_us) == (lane, at_us)) {
            return;
        }
        let is_behind = self.queues.iter().any(|queue| queue.backlog > BACKLOG_MAX);
        let haste = if is_behind { Haste::Some } else { Haste::None };
        let due = self.pacer.due(at_us, haste, clock::now());
        self.next = Some(Next { lane, at_us, due });
    }

    async fn wait(&mut self) -> Woken {
        let lacks_one = self.queues.iter().any(|queue| queue.waiting.is_empty());
        let patience = if lacks_one { SOUND_PATIENCE } else { std::time::Duration::ZERO };
        let due = self.next.map(|next| next.due + patience);
        let deadline = self.arrivals.deadline();
        let queues = &mut self.queues;
        tokio::select! {
            (lane, batch) = poll_fn(|cx| poll_batches(queues, cx)) => Woken::Batch(lane, batch),
            () = sleep_until(due.unwrap_or(deadline).into()), if due.is_some() => Woken::Due,
            () = sleep_until(deadline.into()) => Woken::Timer,
        }
    }

    fn take_batch(&mut self, lane: usize, batch: Option<Result<Batch, SessionError>>) {
        let Some(queue) = self.queues.get_mut(lane) else { return };
        match batch {
            Some(Ok(batch)) => {
                self.arrivals.count_bytes(batch.bytes);
                (0..batch.malformed).for_each(|_| self.arrivals.count_malformed());
                queue.backlog = batch.backlog;
                queue.waiting.extend(batch.brought);
            }
            Some(Err(error)) => queue.ended = Some(error),
            None => queue.ended = Some(SessionError::Ended),
        }
    }

    /// Hands the next unit to ingest, with the tracks before it if they are others now.
    fn release(&mut self) -> Result<(), SessionError> {
        let Some(Next { lane, at_us, .. }) = self.next.take() else { return Ok(()) };
        if std::mem::take(&mut self.is_untold) {
            self.tell_tracks(at_us)?;
        }
        let Some(queue) = self.queues.get_mut(lane) else { return Ok(()) };
        if let Some(Brought::Unit(unit)) = queue.waiting.pop_front() {
            let Unit { track, rtp_timestamp, payload, .. } = unit;
            self.arrivals.unit(queue.first_track + track, rtp_timestamp, payload);
        }
        Ok(())
    }

    fn tell_tracks(&mut self, at_us: i64) -> Result<(), SessionError> {
        let mut setups = Vec::new();
        for queue in &mut self.queues {
            queue.first_track = setups.len();
            setups.extend(queue.setups.iter().cloned());
        }
        for setup in &mut setups {
            // One clock for all tracks.
            setup.rtp_info_timestamp = Some(rtp_time(at_us, setup.clock_rate));
        }
        self.arrivals.start(&setups)?;
        for queue in &self.queues {
            for (track, nals) in &queue.sets {
                self.arrivals.parameter_sets(queue.first_track + track, nals);
            }
        }
        Ok(())
    }
}

impl Queue {
    fn head(&self) -> Option<&Unit> {
        match self.waiting.front()? {
            Brought::Unit(unit) => Some(unit),
            _ => None,
        }
    }

    /// Why it has ended, once all that it brought is out.
    fn take_end(&mut self) -> Option<SessionError> {
        if self.waiting.is_empty() { self.ended.take() } else { None }
    }
}

/// The next batch of a lane that has nothing left.
fn poll_batches(
    queues: &mut [Queue],
    cx: &mut Context<'_>,
) -> Poll<(usize, Option<Result<Batch, SessionError>>)> {
    for (lane, queue) in queues.iter_mut().enumerate() {
        if queue.waiting.is_empty()
            && queue.ended.is_none()
            && let Poll::Ready(batch) = queue.batches.poll_recv(cx)
        {
            return Poll::Ready((lane, batch));
        }
    }
    Poll::Pending
}
