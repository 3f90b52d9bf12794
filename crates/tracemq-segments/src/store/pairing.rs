//! Which connections a memtable leaves open, found while its rows go by subject after subject: nearly every connection begins
//! and ends under one subject.

use hashbrown::HashMap;
use tracemq_model::{Action, ConnectionId};

use crate::carried::Place;

/// A table that has grown larger than this for one subject is not kept for the next: emptying it costs what it could hold.
const KEPT_CAPACITY: usize = 28;

/// Sees rows in the order of their subjects.
#[derive(Default)]
pub(super) struct Pairing {
    /// Of the subject at hand.
    here: HashMap<u128, Seen>,
    begun: HashMap<u128, Begun>,
    ended: Vec<u128>,
    paired: Vec<ConnectionId>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    begun: Option<Begun>,
    is_ended: bool,
}

#[derive(Clone, Copy)]
struct Begun {
    place: Place,
}

/// What is left over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpaired {
    /// The beginnings without an end; of an open and a connect the connect.
    pub(crate) begun: Vec<(ConnectionId, Place)>,
    /// The ends without a beginning.
    pub(crate) ended: Vec<ConnectionId>,
    /// The connections that have a beginning and an end here. They may have had another beginning before.
    pub(crate) paired: Vec<ConnectionId>,
}

impl Pairing {
    /// The next row of the subject at hand, and where it stands.
    pub(super) fn row(&mut self, connection: ConnectionId, action: Action, place: Place) {
        if !action.is_beginning() && !action.is_end() {
            return;
        }
        let seen = self.here.entry(connection.0).or_default();
        if action.is_end() {
            seen.is_ended = true;
        } else {
            later(&mut seen.begun, Begun { place });
        }
    }

    /// A connection whose end stands in no row any more.
    pub(super) fn erased_end(&mut self, connection: ConnectionId) {
        self.ended.push(connection.0);
    }

    /// There are no more rows of the subject at hand.
    pub(super) fn end_subject(&mut self) {
        for (connection, seen) in self.here.drain() {
            match seen {
                Seen { begun: Some(begun), is_ended: false } => {
                    let mut known = self.begun.remove(&connection);
                    later(&mut known, begun);
                    self.begun.extend(known.map(|known| (connection, known)));
                }
                Seen { begun: None, is_ended: true } => self.ended.push(connection),
                Seen { .. } => self.paired.push(ConnectionId(connection)),
            }
        }
        if self.here.capacity() > KEPT_CAPACITY {
            self.here = HashMap::new();
        }
    }

    /// What is left over after all subjects: a connection may begin under an address and end under a client.
    pub(super) fn finish(mut self) -> Unpaired {
        self.end_subject();
        let Self { mut begun, ended, mut paired, .. } = self;
        let mut unpaired = Vec::new();
        for connection in ended {
            match begun.remove(&connection) {
                Some(_) => paired.push(ConnectionId(connection)),
                None => unpaired.push(ConnectionId(connection)),
            }
        }
        // What began under two subjects and ended under one of them is over under both.
        if !begun.is_empty() {
            for connection in &paired {
                begun.remove(&connection.0);
            }
        }
        let begun = begun.into_iter().map(|(connection, begun)| (ConnectionId(connection), begun.place)).collect();
        Unpaired { begun, ended: unpaired, paired }
    }
}

/// A connect is later in a connection's life than an open, whatever their times say.
fn later(known: &mut Option<Begun>, new: Begun) {
    if known.is_none_or(|known| new.place.is_later_than(known.place)) {
        *known = Some(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Subjects with their rows: connection, action, row.
    fn unpaired(subjects: &[&[(u128, Action, u64)]]) -> (Vec<u64>, Vec<u128>) {
        let mut pairing = Pairing::default();
        for subject in subjects {
            for (connection, action, row) in *subject {
                let place = Place { segment: 1, row: *row, is_connect: *action == Action::Connect };
                pairing.row(ConnectionId(*connection), *action, place);
            }
            pairing.end_subject();
        }
        let Unpaired { begun, ended, .. } = pairing.finish();
        let mut rows: Vec<u64> = begun.into_iter().map(|(_, place)| place.row).collect();
        rows.sort_unstable();
        (rows, ended.into_iter().map(|connection| connection.0).collect())
    }

    #[test]
    fn what_begins_and_ends_in_one_or_in_two_subjects_is_no_more() {
        use Action::{Close, Connect, Disconnect, Open};
        assert_eq!(unpaired(&[&[(1, Connect, 0), (2, Connect, 1), (1, Close, 2)]]), (vec![1], vec![]));
        assert_eq!(unpaired(&[&[(1, Open, 0)], &[(1, Connect, 1)]]), (vec![1], vec![]));
        assert_eq!(unpaired(&[&[(1, Connect, 1)], &[(1, Open, 0)]]), (vec![1], vec![]));
        assert_eq!(unpaired(&[&[(1, Open, 0)], &[(1, Disconnect, 1)]]), (vec![], vec![]));
        assert_eq!(unpaired(&[&[(1, Close, 0)], &[(2, Connect, 2), (3, Connect, 1)]]), (vec![1, 2], vec![1]));
        assert_eq!(unpaired(&[&[(1, Close, 0), (1, Connect, 1)]]), (vec![], vec![]));
        assert_eq!(unpaired(&[&[(1, Open, 0), (1, Disconnect, 1)], &[(1, Connect, 2)]]), (vec![], vec![]));
    }
}
