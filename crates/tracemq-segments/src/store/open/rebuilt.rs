//! Which connections the segments leave open, found in all of their rows: for a list of them that can't be read.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use tracemq_model::{Action, ConnectionId, TimeMs};
use tracemq_store::StoreError;

use crate::carried::Place;
use crate::key::Key;
use crate::manifest::Cutoff;
use crate::segment::Segment;
use crate::store::Unpaired;

/// The beginnings in `segments` that have no end in any of them. None when a row can't be read: an end may stand in it, and none has two.
///
/// Reads each row twice, first for the beginnings, so that memory is only taken for those whose end is not under their subject.
pub(crate) fn left_open(segments: &[Arc<Segment>], cutoffs: &[Cutoff]) -> Result<Option<Unpaired>, StoreError> {
    let found = beginnings(segments, cutoffs).and_then(|mut begun| {
        each_row(segments, |row| {
            if row.action.is_end() {
                begun.remove(&row.connection.0);
            }
        })?;
        Ok(begun)
    });
    match found {
        Ok(begun) => {
            let begun = begun.into_iter().map(|(connection, place)| (ConnectionId(connection), place)).collect();
            Ok(Some(Unpaired { begun, ..Unpaired::default() }))
        }
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn beginnings(segments: &[Arc<Segment>], cutoffs: &[Cutoff]) -> Result<HashMap<u128, Place>, StoreError> {
    let mut begun: HashMap<u128, Place> = HashMap::new();
    let (mut here, mut ended): (Vec<(u128, Place)>, HashSet<u128>) = (Vec::new(), HashSet::new());
    let mut subject = (0, Vec::new(), TimeMs::MIN);
    let mut end_subject = |here: &mut Vec<(u128, Place)>, ended: &mut HashSet<u128>| {
        for (connection, place) in here.drain(..).filter(|(connection, _)| !ended.contains(connection)) {
            let known = begun.entry(connection).or_insert(place);
            if place.is_later_than(*known) {
                *known = place;
            }
        }
        ended.clear();
    };
    each_row(segments, |row| {
        if (subject.0, subject.1.as_slice()) != (row.place.segment, row.key) {
            end_subject(&mut here, &mut ended);
            let instance = Key::read(row.key).map(|key| key.instance);
            let cutoff = cutoffs.iter().find(|cutoff| Some(&cutoff.instance) == instance.as_ref());
            subject = (row.place.segment, row.key.to_vec(), cutoff.map_or(TimeMs::MIN, |cutoff| cutoff.time));
        }
        if row.action.is_end() {
            ended.insert(row.connection.0);
        } else if row.action.is_beginning() && row.time >= subject.2 {
            here.push((row.connection.0, row.place));
        }
    })?;
    end_subject(&mut here, &mut ended);
    Ok(begun)
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
