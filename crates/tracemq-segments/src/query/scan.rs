//! Events of many subjects in the order of time, though they are stored by subject.
//!
//! Each pass goes through the rows of a slice of time and keeps those that are asked for, packed; then it sorts and shows them.
//! The first slices are small, for whoever wants the first few only. A pass that finds more than it may keep goes on with the
//! first of them, and the next pass begins behind these. So memory is bounded, and few passes are needed.

mod run;
mod slices;

use std::sync::Arc;

use hashbrown::HashMap;
use tracemq_model::{Details, Event, Filter, Gap, Order, TimeMs, TimeRange};
use tracemq_store::{StoreError, Visit};

use super::damage::Unreadable;
use super::matches::{Keys, Matches, matches_kind};
use super::{gaps, reading};
use crate::cells;
use crate::key::{self, Key};
use crate::memtable::Memtable;
use crate::segment::Segment;
use crate::view::Snapshot;
use run::{Place, Run, unpack};
use slices::{Asked, Slices, guess};

/// Events that a pass keeps at most: some sixty bytes each, and its key.
#[cfg(not(test))]
const EVENTS_A_PASS: usize = 1_000_000;
#[cfg(test)]
const EVENTS_A_PASS: usize = 14;
/// Bytes that they take at most. With twice that for a moment, when too many were found.
const BYTES_A_PASS: usize = 64 << 20;
/// Slices for this many at first, then for eight times as many, up to half of what a pass keeps. A window with no more than four
/// times as many is one slice.
#[cfg(not(test))]
const EVENTS_AT_FIRST: u64 = 16_384;
#[cfg(test)]
const EVENTS_AT_FIRST: u64 = 3;
const GROWTH: u64 = 8;

pub(crate) fn scan(
    snapshot: &Snapshot,
    filter: &Filter,
    order: Order,
    visit: &mut Visit<'_>,
) -> Result<Vec<Gap>, StoreError> {
    let unreadable = scan_all(snapshot, std::slice::from_ref(filter), order, visit)?;
    Ok(gaps(snapshot, filter.range, unreadable))
}

/// The events that any of `filters` asks for, in one order; no event may be asked for by two of them. Gives what was left out,
/// which is not on record as a gap.
pub(crate) fn scan_all(
    snapshot: &Snapshot,
    filters: &[Filter],
    order: Order,
    visit: &mut Visit<'_>,
) -> Result<Unreadable, StoreError> {
    let mut unreadable = Unreadable::default();
    let asked: Vec<Asked<'_>> =
        filters.iter().map(|filter| (filter, snapshot.kept(&filter.instance, filter.range))).collect();
    let from = asked.iter().map(|(_, range)| range.from).min().unwrap_or(TimeMs::MAX);
    let to = asked.iter().map(|(_, range)| range.to).max().unwrap_or(TimeMs::MIN);
    let mut rest = TimeRange { from, to };
    let slices = if guess(snapshot, &asked) > EVENTS_AT_FIRST * 4 { Slices::new(snapshot, &asked)? } else { None };
    let (mut run, mut behind, mut events_max) = (Run::default(), None, EVENTS_AT_FIRST);
    while rest.from <= rest.to {
        let slice = slices.as_ref().map_or(rest, |slices| slices.first(rest, order, events_max));
        events_max = (events_max * GROWTH).min(u64::try_from(EVENTS_A_PASS / 2).unwrap_or(u64::MAX));
        run.clear();
        let mut pass = Pass { snapshot, order, behind: behind.take(), range: slice, run, kept: None };
        let mut of_pass = Unreadable::default();
        for asked in &asked {
            pass.fill(*asked, &mut of_pass)?;
        }
        unreadable.merge(of_pass);
        let is_cut = pass.finish();
        run = pass.run;
        let (last, is_enough) = show(snapshot, &mut run, order, &mut unreadable, visit)?;
        if is_enough {
            break;
        }
        behind = last.filter(|_| is_cut);
        match (&behind, order) {
            (Some(last), Order::OldestFirst) => rest.from = last.time,
            (Some(last), Order::NewestFirst) => rest.to = last.time,
            (None, Order::OldestFirst) if slice.to < rest.to => rest.from = slice.to.plus(1),
            (None, Order::NewestFirst) if slice.from > rest.from => rest.to = slice.from.plus(-1),
            (None, _) => break,
        }
    }
    Ok(unreadable)
}

/// The last event that was shown.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    time: TimeMs,
    key: Vec<u8>,
    place: Place,
}

/// Shows what a pass has found, and gives the last of it and whether it is enough.
fn show(
    snapshot: &Snapshot,
    run: &mut Run,
    order: Order,
    unreadable: &mut Unreadable,
    visit: &mut Visit<'_>,
) -> Result<(Option<Shown>, bool), StoreError> {
    let memtables: Vec<&Arc<Memtable>> = snapshot.memtables().map(|(memtable, _)| memtable).collect();
    let entries = run.sorted(order);
    let mut last = None;
    for entry in &entries {
        let Some((place, packed)) = run.read(entry) else { continue };
        last = Some((entry, place));
        let source = usize::try_from(place.source).unwrap_or(usize::MAX);
        let event = match snapshot.segments().get(source) {
            Some(segment) => {
                let read = event_of(segment, entry.time, packed, place.row, run.key(entry));
                unreadable.note(read, TimeRange { from: entry.time, to: entry.time }, Some(1))?
            }
            None => {
                let memtable = memtables.get(source - snapshot.segments().len());
                memtable.and_then(|memtable| memtable.event(usize::try_from(place.row).ok()?))
            }
        };
        if event.is_some_and(|event| visit(&event).is_break()) {
            return Ok((None, true));
        }
    }
    let last = last.map(|(entry, place)| Shown { time: entry.time, key: run.key(entry).to_vec(), place });
    run.reuse(entries);
    Ok((last, false))
}

fn event_of(segment: &Segment, time: TimeMs, packed: &[u8], row: u64, key: &[u8]) -> Result<Event, StoreError> {
    let broken = || reading::unknown(segment, "a row that can't be");
    let (unpacked, cells) = unpack(time, packed).ok_or_else(broken)?;
    let key = Key::read(key).ok_or_else(broken)?;
    let details: Details = segment.details_of(reading::place_of(row).0, cells::cells(cells).flatten())?;
    reading::to_event(segment, unpacked, &key, details)
}

/// The first events in the order asked for, behind those that have been shown.
struct Pass<'a> {
    snapshot: &'a Snapshot,
    order: Order,
    behind: Option<Shown>,
    range: TimeRange,
    run: Run,
    /// Once it had to be cut: of so many, the first ones, it is known that none is missing.
    kept: Option<usize>,
}

impl Pass<'_> {
    /// What is both in the pass's range and in `kept`.
    fn within(&self, kept: TimeRange) -> TimeRange {
        TimeRange { from: self.range.from.max(kept.from), to: self.range.to.min(kept.to) }
    }

    fn fill(&mut self, (filter, kept): Asked<'_>, unreadable: &mut Unreadable) -> Result<(), StoreError> {
        let snapshot = self.snapshot;
        let mut source = 0;
        for segment in snapshot.segments() {
            self.fill_from_segment(segment, source, (filter, kept), unreadable)?;
            source += 1;
        }
        for (memtable, visible) in snapshot.memtables() {
            self.fill_from_memory(memtable, visible, source, (filter, kept));
            source += 1;
        }
        Ok(())
    }

    fn fill_from_segment(
        &mut self,
        segment: &Segment,
        source: u64,
        (filter, kept): Asked<'_>,
        unreadable: &mut Unreadable,
    ) -> Result<(), StoreError> {
        let mut matches = Matches::new(self.snapshot, segment, filter, self.within(kept), unreadable)?;
        let mut keys = Keys::new(segment);
        // The rows of the key at hand, and its number in the run.
        let mut known = (0..0, 0);
        while let Some(found) = matches.next(unreadable)? {
            if !self.within(kept).contains(found.time) {
                continue;
            }
            let place = Place { source, row: found.row };
            if self.is_shown(found.time, place, || keys.of(found.row).map(|(key, _)| key.to_vec()).ok()) {
                continue;
            }
            if !known.0.contains(&found.row) {
                let read = keys.of(found.row);
                let Some((key, rows)) = unreadable.note(read, segment.meta().times, Some(1))? else { continue };
                known = (rows.clone(), self.run.add_key(key));
            }
            let read = matches.read(&found);
            let times = TimeRange { from: found.time, to: found.time };
            let Some((block, at)) = unreadable.note(read, times, Some(1))? else { continue };
            if let Some(row) = block.row(at) {
                self.run.push_row(&row, block.cells(at), known.1, place);
            }
            if self.cut_if_full() {
                known = (0..0, 0);
                matches.narrow(self.within(kept));
            }
        }
        Ok(())
    }

    fn fill_from_memory(&mut self, memtable: &Memtable, visible: usize, source: u64, (filter, kept): Asked<'_>) {
        let mut prefix = Vec::new();
        key::push_instance(&filter.instance, &mut prefix);
        let mut rows: Vec<(usize, u32, TimeMs)> = Vec::new();
        let range = self.within(kept);
        memtable.each(
            visible,
            |row| range.contains(row.time) && matches_kind(filter, row.kind),
            |row, subject, found| rows.push((row, subject, found.time)),
        );
        // Of each subject, the number of its key in the run; none when it is another instance's.
        let mut known: HashMap<u32, Option<u32>> = HashMap::default();
        let is_by_kind_alone = filter.is_by_kind_alone();
        for (row, subject, time) in rows {
            if !self.within(kept).contains(time) {
                continue;
            }
            let is_asked = || memtable.event(row).is_some_and(|event| filter.matches(&event));
            let place = Place { source, row: u64::try_from(row).unwrap_or(u64::MAX) };
            if self.is_shown(time, place, || Some(memtable.key(subject))) || !(is_by_kind_alone || is_asked()) {
                continue;
            }
            let key = *known.entry(subject).or_insert_with(|| {
                let key = memtable.key(subject);
                key.starts_with(&prefix).then(|| self.run.add_key(&key))
            });
            let Some(key) = key else { continue };
            self.run.push_place(time, key, place);
            if self.cut_if_full() {
                known.clear();
            }
        }
    }

    /// Whether an event is among those that have been shown. `key` is asked for when its time doesn't tell.
    fn is_shown(&self, time: TimeMs, place: Place, key: impl FnOnce() -> Option<Vec<u8>>) -> bool {
        let Some(behind) = self.behind.as_ref().filter(|behind| behind.time == time) else { return false };
        let Some(key) = key() else { return false };
        let compared = Shown { time, key, place }.cmp(behind);
        match self.order {
            Order::OldestFirst => compared.is_le(),
            Order::NewestFirst => compared.is_ge(),
        }
    }

    /// Keeps the first half of what was found, when that is as much as may be, and looks for nothing behind it any more.
    fn cut_if_full(&mut self) -> bool {
        if self.run.len() < EVENTS_A_PASS && self.run.bytes() < BYTES_A_PASS {
            return false;
        }
        let half = self.run.len().div_ceil(2);
        let kept = self.kept.map_or(half, |kept| kept.min(half));
        if let Some(last) = self.run.cut(self.order, kept) {
            match self.order {
                Order::OldestFirst => self.range.to = last,
                Order::NewestFirst => self.range.from = last,
            }
        }
        self.kept = Some(kept);
        true
    }

    /// Keeps what comes before all that was cut off, and says whether anything was.
    fn finish(&mut self) -> bool {
        if let Some(kept) = self.kept.filter(|kept| *kept < self.run.len()) {
            self.run.cut(self.order, kept);
        }
        self.kept.is_some()
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
        |row| range.contains(row.time) && matches_kind(filter, row.kind),
        |row, _, _| rows.push(row),
    );
    rows.into_iter()
        .filter_map(move |row| Some((row, memtable.event(row)?)))
        .filter(move |(_, event)| filter.matches(event))
}
