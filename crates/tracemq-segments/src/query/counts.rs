//! How often what happened, over time: from the minute tables where these can answer, from the rows where they can't.

use std::sync::{Arc, PoisonError};

use tracemq_model::{Counts, Filter, InstanceId, TimeMs, TimeRange};
use tracemq_store::{CountsBuilder, StoreError};

use super::damage::Unreadable;
use super::matches::{Matches, matches_kind};
use super::reading::{place_of, rows_of_block, rows_of_instance, times_of};
use super::{gaps, scan};
use crate::memtable::{Memtable, Minutes, minute};
use crate::row::Kind;
use crate::segment::{Scan, Segment};
use crate::view::{Hidden, Snapshot};

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
    // The longer a memtable is waited with, the more it has that this question does not see.
    let mut memtables = Vec::new();
    for (memtable, visible) in snapshot.memtables() {
        let minutes = asked.by_minute.then(|| memtable.minutes(&filter.instance, visible));
        memtables.push((memtable, visible, minutes));
    }
    for segment in snapshot.segments() {
        asked.segment(segment)?;
    }
    for (memtable, visible, minutes) in memtables {
        asked.memtable(memtable, visible, minutes.as_ref())?;
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
        if let Some(hidden) = self.snapshot.hidden(segment)? {
            let erased = erased_minutes(segment, &hidden, &self.filter.instance, &mut self.unreadable)?;
            for (minute, events) in erased.iter() {
                if let Some(count) = minutes.get_mut(minute) {
                    *count = count.saturating_sub(*events);
                }
            }
        }
        for edge in self.minutes(&minutes, times)? {
            self.rows(segment, edge)?;
        }
        Ok(())
    }

    fn memtable(&mut self, memtable: &Memtable, visible: usize, minutes: Option<&Minutes>) -> Result<(), StoreError> {
        let edges = match minutes {
            Some(minutes) => self.minutes(minutes, memtable.times())?,
            None => vec![self.range],
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
pub(super) fn span(number: i64) -> TimeRange {
    let from = i128::from(number) * 60_000;
    let moment = |ms: i128| TimeMs(i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX }));
    TimeRange { from: moment(from), to: moment(from + 59_999) }
}

/// The counts of what of `instance` has been erased in `segment`. Reads it once, unless a part can't be read.
pub(crate) fn erased_minutes(
    segment: &Segment,
    hidden: &Hidden,
    instance: &InstanceId,
    unreadable: &mut Unreadable,
) -> Result<Arc<Minutes>, StoreError> {
    let Some(rows) = rows_of_instance(segment, instance) else { return Ok(Arc::default()) };
    let lock = || hidden.minutes.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(instance) {
        return Ok(Arc::clone(known));
    }
    let mut is_complete = !hidden.is_incomplete();
    if !is_complete {
        unreadable.leave_out(segment.meta().times);
    }
    let (mut minutes, mut scan, mut scanned) = (Minutes::default(), Scan::default(), None);
    for erased in hidden.within(&rows) {
        let mut row = erased.start;
        while row < erased.end {
            let (number, first) = place_of(row);
            let end = erased.end.min(rows_of_block(number).end);
            let read = if scanned == Some(number) { Ok(()) } else { segment.scan(number, &mut scan) };
            scanned = unreadable.note(read, times_of(segment, number), Some(end - row))?.map(|()| number);
            is_complete &= scanned.is_some();
            let kinds = scan.times().iter().zip(scan.kinds()).skip(first);
            for ((time, kind), _) in kinds.zip(row..end).filter(|_| scanned.is_some()) {
                *minutes.entry((minute(*time), *kind)).or_default() += 1;
            }
            row = end;
        }
    }
    let minutes = Arc::new(minutes);
    if is_complete {
        lock().insert(instance.clone(), Arc::clone(&minutes));
    }
    Ok(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minutes_at_the_ends_of_time_touch_and_do_not_overlap() {
        for time in
            [i64::MIN, i64::MIN + 55_807, i64::MIN + 55_808, i64::MIN + 59_999, -1, 0, i64::MAX - 60_000, i64::MAX]
        {
            let range = span(minute(TimeMs(time)));
            assert!(range.contains(TimeMs(time)), "{time}");
            let neighbours = [range.from.0.checked_sub(1), range.to.0.checked_add(1)];
            for other in neighbours.into_iter().flatten() {
                assert!(!span(minute(TimeMs(other))).overlaps(range), "{time}");
            }
        }
    }
}
