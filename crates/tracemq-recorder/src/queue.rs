//! The bounded queue between the connection path and the writer thread. All counting happens here, under one lock
//! that is never held while the store is called.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracemq_model::{Event, Gap, GapCause, TimeRange};

use crate::counts::PendingGaps;
use crate::{LostCounts, RecorderCounts, RecorderSettings, approximate_bytes};

/// Room for so many events is reserved at start, so that handing over need not allocate: 20 MB of address space, which
/// becomes memory only where it is used. A larger queue grows when it has to.
pub(crate) const RESERVED_EVENTS_MAX: usize = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing more is taken in; what waits is written.
    Draining,
    /// The deadline of the drain has passed: what waits is lost.
    Abandoned,
    /// The writer is gone.
    Stopped,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// The writer waits on it for events, for a flush, for the end.
    work: Condvar,
    /// Flushes and stops wait on it for the writer.
    progress: Condvar,
    pub(crate) settings: RecorderSettings,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    waiting: Vec<Event>,
    waiting_bytes: usize,
    waiting_since: Option<Instant>,
    /// From the earliest to the latest time of what waits.
    waiting_span: Option<TimeRange>,
    /// In the writer's hands: not waiting any more, not settled yet.
    taken: usize,
    taken_bytes: usize,
    taken_since: Option<Instant>,
    taken_span: Option<TimeRange>,
    /// How many were ever queued, and of how many of them it is known what became of them. Both in order.
    accepted: u64,
    settled: u64,
    /// How many flushes wait: while some do, the writer does not linger.
    flushes: usize,
    /// The writer waits for a first event, so that it has to be woken for it.
    asleep: bool,
    gaps: PendingGaps,
    /// Those in the writer's hands: the store may know of them by now, or never.
    taken_gaps: Vec<Gap>,
    recorded: u64,
    lost: LostCounts,
    batches: u64,
    last_error: Option<String>,
    failing: bool,
}

/// What the writer has got to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Write what was taken (nothing, when the time given has passed), with the gaps.
    Write(Vec<Gap>),
    /// Nothing waits and nothing more will come. Write the last gaps, and end.
    End(Vec<Gap>),
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Recorded,
    Lost,
}

impl Queue {
    pub(crate) fn new(mut settings: RecorderSettings) -> Self {
        settings.queue_events_max = settings.queue_events_max.max(1);
        settings.batch_events_max = settings.batch_events_max.clamp(1, settings.queue_events_max);
        let state = State {
            phase: Phase::Running,
            waiting: Vec::with_capacity(settings.queue_events_max.min(RESERVED_EVENTS_MAX)),
            waiting_bytes: 0,
            waiting_since: None,
            waiting_span: None,
            taken: 0,
            taken_bytes: 0,
            taken_since: None,
            taken_span: None,
            accepted: 0,
            settled: 0,
            flushes: 0,
            asleep: false,
            gaps: PendingGaps::default(),
            taken_gaps: Vec::new(),
            recorded: 0,
            lost: LostCounts::default(),
            batches: 0,
            last_error: None,
            failing: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), progress: Condvar::new(), settings }
    }

    // Only code of this file runs under the lock and leaves the numbers whole; a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `event`, or counts it as lost. Never waits for the store.
    pub(crate) fn push(&self, event: Event) {
        let bytes = approximate_bytes(&event);
        let mut state = self.lock();
        if state.phase != Phase::Running {
            return state.lose(GapCause::NotRunning, &event);
        }
        let bytes_after = state.waiting_bytes.saturating_add(state.taken_bytes).saturating_add(bytes);
        if state.waiting.len() + state.taken >= self.settings.queue_events_max
            || bytes_after > self.settings.queue_bytes_max
        {
            return state.lose(GapCause::QueueFull, &event);
        }
        if state.waiting.is_empty() {
            state.waiting_since = Some(Instant::now());
        }
        let time = event.time;
        let span = state.waiting_span.get_or_insert(TimeRange { from: time, to: time });
        (span.from, span.to) = (span.from.min(time), span.to.max(time));
        state.waiting.push(event);
        state.waiting_bytes += bytes;
        state.accepted += 1;
        // Waking costs a system call: only when the writer sleeps, or may be lingering over what is now a full batch.
        let wake = state.asleep || state.waiting.len() == self.settings.batch_events_max;
        state.asleep = false;
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    /// For the writer: waits until there is something to write or `patience` has passed, lets the batch grow for the
    /// time of the linger, and swaps what waits into `taken`, which must be empty.
    pub(crate) fn take(&self, taken: &mut Vec<Event>, patience: Duration) -> Turn {
        let mut state = self.lock();
        if state.waiting.is_empty() && state.phase == Phase::Running {
            state.asleep = true;
            state = wait(&self.work, state, patience, |s| s.waiting.is_empty() && s.phase == Phase::Running);
            state.asleep = false;
        }
        if !state.waiting.is_empty() {
            let batch_events_max = self.settings.batch_events_max;
            state = wait(&self.work, state, self.settings.linger, |s| {
                s.phase == Phase::Running && s.flushes == 0 && s.waiting.len() < batch_events_max
            });
        }
        let ended = state.waiting.is_empty() && state.phase != Phase::Running;
        std::mem::swap(&mut state.waiting, taken);
        state.taken = taken.len();
        state.taken_bytes = std::mem::take(&mut state.waiting_bytes);
        state.taken_since = state.waiting_since.take();
        state.taken_span = state.waiting_span.take();
        let gaps = state.gaps.take();
        state.taken_gaps.clone_from(&gaps);
        if ended { Turn::End(gaps) } else { Turn::Write(gaps) }
    }

    /// For the writer: what became of `events`, the first of those taken, and of the gaps that went with them.
    pub(crate) fn settle(&self, events: &[Event], gaps: Vec<Gap>, outcome: Outcome) {
        let bytes: usize = events.iter().map(approximate_bytes).sum();
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        state.taken_gaps.clear();
        match outcome {
            Outcome::Recorded => {
                state.failing = false;
                state.recorded += count;
                state.batches += u64::from(count > 0);
            }
            Outcome::Lost => {
                state.gaps.put_back(gaps);
                for event in events {
                    state.lose(GapCause::StoreFailed, event);
                }
            }
        }
        state.settled += count;
        state.taken = state.taken.saturating_sub(events.len());
        state.taken_bytes = state.taken_bytes.saturating_sub(bytes);
        if state.taken == 0 {
            state.taken_since = None;
            state.taken_span = None;
        }
        drop(state);
        self.progress.notify_all();
    }

    /// For the writer: the store did not take what it was given.
    pub(crate) fn note_error(&self, error: String) {
        let mut state = self.lock();
        state.last_error = Some(error);
        state.failing = true;
    }

    /// For the writer: the store took a mark, and with it stands good again.
    pub(crate) fn note_mark(&self) {
        self.lock().failing = false;
    }

    /// The losses that the store may not know of: those that wait to be told, and those that are being told.
    pub(crate) fn pending_gaps(&self) -> Vec<Gap> {
        let state = self.lock();
        [state.taken_gaps.as_slice(), state.gaps.as_slice()].concat()
    }

    /// For the writer: whether the store knows of every loss so far.
    pub(crate) fn is_free_of_gaps(&self) -> bool {
        self.lock().gaps.is_empty()
    }

    /// For the writer: waits before a retry. False, at once, when the recorder is to stop.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        wait(&self.work, self.lock(), pause, |s| s.phase == Phase::Running).phase == Phase::Running
    }

    /// For the writer: whether what it holds is to be given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().phase == Phase::Abandoned
    }

    /// Waits until everything that was queued before is settled; false when it is not by then.
    pub(crate) fn flush(&self, deadline: Duration) -> bool {
        let mut state = self.lock();
        let target = state.accepted;
        state.flushes += 1;
        self.work.notify_one();
        state = wait(&self.progress, state, deadline, |s| s.settled < target);
        state.flushes -= 1;
        state.settled >= target
    }

    /// Takes nothing in from now on; wakes the writer for the rest.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Running {
            state.phase = Phase::Draining;
        }
        drop(state);
        self.work.notify_one();
    }

    /// Waits for the writer to end. When it has not by then, gives up what it has not taken yet.
    pub(crate) fn await_end(&self, deadline: Duration) -> bool {
        let mut state = wait(&self.progress, self.lock(), deadline, |s| s.phase != Phase::Stopped);
        if state.phase == Phase::Stopped {
            return true;
        }
        state.phase = Phase::Abandoned;
        state.lose_waiting();
        drop(state);
        self.work.notify_one();
        self.progress.notify_all();
        false
    }

    /// The writer is gone, whether it meant to or not: nothing is left unsettled.
    pub(crate) fn ended(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Running {
            state.last_error = Some("the recorder's thread has ended".to_owned());
            state.failing = true;
        }
        state.phase = Phase::Stopped;
        state.lose_waiting();
        state.lose_taken();
        drop(state);
        self.progress.notify_all();
    }

    pub(crate) fn counts(&self) -> RecorderCounts {
        let state = self.lock();
        RecorderCounts {
            recorded: state.recorded,
            lost: state.lost,
            queued: u64::try_from(state.waiting.len() + state.taken).unwrap_or(u64::MAX),
            batches: state.batches,
            last_error: state.last_error.clone(),
            failing: state.failing,
            lag: state.taken_since.or(state.waiting_since).map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }
}

impl State {
    fn lose(&mut self, cause: GapCause, event: &Event) {
        self.lost.add(cause, 1);
        self.gaps.note(cause, event.time);
    }

    fn lose_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for event in &waiting {
            self.lose(GapCause::StoreFailed, event);
        }
        self.settled += u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        self.waiting_bytes = 0;
        self.waiting_since = None;
        self.waiting_span = None;
    }

    /// What the writer held when it went.
    fn lose_taken(&mut self) {
        let told = std::mem::take(&mut self.taken_gaps);
        self.gaps.put_back(told);
        let held = u64::try_from(std::mem::take(&mut self.taken)).unwrap_or(u64::MAX);
        if let (1.., Some(TimeRange { from, to })) = (held, self.taken_span.take()) {
            self.gaps.merge(Gap { from, to, lost: Some(held), cause: GapCause::StoreFailed });
        }
        self.lost.add(GapCause::StoreFailed, held);
        self.settled += held;
        self.taken_bytes = 0;
        self.taken_since = None;
    }
}

fn wait<'a>(
    signal: &Condvar,
    state: MutexGuard<'a, State>,
    at_most: Duration,
    unfinished: impl FnMut(&mut State) -> bool,
) -> MutexGuard<'a, State> {
    signal.wait_timeout_while(state, at_most, unfinished).unwrap_or_else(PoisonError::into_inner).0
}
