//! The events that connections begin with, read where they stand.

use std::ops::Range;

use tracemq_model::Event;
use tracemq_store::StoreError;

use crate::key::Key;
use crate::query::Keys;
use crate::segment::{RowCursor, Segment};

/// Events of rows of one segment that are asked for in ascending order.
pub(crate) struct EventsAt<'a> {
    segment: &'a Segment,
    rows: RowCursor<'a>,
    keys: Keys<'a>,
    /// Of the rows in `range`; none when they are hidden.
    key: Option<Key>,
    range: Range<u64>,
}

impl<'a> EventsAt<'a> {
    pub(crate) fn new(segment: &'a Segment) -> Self {
        Self { segment, rows: segment.rows(), keys: Keys::new(segment), key: None, range: 0..0 }
    }

    /// The event in `row`, unless its key `is_hidden`.
    pub(crate) fn event(&mut self, row: u64, is_hidden: impl Fn(&[u8]) -> bool) -> Result<Option<Event>, StoreError> {
        if !self.range.contains(&row) {
            let (bytes, range) = self.keys.of(row)?;
            self.key = Key::read(bytes).filter(|_| !is_hidden(bytes));
            self.range = range.clone();
        }
        let Some(key) = &self.key else { return Ok(None) };
        let (block, at) = self.rows.at(row)?;
        let Some(read) = block.row(at) else { return Ok(None) };
        Ok(read.to_event(key, self.segment.details(block, at)?))
    }
}
