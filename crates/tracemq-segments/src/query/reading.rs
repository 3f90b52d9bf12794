//! Rows of a segment, as questions want them.

use std::ops::Range;

use tracemq_model::{Details, Event, InstanceId, TimeRange};
use tracemq_store::StoreError;

use crate::key::Key;
use crate::row::Row;
use crate::segment::{Block, ROWS, Segment};

/// The number of the block that `row` is in, and its place there.
pub(super) fn place_of(row: u64) -> (u64, usize) {
    let rows = rows_a_block();
    (row / rows, usize::try_from(row % rows).unwrap_or(usize::MAX))
}

/// The rows of the block of that number, if it is full.
pub(super) fn rows_of_block(number: u64) -> Range<u64> {
    let rows = rows_a_block();
    number.saturating_mul(rows)..number.saturating_add(1).saturating_mul(rows)
}

fn rows_a_block() -> u64 {
    u64::try_from(ROWS).unwrap_or(u64::MAX)
}

/// From when to when the rows of a block are.
pub(super) fn times_of(segment: &Segment, number: u64) -> TimeRange {
    segment.block_times(number).unwrap_or(segment.meta().times)
}

/// The rows of `instance`.
pub(super) fn rows_of_instance(segment: &Segment, instance: &InstanceId) -> Option<Range<u64>> {
    let mut first = 0;
    for total in &segment.meta().instances {
        if total.instance == *instance {
            return Some(first..first + total.rows);
        }
        first += total.rows;
    }
    None
}

/// The event at `at` of `block`, whose key is `key`.
pub(super) fn event(segment: &Segment, block: &Block, at: usize, key: &Key) -> Result<Event, StoreError> {
    let details = segment.details(block, at)?;
    let row = block.row(at).ok_or_else(|| unknown(segment, "has no such row"))?;
    to_event(segment, row, key, details)
}

/// The event of `row`, which is one of the segment's.
pub(super) fn to_event(segment: &Segment, row: Row, key: &Key, details: Details) -> Result<Event, StoreError> {
    row.to_event(key, details).ok_or_else(|| unknown(segment, "an event of a kind that this version doesn't know"))
}

pub(super) fn unknown(segment: &Segment, what: &'static str) -> StoreError {
    StoreError::Damaged { path: segment.path().to_owned(), offset: 0, length: segment.meta().bytes, what }
}
