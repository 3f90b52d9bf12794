//! Beginnings in one segment, some thousands together, packed as they stand in the file.

use std::sync::Arc;

use super::Place;
use crate::varint;

/// So many connections are packed together: 300 kB, which is what changing one of them costs.
const CONNECTIONS_A_CHUNK: usize = 16_384;

/// At least one beginning in one segment, by row; after [`fewer`](Chunk::fewer) there may be none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    segment: u64,
    connections: usize,
    /// The last row.
    last: u64,
    bytes: Box<[u8]>,
}

impl Chunk {
    /// None when the bytes are not so many connections, by row.
    pub(super) fn read(segment: u64, connections: u32, bytes: Vec<u8>) -> Option<Self> {
        let (mut rest, mut row) = (bytes.as_slice(), None);
        for _ in 0..connections {
            let (next, ..) = take(&mut rest, row.unwrap_or(0))?;
            if row.is_some_and(|row| row >= next) {
                return None;
            }
            row = Some(next);
        }
        let (last, connections) = (row?, usize::try_from(connections).ok()?);
        rest.is_empty().then_some(Self { segment, connections, last, bytes: bytes.into_boxed_slice() })
    }

    /// Whether all of it stands before all of `other`.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        let first = other.entries().next().map(|(_, place)| (place.segment, place.row));
        Some((self.segment, self.last)) < first
    }

    pub(super) fn segment(&self) -> u64 {
        self.segment
    }

    /// How many connections.
    pub(super) fn len(&self) -> usize {
        self.connections
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (u128, Place)> {
        let (segment, mut rest, mut last) = (self.segment, &*self.bytes, 0);
        std::iter::from_fn(move || {
            let (row, is_connect, connection) = take(&mut rest, last)?;
            last = row;
            Some((connection, Place { segment, row, is_connect }))
        })
    }

    /// What `keeps` takes of it; none when that is all.
    pub(super) fn fewer(&self, keeps: &mut impl FnMut(u128, Place) -> bool) -> Option<Self> {
        let mut packer: Option<Packer> = None;
        for (at, (connection, place)) in self.entries().enumerate() {
            match (keeps(connection, place), &mut packer) {
                (true, Some(packer)) => packer.push(connection, place),
                (true, None) | (false, Some(_)) => {}
                (false, None) => {
                    let mut kept = Packer { segment: self.segment, ..Packer::default() };
                    self.entries().take(at).for_each(|(connection, place)| kept.push(connection, place));
                    packer = Some(kept);
                }
            }
        }
        packer.map(|mut packer| packer.end_chunk())
    }
}

/// The row that comes after `last`, whether it is a connect, and the connection.
fn take(rest: &mut &[u8], last: u64) -> Option<(u64, bool, u128)> {
    let step = varint::take(rest)?;
    let (connection, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some((last.checked_add(step >> 1)?, step & 1 == 1, u128::from_le_bytes(*connection)))
}

/// Packs the beginnings in one segment, which come by row.
#[derive(Default)]
pub(super) struct Packer {
    segment: u64,
    connections: usize,
    bytes: Vec<u8>,
    last: u64,
    full: Vec<Arc<Chunk>>,
}

impl Packer {
    pub(super) fn push(&mut self, connection: u128, place: Place) {
        if self.connections == CONNECTIONS_A_CHUNK {
            let chunk = self.end_chunk();
            self.full.push(Arc::new(chunk));
        }
        self.segment = place.segment;
        varint::push(&mut self.bytes, place.row.wrapping_sub(self.last) << 1 | u64::from(place.is_connect));
        self.bytes.extend_from_slice(&connection.to_le_bytes());
        self.connections += 1;
        self.last = place.row;
    }

    fn end_chunk(&mut self) -> Chunk {
        let bytes = std::mem::take(&mut self.bytes).into_boxed_slice();
        let (connections, last) = (std::mem::take(&mut self.connections), std::mem::take(&mut self.last));
        Chunk { segment: self.segment, connections, last, bytes }
    }

    pub(super) fn finish(mut self) -> Vec<Arc<Chunk>> {
        if self.connections > 0 {
            let chunk = self.end_chunk();
            self.full.push(Arc::new(chunk));
        }
        self.full
    }
}

/// Beginnings, by segment and row.
#[derive(Default)]
pub(crate) struct OpenRows {
    chunks: std::vec::IntoIter<Arc<Chunk>>,
    chunk: Option<Arc<Chunk>>,
    at: usize,
    last: u64,
}

impl OpenRows {
    pub(super) fn new(chunks: Vec<Arc<Chunk>>) -> Self {
        Self { chunks: chunks.into_iter(), ..Self::default() }
    }
}

impl Iterator for OpenRows {
    type Item = (u128, Place);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(chunk) = &self.chunk {
                let mut rest = chunk.bytes.get(self.at..).unwrap_or_default();
                if let Some((row, is_connect, connection)) = take(&mut rest, self.last) {
                    (self.at, self.last) = (chunk.bytes.len() - rest.len(), row);
                    return Some((connection, Place { segment: chunk.segment, row, is_connect }));
                }
            }
            (self.chunk, self.at, self.last) = (Some(self.chunks.next()?), 0, 0);
        }
    }
}
