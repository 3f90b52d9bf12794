//! The beginnings that the last run left without an end, found where they stand when they are asked for: there may be millions.

use std::sync::Arc;

use tracemq_model::Event;
use tracemq_store::StoreError;
use tracing::warn;

use crate::carried::{Carried, EventsAt};
use crate::memtable::Memtable;
use crate::segment::Segment;
use crate::view::{Erasures, Snapshot};

/// The places, and the files and memtables that they are in: these may go meanwhile.
#[derive(Default)]
pub(super) struct Orphans {
    carried: Carried,
    segments: Vec<Arc<Segment>>,
    /// What was erased when the store was opened.
    erasures: Erasures,
    in_memory: Vec<InMemory>,
}

/// Rows of a memtable.
pub(super) struct InMemory {
    pub(super) memtable: Arc<Memtable>,
    pub(super) rows: Vec<usize>,
}

impl Orphans {
    pub(super) fn new(
        carried: Carried,
        segments: &[Arc<Segment>],
        erasures: Erasures,
        in_memory: Vec<InMemory>,
    ) -> Self {
        let needed: Vec<u64> = carried.segments().collect();
        let is_needed = |segment: &&Arc<Segment>| needed.contains(&segment.meta().id.number);
        let segments = segments.iter().filter(is_needed).cloned().collect();
        Self { carried, segments, erasures, in_memory }
    }

    /// How many there are. Some may have been erased.
    pub(super) fn len(&self) -> usize {
        self.carried.len() + self.in_memory.iter().map(|part| part.rows.len()).sum::<usize>()
    }

    /// Shows `visit` all that are not erased, and can be read.
    pub(super) fn visit(&self, now: &Snapshot, visit: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        for number in self.carried.segments() {
            let unread = match self.segments.iter().find(|segment| segment.meta().id.number == number) {
                Some(segment) => self.visit_segment(segment, now, visit)?,
                None => self.carried.rows_of(number).count(),
            };
            if unread > 0 {
                warn!(
                    segment = number,
                    connections = unread,
                    "connections that began in what can't be read are left open"
                );
            }
        }
        for InMemory { memtable, rows } in &self.in_memory {
            rows.iter().filter_map(|row| memtable.event_unless_erased(*row)).for_each(&mut *visit);
        }
        Ok(())
    }

    /// Gives how many can't be read.
    fn visit_segment(
        &self,
        segment: &Segment,
        now: &Snapshot,
        visit: &mut dyn FnMut(Event),
    ) -> Result<usize, StoreError> {
        let (mut events, mut unread) = (EventsAt::new(segment), 0);
        let is_erased = |key: &[u8]| self.erasures.cover(segment, key) || now.is_erased(segment, key);
        for (_, place) in self.carried.rows_of(segment.meta().id.number) {
            match events.event(place.row, is_erased) {
                Ok(event) => event.into_iter().for_each(&mut *visit),
                Err(StoreError::Damaged { .. }) => unread += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(unread)
    }
}
