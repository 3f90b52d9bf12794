//! How often what happened, over time: from the minute tables where these can answer, from the rows where they can't.

use tracemq_model::{Counts, Filter, TimeMs, TimeRange};
use tracemq_store::{CountsBuilder, StoreError};

use super::damage::Unreadable;
use super::matches::{Matches, matches_kind};
use super::reading::{place_of, rows_of_block};
use super::{gaps, scan};
use crate::memtable::{Memtable, Minutes, minute};
use crate::row::Kind;
use crate::segment::{Scan, Segment};
use crate::view::Snapshot;

const MINUTE_MS: u64 = 60_000;

pub(crate) fn counts(snapshot: &Snapshot, filter: &Filter, bucket_ms: u64) -> Result<Counts, StoreError> {
    let mut asked = Asked {
        snapshot,
        filter,
        range: snapshot.kept(&filter.instance, filter.range),
        by_minute: filter.is_by_kind_alone() && bucket_ms.is_multiple_of(MINUTE_MS),
        builder: CountsBuilder::new(bucket_ms)?,
        unreadable: Unreadable::default(),
    };
    for segment in snapshot.segments() {
        asked.segment(segment)?;
    }
    for (memtable, visible) in snapshot.memtables() {
        asked.memtable(memtable, visible)?;
    }
    let Asked { builder, unreadable, .. } = asked;
    Ok(Counts { counts: builder.finish(), gaps: gaps(snapshot, filter.range, unreadable) })
}

struct Asked<'a> {
    snapshot: &'a Snapshot,
    filter: &'a Filter,
    range: TimeRange,
    by_minute: bool,
    builder: CountsBuilder,
    unreadable: Unreadable,
}

impl Asked<'_> {
    fn segment(&mut self, segment: &Segment) -> Result<(), StoreError> {
        let times = segment.meta().times;
        if !times.overlaps(self.range) || self.range.from > self.range.to {
            return Ok(());
        }
        if !self.by_minute {
            return self.rows(segment, self.range);
        }
        let read = segment.minutes();
        let Some(table) = self.unreadable.note(read, times, None)? else { return Ok(()) };
        let counts = table.of(&self.filter.instance).iter();
        let mut minutes: Minutes = counts.map(|count| ((count.minute, count.kind), count.events)).collect();
        let erased = self.snapshot.erased(segment, &self.filter.instance);
        for key in erased {
            let read = without(segment, key, &mut minutes);
            self.unreadable.note(read, times, None)?;
        }
        for edge in self.minutes(&minutes, times)? {
            self.rows(segment, edge)?;
        }
        Ok(())
    }

    fn memtable(&mut self, memtable: &Memtable, visible: usize) -> Result<(), StoreError> {
        let edges = if self.by_minute {
            self.minutes(&memtable.minutes(&self.filter.instance, visible), memtable.times())?
        } else {
            vec![self.range]
        };
        for edge in edges {
            for (_, event) in scan::matching(memtable, visible, self.filter, edge) {
                self.builder.add(event.time, event.action, event.reason, 1)?;
            }
        }
        Ok(())
    }

    fn rows(&mut self, segment: &Segment, range: TimeRange) -> Result<(), StoreError> {
        let mut matches = Matches::new(self.snapshot, segment, self.filter, range, &mut self.unreadable)?;
        while let Some(found) = matches.next(&mut self.unreadable)? {
            self.add(found.time, found.kind, 1)?;
        }
        Ok(())
    }

    fn add(&mut self, time: TimeMs, kind: Kind, events: u64) -> Result<(), StoreError> {
        match kind.parts() {
            Some((action, reason, _)) => self.builder.add(time, action, reason, events),
            None => Ok(()),
        }
    }

    /// Adds the minutes whose events, which are all within `times`, are in the range as a whole. Gives those parts of the
    /// range that are not whole minutes and have events.
    fn minutes(&mut self, minutes: &Minutes, times: TimeRange) -> Result<Vec<TimeRange>, StoreError> {
        let mut edges: Vec<TimeRange> = Vec::new();
        for ((number, kind), events) in minutes {
            let whole = span(*number);
            if !whole.overlaps(self.range) || *events == 0 || !matches_kind(self.filter, *kind) {
                continue;
            }
            let part = TimeRange { from: whole.from.max(self.range.from), to: whole.to.min(self.range.to) };
            let is_whole = whole.from.max(times.from) >= part.from && whole.to.min(times.to) <= part.to;
            if is_whole {
                self.add(whole.from, *kind, *events)?;
            } else if !edges.contains(&part) {
                edges.push(part);
            }
        }
        Ok(edges)
    }
}

/// The moments of the minute of that number.
fn span(number: i64) -> TimeRange {
    let from = number.saturating_mul(60_000);
    TimeRange { from: TimeMs(from), to: TimeMs(from.saturating_add(59_999)) }
}

/// Takes the rows of `key` off the counts.
fn without(segment: &Segment, key: &[u8], minutes: &mut Minutes) -> Result<(), StoreError> {
    let Some(rows) = segment.find(key)? else { return Ok(()) };
    let (mut row, mut scan) = (rows.start, Scan::default());
    while row < rows.end {
        let (number, first) = place_of(row);
        let end = rows.end.min(rows_of_block(number).end);
        segment.scan(number, &mut scan)?;
        let kinds = scan.times().iter().zip(scan.kinds()).skip(first);
        for ((time, kind), _) in kinds.zip(row..end) {
            if let Some(count) = minutes.get_mut(&(minute(*time), *kind)) {
                *count = count.saturating_sub(1);
            }
        }
        row = end;
    }
    Ok(())
}
