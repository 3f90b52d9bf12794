//! What bytes of a segment mean for answers.

use std::ops::Range;

use tracemq_model::{InstanceId, TimeMs, TimeRange};

use super::block::ROWS;
use super::reader::Segment;
use super::source::{Extent, size, wide};

/// Rows that can't be read, or not in full, when some bytes can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AffectedRows {
    /// How many at most.
    pub(crate) rows: u64,
    pub(crate) times: TimeRange,
    /// Whose they may be.
    pub(crate) instances: Vec<InstanceId>,
    /// Only the totals by minute are lost: each row by itself can be read.
    pub(crate) only_counts: bool,
}

impl Segment {
    /// What is lost with the `length` bytes at `offset`.
    pub(crate) fn affected(&self, offset: u64, length: u64) -> AffectedRows {
        let end = offset.saturating_add(length.max(1));
        let all = || self.affected_rows(std::slice::from_ref(&(0..self.meta().rows)));
        let hit = |extent: &Extent| extent.offset() < end && offset < extent.end();
        let minutes = self.sections().minutes;
        if minutes.offset <= offset && end <= minutes.offset.saturating_add(minutes.length) {
            return AffectedRows { only_counts: true, ..all() };
        }
        if end > minutes.offset || self.text_index.extents().any(|(extent, _)| hit(&extent)) {
            // An index holds all rows, and a text may be in any of them.
            return all();
        }
        let rows = (0..).zip(self.row_index.blocks()).filter(|(_, block)| hit(&block.extent)).map(|(number, _)| {
            let first: u64 = number * wide(ROWS);
            first..first + wide(self.rows_of(number))
        });
        let keys = (0..self.directory.len())
            .filter(|block| self.directory.extent(*block).is_some_and(|extent| hit(&extent)))
            .filter_map(|block| self.directory.rows(block));
        let found: Vec<Range<u64>> = rows.chain(keys).collect();
        if found.is_empty() { all() } else { self.affected_rows(&found) }
    }

    fn affected_rows(&self, rows: &[Range<u64>]) -> AffectedRows {
        let mut times = TimeRange { from: TimeMs::MAX, to: TimeMs::MIN };
        for range in rows {
            let blocks = range.start / wide(ROWS)..range.end.div_ceil(wide(ROWS));
            for block in self.row_index.blocks().get(size(blocks.start)..size(blocks.end)).unwrap_or_default() {
                times.from = times.from.min(TimeMs(block.from));
                times.to = times.to.max(TimeMs(block.to));
            }
        }
        let mut first = 0;
        let mut instances = Vec::new();
        for total in &self.meta().instances {
            let of_instance = first..first + total.rows;
            first = of_instance.end;
            if rows.iter().any(|range| range.start < of_instance.end && of_instance.start < range.end) {
                instances.push(total.instance.clone());
            }
        }
        let count = rows.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        AffectedRows { rows: count, times, instances, only_counts: false }
    }
}
