//! A store in memory: for tests, for trying out, and as the model that other stores are compared with. Nothing in it
//! survives the process.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tracemq_model::{
    ConnectionId, Counts, Event, Filter, Gap, InstanceId, Order, Pattern, Subject, SubjectPage, TimeMs, TimeRange,
    TracePage, TraceQuery,
};

use crate::paging::joined;
use crate::{
    Batch, Beginnings, CountsBuilder, EventStore, StoreError, StoreStats, TallyBuilder, Visit, VisitTally, check,
    check_limit, gaps_overlapping, window,
};

/// More gaps than this are not kept apart, the oldest become one: ten times as many as one answer takes.
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
    /// What pages are read from: the events that a subject leads to, by (time, arrival).
    subjects: HashMap<InstanceId, BTreeMap<Subject, VecDeque<Row>>>,
    /// All events in order of arrival, also those that no subject leads to.
    arrivals: VecDeque<Row>,
    arrived: u64,
    /// Connections that ended under a subject that was erased; the newest, as many as there may be events.
    erased_ends: VecDeque<ConnectionId>,
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
        let ended: HashSet<&ConnectionId> = state.erased_ends.iter().collect();
        let mut orphans: Vec<&Row> = beginnings
            .into_orphans()
            .map(|(.., row)| row)
            .filter(|row| !ended.contains(&row.event.connection))
            .collect();
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

    /// The events that `filter` asks for in order of arrival, and the gaps in its range.
    fn matching(&self, filter: &Filter) -> (Vec<Arc<Event>>, Vec<Gap>) {
        let state = self.read();
        let rows = state.arrivals.iter().filter(|row| filter.matches(&row.event));
        let events = rows.map(|row| Arc::clone(&row.event)).collect();
        (events, gaps_overlapping(state.gaps.iter().copied(), filter.range))
    }
}

impl State {
    fn rows(&self, instance: &InstanceId, subject: &Subject) -> Option<&VecDeque<Row>> {
        self.subjects.get(instance)?.get(&subject.canonical())
    }

    fn insert(&mut self, event: &Event) {
        let row = Row { time: event.time, arrival: self.arrived, event: Arc::new(event.clone()) };
        self.arrived += 1;
        if let Some(subject) = Subject::of(event) {
            let rows = self.subjects.entry(event.instance.clone()).or_default().entry(subject).or_default();
            let at = rows.partition_point(|other| other.key() < row.key());
            rows.insert(at, row.clone());
        }
        self.arrivals.push_back(row);
    }

    fn drop_oldest(&mut self) {
        let Some(row) = self.arrivals.pop_front() else { return };
        let Some(subject) = Subject::of(&row.event) else { return };
        let Some(subjects) = self.subjects.get_mut(&row.event.instance) else { return };
        let Some(rows) = subjects.get_mut(&subject) else { return };
        if let Ok(at) = rows.binary_search_by_key(&row.key(), Row::key) {
            rows.remove(at);
        }
        if rows.is_empty() {
            subjects.remove(&subject);
        }
    }

    fn erase(&mut self, instance: &InstanceId, subject: &Subject, ends_max: usize) -> u64 {
        let subjects = self.subjects.get_mut(instance);
        let Some(rows) = subjects.and_then(|subjects| subjects.remove(&subject.canonical())) else { return 0 };
        self.arrivals.retain(|row| row.event.instance != *instance || !subject.is_of(&row.event));
        let ends = rows.iter().filter(|row| row.event.action.is_end());
        self.erased_ends.extend(ends.map(|row| row.event.connection));
        let surplus = self.erased_ends.len().saturating_sub(ends_max);
        self.erased_ends.drain(..surplus);
        u64::try_from(rows.len()).unwrap_or(u64::MAX)
    }

    fn insert_gap(&mut self, gap: Gap) {
        let at = self.gaps.partition_point(|other| other.from <= gap.from);
        self.gaps.insert(at, gap);
        if self.gaps.len() > GAPS_KEPT_MAX
            && let Some(oldest) = self.gaps.pop_front()
            && let Some(next) = self.gaps.front_mut()
        {
            *next = joined(oldest, *next);
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
        let Some(rows) = state.rows(&query.instance, &query.subject) else {
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

    fn page_at_once(&self, query: &TraceQuery) -> Result<Option<TracePage>, StoreError> {
        self.page(query).map(Some)
    }

    fn scan(&self, filter: &Filter, order: Order, visit: &mut Visit<'_>) -> Result<Vec<Gap>, StoreError> {
        let (mut events, gaps) = self.matching(filter);
        // Stable: what is alike in both stays in the order of arrival.
        events.sort_by_cached_key(|event| (event.time, Subject::of(event)));
        if order == Order::NewestFirst {
            events.reverse();
        }
        // A break says that no more is wanted, which is no failure.
        let _ = events.iter().try_for_each(|event| visit(event));
        Ok(gaps)
    }

    fn counts(&self, filter: &Filter, bucket_ms: u64) -> Result<Counts, StoreError> {
        let mut builder = CountsBuilder::new(bucket_ms)?;
        let (events, gaps) = self.matching(filter);
        for event in events {
            builder.add(event.time, event.action, event.reason, 1)?;
        }
        Ok(Counts { counts: builder.finish(), gaps })
    }

    fn tally(&self, filter: &Filter, visit: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError> {
        let mut builder = TallyBuilder::default();
        let (events, gaps) = self.matching(filter);
        for event in events {
            builder.add(&event);
        }
        let _ = builder.finish().try_for_each(|tally| visit(&tally));
        Ok(gaps)
    }

    fn subjects(
        &self,
        instance: &InstanceId,
        pattern: &Pattern,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<SubjectPage, StoreError> {
        check_limit(limit)?;
        let matcher = pattern.matcher();
        let state = self.read();
        let Some(subjects) = state.subjects.get(instance) else { return Ok(SubjectPage::default()) };
        let after = after.map(Subject::canonical);
        let behind = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let all = subjects.range::<Subject, _>((behind, Bound::Unbounded)).map(|(subject, _)| subject);
        let mut found = all.filter(|subject| matcher.matches_subject(subject));
        let subjects = found.by_ref().take(limit).cloned().collect();
        Ok(SubjectPage { subjects, more: found.next().is_some(), gaps: Vec::new() })
    }

    fn erase(&self, instance: &InstanceId, subject: &Subject) -> Result<u64, StoreError> {
        Ok(self.write().erase(instance, subject, self.events_max))
    }

    fn gaps(&self, range: TimeRange) -> Result<Vec<Gap>, StoreError> {
        Ok(gaps_overlapping(self.read().gaps.iter().copied(), range))
    }

    fn orphans(&self, visit: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        self.orphans.iter().cloned().for_each(visit);
        Ok(())
    }

    fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError> {
        self.write().alive = Some(now);
        Ok(())
    }

    fn last_alive(&self) -> Option<TimeMs> {
        self.last_alive
    }

    fn stats(&self) -> StoreStats {
        StoreStats { events: u64::try_from(self.read().arrivals.len()).unwrap_or(u64::MAX), bytes: 0 }
    }
}
