//! The rows of one subject, wherever they stand.

use std::ops::Range;
use std::sync::Arc;

use tracemq_model::{Event, TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::damage::Unreadable;
use super::reading::{self, place_of, rows_of_block, times_of};
use crate::key::Key;
use crate::memtable::MemoryRows;
use crate::segment::{Scan, Segment};
use crate::view::Snapshot;

/// Rows of one subject in one source, by time and arrival.
pub(super) struct Source {
    place: Place,
    /// Of the source's rows, those in the range that is asked for.
    pub(super) range: Range<u64>,
    /// All of them are within it. May be wider than needed until [`Source::tighten`].
    pub(super) times: TimeRange,
}

enum Place {
    Segment { segment: Arc<Segment>, first: u64 },
    Memory(MemoryRows),
}

/// The sources that have rows under `bytes` in `range`, oldest first.
pub(super) fn sources(
    snapshot: &Snapshot,
    bytes: &[u8],
    range: TimeRange,
    unreadable: &mut Unreadable,
) -> Result<Vec<Source>, StoreError> {
    let mut sources = Vec::new();
    for segment in snapshot.segments() {
        let times = segment.meta().times;
        if !times.overlaps(range) || snapshot.is_erased(segment, bytes) {
            continue;
        }
        let found = unreadable.note(segment.find(bytes), times, None)?;
        let Some(rows) = found.flatten() else { continue };
        let (first, count) = (rows.start, rows.end - rows.start);
        let source = Source { place: Place::Segment { segment: Arc::clone(segment), first }, range: 0..count, times };
        let cut = unreadable.note(source.cut(range), times, Some(count))?;
        sources.extend(cut.filter(|source| !source.range.is_empty()));
    }
    for (memtable, visible) in snapshot.memtables() {
        let Some(rows) = memtable.rows_of(bytes, visible) else { continue };
        let count = rows.len();
        let mut source = Source { place: Place::Memory(rows), range: 0..count, times: TimeRange::ALL }.cut(range)?;
        if source.range.is_empty() {
            continue;
        }
        source.tighten()?;
        sources.push(source);
    }
    Ok(sources)
}

impl Source {
    /// How many rows are in the range.
    pub(super) fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Without the rows outside `range`.
    fn cut(mut self, range: TimeRange) -> Result<Self, StoreError> {
        if range.from > self.times.from {
            self.range.start += self.before(range.from)?;
        }
        if range.to < self.times.to {
            self.range.end = self.range.start + self.up_to(range.to)?;
        }
        self.times = TimeRange { from: self.times.from.max(range.from), to: self.times.to.min(range.to) };
        Ok(self)
    }

    /// How many of the rows are before `time`.
    pub(super) fn before(&self, time: TimeMs) -> Result<u64, StoreError> {
        let found = match &self.place {
            Place::Segment { segment, first } => {
                let rows = first + self.range.start..first + self.range.end;
                segment.lower_bound(&rows, time)? - first
            }
            Place::Memory(rows) => rows.lower_bound(time),
        };
        Ok(found.clamp(self.range.start, self.range.end.max(self.range.start)) - self.range.start)
    }

    /// How many of the rows are not behind `time`.
    pub(super) fn up_to(&self, time: TimeMs) -> Result<u64, StoreError> {
        match time.0.checked_add(1) {
            Some(next) => self.before(TimeMs(next)),
            None => Ok(self.len()),
        }
    }

    /// Makes `times` those of the first and of the last row.
    pub(super) fn tighten(&mut self) -> Result<(), StoreError> {
        if self.range.is_empty() {
            return Ok(());
        }
        let (first, last) = (self.time(self.range.start)?, self.time(self.range.end - 1)?);
        self.times = TimeRange { from: first.unwrap_or(self.times.from), to: last.unwrap_or(self.times.to) };
        Ok(())
    }

    fn time(&self, place: u64) -> Result<Option<TimeMs>, StoreError> {
        match &self.place {
            Place::Segment { segment, first } => {
                let (number, at) = place_of(first + place);
                let mut scan = Scan::new();
                segment.scan(number, &mut scan)?;
                Ok(scan.times().get(at).copied())
            }
            Place::Memory(rows) => Ok(rows.time(place)),
        }
    }

    /// Appends the events at `places`, counted from the first row in the range.
    pub(super) fn events(
        &self,
        places: Range<u64>,
        key: &Key,
        unreadable: &mut Unreadable,
        out: &mut Vec<Event>,
    ) -> Result<(), StoreError> {
        let places = self.range.start + places.start..self.range.start + places.end;
        match &self.place {
            Place::Memory(rows) => {
                rows.events(places, key, out);
                Ok(())
            }
            Place::Segment { segment, first } => {
                segment_events(segment, first + places.start..first + places.end, key, unreadable, out)
            }
        }
    }
}

/// Appends the events of `rows`, block by block; a block that can't be read is left out.
fn segment_events(
    segment: &Segment,
    rows: Range<u64>,
    key: &Key,
    unreadable: &mut Unreadable,
    out: &mut Vec<Event>,
) -> Result<(), StoreError> {
    let mut row = rows.start;
    while row < rows.end {
        let (number, _) = place_of(row);
        let end = rows.end.min(rows_of_block(number).end);
        let kept = out.len();
        let read = read_events(segment, row..end, key, out);
        let times = times_of(segment, number);
        if unreadable.note(read, times, Some(end - row))?.is_none() {
            out.truncate(kept);
        }
        row = end;
    }
    Ok(())
}

fn read_events(segment: &Segment, rows: Range<u64>, key: &Key, out: &mut Vec<Event>) -> Result<(), StoreError> {
    let (number, first) = place_of(rows.start);
    let block = segment.block(number)?;
    for (at, _) in (first..).zip(rows) {
        out.push(reading::event(segment, &block, at, key)?);
    }
    Ok(())
}
