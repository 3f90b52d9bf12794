//! What arrived last, in memory: readable at once, and sealed into segments when it has grown to its bound.
//!
//! Rows stand in the order of arrival and are never moved, so that a row's place is its arrival. Rows behind
//! [`Memtable::visible`] are written but not yet durable: no question sees them.

mod ordered;
mod rows;
mod subjects;
#[cfg(test)]
mod tests;
mod texts;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashMap;
use tracemq_model::{ConnectionId, Event, Gap, InstanceId, TimeMs, TimeRange};

use crate::cells;
use crate::key::{self, Key};
use crate::row::{Kind, Row};

pub(crate) use rows::MemoryRows;
use subjects::{Hint, Subjects};
use texts::Texts;

/// So many rows are put in, or looked at, before others get their turn: some tens of microseconds.
const ROWS_A_TURN: usize = 512;

/// What the cells of a row take at most, mostly.
const CELLS_BYTES: usize = 32;

/// Counts by minute since 1970 and kind.
pub(crate) type Minutes = HashMap<(i64, Kind), u64>;

/// What arrived last.
pub(crate) struct Memtable {
    state: RwLock<State>,
    visible: AtomicUsize,
    /// Rows that were shown to whoever seals it.
    sealed: AtomicUsize,
    /// Of the visible rows, those that have been erased.
    erased: AtomicUsize,
    gaps: Mutex<Vec<Gap>>,
}

#[derive(Default)]
struct State {
    rows: Vec<Stored>,
    cells: Vec<u8>,
    subjects: Subjects,
    texts: Texts,
    instances: Vec<Instance>,
    times: Option<TimeRange>,
    /// Connections whose end has been erased: they ended nevertheless, and may have begun under another subject.
    erased_ends: Vec<ConnectionId>,
}

struct Instance {
    name: InstanceId,
    minutes: Minutes,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    row: Row,
    subject: u32,
    cells_at: u32,
    cells_len: u16,
}

/// A row as it is sealed: subject after subject, in the order of their keys, by time and arrival.
pub(crate) struct Sealable<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) row: &'a Row,
    pub(crate) cells: &'a [u8],
}

impl Memtable {
    /// An empty one that is expected to take up to `rows` rows.
    pub(crate) fn new(rows: usize) -> Self {
        // The last batch may go beyond.
        let rows = rows.saturating_add(rows / 8);
        // Pages that are not touched take no memory. What is taken in one piece is given back in one piece as well, where
        // what had grown by doubling would leave holes that the allocator keeps.
        let state = State {
            rows: Vec::with_capacity(rows),
            cells: Vec::with_capacity(rows.saturating_mul(CELLS_BYTES)),
            subjects: Subjects::with_capacity(rows),
            ..State::default()
        };
        Self {
            state: RwLock::new(state),
            visible: AtomicUsize::new(0),
            sealed: AtomicUsize::new(0),
            erased: AtomicUsize::new(0),
            gaps: Mutex::default(),
        }
    }

    // No caller's code runs under the lock but for reading.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `events` behind what is there, without showing them, and gives the number of rows after that.
    pub(crate) fn insert(&self, events: &[Event]) -> usize {
        let (mut keys, mut ends) = (Vec::new(), Vec::with_capacity(ROWS_A_TURN));
        for turn in events.chunks(ROWS_A_TURN) {
            keys.clear();
            ends.clear();
            for event in turn {
                key::push_key_of(event, &mut keys);
                ends.push(keys.len());
            }
            self.write().insert(turn, &keys, &ends);
        }
        self.read().rows.len()
    }

    /// Shows the rows before `rows`.
    pub(crate) fn show(&self, rows: usize) {
        self.visible.fetch_max(rows, Ordering::AcqRel);
    }

    /// How many rows can be seen.
    pub(crate) fn visible(&self) -> usize {
        self.visible.load(Ordering::Acquire)
    }

    /// How many of the rows that can be seen have been erased.
    pub(crate) fn erased(&self) -> usize {
        self.erased.load(Ordering::Relaxed)
    }

    /// How many rows there are, visible or not.
    pub(crate) fn len(&self) -> usize {
        self.read().rows.len()
    }

    /// Whether it holds neither rows nor gaps.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.gaps().is_empty()
    }

    /// From the earliest to the latest row, visible or not; all of time when there is none.
    pub(crate) fn times(&self) -> TimeRange {
        self.read().times.unwrap_or(TimeRange::ALL)
    }

    /// Adds gaps, and shows them.
    pub(crate) fn add_gaps(&self, gaps: &[Gap]) {
        if !gaps.is_empty() {
            self.gaps.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(gaps);
        }
    }

    /// The gaps that it holds, in the order of arrival.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many gaps it holds.
    pub(crate) fn gap_count(&self) -> usize {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The memory that it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let state = self.read();
        state.rows.len() * size_of::<Stored>() + state.cells.len() + state.subjects.bytes() + state.texts.bytes()
    }

    /// The rows of `key`, of the first `visible` ones; none without any.
    pub(crate) fn rows_of(self: &Arc<Self>, key: &[u8], visible: usize) -> Option<MemoryRows> {
        MemoryRows::find(self, key, visible)
    }

    /// Hides what stands under `key`, and gives the number of rows.
    pub(crate) fn erase(&self, key: &[u8]) -> usize {
        let mut state = self.write();
        let Some(subject) = state.subjects.find(key) else { return 0 };
        let rows = state.subjects.erase(subject);
        self.erased.fetch_add(rows.len(), Ordering::Relaxed);
        let Some(read) = Key::read(key) else { return 0 };
        for row in &rows {
            let Some(stored) = state.rows.get(*row as usize).copied() else { continue };
            if stored.row.kind.parts().is_some_and(|(action, ..)| action.is_end()) {
                state.erased_ends.push(stored.row.connection);
            }
            state.count(&read.instance, stored.row, |count| count.saturating_sub(1));
        }
        rows.len()
    }

    /// Shows `visit` the rows among the first `visible` ones whose time and kind `wanted` takes, in order of arrival, with
    /// the number of their subject. Others get their turn in between.
    pub(crate) fn each(
        &self,
        visible: usize,
        mut wanted: impl FnMut(&Row) -> bool,
        mut visit: impl FnMut(usize, u32, &Row),
    ) {
        let mut at = 0;
        while at < visible {
            let state = self.read();
            let end = visible.min(at + ROWS_A_TURN * 8);
            for (row, stored) in (at..).zip(state.rows.get(at..end).unwrap_or_default()) {
                if wanted(&stored.row) && !state.subjects.is_erased(stored.subject, row) {
                    visit(row, stored.subject, &stored.row);
                }
            }
            at = end;
        }
    }

    /// The key of the subject of that number.
    pub(crate) fn key(&self, subject: u32) -> Vec<u8> {
        self.read().subjects.key(subject).to_vec()
    }

    /// The newest time of the subject of that number.
    pub(crate) fn newest(&self, subject: u32) -> Option<TimeMs> {
        let state = self.read();
        state
            .subjects
            .rows(subject)
            .iter()
            .filter_map(|row| state.rows.get(*row as usize))
            .map(|stored| stored.row.time)
            .max()
    }

    /// The event in `row`.
    pub(crate) fn event(&self, row: usize) -> Option<Event> {
        let state = self.read();
        let stored = state.rows.get(row)?;
        let key = Key::read(state.subjects.key(stored.subject))?;
        state.event(stored, &key)
    }

    /// The event in `row`, unless it has been erased.
    pub(crate) fn event_unless_erased(&self, row: usize) -> Option<Event> {
        let is_erased = {
            let state = self.read();
            let stored = state.rows.get(row)?;
            state.subjects.is_erased(stored.subject, row)
        };
        if is_erased { None } else { self.event(row) }
    }

    /// Shows `visit` the key of every subject that has a row among the first `visible` ones, in no order.
    pub(crate) fn each_key(&self, visible: usize, mut visit: impl FnMut(&[u8], u32)) {
        let mut at = 0;
        loop {
            let state = self.read();
            let end = state.subjects.len().min(at + ROWS_A_TURN * 8);
            if at >= end {
                return;
            }
            for subject in at..end {
                let Ok(subject) = u32::try_from(subject) else { return };
                if state.subjects.first_row(subject).is_some_and(|row| row < visible) {
                    visit(state.subjects.key(subject), subject);
                }
            }
            at = end;
        }
    }

    /// The counts of `instance`'s first `visible` rows, by minute and kind.
    pub(crate) fn minutes(&self, instance: &InstanceId, visible: usize) -> Minutes {
        let state = self.read();
        let mut minutes = state
            .instances
            .iter()
            .find(|known| known.name == *instance)
            .map(|known| known.minutes.clone())
            .unwrap_or_default();
        let mut prefix = Vec::new();
        key::push_instance(instance, &mut prefix);
        // What is not durable yet has been counted: at most a batch or two.
        for (row, stored) in state.rows.iter().enumerate().skip(visible) {
            if !state.subjects.is_erased(stored.subject, row)
                && state.subjects.key(stored.subject).starts_with(&prefix)
                && let Some(count) = minutes.get_mut(&(minute(stored.row.time), stored.row.kind))
            {
                *count = count.saturating_sub(1);
            }
        }
        minutes.retain(|_, count| *count > 0);
        minutes
    }

    /// The connections whose end has been erased.
    pub(crate) fn erased_ends(&self) -> Vec<ConnectionId> {
        self.read().erased_ends.clone()
    }

    /// The share of its rows that were shown to whoever seals it, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(crate) fn sealed(&self) -> f64 {
        self.sealed.load(Ordering::Relaxed) as f64 / self.visible().max(1) as f64
    }

    /// Shows `visit` all rows as a segment wants them. Nothing is put in any more, and nothing else is waited for.
    pub(crate) fn seal<E>(&self, mut visit: impl FnMut(Sealable<'_>, &Texts) -> Result<(), E>) -> Result<(), E> {
        let state = self.read();
        self.sealed.store(0, Ordering::Relaxed);
        state.each_in_order(|key, rows| {
            self.sealed.fetch_add(rows.len(), Ordering::Relaxed);
            rows.iter().try_for_each(|stored| {
                let cells = state.cells_of(stored);
                visit(Sealable { key, row: &stored.row, cells }, &state.texts)
            })
        })
    }
}

impl State {
    /// Puts a turn's events in, whose keys stand in `keys` one behind the other, up to `ends`.
    fn insert(&mut self, turn: &[Event], keys: &[u8], ends: &[usize]) {
        let mut start = 0;
        let key_of = |end: &usize| keys.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default();
        let hinted: Vec<(&[u8], Hint)> = ends.iter().map(key_of).map(|key| (key, self.subjects.hint(key))).collect();
        for (event, (key, hint)) in turn.iter().zip(hinted) {
            self.insert_one(event, key, hint);
        }
    }

    fn insert_one(&mut self, event: &Event, key: &[u8], hint: Hint) {
        let row = Row::of(event);
        let times = self.times.get_or_insert(TimeRange { from: row.time, to: row.time });
        (times.from, times.to) = (times.from.min(row.time), times.to.max(row.time));
        let cells_at = self.cells.len();
        cells::push_cells(&event.details, |text| self.texts.intern(text), &mut self.cells);
        let place = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let subject = self.subjects.push(key, hint, place, row.time);
        self.rows.push(Stored {
            row,
            subject,
            cells_at: u32::try_from(cells_at).unwrap_or(u32::MAX),
            cells_len: u16::try_from(self.cells.len() - cells_at).unwrap_or(u16::MAX),
        });
        self.count(&event.instance, row, |count| count + 1);
    }

    fn count(&mut self, instance: &InstanceId, row: Row, change: impl FnOnce(u64) -> u64) {
        let at = match self.instances.iter().position(|known| known.name == *instance) {
            Some(at) => at,
            None => {
                self.instances.push(Instance { name: instance.clone(), minutes: Minutes::default() });
                self.instances.len() - 1
            }
        };
        if let Some(known) = self.instances.get_mut(at) {
            let count = known.minutes.entry((minute(row.time), row.kind)).or_default();
            *count = change(*count);
        }
    }

    fn cells_of(&self, stored: &Stored) -> &[u8] {
        let from = stored.cells_at as usize;
        self.cells.get(from..from + usize::from(stored.cells_len)).unwrap_or_default()
    }

    fn event(&self, stored: &Stored, key: &Key) -> Option<Event> {
        let details = cells::details(self.cells_of(stored), |number| self.texts.get(number))?;
        stored.row.to_event(key, details)
    }
}

/// The minute since 1970 that `time` is in.
pub(crate) fn minute(time: TimeMs) -> i64 {
    time.0.div_euclid(60_000)
}
