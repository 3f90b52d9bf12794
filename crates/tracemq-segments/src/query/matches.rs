//! The rows of a segment that a filter asks for, block after block.

use std::ops::Range;
use std::sync::Arc;

use tracemq_model::{Filter, TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::damage::Unreadable;
use super::reading::{place_of, rows_of_block, rows_of_instance, times_of};
use crate::cells::Column;
use crate::key;
use crate::row::{Kind, Peer};
use crate::segment::{Block, KeyCursor, Scan, Segment};
use crate::view::{Hidden, Snapshot};

/// Walks the rows of one instance in a segment, and stops at each that the filter asks for. Holds one block.
pub(super) struct Matches<'a> {
    segment: &'a Segment,
    filter: &'a Filter,
    range: TimeRange,
    /// Rows that have not been looked at.
    rows: Range<u64>,
    /// Rows that have been erased.
    hidden: Option<Arc<Hidden>>,
    scan: Scan,
    /// Of the kinds of the block, those that are asked for.
    kinds: Vec<Kind>,
    /// What was found in the block, and how many of it were given.
    found: Vec<Match>,
    given: usize,
}

/// A row that the filter asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    pub(super) row: u64,
    pub(super) time: TimeMs,
    pub(super) kind: Kind,
}

impl<'a> Matches<'a> {
    /// Those in `range`, which is within the filter's.
    pub(super) fn new(
        snapshot: &Snapshot,
        segment: &'a Segment,
        filter: &'a Filter,
        range: TimeRange,
        unreadable: &mut Unreadable,
    ) -> Result<Self, StoreError> {
        let times = segment.meta().times;
        let rows = if times.overlaps(range) && range.from <= range.to {
            unreadable.note(rows_of(segment, filter), times, None)?.flatten().unwrap_or(0..0)
        } else {
            0..0
        };
        let hidden = if rows.is_empty() { None } else { snapshot.hidden(segment)? };
        if hidden.as_ref().is_some_and(|hidden| hidden.is_incomplete()) {
            unreadable.leave_out(times);
        }
        let (scan, kinds, found) = (Scan::default(), Vec::new(), Vec::new());
        Ok(Self { segment, filter, range, rows, hidden, scan, kinds, found, given: 0 })
    }

    /// From now on only rows within `range`, which is within the one before.
    pub(super) fn narrow(&mut self, range: TimeRange) {
        self.range = range;
    }

    /// The next one.
    #[inline]
    pub(super) fn next(&mut self, unreadable: &mut Unreadable) -> Result<Option<Match>, StoreError> {
        self.fill(unreadable)?;
        let found = self.found.get(self.given).copied();
        self.given += usize::from(found.is_some());
        Ok(found)
    }

    /// Looks at blocks until something is found that was not given, or to the end.
    #[inline]
    fn fill(&mut self, unreadable: &mut Unreadable) -> Result<(), StoreError> {
        if self.given < self.found.len() { Ok(()) } else { self.look_on(unreadable) }
    }

    fn look_on(&mut self, unreadable: &mut Unreadable) -> Result<(), StoreError> {
        self.found.clear();
        self.given = 0;
        while self.found.is_empty() && !self.rows.is_empty() {
            let (number, _) = place_of(self.rows.start);
            let rows = self.rows.start..self.rows.end.min(rows_of_block(number).end);
            self.rows.start = rows.end;
            let times = times_of(self.segment, number);
            if !times.overlaps(self.range) {
                continue;
            }
            let looked = self.look(number, &rows);
            if unreadable.note(looked, times, Some(rows.end - rows.start))?.is_none() {
                self.found.clear();
            }
        }
        Ok(())
    }

    /// Those of the next ones that are in rows before `end` and in the same block; none when the next one is not.
    pub(super) fn next_before(&mut self, end: u64, unreadable: &mut Unreadable) -> Result<&[Match], StoreError> {
        self.fill(unreadable)?;
        let rest = self.found.get(self.given..).unwrap_or_default();
        let found =
            rest.iter().position(|found| found.row >= end).map_or(rest, |at| rest.get(..at).unwrap_or_default());
        self.given += found.len();
        Ok(found)
    }

    fn look(&mut self, number: u64, rows: &Range<u64>) -> Result<(), StoreError> {
        let Self { segment, filter, kinds, scan, .. } = self;
        if !segment.scan_if(number, scan, |block| may_match(filter, block, kinds))? {
            return Ok(());
        }
        let all_kinds = kinds.len() == scan.block.distinct_kinds().len();
        let first = rows_of_block(number).start;
        for ((row, time), kind) in (first..).zip(scan.times()).zip(scan.kinds()) {
            let time = *time;
            if self.range.contains(time) && rows.contains(&row) && (all_kinds || kinds.contains(kind)) {
                self.found.push(Match { row, time, kind: *kind });
            }
        }
        if let Some(hidden) = &self.hidden {
            for erased in hidden.within(rows) {
                self.found.retain(|found| !erased.contains(&found.row));
            }
        }
        let Filter { address, username, listener, .. } = self.filter;
        if !self.found.is_empty() && (address.is_some() || username.is_some() || listener.is_some()) {
            self.keep_matching(number)?;
        }
        Ok(())
    }

    /// Of what was found, keeps what the rest of the filter asks for.
    fn keep_matching(&mut self, number: u64) -> Result<(), StoreError> {
        let Self { segment, filter, scan, found, .. } = self;
        let places = found.iter().map(|found| place_of(found.row).1);
        let range = places.clone().min().unwrap_or(0)..places.max().map_or(0, |last| last.saturating_add(1));
        segment.read_rows(number, range, &mut scan.block)?;
        let mut failed = None;
        found.retain(|found| {
            let matches = matches_rest(segment, filter, &scan.block, place_of(found.row).1);
            matches.unwrap_or_else(|error| {
                failed.get_or_insert(error);
                false
            })
        });
        failed.map_or(Ok(()), Err)
    }

    /// The block and the place of `found`, which was the last one given.
    pub(super) fn read(&mut self, found: &Match) -> Result<(&Block, usize), StoreError> {
        let (number, at) = place_of(found.row);
        if self.scan.block.row(at).is_none() {
            let last = self.found.last().map_or(at, |last| place_of(last.row).1);
            self.segment.read_rows(number, at..last.saturating_add(1), &mut self.scan.block)?;
        }
        Ok((&self.scan.block, at))
    }
}

/// Whether any row of `block` can be asked for, by what is known of it without looking at rows. Sets `kinds` to those of its
/// kinds that are asked for.
fn may_match(filter: &Filter, block: &mut Block, kinds: &mut Vec<Kind>) -> Result<bool, &'static str> {
    kinds.clear();
    kinds.extend(
        block.distinct_kinds().iter().copied().filter(|kind| is_any_kind(filter) || matches_kind(filter, *kind)),
    );
    Ok(!kinds.is_empty()
        && (filter.address.is_none() || block.any_address(|address| filter.matches_address(Some(address)))?)
        && (filter.username.is_none() || block.has(Column::Username)?)
        && (filter.listener.is_none() || block.has(Column::Listener)?))
}

fn is_any_kind(filter: &Filter) -> bool {
    filter.actions.is_empty() && filter.reasons.is_empty()
}

/// The rows that the filter's subject, or else its instance, has in the segment.
fn rows_of(segment: &Segment, filter: &Filter) -> Result<Option<Range<u64>>, StoreError> {
    match &filter.subject {
        Some(subject) => {
            let mut bytes = Vec::new();
            key::push_key(&filter.instance, subject, &mut bytes);
            segment.find(&bytes)
        }
        None => Ok(rows_of_instance(segment, &filter.instance)),
    }
}

pub(super) fn matches_kind(filter: &Filter, kind: Kind) -> bool {
    kind.parts().is_some_and(|(action, reason, _)| filter.matches_kind(action, reason))
}

fn matches_rest(segment: &Segment, filter: &Filter, block: &Block, at: usize) -> Result<bool, StoreError> {
    let address = match block.row(at).map(|row| row.peer) {
        Some(Peer::Some { ip, .. }) => Some(ip),
        Some(Peer::None) | None => None,
    };
    Ok(filter.matches_address(address)
        && matches_text(segment, block.cell(Column::Username, at), filter.username.as_deref())?
        && matches_text(segment, block.cell(Column::Listener, at), filter.listener.as_deref())?)
}

/// Whether the text of the number that a cell holds is the one that is asked for, if one is.
fn matches_text(segment: &Segment, cell: Option<u64>, wanted: Option<&str>) -> Result<bool, StoreError> {
    match (wanted, cell) {
        (None, _) => Ok(true),
        (Some(_), None) => Ok(false),
        (Some(wanted), Some(number)) => {
            segment.with_text(u32::try_from(number).unwrap_or(u32::MAX), |text| text == wanted)
        }
    }
}

/// The keys of rows that are asked for in ascending order.
pub(crate) struct Keys<'a> {
    segment: &'a Segment,
    cursor: Option<KeyCursor<'a>>,
    key: Vec<u8>,
    rows: Range<u64>,
}

/// So many keys are walked over before the directory is asked for the place.
const STEPS_MAX: usize = 128;

impl<'a> Keys<'a> {
    pub(crate) fn new(segment: &'a Segment) -> Self {
        Self { segment, cursor: None, key: Vec::new(), rows: 0..0 }
    }

    /// The key of `row`, and the rows that it has.
    pub(crate) fn of(&mut self, row: u64) -> Result<(&[u8], &Range<u64>), StoreError> {
        for _ in 0..STEPS_MAX {
            if self.rows.contains(&row) {
                return Ok((&self.key, &self.rows));
            }
            let Some(cursor) = &mut self.cursor else { break };
            let Some((key, rows)) = cursor.next()? else { break };
            self.key.clear();
            self.key.extend_from_slice(key);
            self.rows = rows;
        }
        if !self.rows.contains(&row) {
            (self.key, self.rows) = self.segment.key_of_row(row)?;
            let mut cursor = self.segment.keys(&self.key)?;
            cursor.next()?;
            self.cursor = Some(cursor);
        }
        Ok((&self.key, &self.rows))
    }
}
