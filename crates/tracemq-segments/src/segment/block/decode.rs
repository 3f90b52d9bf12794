//! A block into rows.

use std::net::IpAddr;
use std::ops::Range;

use tracemq_model::{ConnectionId, TimeMs};

use super::ROWS;
use super::connections::Connections;
use super::peers::Peers;
use super::rare::{self, RareColumn};
use crate::cells::Column;
use crate::row::{Kind, Peer, Row};
use crate::segment::SegmentId;
use crate::segment::bits::{Numbers, signed};
use crate::segment::source::{Source, What, size};

const NO_KIND: What = "a kind that is not there";

/// Times and kinds, which stand at the front and are all that counting needs.
#[derive(Default)]
struct Front {
    rows: usize,
    times: Numbers,
    distinct: Vec<Kind>,
    kinds: Numbers,
}

impl Front {
    /// Reads the front of a block of `rows` rows, the earliest at `from`.
    fn read(&mut self, source: &mut Source<'_>, rows: usize, from: i64) -> Result<(), What> {
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

    fn time(&self, bytes: &[u8], at: usize) -> TimeMs {
        TimeMs(self.times.get_signed(bytes, at))
    }

    fn kind(&self, bytes: &[u8], at: usize) -> Option<Kind> {
        self.distinct.get(size(self.kinds.get(bytes, at))).copied()
    }
}

/// A block in memory. Its front is there as soon as it is open; the rows are decoded when they are asked for, and no more of
/// them than that. What it gives was checked. Places are within the block and less than [`rows`](Self::rows).
#[derive(Default)]
pub(crate) struct Block {
    /// Which one it is, unless it holds none: its segment and its number there.
    place: Option<(SegmentId, u64)>,
    bytes: Vec<u8>,
    content: usize,
    front: Front,
    front_bytes: usize,
    /// Whether it is known where what follows stands.
    has_columns: bool,
    connections: Connections,
    peers: Peers,
    rare: Vec<RareColumn>,
    /// The rows that are decoded.
    decoded: Range<usize>,
    row_connections: Vec<ConnectionId>,
    row_peers: Vec<Peer>,
}

impl Block {
    pub(in crate::segment) fn holds(&self, segment: SegmentId, number: u64) -> bool {
        self.place == Some((segment, number))
    }

    /// The buffer that holds the block's bytes and, behind them, padding. Whoever asks for it replaces the block.
    pub(in crate::segment) fn buffer(&mut self) -> &mut Vec<u8> {
        self.place = None;
        &mut self.bytes
    }

    /// Opens what the first `content` bytes of the buffer hold: the block `number` of `segment`, of `rows` rows, the earliest
    /// at `from`.
    pub(in crate::segment) fn open(
        &mut self,
        (segment, number): (SegmentId, u64),
        content: usize,
        rows: usize,
        from: i64,
    ) -> Result<(), What> {
        self.place = None;
        self.has_columns = false;
        self.decoded = 0..0;
        self.content = content;
        let mut source = Source::new(self.bytes.get(..content).unwrap_or_default());
        self.front.read(&mut source, rows, from)?;
        self.front_bytes = source.at();
        self.place = Some((segment, number));
        Ok(())
    }

    /// Finds out where the columns behind the front stand.
    fn read_columns(&mut self) -> Result<(), What> {
        if self.has_columns {
            return Ok(());
        }
        let (rows, bytes) = (self.front.rows, self.bytes.as_slice());
        let mut source = Source::new(bytes.get(..self.content).unwrap_or_default());
        source.take(self.front_bytes)?;
        self.connections.read(&mut source, bytes, rows)?;
        self.peers.read(&mut source, bytes, rows, &self.connections.slots)?;
        rare::read(&mut source, rows, &mut self.rare)?;
        source.finish()?;
        self.has_columns = true;
        Ok(())
    }

    /// Decodes the rows in `range`, and forgets others.
    pub(in crate::segment) fn decode(&mut self, range: Range<usize>) -> Result<(), What> {
        self.decoded = 0..0;
        if range.end > self.rows() {
            return Err("has no such row");
        }
        self.read_columns()?;
        let Self { bytes, front, connections, peers, row_connections, row_peers, .. } = self;
        let bytes = bytes.as_slice();
        if range.clone().any(|at| front.kind(bytes, at).is_none()) {
            return Err(NO_KIND);
        }
        connections.slots.prepare(&range)?;
        connections.fill(bytes, range.clone(), |at| front.time(bytes, at), row_connections)?;
        peers.fill(bytes, range.clone(), &connections.slots, row_peers)?;
        self.decoded = range;
        Ok(())
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> usize {
        self.front.rows
    }

    /// Its number in the segment.
    pub(crate) fn number(&self) -> u64 {
        self.place.map_or(0, |(_, number)| number)
    }

    /// The kinds that its rows have, each once.
    pub(crate) fn distinct_kinds(&self) -> &[Kind] {
        &self.front.distinct
    }

    /// The time of the row at `at`, which is less than [`rows`](Self::rows). It need not be decoded.
    pub(crate) fn time(&self, at: usize) -> TimeMs {
        self.front.time(&self.bytes, at)
    }

    /// The row at `at`; none when it is not decoded.
    pub(crate) fn row(&self, at: usize) -> Option<Row> {
        let place = self.decoded.contains(&at).then(|| at - self.decoded.start)?;
        Some(Row {
            connection: *self.row_connections.get(place)?,
            peer: *self.row_peers.get(place)?,
            time: self.time(at),
            kind: self.front.kind(&self.bytes, at)?,
        })
    }

    /// The cells of the row at `at`, in the order of the columns; none when it is not decoded.
    pub(crate) fn cells(&self, at: usize) -> impl Iterator<Item = (Column, u64)> {
        let columns = if self.decoded.contains(&at) { self.rare.as_slice() } else { &[] };
        rare::cells(columns, &self.bytes, at)
    }

    /// What the row at `at` has in `column`, if it is decoded and has it.
    pub(crate) fn cell(&self, column: Column, at: usize) -> Option<u64> {
        if self.decoded.contains(&at) { rare::cell(&self.rare, column, &self.bytes, at) } else { None }
    }

    /// Whether any row has something in `column`.
    pub(crate) fn has(&mut self, column: Column) -> Result<bool, What> {
        self.read_columns()?;
        Ok(rare::has(&self.rare, column))
    }

    /// Whether any row has an address that `is_wanted`.
    pub(crate) fn any_address(&mut self, is_wanted: impl Fn(IpAddr) -> bool) -> Result<bool, What> {
        self.read_columns()?;
        self.peers.any_address(&self.bytes, is_wanted)
    }
}

/// Times and kinds of a block, unpacked; used again for the next.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) block: Block,
    numbers: Vec<u64>,
    times: Vec<TimeMs>,
    kinds: Vec<Kind>,
}

impl Scan {
    /// Unpacks what is in the block.
    pub(in crate::segment) fn unpack(&mut self) -> Result<(), What> {
        let Self { block: Block { bytes, front, .. }, numbers, times, kinds } = self;
        numbers.resize(front.rows, 0);
        front.times.unpack(bytes, numbers);
        times.clear();
        times.extend(numbers.iter().map(|time| TimeMs(signed(*time))));
        front.kinds.unpack(bytes, numbers);
        kinds.clear();
        for place in numbers.iter() {
            kinds.push(*front.distinct.get(size(*place)).ok_or(NO_KIND)?);
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
