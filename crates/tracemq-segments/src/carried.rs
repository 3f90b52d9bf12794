//! Connections that were open when the memtable with their beginning was sealed.
//!
//! A start has to find the connections that the last run left open, without reading years of history. What began and ended
//! within the log is found there. Of what began before, one file says which connections they are, and in which rows of which
//! segments they begin. It is written anew with each manifest that changes it, and named by that manifest. In memory it takes the
//! same 18 bytes a connection: whatever asks goes through them in their order.
//!
//! ```text
//! magic "TMQOPEN\n" | version u32 | store id [16] | file number u64
//! how many chunks u64 | of each: number of its segment u64, how many connections u32, how many bytes u32, and those
//! how many ends without a beginning u64 | their connections [16]
//! crc32 of all before
//!
//! chunk: of each connection, by row: twice how many rows after the one before, and one more for a connect, varint
//!        | connection [16]
//! ```
//!
//! Chunks stand by segment and row.

mod chunk;
mod events;
mod file;
mod known;
mod moved;
mod verify;

pub(crate) use chunk::OpenRows;
pub(crate) use events::EventsAt;
pub(crate) use known::Known;
pub(crate) use moved::Moved;
pub(crate) use verify::verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashSet;
use tracemq_model::ConnectionId;

use crate::store::Unpaired;
use chunk::{Chunk, Packer};

/// So many ends whose beginning was not known are kept.
pub(crate) const EARLY_MAX: usize = 8_192;

/// Where the beginning of a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the segment.
    pub(crate) segment: u64,
    pub(crate) row: u64,
    /// Whether it is a connect, not an open.
    pub(crate) is_connect: bool,
}

impl Place {
    /// A connect is later in a connection's life than an open, whatever their times say.
    pub(crate) fn is_later_than(self, other: Self) -> bool {
        self.is_connect || !other.is_connect
    }
}

/// The open connections that no log holds the beginning of. A clone shares all that neither of the two changes.
#[derive(Clone, Default)]
pub(crate) struct Carried {
    /// The number of the file that says the same; none when there is nothing to say.
    number: Option<u64>,
    /// By segment and row.
    chunks: Vec<Arc<Chunk>>,
    /// Ends whose beginning was not known, the oldest first: refused connections, mostly. The beginning of one may still come,
    /// from another source. The oldest are forgotten.
    early: Vec<u128>,
}

impl Carried {
    /// The path of the file of that number.
    pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("{number:010}.open"))
    }

    /// The number of the file; none when there is nothing to say.
    pub(crate) fn number(&self) -> Option<u64> {
        self.number
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The connections whose end is known and whose beginning is not, as far as they are remembered.
    pub(crate) fn early(&self) -> impl Iterator<Item = ConnectionId> {
        self.early.iter().copied().map(ConnectionId)
    }

    /// The numbers of the segments that connections begin in.
    pub(crate) fn segments(&self) -> impl Iterator<Item = u64> {
        let mut last = None;
        self.chunks.iter().map(|chunk| chunk.segment()).filter(move |number| last.replace(*number) != Some(*number))
    }

    /// The rows of `segment` that connections begin in, in their order.
    pub(crate) fn rows_of(&self, segment: u64) -> OpenRows {
        OpenRows::new(self.chunks.iter().filter(|chunk| chunk.segment() == segment).cloned().collect())
    }

    /// Notes what a sealed memtable leaves: the beginnings without an end, and the ends without a beginning.
    pub(crate) fn advance(&mut self, unpaired: Unpaired) {
        let Unpaired { begun, ended, paired } = unpaired;
        let early: HashSet<u128> = self.early.iter().copied().collect();
        let begun = begun.into_iter().map(|(connection, place)| (connection.0, place));
        let begun = begun.filter(|(connection, _)| !early.contains(connection)).collect();
        let over = if self.is_empty() { Vec::new() } else { [&*ended, &*paired].concat() };
        let (begun, found) = self.meet(&Known::new(ids(&over)), Known::new(begun));
        let ended = ended.iter().map(|connection| connection.0);
        self.note_early(ended.filter(|connection| found.binary_search(connection).is_err()).collect());
        self.add(begun);
    }

    /// Takes away what is `over`, and what `begun` knows a later beginning of. Gives what `begun` has beside what stays, and
    /// what was over, sorted.
    pub(crate) fn meet(&mut self, over: &Known<()>, begun: Known<Place>) -> (Vec<(u128, Place)>, Vec<u128>) {
        let (mut found, mut outdated) = (Vec::new(), Vec::new());
        if over.is_empty() && begun.is_empty() {
            return (Vec::new(), found);
        }
        self.keep(|connection, place| {
            if over.get(connection).is_some() {
                found.push(connection);
                return false;
            }
            match begun.get(connection) {
                Some(new) if new.is_later_than(place) => false,
                Some(_) => {
                    outdated.push(connection);
                    true
                }
                None => true,
            }
        });
        found.sort_unstable();
        outdated.sort_unstable();
        let mut begun = begun.into_sorted();
        begun.retain(|(connection, _)| outdated.binary_search(connection).is_err());
        (begun, found)
    }

    fn note_early(&mut self, mut connections: Vec<u128>) {
        let mut known: HashSet<u128> = self.early.iter().copied().collect();
        connections.drain(..connections.len().saturating_sub(EARLY_MAX));
        self.early.extend(connections.into_iter().filter(|connection| known.insert(*connection)));
        self.early.drain(..self.early.len().saturating_sub(EARLY_MAX));
    }

    fn add(&mut self, mut begun: Vec<(u128, Place)>) {
        let new: HashSet<u64> = begun.iter().map(|(_, place)| place.segment).collect();
        let (known, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.chunks).into_iter().partition(|chunk| new.contains(&chunk.segment()));
        self.chunks = others;
        begun.extend(known.iter().flat_map(|chunk| chunk.entries()));
        begun.sort_unstable_by_key(|(_, place)| (place.segment, place.row));
        begun.dedup_by_key(|(_, place)| (place.segment, place.row));
        for of_segment in begun.chunk_by(|(_, one), (_, other)| one.segment == other.segment) {
            let mut packer = Packer::default();
            for (connection, place) in of_segment {
                packer.push(*connection, *place);
            }
            self.chunks.extend(packer.finish());
        }
        self.chunks.sort_by_key(|chunk| chunk.segment());
    }

    /// Only what `keeps` takes stays.
    fn keep(&mut self, mut keeps: impl FnMut(u128, Place) -> bool) {
        for chunk in &mut self.chunks {
            if let Some(fewer) = chunk.fewer(&mut keeps) {
                *chunk = Arc::new(fewer);
            }
        }
        self.chunks.retain(|chunk| chunk.len() > 0);
    }

    /// Forgets what began in segments other than these.
    pub(crate) fn forget_others(&mut self, is_there: impl Fn(u64) -> bool) {
        self.chunks.retain(|chunk| is_there(chunk.segment()));
    }

    /// Whether it says anything else than `other`, whose clone it was.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        let is_same = |(one, two): (&Arc<Chunk>, &Arc<Chunk>)| Arc::ptr_eq(one, two);
        let is_alike = self.chunks.len() == other.chunks.len() && self.chunks.iter().zip(&other.chunks).all(is_same);
        !is_alike || self.early != other.early
    }
}

fn ids(connections: &[ConnectionId]) -> Vec<(u128, ())> {
    connections.iter().map(|connection| (connection.0, ())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn place(segment: u64, row: u64, is_connect: bool) -> Place {
        Place { segment, row, is_connect }
    }

    pub(super) fn begun(places: impl IntoIterator<Item = (u128, Place)>) -> Unpaired {
        let begun = places.into_iter().map(|(connection, place)| (ConnectionId(connection), place)).collect();
        Unpaired { begun, ..Unpaired::default() }
    }

    pub(super) fn listed(carried: &Carried) -> Vec<(u128, Place)> {
        carried.segments().flat_map(|segment| carried.rows_of(segment)).collect()
    }

    #[test]
    fn what_ends_or_begins_again_goes_and_the_rest_is_shared() {
        let mut carried = Carried::default();
        carried.advance(begun((0..40_000).map(|n| (u128::from(n), place(1, n * 3, n % 2 == 0)))));
        assert_eq!(carried.len(), 40_000);
        let before = carried.clone();
        let ended = [5, 39_999, 1 << 90].map(ConnectionId).to_vec();
        let paired = [8].map(ConnectionId).to_vec();
        // A connect behind a connect, an open behind a connect, a connect behind an open.
        let new = begun([(10, place(2, 0, true)), (12, place(2, 1, false)), (13, place(2, 2, true))]);
        carried.advance(Unpaired { ended, paired, ..new });
        let gone = [5, 39_999, 8, 10, 13];
        let mut expected: Vec<_> = listed(&before).into_iter().filter(|(id, _)| !gone.contains(id)).collect();
        expected.extend([(10, place(2, 0, true)), (13, place(2, 2, true))]);
        assert_eq!(listed(&carried), expected);
        assert_eq!(carried.early().collect::<Vec<_>>(), [ConnectionId(1 << 90)]);
        assert!(carried.differs_from(&before) && !before.clone().differs_from(&before));
        let shared = carried.chunks.iter().filter(|chunk| before.chunks.iter().any(|other| Arc::ptr_eq(chunk, other)));
        assert_eq!((shared.count(), before.chunks.len()), (1, 3));
    }

    #[test]
    fn beginnings_are_added_between_those_of_their_segment() {
        let mut carried = Carried::default();
        carried.advance(begun([(1, place(1, 5, true)), (2, place(1, 9, true)), (3, place(2, 0, true))]));
        carried.advance(begun([(4, place(1, 7, true)), (5, place(1, 2, false))]));
        let all =
            [(5, 2, false), (1, 5, true), (4, 7, true), (2, 9, true)].map(|(id, row, is)| (id, place(1, row, is)));
        assert_eq!(listed(&carried), [&all[..], &[(3, place(2, 0, true))]].concat());
    }

    #[test]
    fn of_ends_without_a_beginning_the_newest_are_remembered() {
        let mut carried = Carried::default();
        let max = EARLY_MAX as u128;
        for round in 0..3 {
            let ended = (0..max - 1).map(|n| ConnectionId(round * max + n)).collect();
            carried.advance(Unpaired { ended, ..Unpaired::default() });
        }
        carried.advance(begun([(0, place(1, 0, true)), (2 * max, place(1, 1, true))]));
        assert_eq!(carried.early.len(), EARLY_MAX);
        assert_eq!(listed(&carried), [(0, place(1, 0, true))]);
    }

    #[test]
    fn what_began_in_segments_that_are_gone_is_forgotten() {
        let mut carried = Carried::default();
        carried.advance(begun((0..30).map(|n| (u128::from(n), place(n % 3, n, true)))));
        carried.forget_others(|segment| segment != 2);
        let left: Vec<u128> = listed(&carried).into_iter().map(|(id, _)| id).collect();
        assert_eq!(left, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 1, 4, 7, 10, 13, 16, 19, 22, 25, 28]);
    }
}
