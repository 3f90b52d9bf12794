//! The rows of one subject, wherever they stand.

use std::ops::Range;
use std::sync::Arc;

use tracemq_model::{Event, TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::damage::Unreadable;
use super::reading::{self, place_of, rows_of_block, times_of};
use crate::key::Key;
use crate::memtable::MemoryRows;
use crate::segment::{Block, Lookup, Segment, Unread};
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
    /// What can't be read, until it is told.
    unread: Unread,
}

enum Place {
    /// All rows that the subject has there.
    Segment {
        segment: Arc<Segment>,
        rows: Range<u64>,
    },
    Memory(MemoryRows),
}

/// A row in its place, without its event if that can't be read.
pub(super) struct Placed {
    pub(super) time: TimeMs,
    pub(super) event: Option<Event>,
}

/// So many blocks of a source are asked for together: more than a page has.
const ASKED_MAX: u64 = 16;

/// The sources that have rows under `bytes` in `range`, oldest first.
pub(super) fn sources(
    snapshot: &Snapshot,
    bytes: &[u8],
    range: TimeRange,
    unreadable: &mut Unreadable,
) -> Result<Vec<Source>, StoreError> {
    let mut sources = Vec::new();
    let mut found = Vec::new();
    let mut lookup = Lookup::default();
    let may_have =
        |segment: &&Arc<Segment>| segment.meta().times.overlaps(range) && !snapshot.is_erased(segment, bytes);
    let mut segments = snapshot.segments().iter().filter(may_have);
    let mut waits = false;
    while let Some(segment) = segments.next() {
        if !waits && !segment.has_key_at_hand(bytes, &mut lookup) {
            segments.clone().for_each(|later| later.ask_for_key(bytes));
            waits = true;
        }
        let rows = unreadable.note(segment.find_with(bytes, &mut lookup), segment.meta().times, None)?;
        found.extend(rows.flatten().map(|rows| (segment, rows)));
    }
    for (segment, rows) in found {
        let times = segment.meta().times;
        let count = rows.end - rows.start;
        let mut source = Source::new(Place::Segment { segment: Arc::clone(segment), rows }, count, times);
        source.cut(range)?;
        if source.range.is_empty() {
            source.tell(unreadable)?;
        } else {
            sources.push(source);
        }
    }
    for (memtable, visible) in snapshot.memtables() {
        let Some(rows) = memtable.rows_of(bytes, visible) else { continue };
        let count = rows.len();
        let mut source = Source::new(Place::Memory(rows), count, TimeRange::ALL);
        source.cut(range)?;
        if source.range.is_empty() {
            continue;
        }
        source.tighten()?;
        sources.push(source);
    }
    Ok(sources)
}

impl Source {
    fn new(place: Place, count: u64, times: TimeRange) -> Self {
        Self { place, range: 0..count, times, block: None, unread: Unread::new() }
    }

    /// How many rows are in the range.
    pub(super) fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Takes away the rows outside `range`.
    fn cut(&mut self, range: TimeRange) -> Result<(), StoreError> {
        if range.from > self.times.from {
            self.range.start += self.before(range.from)?;
        }
        if range.to < self.times.to {
            self.range.end = self.range.start + self.up_to(range.to)?;
        }
        self.times = TimeRange { from: self.times.from.max(range.from), to: self.times.to.min(range.to) };
        Ok(())
    }

    /// How many of the rows are before `time`.
    pub(super) fn before(&mut self, time: TimeMs) -> Result<u64, StoreError> {
        let found = match &self.place {
            Place::Segment { segment, rows } => {
                let block = self.block.get_or_insert_default();
                segment.lower_bound(rows, time, block, &mut self.unread)? - rows.start
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
            Place::Segment { segment, rows } => {
                let block = self.block.get_or_insert_default();
                segment.time(rows.start + place, rows, block, &mut self.unread).map(Some)
            }
            Place::Memory(rows) => Ok(rows.time(place)),
        }
    }

    /// Whether what stands at `places`, as far as it is in the first block, is read without waiting for the disk. Takes memory for
    /// it from `spare`.
    pub(super) fn is_at_hand(&mut self, places: &Range<u64>, spare: &mut Option<Box<Block>>) -> bool {
        let Place::Segment { segment, rows } = &self.place else { return true };
        let (number, _) = place_of(rows.start + self.range.start + places.start);
        let block = self.block.get_or_insert_with(|| spare.take().unwrap_or_default());
        self.unread.contains_key(&number) || segment.has_block_at_hand(number, block)
    }

    /// Asks the disk for what stands at `places`, or for the first and the last block of it if that is much.
    pub(super) fn ask_for(&self, places: &Range<u64>) {
        let Place::Segment { segment, rows } = &self.place else { return };
        let Some(last) = places.end.checked_sub(1) else { return };
        let number_of = |place| place_of(rows.start + self.range.start + place).0;
        let (first, last) = (number_of(places.start), number_of(last));
        let many = if last - first < ASKED_MAX { first + 1..last } else { last..last };
        [first].into_iter().chain(many).chain([last].into_iter().filter(|last| *last > first)).for_each(|number| {
            segment.ask_for_block(number);
        });
    }

    /// Hands over what stands at `places`, counted from the first row in the range. Takes the memory for a block from `spare`,
    /// and leaves it there.
    pub(super) fn events(
        &mut self,
        places: Range<u64>,
        key: &Key,
        unreadable: &mut Unreadable,
        spare: &mut Option<Box<Block>>,
        take: &mut dyn FnMut(Placed),
    ) -> Result<(), StoreError> {
        let places = self.range.start + places.start..self.range.start + places.end;
        match &self.place {
            Place::Memory(rows) => {
                rows.events(places, key, |event| take(Placed { time: event.time, event: Some(event) }));
            }
            Place::Segment { segment, rows } => {
                let mut block = self.block.take().or_else(|| spare.take()).unwrap_or_default();
                let wanted = rows.start + places.start..rows.start + places.end;
                let unread = &mut self.unread;
                Reading { segment, rows, key, block: &mut block, unread, unreadable }.events(wanted, take)?;
                *spare = Some(block);
            }
        }
        Ok(())
    }

    /// Notes which rows could not be read, or whether these are in the range.
    pub(super) fn tell(&mut self, unreadable: &mut Unreadable) -> Result<(), StoreError> {
        let Place::Segment { segment, rows } = &self.place else { return Ok(()) };
        for (number, error) in std::mem::take(&mut self.unread) {
            let block = rows_of_block(number);
            let (from, to) = (rows.start + self.range.start, rows.start + self.range.end);
            let lost = to.min(block.end).saturating_sub(from.max(block.start));
            // None of them was counted, though some may be in the range: they were taken to be of one moment outside of it.
            let lost = Some(lost).filter(|lost| *lost > 0);
            unreadable.note(Err::<(), _>(error), times_of(segment, number), lost)?;
        }
        Ok(())
    }
}

/// Reading events of one subject in a segment.
struct Reading<'a> {
    segment: &'a Segment,
    /// All that the subject has there.
    rows: &'a Range<u64>,
    key: &'a Key,
    block: &'a mut Block,
    unread: &'a mut Unread,
    unreadable: &'a mut Unreadable,
}

impl Reading<'_> {
    /// Hands over the events of `wanted`, block by block.
    fn events(&mut self, wanted: Range<u64>, take: &mut dyn FnMut(Placed)) -> Result<(), StoreError> {
        let mut row = wanted.start;
        while row < wanted.end {
            let (number, first) = place_of(row);
            let end = wanted.end.min(rows_of_block(number).end);
            let count = usize::try_from(end - row).unwrap_or(usize::MAX);
            let places = first..first.saturating_add(count);
            if self.segment.try_rows(number, places.clone(), self.block, self.unread)? {
                places.into_iter().try_for_each(|at| self.of_row(number, at, take))?;
            } else {
                for row in row..end {
                    let time = self.segment.time(row, self.rows, self.block, self.unread)?;
                    take(Placed { time, event: None });
                }
            }
            row = end;
        }
        Ok(())
    }

    fn of_row(&mut self, number: u64, at: usize, take: &mut dyn FnMut(Placed)) -> Result<(), StoreError> {
        let read = reading::event(self.segment, self.block, at, self.key);
        let event = self.unreadable.note(read, times_of(self.segment, number), Some(1))?;
        take(Placed { time: self.block.time(at), event });
        Ok(())
    }
}
