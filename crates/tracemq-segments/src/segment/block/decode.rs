//! A block into rows.

use tracemq_model::{ConnectionId, TimeMs};

use super::connections;
use super::peers::PeersDecoder;
use super::rare::{self, RareColumn};
use super::references::Slots;
use super::{ROWS, rare::cells};
use crate::cells::Column;
use crate::row::{Kind, Peer, Row};
use crate::segment::bits::Numbers;
use crate::segment::source::{Source, What, size};

/// Times and kinds, which stand at the front and are all that counting needs.
#[derive(Default)]
pub(in crate::segment) struct Front {
    rows: usize,
    times: Numbers,
    distinct: Vec<Kind>,
    kinds: Numbers,
}

impl Front {
    /// Reads the front of a block of `rows` rows, the earliest at `from`.
    pub(in crate::segment) fn read(&mut self, source: &mut Source<'_>, rows: usize, from: i64) -> Result<(), What> {
        if usize::from(source.u16()?) != rows || rows > ROWS {
            return Err("a block has another number of rows than its place says");
        }
        self.rows = rows;
        self.times = Numbers::read_signed(source, rows)?;
        if self.times.least_signed() != from {
            return Err("a block begins at another time than the index says");
        }
        self.distinct.clear();
        let distinct = usize::from(source.u16()?);
        if distinct > rows {
            return Err("more kinds than rows");
        }
        for _ in 0..distinct {
            self.distinct.push(Kind(source.u16()?));
        }
        self.kinds = Numbers::read(source, rows)?;
        Ok(())
    }

    /// Refuses kinds that are not there, so that no later look needs to.
    fn check(&self, bytes: &[u8]) -> Result<(), What> {
        let largest = (0..self.rows).map(|at| self.kinds.get(bytes, at)).max().unwrap_or(0);
        if size(largest) < self.distinct.len() { Ok(()) } else { Err("a kind that is not there") }
    }

    pub(in crate::segment) fn time(&self, bytes: &[u8], at: usize) -> TimeMs {
        TimeMs(self.times.get_signed(bytes, at))
    }

    fn kind(&self, bytes: &[u8], at: usize) -> Kind {
        self.distinct.get(size(self.kinds.get(bytes, at))).copied().unwrap_or(Kind(u16::MAX))
    }
}

/// A block in memory, checked: what it gives is what was written. Places are within the block and less than
/// [`rows`](Self::rows).
#[derive(Default)]
pub(crate) struct Block {
    first_row: u64,
    bytes: Vec<u8>,
    front: Front,
    connections: Vec<ConnectionId>,
    peers: Vec<Peer>,
    rare: Vec<RareColumn>,
    slots: Slots,
    peers_decoder: PeersDecoder,
}

impl Block {
    /// The buffer that holds the block's bytes and, behind them, padding.
    pub(in crate::segment) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Reads what the first `content` bytes of the buffer hold.
    pub(in crate::segment) fn decode(
        &mut self,
        content: usize,
        first_row: u64,
        rows: usize,
        from: i64,
    ) -> Result<(), What> {
        let Self { bytes, front, connections, peers, rare, slots, peers_decoder, .. } = self;
        let bytes = bytes.as_slice();
        let mut source = Source::new(bytes.get(..content).unwrap_or_default());
        front.read(&mut source, rows, from)?;
        front.check(bytes)?;
        slots.read(&mut source, bytes, rows)?;
        connections::read(&mut source, bytes, slots, |at| front.time(bytes, at), connections)?;
        peers_decoder.read(&mut source, bytes, slots, peers)?;
        rare::read(&mut source, rows, rare)?;
        source.finish()?;
        self.first_row = first_row;
        Ok(())
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> usize {
        self.front.rows
    }

    /// The number of its first row in the segment.
    pub(crate) fn first_row(&self) -> u64 {
        self.first_row
    }

    /// The row at `at`; none when there is none.
    pub(crate) fn row(&self, at: usize) -> Option<Row> {
        Some(Row {
            connection: *self.connections.get(at)?,
            peer: *self.peers.get(at)?,
            time: self.time(at),
            kind: self.kind(at),
        })
    }

    /// The time of the row at `at`, which is less than [`rows`](Self::rows).
    pub(crate) fn time(&self, at: usize) -> TimeMs {
        self.front.time(&self.bytes, at)
    }

    /// The kind of the row at `at`, which is less than [`rows`](Self::rows).
    pub(crate) fn kind(&self, at: usize) -> Kind {
        self.front.kind(&self.bytes, at)
    }

    /// The cells of the row at `at`, in the order of the columns.
    pub(crate) fn cells(&self, at: usize) -> impl Iterator<Item = (Column, u64)> {
        let columns = if at < self.rows() { self.rare.as_slice() } else { &[] };
        cells(columns, &self.bytes, at)
    }
}

/// Times and kinds of a block, unpacked; used again for the next.
pub(crate) struct Scan {
    bytes: Vec<u8>,
    front: Front,
    numbers: Vec<u64>,
    times: Vec<TimeMs>,
    kinds: Vec<Kind>,
}

impl Scan {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            front: Front::default(),
            numbers: vec![0; ROWS],
            times: Vec::with_capacity(ROWS),
            kinds: Vec::with_capacity(ROWS),
        }
    }

    /// The buffer that holds the block's bytes and, behind them, padding.
    pub(in crate::segment) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Reads the front of what the first `content` bytes of the buffer hold.
    pub(in crate::segment) fn decode(&mut self, content: usize, rows: usize, from: i64) -> Result<(), What> {
        let Self { bytes, front, numbers, times, kinds } = self;
        front.read(&mut Source::new(bytes.get(..content).unwrap_or_default()), rows, from)?;
        front.times.unpack(bytes, numbers);
        times.clear();
        times.extend(numbers.iter().take(rows).map(|time| TimeMs(crate::segment::bits::signed(*time))));
        front.kinds.unpack(bytes, numbers);
        kinds.clear();
        for place in numbers.iter().take(rows) {
            kinds.push(*front.distinct.get(size(*place)).ok_or("a kind that is not there")?);
        }
        Ok(())
    }

    /// The times of the block's rows, in their order.
    pub(crate) fn times(&self) -> &[TimeMs] {
        &self.times
    }

    /// The kinds of the block's rows, in their order.
    pub(crate) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}
