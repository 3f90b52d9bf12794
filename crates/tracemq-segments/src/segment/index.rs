//! Blocks that are gathered, written together, and found again.

use tracemq_model::{TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::bits;
use super::checksum::Piece;
use super::meta::{NO_TIMES, grow};
use super::output::Output;
use super::source::{Extent, Source, What, wide};
use crate::varint;

/// Blocks that wait to be written one behind the other, and the index of those that were.
#[derive(Default)]
pub(super) struct Run {
    content: Vec<u8>,
    notes: Vec<u8>,
    /// Of each block, where it and its notes end.
    ends: Vec<(usize, usize)>,
    index: Vec<u8>,
    previous_end: u64,
    written: u64,
}

impl Run {
    /// Adds a block; `note` appends what the index says of it beside its place.
    pub(super) fn push(&mut self, block: &[u8], note: impl FnOnce(&mut Vec<u8>)) {
        self.content.extend_from_slice(block);
        note(&mut self.notes);
        self.ends.push((self.content.len(), self.notes.len()));
    }

    /// How much waits.
    pub(super) fn bytes(&self) -> usize {
        self.content.len()
    }

    pub(super) fn write(&mut self, piece: Piece, output: &mut Output) -> Result<(), StoreError> {
        let (mut start, mut note_start) = (0, 0);
        for (end, note_end) in self.ends.drain(..) {
            let extent = output.push_block(piece, self.content.get(start..end).unwrap_or_default())?;
            self.written += extent.length();
            extent.push(&mut self.previous_end, &mut self.index);
            self.index.extend_from_slice(self.notes.get(note_start..note_end).unwrap_or_default());
            (start, note_start) = (end, note_end);
        }
        self.content.clear();
        self.notes.clear();
        Ok(())
    }

    /// Writes what waits; returns the index and the bytes of all blocks.
    pub(super) fn finish(&mut self, piece: Piece, output: &mut Output) -> Result<(Vec<u8>, u64), StoreError> {
        self.write(piece, output)?;
        Ok((std::mem::take(&mut self.index), self.written))
    }
}

/// A block of rows: where it stands, and from when to when its rows are.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowBlock {
    pub(super) extent: Extent,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Makes the index of blocks of rows.
#[derive(Default)]
pub(super) struct RowIndexWriter {
    bytes: Vec<u8>,
    previous_end: u64,
    previous_from: i64,
}

impl RowIndexWriter {
    pub(super) fn push(&mut self, RowBlock { extent, from, to }: RowBlock) {
        extent.push(&mut self.previous_end, &mut self.bytes);
        varint::push(&mut self.bytes, varint::zigzag(from.wrapping_sub(self.previous_from)));
        varint::push(&mut self.bytes, bits::distance(from, to));
        self.previous_from = from;
    }

    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// The blocks of rows, in memory.
#[derive(Debug, Default)]
pub(super) struct RowIndex {
    blocks: Vec<RowBlock>,
}

impl RowIndex {
    /// Reads the index of `count` blocks that end before `limit`, and whose rows are of `times`.
    pub(super) fn read(bytes: &[u8], limit: u64, count: u64, times: TimeRange) -> Result<Self, What> {
        let mut source = Source::new(bytes);
        let (mut blocks, mut found) = (Vec::new(), NO_TIMES);
        let (mut end, mut previous_from) = (0, 0_i64);
        while !source.is_empty() {
            let extent = Extent::read(&mut source, &mut end, limit)?;
            let from = previous_from.wrapping_add(varint::unzigzag(source.varint()?));
            let to = from.checked_add_unsigned(source.varint()?).ok_or("a time that can't be")?;
            previous_from = from;
            grow(&mut found, TimeMs(from));
            grow(&mut found, TimeMs(to));
            blocks.push(RowBlock { extent, from, to });
        }
        if found != times {
            return Err("blocks have other times than the footer says");
        }
        if wide(blocks.len()) == count { Ok(Self { blocks }) } else { Err("another number of blocks than rows need") }
    }

    pub(super) fn get(&self, block: u64) -> Option<&RowBlock> {
        self.blocks.get(usize::try_from(block).ok()?)
    }

    pub(super) fn blocks(&self) -> &[RowBlock] {
        &self.blocks
    }

    /// Of the blocks in `range`, all of whose times ascend, the first that has a row at `time` or later.
    pub(super) fn first_reaching(&self, range: std::ops::Range<u64>, time: TimeMs) -> Option<u64> {
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        let inside = self.blocks.get(start..end)?;
        let at = inside.partition_point(|block| block.to < time.0);
        (at < inside.len()).then(|| range.start + wide(at))
    }
}
