//! The thread that brings events to the store. It outlives every fault of the store, a panic included.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracemq_model::{Event, Gap, TimeMs};
use tracemq_store::{Batch, EventStore, StoreError};
use tracing::{error, info, warn};

use crate::queue::{Outcome, Queue, RESERVED_EVENTS_MAX, Turn};
use crate::{Clock, Recent, RecorderSettings};

/// How often the store is told that the recorder runs.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Writer {
    queue: Arc<Queue>,
    store: Arc<dyn EventStore>,
    clock: Clock,
    recent: Arc<Recent>,
    marked: Option<Instant>,
    health: Health,
}

/// What the log has been told of the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Failing,
    /// It takes nothing more until it is opened anew.
    Poisoned,
}

/// Why a batch did not reach the store.
struct Failed;

/// Settles everything when the thread ends, however it does.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl Writer {
    pub(crate) fn new(queue: Arc<Queue>, store: Arc<dyn EventStore>, clock: Clock, recent: Arc<Recent>) -> Self {
        Self { queue, store, clock, recent, marked: None, health: Health::Good }
    }

    /// Runs until the queue is closed and drained, then lets go of the store.
    pub(crate) fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.queue));
        let mut taken = Vec::with_capacity(self.queue.settings.queue_events_max.min(RESERVED_EVENTS_MAX));
        let mut batch = Batch::default();
        loop {
            // What is handed over before this moment is among what is taken, so that it becomes the moment up to which
            // the record is complete, as soon as all of that is durable.
            let complete_until = (self.clock)();
            match self.queue.take(&mut taken, self.patience()) {
                Turn::Write(gaps) => self.write(&mut taken, gaps, &mut batch),
                Turn::End(gaps) => {
                    self.write(&mut taken, gaps, &mut batch);
                    self.mark_alive((self.clock)());
                    drop(self.store);
                    return;
                }
            }
            if self.patience().is_zero() {
                self.mark_alive(complete_until);
            }
        }
    }

    /// How long nothing needs to be done unless events come.
    fn patience(&self) -> Duration {
        self.marked.map_or(Duration::ZERO, |marked| ALIVE_EVERY.saturating_sub(marked.elapsed()))
    }

    fn write(&mut self, taken: &mut Vec<Event>, mut gaps: Vec<Gap>, batch: &mut Batch) {
        let mut events = taken.drain(..);
        while events.len() > 0 || !gaps.is_empty() {
            batch.events.clear();
            batch.events.extend(events.by_ref().take(self.queue.settings.batch_events_max));
            batch.gaps = std::mem::take(&mut gaps);
            let outcome = match self.deliver(batch) {
                Ok(()) => Outcome::Recorded,
                Err(Failed) => Outcome::Lost,
            };
            if matches!(outcome, Outcome::Recorded) {
                self.recent.add(&batch.events);
            }
            self.queue.settle(&batch.events, std::mem::take(&mut batch.gaps), outcome);
        }
    }

    fn deliver(&mut self, batch: &Batch) -> Result<(), Failed> {
        if self.health == Health::Poisoned || self.queue.is_abandoned() {
            return Err(Failed);
        }
        let mut pause = self.queue.settings.retry_pause;
        let mut retries = self.queue.settings.retries_max;
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.store.append(batch))) {
                Ok(Ok(())) => {
                    self.succeeded();
                    return Ok(());
                }
                Ok(Err(error)) => {
                    let again = can_be_retried(&error);
                    self.failed(&error, batch);
                    if !again || retries == 0 || !self.queue.pause(pause) {
                        return Err(Failed);
                    }
                }
                // Whether the batch was written is unknown: a second try might write it twice.
                Err(_) => {
                    self.panicked(batch);
                    return Err(Failed);
                }
            }
            retries -= 1;
            pause = pause.saturating_mul(2).min(RecorderSettings::RETRY_PAUSE_MAX);
        }
    }

    fn succeeded(&mut self) {
        if self.health == Health::Failing {
            info!("the store takes events again");
            self.health = Health::Good;
        }
    }

    fn failed(&mut self, failure: &StoreError, batch: &Batch) {
        let text = chain(failure);
        let events = batch.events.len();
        match failure {
            StoreError::Poisoned { .. } => {
                error!(error = text, events, "the store takes nothing more; events are lost until a restart");
                self.health = Health::Poisoned;
            }
            StoreError::InvalidQuery(_)
            | StoreError::Full { .. }
            | StoreError::Io { .. }
            | StoreError::Damaged { .. }
            | StoreError::InUse { .. }
            | StoreError::UnknownFormat { .. } => {
                if self.health == Health::Good {
                    warn!(error = text, events, "the store failed to take events");
                    self.health = Health::Failing;
                }
            }
        }
        self.queue.note_error(text);
    }

    fn panicked(&mut self, batch: &Batch) {
        let events = batch.events.len();
        if self.health == Health::Good {
            error!(events, "the store panicked; its events count as lost");
            self.health = Health::Failing;
        }
        self.queue.note_error("the store panicked".to_owned());
    }

    /// Only while the store knows of every loss: what it doesn't know of lies behind the last mark, and is covered by
    /// the gap that the next start writes, should this process die now.
    fn mark_alive(&mut self, complete_until: TimeMs) {
        self.marked = Some(Instant::now());
        if self.health == Health::Poisoned || !self.queue.is_free_of_gaps() {
            return;
        }
        match catch_unwind(AssertUnwindSafe(|| self.store.mark_alive(complete_until))) {
            Ok(Ok(())) => self.queue.note_mark(),
            Ok(Err(error)) => self.queue.note_error(chain(&error)),
            Err(_) => self.queue.note_error("the store panicked".to_owned()),
        }
    }
}

fn can_be_retried(error: &StoreError) -> bool {
    match error {
        StoreError::Full { .. } | StoreError::Io { .. } => true,
        StoreError::InvalidQuery(_)
        | StoreError::Poisoned { .. }
        | StoreError::Damaged { .. }
        | StoreError::InUse { .. }
        | StoreError::UnknownFormat { .. } => false,
    }
}

/// An error's text with those of its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
