//! A store that does as it is told: blocks at a gate, fails, panics.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "a test fails by it; not all tests use all of it")]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tracemq_model::{Action, ClientId, ConnectionId, Counts, Details, Event, Filter, Gap, InstanceId, Order, Pattern};
use tracemq_model::{Provenance, Reason, Subject, SubjectPage, TimeMs, TimeRange, TracePage, TraceQuery};
use tracemq_recorder::{Clock, RecorderSettings};
use tracemq_store::{Batch, EventStore, StoreError, StoreStats, Visit, VisitTally};

/// No test gets near it unless it fails.
pub(crate) const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Full,
    Io,
    Damaged,
    Poisoned,
    Panic,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) closed: bool,
    /// What the next appends do; none for a success.
    pub(crate) script: VecDeque<Option<Fault>>,
    pub(crate) appends: usize,
    pub(crate) batches: Vec<Batch>,
    pub(crate) marks: Vec<TimeMs>,
    pub(crate) orphans: Vec<Event>,
    pub(crate) last_alive: Option<TimeMs>,
}

impl State {
    pub(crate) fn numbers(&self) -> Vec<u128> {
        self.batches.iter().flat_map(|batch| &batch.events).map(|event| event.connection.0).collect()
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        self.batches.iter().flat_map(|batch| batch.gaps.clone()).collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) state: Mutex<State>,
    changed: Condvar,
}

impl Fake {
    pub(crate) fn new(state: State) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(crate) fn failing(script: impl IntoIterator<Item = Option<Fault>>) -> Arc<Self> {
        Self::new(State { script: script.into_iter().collect(), ..State::default() })
    }

    /// Appends wait from now on.
    pub(crate) fn close_gate(&self) {
        self.state.lock().unwrap().closed = true;
    }

    pub(crate) fn open_gate(&self) {
        self.state.lock().unwrap().closed = false;
        self.changed.notify_all();
    }

    pub(crate) fn wait_until(&self, condition: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let (_state, timeout) = self.changed.wait_timeout_while(state, LONG, |state| !condition(state)).unwrap();
        assert!(!timeout.timed_out());
    }
}

impl EventStore for Fake {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap();
        state.appends += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| state.closed).unwrap();
        let path = PathBuf::from("file");
        let source = std::io::Error::other("cable pulled");
        let fault = state.script.pop_front().flatten();
        let outcome = match fault {
            None => {
                state.batches.push(batch.clone());
                Ok(())
            }
            Some(Fault::Full) => Err(StoreError::Full { path, source }),
            Some(Fault::Io) => Err(StoreError::Io { operation: "write", path, source }),
            Some(Fault::Damaged) => Err(StoreError::Damaged { path, offset: 0, length: 1, what: "worn" }),
            Some(Fault::Poisoned) => Err(StoreError::Poisoned { path }),
            Some(Fault::Panic) => {
                drop(state);
                self.changed.notify_all();
                panic!("told to");
            }
        };
        drop(state);
        self.changed.notify_all();
        outcome
    }

    fn page(&self, _: &TraceQuery) -> Result<TracePage, StoreError> {
        Ok(TracePage::default())
    }

    fn scan(&self, _: &Filter, _: Order, _: &mut Visit<'_>) -> Result<Vec<Gap>, StoreError> {
        Ok(Vec::new())
    }

    fn counts(&self, _: &Filter, _: u64) -> Result<Counts, StoreError> {
        Ok(Counts::default())
    }

    fn tally(&self, _: &Filter, _: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError> {
        Ok(Vec::new())
    }

    fn subjects(&self, _: &InstanceId, _: &Pattern, _: Option<&Subject>, _: usize) -> Result<SubjectPage, StoreError> {
        Ok(SubjectPage::default())
    }

    fn erase(&self, _: &InstanceId, _: &Subject) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn gaps(&self, _: TimeRange) -> Result<Vec<Gap>, StoreError> {
        Ok(self.state.lock().unwrap().gaps())
    }

    fn orphans(&self, visit: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        let orphans = self.state.lock().unwrap().orphans.clone();
        orphans.into_iter().for_each(visit);
        Ok(())
    }

    fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError> {
        self.state.lock().unwrap().marks.push(now);
        self.changed.notify_all();
        Ok(())
    }

    fn last_alive(&self) -> Option<TimeMs> {
        self.state.lock().unwrap().last_alive
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}

pub(crate) fn event(number: u128, time: i64) -> Event {
    Event {
        time: TimeMs(time),
        instance: InstanceId::new("mqtt-local").unwrap(),
        connection: ConnectionId(number),
        action: Action::Connect,
        reason: Reason::Accepted,
        provenance: Provenance::Observed,
        client: Some(ClientId::new("device").unwrap()),
        peer: None,
        details: Details::default(),
    }
}

pub(crate) fn clock(now: i64) -> Clock {
    Arc::new(move || TimeMs(now))
}

/// Writes at once and tries again at once.
pub(crate) fn prompt() -> RecorderSettings {
    RecorderSettings { linger: Duration::ZERO, retry_pause: Duration::ZERO, ..RecorderSettings::default() }
}
