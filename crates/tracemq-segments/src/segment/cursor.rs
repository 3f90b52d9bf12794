//! Walks over a segment: its keys, its rows.

use std::ops::Range;

use tracemq_store::StoreError;

use super::block::{Block, ROWS};
use super::checksum::Piece;
use super::directory::{self, Entry};
use super::reader::Segment;
use super::source::{CUT, Source, size, wide};

/// The first read of a walk, for one that ends soon; each later one is [`GROWTH`] times as long.
const FIRST_BYTES: u64 = 4 << 10;
const GROWTH: u64 = 4;
/// The longest read, unless one block is longer.
const READ_BYTES_MAX: u64 = 256 << 10;

/// A key and the numbers of its rows.
pub(crate) type KeyRows<'k> = (&'k [u8], Range<u64>);

/// The keys in their order, each with its rows.
pub(crate) struct KeyCursor<'a> {
    segment: &'a Segment,
    /// Blocks that were read together, and where in the file.
    bytes: Vec<u8>,
    offset: u64,
    read_bytes: u64,
    /// The block after the one that is walked.
    next_block: usize,
    /// What is left of the block that is walked, as a part of `bytes`.
    rest: Range<usize>,
    key: Vec<u8>,
    /// How many bytes it shares with the one before.
    shared: usize,
    rows: Range<u64>,
    /// Where the rows of the block end.
    rows_end: u64,
    /// Whether the key was found, but not yet given.
    ahead: bool,
}

impl<'a> KeyCursor<'a> {
    pub(super) fn at_block(segment: &'a Segment, block: usize) -> Self {
        Self {
            segment,
            bytes: Vec::new(),
            offset: 0,
            read_bytes: FIRST_BYTES,
            next_block: block,
            rest: 0..0,
            key: Vec::new(),
            shared: 0,
            rows: 0..0,
            rows_end: 0,
            ahead: false,
        }
    }

    pub(super) fn new(segment: &'a Segment, from: &[u8]) -> Result<Self, StoreError> {
        let mut cursor = Self::at_block(segment, segment.directory.block_of_key(from));
        while cursor.step()? {
            if cursor.key.as_slice() >= from {
                cursor.ahead = true;
                break;
            }
        }
        Ok(cursor)
    }

    /// The next key and its rows. After an error, there is none.
    pub(crate) fn next(&mut self) -> Result<Option<KeyRows<'_>>, StoreError> {
        Ok(if self.advance()? { Some(self.current()) } else { None })
    }

    /// Goes to the next key; false when there is none.
    pub(super) fn advance(&mut self) -> Result<bool, StoreError> {
        Ok(std::mem::take(&mut self.ahead) || self.step()?)
    }

    /// The key that it stands at, and its rows.
    pub(super) fn current(&self) -> KeyRows<'_> {
        (&self.key, self.rows.clone())
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// How many bytes the key shares with the one before.
    pub(super) fn shared(&self) -> usize {
        self.shared
    }

    /// Goes to the next key; false when there is none.
    fn step(&mut self) -> Result<bool, StoreError> {
        if self.rest.is_empty() && !self.open_block()? {
            return Ok(false);
        }
        let mut source = Source::new(self.bytes.get(self.rest.clone()).unwrap_or_default());
        let entry = directory::read_entry(&mut source, &mut self.key);
        self.rest.start += source.at();
        let start = self.rows.end;
        let entry = entry.and_then(|Entry { rows, shared }| {
            let end = start.checked_add(rows).ok_or(CUT)?;
            let fits = if self.rest.is_empty() { end == self.rows_end } else { end < self.rows_end };
            if fits { Ok((end, shared)) } else { Err("keys have another number of rows than their block") }
        });
        match entry {
            Ok((end, shared)) => {
                self.rows = start..end;
                self.shared = shared;
                Ok(true)
            }
            Err(what) => {
                let block = self.next_block.saturating_sub(1);
                self.stop();
                let extent = self.segment.directory.extent(block).unwrap_or_default();
                Err(self.segment.damaged(extent, what))
            }
        }
    }

    /// Goes to the first entry of the next block.
    fn open_block(&mut self) -> Result<bool, StoreError> {
        let directory = &self.segment.directory;
        let number = self.next_block;
        let Some((extent, rows)) = directory.extent(number).zip(directory.rows(number)) else { return Ok(false) };
        if extent.offset() < self.offset || extent.end() > self.offset + wide(self.bytes.len()) {
            let read = self.read_from(number);
            if read.is_err() {
                self.stop();
                self.bytes.clear();
            }
            read?;
        }
        let start = size(extent.offset() - self.offset);
        let block = self.bytes.get(start..start + size(extent.length())).unwrap_or_default();
        let content = match self.segment.pieces().check(Piece::Directory, extent.offset(), block) {
            Ok(content) => content,
            Err(error) => {
                self.stop();
                return Err(error);
            }
        };
        self.rest = start..start + content;
        self.key.clear();
        self.rows = rows.start..rows.start;
        self.rows_end = rows.end;
        self.next_block = number + 1;
        Ok(true)
    }

    /// Reads the block `number` and those that stand right behind it, as far as a read goes.
    fn read_from(&mut self, number: usize) -> Result<(), StoreError> {
        let directory = &self.segment.directory;
        let Some(first) = directory.extent(number) else { return Ok(()) };
        let mut end = first.end();
        for next in (number + 1..).map_while(|number| directory.extent(number)) {
            if next.offset() != end || next.end() - first.offset() > self.read_bytes {
                break;
            }
            end = next.end();
        }
        self.read_bytes = READ_BYTES_MAX.min(self.read_bytes * GROWTH);
        self.offset = first.offset();
        self.bytes.resize(size(end - first.offset()), 0);
        self.segment.pieces().fill(&mut self.bytes, self.offset)
    }

    fn stop(&mut self) {
        self.rest = 0..0;
        self.next_block = usize::MAX;
    }
}

/// Rows one after the other: a block is read when its first row is asked for.
pub(crate) struct RowCursor<'a> {
    segment: &'a Segment,
    block: Block,
    /// Which one is in `block`, as a whole.
    number: Option<u64>,
}

impl<'a> RowCursor<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self { segment, block: Block::default(), number: None }
    }

    /// The block that has `row`, and the row's place in it.
    pub(crate) fn at(&mut self, row: u64) -> Result<(&Block, usize), StoreError> {
        let number = row / wide(ROWS);
        if self.number != Some(number) {
            self.number = None;
            self.segment.read_block(number, &mut self.block)?;
            self.number = Some(number);
        }
        Ok((&self.block, size(row % wide(ROWS))))
    }
}
