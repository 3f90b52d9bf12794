//! What is known of a segment without reading its rows.

use std::ops::RangeInclusive;

use tracemq_model::{InstanceId, TimeMs, TimeRange};

use super::checksum::SegmentId;
use crate::cells::Column;

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentMeta {
    pub(crate) id: SegmentId,
    /// How many events.
    pub(crate) rows: u64,
    /// How many keys.
    pub(crate) subjects: u64,
    /// The file's length.
    pub(crate) bytes: u64,
    /// From the earliest to the latest event; empty when there are no rows.
    pub(crate) times: TimeRange,
    /// From the first to the last arrival that it is made of, as the caller counts them.
    pub(crate) sequence: RangeInclusive<u64>,
    /// In the order of their names.
    pub(crate) instances: Vec<InstanceTotal>,
    pub(crate) parts: PartBytes,
    /// The footer's checksum: two segments of one id that hold anything different have different ones, but for a chance
    /// of one in four thousand million.
    pub(crate) checksum: u32,
}

/// What a segment holds of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstanceTotal {
    pub(crate) instance: InstanceId,
    pub(crate) rows: u64,
    pub(crate) times: TimeRange,
    /// Its share of the blocks of rows; a block that holds several instances is shared by rows.
    pub(crate) bytes: u64,
}

/// A range that holds nothing, and grows.
pub(super) const NO_TIMES: TimeRange = TimeRange { from: TimeMs::MAX, to: TimeMs::MIN };

/// `times`, grown so that it holds `time`.
pub(super) fn grow(times: &mut TimeRange, time: TimeMs) {
    times.from = times.from.min(time);
    times.to = times.to.max(time);
}

/// What takes room in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Time,
    Kind,
    Connection,
    Peer,
    Directory,
    Texts,
    Minutes,
    Indexes,
    Cell(Column),
}

impl Part {
    const FIXED: [Self; 8] = [
        Self::Time,
        Self::Kind,
        Self::Connection,
        Self::Peer,
        Self::Directory,
        Self::Texts,
        Self::Minutes,
        Self::Indexes,
    ];

    /// The name that people see.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Kind => "kind",
            Self::Connection => "connection",
            Self::Peer => "peer",
            Self::Directory => "directory",
            Self::Texts => "texts",
            Self::Minutes => "minutes",
            Self::Indexes => "indexes",
            Self::Cell(column) => column.name(),
        }
    }

    /// Stands on disk, as the place in the footer: a part is never moved, a new column is at the end.
    fn place(self) -> usize {
        match self {
            Self::Time => 0,
            Self::Kind => 1,
            Self::Connection => 2,
            Self::Peer => 3,
            Self::Directory => 4,
            Self::Texts => 5,
            Self::Minutes => 6,
            Self::Indexes => 7,
            Self::Cell(column) => Self::FIXED.len() + column as usize,
        }
    }
}

/// How many bytes each part takes. Checksums of blocks, the header and the footer are in none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartBytes(pub(super) [u64; Part::FIXED.len() + Column::ALL.len()]);

impl Default for PartBytes {
    fn default() -> Self {
        Self([0; Part::FIXED.len() + Column::ALL.len()])
    }
}

impl PartBytes {
    pub(super) fn add(&mut self, part: Part, bytes: u64) {
        if let Some(total) = self.0.get_mut(part.place()) {
            *total = total.saturating_add(bytes);
        }
    }

    /// Each part and its bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Part, u64)> {
        let parts = Part::FIXED.into_iter().chain(Column::ALL.map(Part::Cell));
        parts.zip(self.0)
    }
}
