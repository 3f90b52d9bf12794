//! Which connections have a beginning on record and no end.

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use tracemq_model::{Action, ConnectionId};

/// Finds orphans while a store reads its events through, in order of arrival. `T` is whatever leads back to an event:
/// the event, or its place in a file.
///
/// Holds one entry for each connection that is open at that point, and one for each end whose beginning did not come
/// before it (refused connections, mostly), since the beginning may still follow from another source. Meant to live
/// as long as the opening of a store takes.
#[derive(Debug)]
pub struct Beginnings<T> {
    open: HashMap<ConnectionId, (Action, T)>,
    ended_early: HashSet<ConnectionId>,
}

impl<T> Default for Beginnings<T> {
    fn default() -> Self {
        Self { open: HashMap::new(), ended_early: HashSet::new() }
    }
}

impl<T> Beginnings<T> {
    /// Takes note of the next event of `connection`. A connect is later in a connection's life than an open, whatever
    /// their times say after a step of the clock.
    pub fn note(&mut self, connection: ConnectionId, action: Action, place: T) {
        if action.is_end() {
            if self.open.remove(&connection).is_none() {
                self.ended_early.insert(connection);
            }
            return;
        }
        if !action.is_beginning() || self.ended_early.contains(&connection) {
            return;
        }
        match self.open.entry(connection) {
            Entry::Vacant(vacant) => {
                vacant.insert((action, place));
            }
            Entry::Occupied(mut known) => {
                if !(known.get().0 == Action::Connect && action == Action::Open) {
                    known.insert((action, place));
                }
            }
        }
    }

    /// The connections with a beginning and no end, in no particular order: what they began with, and where.
    pub fn into_orphans(self) -> impl Iterator<Item = (ConnectionId, Action, T)> {
        self.open.into_iter().map(|(connection, (action, place))| (connection, action, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphans(notes: &[(u128, Action)]) -> Vec<usize> {
        let mut beginnings = Beginnings::default();
        for (place, (connection, action)) in notes.iter().enumerate() {
            beginnings.note(ConnectionId(*connection), *action, place);
        }
        let mut found: Vec<usize> = beginnings.into_orphans().map(|(.., place)| place).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn the_later_beginning_counts_and_an_end_counts_in_any_order() {
        use Action::{Close, Connect, Disconnect, Open};
        assert_eq!(orphans(&[(1, Open), (1, Connect)]), [1]);
        assert_eq!(orphans(&[(1, Connect), (1, Open)]), [0]);
        assert_eq!(orphans(&[(1, Open), (2, Connect), (1, Close)]), [1]);
        assert_eq!(orphans(&[(1, Disconnect), (1, Connect)]), []);
    }
}
