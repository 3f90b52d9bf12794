//! Where among a subject's rows a moment is.

use std::collections::BTreeMap;
use std::ops::Range;

use tracemq_model::TimeMs;
use tracemq_store::StoreError;

use super::block::{Block, ROWS};
use super::index::RowBlock;
use super::reader::{Segment, first_row};
use super::source::{size, wide};

/// Blocks that turned out to be damaged, by number. Whoever looks for a time goes on without: all rows that a subject has in such
/// a block are taken to be of one moment, the same each time, so that every other row keeps its place.
pub(crate) type Unread = BTreeMap<u64, StoreError>;

impl Segment {
    /// The first of `rows`, which are of one subject, whose time is `time` or later; their end when there is none. Two
    /// reads at most, of which `block` keeps the last. Of a block that goes into `unread`, see [`Unread`].
    pub(crate) fn lower_bound(
        &self,
        rows: &Range<u64>,
        time: TimeMs,
        block: &mut Block,
        unread: &mut Unread,
    ) -> Result<u64, StoreError> {
        let Some(last_row) = rows.end.checked_sub(1).filter(|last| *last >= rows.start) else { return Ok(rows.start) };
        let (first, last) = (rows.start / wide(ROWS), last_row / wide(ROWS));
        // The blocks between the first and the last are the subject's alone, so the index says where to look.
        let next = match last {
            _ if last > first => self.row_index.first_reaching(first + 1..last, time).unwrap_or(last),
            _ => last,
        };
        if next <= first + 1 {
            let found = self.lower_bound_in(first, rows, time, block, unread)?;
            if found < first_row(first + 1) || first == last {
                return Ok(found);
            }
        }
        self.lower_bound_in(next, rows, time, block, unread)
    }

    /// [`lower_bound`](Self::lower_bound) of those of `rows` that are in one block.
    fn lower_bound_in(
        &self,
        number: u64,
        rows: &Range<u64>,
        time: TimeMs,
        block: &mut Block,
        unread: &mut Unread,
    ) -> Result<u64, StoreError> {
        let Some(at) = self.row_index.get(number) else { return Err(self.no_row()) };
        let (mut low, mut high) = (rows.start.max(first_row(number)), rows.end.min(first_row(number + 1)));
        if at.from >= time.0 {
            return Ok(low);
        }
        if at.to < time.0 {
            return Ok(high);
        }
        if !self.try_block(number, block, unread)? {
            return Ok(if assumed_time(at, number, rows) < time { high } else { low });
        }
        while low < high {
            let middle = low.midpoint(high);
            if block.time(size(middle % wide(ROWS))) < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The time of `row`, which is one of `rows` of one subject. `block` keeps what was read for it. Of a block that goes into
    /// `unread`, see [`Unread`].
    pub(crate) fn time(
        &self,
        row: u64,
        rows: &Range<u64>,
        block: &mut Block,
        unread: &mut Unread,
    ) -> Result<TimeMs, StoreError> {
        let number = row / wide(ROWS);
        let Some(at) = self.row_index.get(number) else { return Err(self.no_row()) };
        if self.try_block(number, block, unread)? {
            Ok(block.time(size(row % wide(ROWS))))
        } else {
            Ok(assumed_time(at, number, rows))
        }
    }

    /// Reads of a block the rows at `range`, counted from its first; false when it is in `unread`, perhaps only now.
    pub(crate) fn try_rows(
        &self,
        number: u64,
        range: Range<usize>,
        block: &mut Block,
        unread: &mut Unread,
    ) -> Result<bool, StoreError> {
        if !self.try_block(number, block, unread)? {
            return Ok(false);
        }
        let read = self.read_rows(number, range, block);
        noted(read, number, unread)
    }

    /// Reads a block of which no rows are wanted yet; false when it is in `unread`, perhaps only now.
    fn try_block(&self, number: u64, block: &mut Block, unread: &mut Unread) -> Result<bool, StoreError> {
        if unread.contains_key(&number) {
            return Ok(false);
        }
        noted(self.open_block(number, block), number, unread)
    }
}

/// False for damage, which goes into `unread`.
fn noted(read: Result<(), StoreError>, number: u64, unread: &mut Unread) -> Result<bool, StoreError> {
    match read {
        Ok(()) => Ok(true),
        Err(error @ StoreError::Damaged { .. }) => {
            unread.insert(number, error);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// When the rows of a damaged block are taken to be, which is neither before those in front of them nor behind those that follow:
/// `rows` are the subject's, and the block's own span may also be that of the subjects before and behind.
fn assumed_time(block: &RowBlock, number: u64, rows: &Range<u64>) -> TimeMs {
    let has_rows_before = rows.start < first_row(number);
    let has_rows_behind = rows.end > first_row(number + 1);
    TimeMs(if has_rows_before && !has_rows_behind { block.to } else { block.from })
}
