//! Which connections the segments leave open, found in all of their rows: for a list of them that can't be read.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use tracemq_model::{Action, ConnectionId, TimeMs};
use tracemq_store::StoreError;

use crate::carried::{EARLY_MAX, Place};
use crate::key::Key;
use crate::manifest::Cutoff;
use crate::segment::Segment;
use crate::store::Unpaired;

/// What `segments` leave open, and of their ends without a beginning as many as are remembered. None when a row can't be read: an end may
/// stand in it, and none has two.
///
/// Reads each row twice, first for the beginnings, so that memory is only taken for those whose end is not under their subject: some 50
/// bytes for each connection that is open, or ended under another subject.
pub(crate) fn left_open(segments: &[Arc<Segment>], cutoffs: &[Cutoff]) -> Result<Option<Unpaired>, StoreError> {
    let found = Beginnings::read(segments, cutoffs).and_then(|mut found| {
        each_row(segments, |row| {
            if row.action.is_end() {
                found.begun.remove(&row.connection.0);
            }
        })?;
        Ok(found)
    });
    match found {
        Ok(Beginnings { begun, early, .. }) => {
            let begun = begun.into_iter().map(|(connection, place)| (ConnectionId(connection), place)).collect();
            Ok(Some(Unpaired { begun, ended: early.into(), paired: Vec::new() }))
        }
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The connections that began and did not end after that under the same subject.
#[derive(Default)]
struct Beginnings {
    /// Of the subject at hand.
    here: HashMap<u128, Place>,
    begun: HashMap<u128, Place>,
    /// Ends that came before their beginning, or without one: the last ones read.
    early: VecDeque<ConnectionId>,
}

impl Beginnings {
    fn read(segments: &[Arc<Segment>], cutoffs: &[Cutoff]) -> Result<Self, StoreError> {
        let mut found = Self::default();
        let mut subject = (0, Vec::new(), TimeMs::MIN);
        each_row(segments, |row| {
            if (subject.0, subject.1.as_slice()) != (row.place.segment, row.key) {
                found.end_subject();
                let instance = Key::read(row.key).map(|key| key.instance);
                let cutoff = cutoffs.iter().find(|cutoff| Some(&cutoff.instance) == instance.as_ref());
                subject = (row.place.segment, row.key.to_vec(), cutoff.map_or(TimeMs::MIN, |cutoff| cutoff.time));
            }
            if row.action.is_end() {
                found.end(row.connection);
            } else if row.action.is_beginning() && row.time >= subject.2 {
                later(&mut found.here, row.connection.0, row.place);
            }
        })?;
        found.end_subject();
        Ok(found)
    }

    fn end(&mut self, connection: ConnectionId) {
        if self.here.remove(&connection.0).is_none() {
            self.early.push_back(connection);
            if self.early.len() > EARLY_MAX {
                self.early.pop_front();
            }
        }
    }

    fn end_subject(&mut self) {
        for (connection, place) in std::mem::take(&mut self.here) {
            later(&mut self.begun, connection, place);
        }
    }
}

fn later(known: &mut HashMap<u128, Place>, connection: u128, place: Place) {
    let known = known.entry(connection).or_insert(place);
    if place.is_later_than(*known) {
        *known = place;
    }
}

struct FoundRow<'a> {
    key: &'a [u8],
    place: Place,
    time: TimeMs,
    connection: ConnectionId,
    action: Action,
}

fn each_row(segments: &[Arc<Segment>], mut visit: impl FnMut(FoundRow<'_>)) -> Result<(), StoreError> {
    for segment in segments {
        let (mut keys, mut rows) = (segment.keys(&[])?, segment.rows());
        while let Some((key, range)) = keys.next()? {
            for row in range {
                let (block, at) = rows.at(row)?;
                let found = block.row(at).and_then(|found| found.kind.parts().map(|(action, ..)| (found, action)));
                let Some((found, action)) = found else { continue };
                let place = Place { segment: segment.meta().id.number, row, is_connect: action == Action::Connect };
                let (time, connection) = (found.time, found.connection);
                visit(FoundRow { key, place, time, connection, action });
            }
        }
    }
    Ok(())
}
