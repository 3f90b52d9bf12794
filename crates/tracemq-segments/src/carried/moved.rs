//! Beginnings that go with their segments into another.

use std::sync::Arc;

use hashbrown::HashSet;

use super::chunk::{Chunk, OpenRows, Packer};
use super::{Carried, Place};

/// Where connections that were open when a merge began begin after it. Without any, those of its segments are forgotten.
#[derive(Default)]
pub(crate) struct Moved {
    from: Vec<Arc<Chunk>>,
    to: Packer,
}

impl Moved {
    /// Those of the segments `old` as they are now, none of which has moved yet.
    pub(crate) fn new(carried: &Carried, old: &[u64]) -> Self {
        let from = carried.chunks.iter().filter(|chunk| old.contains(&chunk.segment())).cloned().collect();
        Self { from, to: Packer::default() }
    }

    /// The rows of `segment`, in their order.
    pub(crate) fn rows_of(&self, segment: u64) -> OpenRows {
        OpenRows::new(self.from.iter().filter(|chunk| chunk.segment() == segment).cloned().collect())
    }

    /// `connection` now begins at `place`, behind those that moved before.
    pub(crate) fn push(&mut self, connection: u128, place: Place) {
        self.to.push(connection, place);
    }
}

impl Carried {
    /// The segments `old` are gone, and with them what began there and has not moved.
    pub(crate) fn replace(&mut self, old: &[u64], moved: Moved) {
        let (here, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.chunks).into_iter().partition(|chunk| old.contains(&chunk.segment()));
        self.chunks = others;
        let gone = in_one_only(&moved.from, &here);
        for mut chunk in moved.to.finish() {
            if !gone.is_empty()
                && let Some(fewer) = chunk.fewer(&mut |connection, _| !gone.contains(&connection))
            {
                chunk = Arc::new(fewer);
            }
            self.chunks.push(chunk);
        }
        self.chunks.retain(|chunk| chunk.len() > 0);
        self.chunks.sort_by_key(|chunk| chunk.segment());
    }
}

/// What ended since `from` became `now`.
fn in_one_only(from: &[Arc<Chunk>], now: &[Arc<Chunk>]) -> HashSet<u128> {
    let is_in = |chunks: &[Arc<Chunk>], chunk: &Arc<Chunk>| chunks.iter().any(|other| Arc::ptr_eq(other, chunk));
    let connections = |chunk: &Arc<Chunk>| chunk.entries().map(|(connection, _)| connection).collect::<Vec<_>>();
    let mut gone: HashSet<u128> = from.iter().filter(|chunk| !is_in(now, chunk)).flat_map(connections).collect();
    for connection in now.iter().filter(|chunk| !is_in(from, chunk)).flat_map(connections) {
        gone.remove(&connection);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::super::tests::{begun, listed, place};
    use super::*;
    use crate::store::Unpaired;
    use tracemq_model::ConnectionId;

    #[test]
    fn what_ends_while_its_segment_is_merged_does_not_come_back() {
        let mut carried = Carried::default();
        for segment in 1..=3 {
            let ids = (0..20_000).map(|n| ((u128::from(segment) << 64) | u128::from(n), place(segment, n, true)));
            carried.advance(begun(ids));
        }
        let mut moved = Moved::new(&carried, &[1, 2]);
        let all: Vec<(u128, Place)> = moved.rows_of(1).chain(moved.rows_of(2)).collect();
        assert_eq!(all.len(), 40_000);
        // The last ten are too old to be kept.
        for (row, (connection, _)) in (0..39_990).zip(&all) {
            moved.push(*connection, place(4, row, true));
        }
        let ended = [1 << 64, 1 << 64 | 17_000, 2 << 64 | 5, 3 << 64 | 7];
        carried.advance(Unpaired { ended: ended.map(ConnectionId).to_vec(), ..Unpaired::default() });
        let third: Vec<(u128, Place)> = carried.rows_of(3).collect();
        carried.replace(&[1, 2], moved);
        let is_left = |row: &u64| ![0, 17_000, 20_005].contains(row);
        let expected: Vec<u64> = (0..39_990).filter(is_left).collect();
        assert_eq!(carried.rows_of(4).map(|(_, place)| place.row).collect::<Vec<_>>(), expected);
        assert_eq!(carried.rows_of(3).collect::<Vec<_>>(), third);
        assert_eq!(listed(&carried).len(), expected.len() + third.len());
        carried.replace(&[3, 4], Moved::default());
        assert!(carried.is_empty());
    }
}
