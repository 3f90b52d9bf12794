//! A store in memory: for tests, for trying out, and as the model that other stores are compared with. Nothing in it
//! survives the process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tracemq_model::{Event, Gap, InstanceId, Order, Subject, TimeMs, TimeRange, TracePage, TraceQuery};

use crate::{Batch, Beginnings, EventStore, StoreError, StoreStats, check, gaps_overlapping, window};

/// More gaps than this are not kept, the oldest go first: ten times as many as one answer takes.
const GAPS_KEPT_MAX: usize = 10_000;

/// Keeps the newest events in memory; when there are more than its bound, those that arrived first are dropped.
#[derive(Debug)]
pub struct MemoryStore {
    events_max: usize,
    state: RwLock<State>,
    orphans: Vec<Event>,
    last_alive: Option<TimeMs>,
}

#[derive(Clone, Debug, Default)]
struct State {
    subjects: HashMap<(InstanceId, Subject), VecDeque<Row>>,
    /// All events in order of arrival, also those that no subject leads to.
    arrivals: VecDeque<Row>,
    arrived: u64,
    /// Sorted by first moment.
    gaps: VecDeque<Gap>,
    alive: Option<TimeMs>,
}

#[derive(Clone, Debug)]
struct Row {
    time: TimeMs,
    arrival: u64,
    event: Arc<Event>,
}

impl Row {
    fn key(&self) -> (TimeMs, u64) {
        (self.time, self.arrival)
    }
}

impl MemoryStore {
    /// An empty store that keeps at most `events_max` events (about 500 bytes each).
    pub fn new(events_max: usize) -> Self {
        Self { events_max, state: RwLock::default(), orphans: Vec::new(), last_alive: None }
    }

    /// The store as the next process would find it, if memory outlived processes: same events and gaps; orphans and
    /// last sign of life as they stand now. Lets a test restart what writes to it.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let state = self.read().clone();
        let mut beginnings = Beginnings::default();
        for row in &state.arrivals {
            beginnings.note(row.event.connection, row.event.action, row);
        }
        let mut orphans: Vec<&Row> = beginnings.into_orphans().collect();
        orphans.sort_unstable_by_key(|row| row.arrival);
        let orphans = orphans.into_iter().map(|row| Event::clone(&row.event)).collect();
        Self { events_max: self.events_max, last_alive: state.alive, orphans, state: RwLock::new(state) }
    }

    // No caller's code runs under the lock, so that a poisoned one still holds whole batches.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, event: &Event) {
        let row = Row { time: event.time, arrival: self.arrived, event: Arc::new(event.clone()) };
        self.arrived += 1;
        if let Some(subject) = Subject::of(event) {
            let rows = self.subjects.entry((event.instance.clone(), subject)).or_default();
            let at = rows.partition_point(|other| other.key() < row.key());
            rows.insert(at, row.clone());
        }
        self.arrivals.push_back(row);
    }

    fn drop_oldest(&mut self) {
        let Some(row) = self.arrivals.pop_front() else { return };
        let Some(subject) = Subject::of(&row.event) else { return };
        let key = (row.event.instance.clone(), subject);
        let Some(rows) = self.subjects.get_mut(&key) else { return };
        if let Ok(at) = rows.binary_search_by_key(&row.key(), Row::key) {
            rows.remove(at);
        }
        if rows.is_empty() {
            self.subjects.remove(&key);
        }
    }

    fn insert_gap(&mut self, gap: Gap) {
        let at = self.gaps.partition_point(|other| other.from <= gap.from);
        self.gaps.insert(at, gap);
        if self.gaps.len() > GAPS_KEPT_MAX {
            self.gaps.pop_front();
        }
    }
}

impl EventStore for MemoryStore {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut state = self.write();
        for event in &batch.events {
            state.insert(event);
            if state.arrivals.len() > self.events_max {
                state.drop_oldest();
            }
        }
        for gap in &batch.gaps {
            state.insert_gap(*gap);
        }
        Ok(())
    }

    fn page(&self, query: &TraceQuery) -> Result<TracePage, StoreError> {
        check(query)?;
        let state = self.read();
        let gaps = gaps_overlapping(state.gaps.iter().copied(), query.range);
        let Some(rows) = state.subjects.get(&(query.instance.clone(), query.subject.clone())) else {
            return Ok(TracePage { gaps, ..TracePage::default() });
        };
        let first = rows.partition_point(|row| row.time < query.range.from);
        let behind = rows.partition_point(|row| row.time <= query.range.to).max(first);
        let total = behind - first;
        let page = window(total, query);
        let mut events: Vec<Event> =
            rows.range(first + page.start..first + page.end).map(|row| Event::clone(&row.event)).collect();
        if query.order == Order::NewestFirst {
            events.reverse();
        }
        Ok(TracePage { total: u64::try_from(total).unwrap_or(u64::MAX), events, gaps })
    }

    fn gaps(&self, range: TimeRange) -> Result<Vec<Gap>, StoreError> {
        Ok(gaps_overlapping(self.read().gaps.iter().copied(), range))
    }

    fn orphans(&self) -> Result<Vec<Event>, StoreError> {
        Ok(self.orphans.clone())
    }

    fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError> {
        self.write().alive = Some(now);
        Ok(())
    }

    fn last_alive(&self) -> Option<TimeMs> {
        self.last_alive
    }

    fn stats(&self) -> StoreStats {
        let state = self.read();
        let events = state.subjects.values().map(VecDeque::len).sum::<usize>();
        StoreStats {
            events: u64::try_from(events).unwrap_or(u64::MAX),
            subjects: u64::try_from(state.subjects.len()).unwrap_or(u64::MAX),
            bytes: 0,
        }
    }
}
