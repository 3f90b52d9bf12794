//! Rows into a block.

use tracemq_model::ConnectionId;

use super::ROWS;
use super::connections::{self, OursEncoder};
use super::peers::PeersEncoder;
use super::rare::RareEncoder;
use super::references::{References, small};
use crate::cells::Column;
use crate::row::{Kind, Peer, Row};
use crate::segment::bits;
use crate::segment::meta::{Part, PartBytes};
use crate::segment::source::wide;

/// Gathers the rows of a block; used again for the next.
pub(in crate::segment) struct BlockEncoder {
    times: Vec<i64>,
    kinds: Vec<Kind>,
    connections: Vec<ConnectionId>,
    peers: Vec<Peer>,
    rare: RareEncoder,
    references: References,
    ours: OursEncoder,
    peers_encoder: PeersEncoder,
    distinct: Vec<Kind>,
    places: Vec<u64>,
}

impl BlockEncoder {
    pub(in crate::segment) fn new() -> Self {
        Self {
            times: Vec::with_capacity(ROWS),
            kinds: Vec::with_capacity(ROWS),
            connections: Vec::with_capacity(ROWS),
            peers: Vec::with_capacity(ROWS),
            rare: RareEncoder::default(),
            references: References::new(),
            ours: OursEncoder::default(),
            peers_encoder: PeersEncoder::new(),
            distinct: Vec::new(),
            places: Vec::with_capacity(ROWS),
        }
    }

    pub(in crate::segment) fn rows(&self) -> usize {
        self.times.len()
    }

    /// Adds a cell of the row that is pushed next; false when it has that column already.
    pub(in crate::segment) fn cell(&mut self, column: Column, value: u64) -> bool {
        self.rare.add(self.times.len(), column, value)
    }

    /// Adds a row, whose cells were added.
    pub(in crate::segment) fn row(&mut self, row: &Row) {
        self.times.push(row.time.0);
        self.kinds.push(row.kind);
        self.connections.push(row.connection);
        self.peers.push(row.peer);
    }

    /// The smallest and the largest time.
    pub(in crate::segment) fn span(&self) -> Option<(i64, i64)> {
        Some((*self.times.iter().min()?, *self.times.iter().max()?))
    }

    /// Appends the block and begins the next.
    pub(in crate::segment) fn encode(&mut self, out: &mut Vec<u8>, sizes: &mut PartBytes) {
        let rows = self.times.len();
        let mut start = out.len();
        let mut measure = |part: Part, end: usize| {
            sizes.add(part, wide(end - start));
            start = end;
        };
        out.extend_from_slice(&small(rows).to_le_bytes());
        bits::push_signed(&self.times, out);
        measure(Part::Time, out.len());
        self.push_kinds(out);
        measure(Part::Kind, out.len());
        connections::push(&self.times, &self.connections, &mut self.references, &mut self.ours, out);
        measure(Part::Connection, out.len());
        self.peers_encoder.push(&self.peers, &self.references, out);
        measure(Part::Peer, out.len());
        self.rare.push(rows, out, |column, bytes| sizes.add(Part::Cell(column), wide(bytes)));
        self.times.clear();
        self.kinds.clear();
        self.connections.clear();
        self.peers.clear();
    }

    fn push_kinds(&mut self, out: &mut Vec<u8>) {
        self.distinct.clear();
        self.places.clear();
        for kind in &self.kinds {
            let place = self.distinct.iter().position(|known| known == kind).unwrap_or_else(|| {
                self.distinct.push(*kind);
                self.distinct.len() - 1
            });
            self.places.push(wide(place));
        }
        out.extend_from_slice(&small(self.distinct.len()).to_le_bytes());
        for kind in &self.distinct {
            out.extend_from_slice(&kind.0.to_le_bytes());
        }
        bits::push(&self.places, out);
    }
}
