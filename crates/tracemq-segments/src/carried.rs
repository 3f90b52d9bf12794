//! Connections that were open when the memtable with their beginning was sealed.
//!
//! A start has to find the connections that the last run left open, without reading years of history. What began and ended
//! within the log is found there. Of what began before, one small file says in which rows of which segments the beginnings
//! stand. It is written anew with each manifest that changes it, and named by that manifest.
//!
//! ```text
//! magic "TMQOPEN\n" | version u32 | store id [16] | file number u64
//! how many segments varint | of each: its number varint, how many rows varint, the rows, each less the one before, varints
//! how many ends without a beginning varint | their connections [16]
//! crc32 of all before
//! ```

mod file;
mod verify;

pub(crate) use verify::verify;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use tracemq_model::{Action, ConnectionId, Event};
use tracemq_store::StoreError;
use tracing::warn;

use crate::key::Key;
use crate::query::Keys;
use crate::segment::Segment;

/// So many ends whose beginning was not known are kept.
const EARLY_MAX: usize = 8_192;

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

/// The open connections that no log holds the beginning of.
#[derive(Clone, Default)]
pub(crate) struct Carried {
    /// The number of the file that says the same; none when there is nothing to say.
    number: Option<u64>,
    open: HashMap<u128, Place>,
    /// Ends whose beginning was not known: refused connections, mostly. The beginning of one may still come, from another
    /// source. The oldest are forgotten.
    early: VecDeque<u128>,
    is_early: HashSet<u128>,
}

/// What a file says: rows by the number of their segment, and ends without a beginning.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    rows: BTreeMap<u64, Vec<u64>>,
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

    /// The connections whose end is known and whose beginning is not, as far as they are remembered.
    pub(crate) fn early(&self) -> impl Iterator<Item = ConnectionId> {
        self.early.iter().copied().map(ConnectionId)
    }

    /// Notes what a sealed memtable leaves: the beginnings without an end, and the ends without a beginning.
    /// `paired` are connections that began there again and ended.
    pub(crate) fn advance(&mut self, begun: &[(ConnectionId, Place)], ended: &[ConnectionId], paired: &[ConnectionId]) {
        for (connection, new) in begun.iter().filter(|(connection, _)| !self.is_early.contains(&connection.0)) {
            let place = self.open.entry(connection.0).or_insert(*new);
            if new.is_later_than(*place) {
                *place = *new;
            }
        }
        if !self.open.is_empty() {
            for connection in paired {
                self.open.remove(&connection.0);
            }
        }
        let early =
            ended.iter().map(|connection| connection.0).filter(|connection| self.open.remove(connection).is_none());
        let early: Vec<u128> = early.collect();
        self.note_early(early);
    }

    fn note_early(&mut self, connections: Vec<u128>) {
        let surplus = connections.len().saturating_sub(EARLY_MAX);
        for connection in connections.into_iter().skip(surplus) {
            if self.is_early.insert(connection) {
                self.early.push_back(connection);
            }
            if self.early.len() > EARLY_MAX
                && let Some(oldest) = self.early.pop_front()
            {
                self.is_early.remove(&oldest);
            }
        }
    }

    /// The rows of `segment`, in their order, with the connections that begin there.
    pub(crate) fn rows_of(&self, segment: u64) -> Vec<(u64, ConnectionId)> {
        let here = self.open.iter().filter(|(_, place)| place.segment == segment);
        let mut rows: Vec<_> = here.map(|(connection, place)| (place.row, ConnectionId(*connection))).collect();
        rows.sort_unstable_by_key(|(row, _)| *row);
        rows
    }

    /// The segments `old` are gone; of what began there, `moved` says in which row of `new` it stands now. The rest is gone as
    /// well.
    pub(crate) fn move_to(&mut self, old: &[u64], new: u64, moved: &[(ConnectionId, u64)]) {
        for (connection, row) in moved {
            if let Some(place) = self.open.get_mut(&connection.0).filter(|place| old.contains(&place.segment)) {
                (place.segment, place.row) = (new, *row);
            }
        }
        self.open.retain(|_, place| !old.contains(&place.segment));
    }

    /// Forgets what began in rows of `segment` that are gone.
    pub(crate) fn forget(&mut self, segment: u64, is_gone: impl Fn(u64) -> bool) {
        self.open.retain(|_, place| place.segment != segment || !is_gone(place.row));
    }

    /// Whether it says anything else than `other`.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        self.open != other.open || self.early != other.early
    }

    /// Reads the beginnings that `content` names, and shows them to `visit`, in no particular order.
    fn resolve(
        content: Content,
        number: u64,
        segments: &[Arc<Segment>],
        visit: &mut dyn FnMut(Event),
    ) -> Result<Self, StoreError> {
        let mut carried = Self { number: Some(number), ..Self::default() };
        carried.note_early(content.early);
        for (segment, rows) in content.rows {
            let Some(found) = segments.iter().find(|found| found.meta().id.number == segment) else {
                warn!(
                    segment,
                    connections = rows.len(),
                    "connections that began in an unreadable segment are left open"
                );
                continue;
            };
            let read = carried.resolve_in(found, &rows, visit);
            match read {
                Err(error @ StoreError::Damaged { .. }) => {
                    warn!(%error, "connections that began in what can't be read are left open");
                }
                read => read?,
            }
        }
        Ok(carried)
    }

    fn resolve_in(&mut self, segment: &Segment, rows: &[u64], visit: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        let (mut cursor, mut keys, mut known) = (segment.rows(), Keys::new(segment), (None::<Key>, 0..0));
        for row in rows.iter().filter(|row| **row < segment.meta().rows) {
            if !known.1.contains(row) {
                let (key, range) = keys.of(*row)?;
                known = (Key::read(key), range.clone());
            }
            let (block, at) = cursor.at(*row)?;
            let Some((read, key)) = block.row(at).zip(known.0.as_ref()) else { continue };
            let event = read.to_event(key, segment.details(block, at)?);
            let is_connect = read.kind.parts().is_some_and(|(action, ..)| action == Action::Connect);
            let place = Place { segment: segment.meta().id.number, row: *row, is_connect };
            self.open.insert(read.connection.0, place);
            event.into_iter().for_each(&mut *visit);
        }
        Ok(())
    }
}
