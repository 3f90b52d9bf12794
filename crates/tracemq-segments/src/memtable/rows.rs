//! The rows of one subject in a memtable, by time and arrival.

use std::ops::Range;
use std::sync::Arc;

use tracemq_model::{Event, TimeMs};

use super::{Memtable, State};
use crate::key::Key;

/// The rows of one subject, as they stood when they were looked up.
pub(crate) struct MemoryRows {
    memtable: Arc<Memtable>,
    subject: u32,
    order: Order,
}

enum Order {
    /// As they arrived: the first so many of the subject's rows, from the one at this place on.
    Arrival { first: usize, count: usize },
    /// Some arrived late: in a list of their own.
    Sorted(Vec<u32>),
}

impl MemoryRows {
    pub(super) fn find(memtable: &Arc<Memtable>, key: &[u8], visible: usize) -> Option<Self> {
        let state = memtable.read();
        let subject = state.subjects.find(key)?;
        let rows = state.subjects.rows(subject);
        let count = rows.partition_point(|row| (*row as usize) < visible);
        let first = *rows.first()?;
        if count == 0 {
            return None;
        }
        if state.subjects.is_sorted(subject, count) {
            let order = Order::Arrival { first: first as usize, count };
            return Some(Self { memtable: Arc::clone(memtable), subject, order });
        }
        let late = rows.get(..count).unwrap_or_default().iter();
        let mut timed: Vec<(Option<TimeMs>, u32)> = late.map(|row| (state.time(*row), *row)).collect();
        // Sorting may take its time, and nobody waits for it. Of one time, what arrived first comes first.
        drop(state);
        timed.sort_unstable();
        let order = Order::Sorted(timed.into_iter().map(|(_, row)| row).collect());
        Some(Self { memtable: Arc::clone(memtable), subject, order })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        let count = match &self.order {
            Order::Arrival { count, .. } => *count,
            Order::Sorted(rows) => rows.len(),
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// How many of them are before `time`.
    pub(crate) fn lower_bound(&self, time: TimeMs) -> u64 {
        let state = self.memtable.read();
        let count = self.places(&state).partition_point(|row| state.time(*row).is_some_and(|found| found < time));
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// The time of the row at `place`.
    pub(crate) fn time(&self, place: u64) -> Option<TimeMs> {
        let state = self.memtable.read();
        let row = *self.places(&state).get(usize::try_from(place).ok()?)?;
        state.time(row)
    }

    /// Shows `take` the events at `places`, which are of the subject that `key` names.
    pub(crate) fn events(&self, places: Range<u64>, key: &Key, take: impl FnMut(Event)) {
        let state = self.memtable.read();
        let range =
            usize::try_from(places.start).unwrap_or(usize::MAX)..usize::try_from(places.end).unwrap_or(usize::MAX);
        let rows = self.places(&state).get(range).unwrap_or_default();
        rows.iter().filter_map(|row| state.event(state.rows.get(*row as usize)?, key)).for_each(take);
    }

    fn places<'a>(&'a self, state: &'a State) -> &'a [u32] {
        match &self.order {
            Order::Arrival { first, count } => {
                let rows = state.subjects.rows(self.subject);
                // Nothing, once they have been erased meanwhile.
                if rows.first().is_some_and(|row| *row as usize == *first) {
                    rows.get(..*count).unwrap_or_default()
                } else {
                    &[]
                }
            }
            Order::Sorted(rows) => rows,
        }
    }
}

impl State {
    fn time(&self, row: u32) -> Option<TimeMs> {
        self.rows.get(row as usize).map(|stored| stored.row.time)
    }
}
