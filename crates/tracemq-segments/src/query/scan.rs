//! Events of many subjects in the order of time, though they are stored by subject.
//!
//! Each pass goes through the rows and keeps the first so many that it meets in the order asked for; the next pass goes on
//! behind them. So memory is bounded, and a window with few matches takes one pass.

use std::cmp::Ordering;
use std::sync::Arc;

use tracemq_model::{Event, Filter, Gap, Order, TimeMs, TimeRange};
use tracemq_store::{StoreError, Visit};

use super::damage::Unreadable;
use super::gaps;
use super::matches::{Keys, Matches};
use crate::key::{self, Key};
use crate::memtable::Memtable;
use crate::view::Snapshot;

/// Events that a pass keeps, of about 300 bytes each; a pass holds twice as many for a moment.
#[cfg(not(test))]
const EVENTS_A_PASS: usize = 32_768;
#[cfg(test)]
const EVENTS_A_PASS: usize = 7;

/// An event and its place in the order of all.
struct Found {
    time: TimeMs,
    key: Arc<[u8]>,
    /// Which source, counted from the oldest.
    age: usize,
    row: u64,
    event: Event,
}

impl Found {
    fn compare(&self, other: &Self) -> Ordering {
        let place = |found: &Self| (found.age, found.row);
        self.time.cmp(&other.time).then_with(|| self.key.cmp(&other.key)).then_with(|| place(self).cmp(&place(other)))
    }
}

/// The first events in the order asked for, behind those that have been shown.
struct Pass<'a> {
    order: Order,
    behind: Option<&'a Found>,
    range: TimeRange,
    found: Vec<Found>,
    events_max: usize,
    overflowed: bool,
}

pub(crate) fn scan(
    snapshot: &Snapshot,
    filter: &Filter,
    order: Order,
    visit: &mut Visit<'_>,
) -> Result<Vec<Gap>, StoreError> {
    let unreadable = scan_all(snapshot, std::slice::from_ref(filter), order, EVENTS_A_PASS, visit)?;
    Ok(gaps(snapshot, filter.range, unreadable))
}

/// The events that any of `filters` asks for, in one order; no event may be asked for by two of them. Keeps `events_a_pass` in
/// memory, twice as many for a moment. Gives what was left out, which is not on record as a gap.
pub(crate) fn scan_all(
    snapshot: &Snapshot,
    filters: &[Filter],
    order: Order,
    events_a_pass: usize,
    visit: &mut Visit<'_>,
) -> Result<Unreadable, StoreError> {
    let mut unreadable = Unreadable::default();
    let kept: Vec<(&Filter, TimeRange)> =
        filters.iter().map(|filter| (filter, snapshot.kept(&filter.instance, filter.range))).collect();
    let from = kept.iter().map(|(_, range)| range.from).min().unwrap_or(TimeMs::MAX);
    let to = kept.iter().map(|(_, range)| range.to).max().unwrap_or(TimeMs::MIN);
    let mut range = TimeRange { from, to };
    let mut last: Option<Found> = None;
    while range.from <= range.to {
        let (behind, found) = (last.as_ref(), Vec::new());
        let mut pass = Pass { order, behind, range, found, events_max: events_a_pass.max(1), overflowed: false };
        let mut of_pass = Unreadable::default();
        for (filter, kept) in &kept {
            pass.fill(snapshot, filter, *kept, &mut of_pass)?;
        }
        unreadable.merge(of_pass);
        pass.shrink();
        let Pass { found, overflowed, .. } = pass;
        for found in &found {
            if visit(&found.event).is_break() {
                return Ok(unreadable);
            }
        }
        if !overflowed {
            break;
        }
        last = found.into_iter().next_back();
        if let Some(last) = &last {
            match order {
                Order::OldestFirst => range.from = last.time,
                Order::NewestFirst => range.to = last.time,
            }
        }
    }
    Ok(unreadable)
}

impl Pass<'_> {
    /// What is both in the pass's range and in `kept`.
    fn within(&self, kept: TimeRange) -> TimeRange {
        TimeRange { from: self.range.from.max(kept.from), to: self.range.to.min(kept.to) }
    }

    fn fill(
        &mut self,
        snapshot: &Snapshot,
        filter: &Filter,
        kept: TimeRange,
        unreadable: &mut Unreadable,
    ) -> Result<(), StoreError> {
        let mut age = 0;
        for segment in snapshot.segments() {
            age += 1;
            let mut matches = Matches::new(snapshot, segment, filter, self.within(kept), unreadable)?;
            let mut keys = Keys::new(segment);
            let mut known: Option<(std::ops::Range<u64>, Arc<[u8]>, Key)> = None;
            while let Some(found) = matches.next(unreadable)? {
                if !self.within(kept).contains(found.time) {
                    continue;
                }
                if known.as_ref().is_none_or(|(rows, ..)| !rows.contains(&found.row)) {
                    let read = keys.of(found.row).map(|(bytes, rows)| (rows.clone(), Arc::from(bytes)));
                    let times = segment.meta().times;
                    known = unreadable.note(read, times, Some(1))?.and_then(|(rows, bytes): (_, Arc<[u8]>)| {
                        let key = Key::read(&bytes)?;
                        Some((rows, bytes, key))
                    });
                }
                let Some((_, bytes, key)) = &known else { continue };
                let event = matches.event(&found, key);
                let times = TimeRange { from: found.time, to: found.time };
                let Some(event) = unreadable.note(event, times, Some(1))? else { continue };
                self.take(Found { time: found.time, key: Arc::clone(bytes), age, row: found.row, event });
                matches.narrow(self.within(kept));
            }
        }
        for (memtable, visible) in snapshot.memtables() {
            age += 1;
            self.fill_from_memory(memtable, visible, age, filter, kept);
        }
        Ok(())
    }

    fn fill_from_memory(&mut self, memtable: &Memtable, visible: usize, age: usize, filter: &Filter, kept: TimeRange) {
        for (row, event) in matching(memtable, visible, filter, self.within(kept)) {
            if !self.within(kept).contains(event.time) {
                continue;
            }
            let mut bytes = Vec::new();
            key::push_key_of(&event, &mut bytes);
            let row = u64::try_from(row).unwrap_or(u64::MAX);
            self.take(Found { time: event.time, key: bytes.into(), age, row, event });
        }
    }

    fn take(&mut self, found: Found) {
        if self.behind.is_some_and(|behind| compare(self.order, &found, behind).is_le()) {
            return;
        }
        self.found.push(found);
        if self.found.len() >= self.events_max.saturating_mul(2) {
            self.cut();
        }
    }

    /// Keeps the first ones, and looks for nothing behind them any more.
    fn cut(&mut self) {
        let order = self.order;
        if self.found.len() <= self.events_max {
            return;
        }
        let (_, last, _) = self.found.select_nth_unstable_by(self.events_max - 1, |a, b| compare(order, a, b));
        match order {
            Order::OldestFirst => self.range.to = last.time,
            Order::NewestFirst => self.range.from = last.time,
        }
        self.found.truncate(self.events_max);
        self.overflowed = true;
    }

    fn shrink(&mut self) {
        self.cut();
        let order = self.order;
        self.found.sort_unstable_by(|a, b| compare(order, a, b));
    }
}

fn compare(order: Order, one: &Found, other: &Found) -> Ordering {
    match order {
        Order::OldestFirst => one.compare(other),
        Order::NewestFirst => other.compare(one),
    }
}

/// The events of a memtable that are asked for, with their rows, in the order of arrival.
pub(super) fn matching<'a>(
    memtable: &'a Memtable,
    visible: usize,
    filter: &'a Filter,
    range: TimeRange,
) -> impl Iterator<Item = (usize, Event)> + 'a {
    let mut rows = Vec::new();
    memtable.each(
        visible,
        |row| range.contains(row.time) && super::matches::matches_kind(filter, row.kind),
        |row, _, _| rows.push(row),
    );
    rows.into_iter()
        .filter_map(move |row| Some((row, memtable.event(row)?)))
        .filter(move |(_, event)| filter.matches(event))
}
