//! The rows of a segment that a filter asks for, block after block.

use std::ops::Range;

use tracemq_model::{Event, Filter, TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::damage::Unreadable;
use super::reading::{self, place_of, rows_of_block, rows_of_instance, times_of};
use crate::key::{self, Key};
use crate::row::{Kind, Peer};
use crate::segment::{Block, KeyCursor, Scan, Segment};
use crate::view::Snapshot;

/// Walks the rows of one instance in a segment, and stops at each that the filter asks for. Holds one block.
pub(super) struct Matches<'a> {
    segment: &'a Segment,
    filter: &'a Filter,
    range: TimeRange,
    /// Rows that have not been looked at.
    rows: Range<u64>,
    /// Rows that have been erased, in ascending order.
    hidden: Vec<Range<u64>>,
    scan: Scan,
    block: Block,
    /// The number of the block that is in `block`.
    in_block: Option<u64>,
    /// What was found in the block, the next one last.
    found: Vec<Match>,
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
        let mut hidden = Vec::new();
        for key in snapshot.erased(segment, &filter.instance) {
            hidden.extend(unreadable.note(segment.find(key), times, None)?.flatten());
        }
        hidden.sort_by_key(|rows| rows.start);
        let (scan, block, found) = (Scan::new(), Block::default(), Vec::new());
        Ok(Self { segment, filter, range, rows, hidden, scan, block, in_block: None, found })
    }

    /// From now on only rows within `range`, which is within the one before.
    pub(super) fn narrow(&mut self, range: TimeRange) {
        self.range = range;
    }

    /// The next one.
    pub(super) fn next(&mut self, unreadable: &mut Unreadable) -> Result<Option<Match>, StoreError> {
        loop {
            if let Some(found) = self.found.pop() {
                return Ok(Some(found));
            }
            if self.rows.is_empty() {
                return Ok(None);
            }
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
    }

    fn look(&mut self, number: u64, rows: &Range<u64>) -> Result<(), StoreError> {
        self.segment.scan(number, &mut self.scan)?;
        let first = rows_of_block(number).start;
        let all_kinds = self.filter.actions.is_empty() && self.filter.reasons.is_empty();
        for ((row, time), kind) in (first..).zip(self.scan.times()).zip(self.scan.kinds()) {
            let time = *time;
            if self.range.contains(time) && rows.contains(&row) && (all_kinds || matches_kind(self.filter, *kind)) {
                self.found.push(Match { row, time, kind: *kind });
            }
        }
        if !self.hidden.is_empty() {
            let hidden = &self.hidden;
            self.found.retain(|found| !hidden.iter().any(|rows| rows.contains(&found.row)));
        }
        if !self.filter.is_by_kind_alone() && !self.found.is_empty() {
            self.read_block(number)?;
            let (segment, filter) = (self.segment, self.filter);
            let mut kept = Vec::with_capacity(self.found.len());
            for found in std::mem::take(&mut self.found) {
                if matches_rest(segment, filter, &self.block, place_of(found.row).1)? {
                    kept.push(found);
                }
            }
            self.found = kept;
        }
        self.found.reverse();
        Ok(())
    }

    fn read_block(&mut self, number: u64) -> Result<(), StoreError> {
        if self.in_block != Some(number) {
            self.in_block = None;
            self.segment.read_block(number, &mut self.block)?;
            self.in_block = Some(number);
        }
        Ok(())
    }

    /// The event in the row of `found`, which was the last one given.
    pub(super) fn event(&mut self, found: &Match, key: &Key) -> Result<Event, StoreError> {
        let (number, at) = place_of(found.row);
        self.read_block(number)?;
        reading::event(self.segment, &self.block, at, key)
    }
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
    if filter.address.is_some() {
        let address = match reading::row(segment, block, at)?.peer {
            Peer::None => None,
            Peer::Some { ip, .. } => Some(ip),
        };
        if !filter.matches_address(address) {
            return Ok(false);
        }
    }
    if filter.username.is_none() && filter.listener.is_none() {
        return Ok(true);
    }
    let details = segment.details(block, at)?;
    Ok(filter.username.as_deref().is_none_or(|name| details.username.as_deref() == Some(name))
        && filter.listener.as_deref().is_none_or(|name| details.listener.as_deref() == Some(name)))
}

/// The keys of rows that are asked for in ascending order.
pub(super) struct Keys<'a> {
    segment: &'a Segment,
    cursor: Option<KeyCursor<'a>>,
    key: Vec<u8>,
    rows: Range<u64>,
}

/// So many keys are walked over before the directory is asked for the place.
const STEPS_MAX: usize = 128;

impl<'a> Keys<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self { segment, cursor: None, key: Vec::new(), rows: 0..0 }
    }

    /// The key of `row`, and the rows that it has.
    pub(super) fn of(&mut self, row: u64) -> Result<(&[u8], &Range<u64>), StoreError> {
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
