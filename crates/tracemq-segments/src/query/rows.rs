//! The rows of one subject, wherever they stand.

use std::ops::Range;
use std::sync::Arc;

use tracemq_model::{Event, TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::damage::Unreadable;
use super::reading::{self, place_of, rows_of_block, times_of};
use crate::key::Key;
use crate::memtable::MemoryRows;
use crate::segment::{Block, Lookup, Segment};
use crate::view::Snapshot;

/// Rows of one subject in one source, by time and arrival.
pub(super) struct Source {
    place: Place,
    /// Of the source's rows, those in the range that is asked for.
    pub(super) range: Range<u64>,
    /// All of them are within it. May be wider than needed until [`Source::tighten`].
    pub(super) times: TimeRange,
    /// What was read last.
    block: Option<Box<Block>>,
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
    let mut lookup = Lookup::default();
    for segment in snapshot.segments() {
        let times = segment.meta().times;
        if !times.overlaps(range) || snapshot.is_erased(segment, bytes) {
            continue;
        }
        let found = unreadable.note(segment.find_with(bytes, &mut lookup), times, None)?;
        let Some(rows) = found.flatten() else { continue };
        let (first, count) = (rows.start, rows.end - rows.start);
        let place = Place::Segment { segment: Arc::clone(segment), first };
        let source = Source { place, range: 0..count, times, block: None };
        let cut = unreadable.note(source.cut(range), times, Some(count))?;
        sources.extend(cut.filter(|source| !source.range.is_empty()));
    }
    for (memtable, visible) in snapshot.memtables() {
        let Some(rows) = memtable.rows_of(bytes, visible) else { continue };
        let count = rows.len();
        let source = Source { place: Place::Memory(rows), range: 0..count, times: TimeRange::ALL, block: None };
        let mut source = source.cut(range)?;
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
    pub(super) fn before(&mut self, time: TimeMs) -> Result<u64, StoreError> {
        let found = match &self.place {
            Place::Segment { segment, first } => {
                let rows = first + self.range.start..first + self.range.end;
                segment.lower_bound(&rows, time, self.block.get_or_insert_default())? - first
            }
            Place::Memory(rows) => rows.lower_bound(time),
        };
        Ok(found.clamp(self.range.start, self.range.end.max(self.range.start)) - self.range.start)
    }

    /// How many of the rows are not behind `time`.
    pub(super) fn up_to(&mut self, time: TimeMs) -> Result<u64, StoreError> {
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
        let last = self.time(self.range.end - 1)?;
        let first = self.time(self.range.start)?;
        self.times = TimeRange { from: first.unwrap_or(self.times.from), to: last.unwrap_or(self.times.to) };
        Ok(())
    }

    fn time(&mut self, place: u64) -> Result<Option<TimeMs>, StoreError> {
        match &self.place {
            Place::Segment { segment, first } => {
                segment.time(first + place, self.block.get_or_insert_default()).map(Some)
            }
            Place::Memory(rows) => Ok(rows.time(place)),
        }
    }

    /// Appends the events at `places`, counted from the first row in the range. Takes the memory for a block from `spare`, and
    /// leaves it there.
    pub(super) fn events(
        &mut self,
        places: Range<u64>,
        key: &Key,
        unreadable: &mut Unreadable,
        spare: &mut Option<Box<Block>>,
        out: &mut Vec<Event>,
    ) -> Result<(), StoreError> {
        let places = self.range.start + places.start..self.range.start + places.end;
        match &self.place {
            Place::Memory(rows) => rows.events(places, key, out),
            Place::Segment { segment, first } => {
                let mut block = self.block.take().or_else(|| spare.take()).unwrap_or_default();
                let rows = first + places.start..first + places.end;
                Reading { segment, key, block: &mut block, unreadable }.events(rows, out)?;
                *spare = Some(block);
            }
        }
        Ok(())
    }
}

/// Reading events of one subject in a segment.
struct Reading<'a> {
    segment: &'a Segment,
    key: &'a Key,
    block: &'a mut Block,
    unreadable: &'a mut Unreadable,
}

impl Reading<'_> {
    /// Appends the events of `rows`, block by block; a block that can't be read is left out.
    fn events(&mut self, rows: Range<u64>, out: &mut Vec<Event>) -> Result<(), StoreError> {
        let mut row = rows.start;
        while row < rows.end {
            let (number, first) = place_of(row);
            let end = rows.end.min(rows_of_block(number).end);
            let count = usize::try_from(end - row).unwrap_or(usize::MAX);
            let kept = out.len();
            let read = self.of_block(number, first..first.saturating_add(count), out);
            let times = times_of(self.segment, number);
            if self.unreadable.note(read, times, Some(end - row))?.is_none() {
                out.truncate(kept);
            }
            row = end;
        }
        Ok(())
    }

    fn of_block(&mut self, number: u64, places: Range<usize>, out: &mut Vec<Event>) -> Result<(), StoreError> {
        self.segment.read_rows(number, places.clone(), self.block)?;
        for at in places {
            out.push(reading::event(self.segment, self.block, at, self.key)?);
        }
        Ok(())
    }
}
