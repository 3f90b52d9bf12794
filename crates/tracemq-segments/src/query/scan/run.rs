//! Events on their way into the order of time, in some tens of bytes each.
//!
//! ```text
//! event        length of what follows varint | source varint | row there varint | what a segment has of it, if it is in one:
//!              kind u16 | connection [16] | family u8 (0 none, 4, 6) | address, port u16, if there is one | cells
//! ```

use std::cmp::Ordering;
use std::net::IpAddr;

use tracemq_model::{ConnectionId, Order, TimeMs};

use crate::cells::{self, Column};
use crate::row::{Kind, Peer, Row};
use crate::varint;

/// What a pass has found so far.
#[derive(Default)]
pub(super) struct Run {
    entries: Vec<Entry>,
    events: Vec<u8>,
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    /// Memory for one event.
    one: Vec<u8>,
}

/// An event: its time, where it stands in `events`, and the number of its key.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) time: TimeMs,
    at: u32,
    key: u32,
}

/// Where an event is: in which source, counted from the oldest, and in which row of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) source: u64,
    pub(super) row: u64,
}

impl Run {
    pub(super) fn clear(&mut self) {
        let Self { entries, events, keys, key_ends, .. } = self;
        entries.clear();
        events.clear();
        keys.clear();
        key_ends.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>() + self.events.len() + self.keys.len() + self.key_ends.len() * 4
    }

    /// The number of a key, for events that follow; good until the next [`Run::cut`].
    pub(super) fn add_key(&mut self, key: &[u8]) -> u32 {
        self.keys.extend_from_slice(key);
        self.key_ends.push(narrow(self.keys.len()));
        narrow(self.key_ends.len()) - 1
    }

    pub(super) fn key(&self, entry: &Entry) -> &[u8] {
        let end_of = |number: u32| self.key_ends.get(number as usize).map_or(0, |end| *end as usize);
        let start = entry.key.checked_sub(1).map_or(0, end_of);
        self.keys.get(start..end_of(entry.key)).unwrap_or_default()
    }

    /// Adds an event, all of which is there already for whoever knows its place.
    pub(super) fn push_place(&mut self, time: TimeMs, key: u32, place: Place) {
        self.push(time, key, place, |_| {});
    }

    /// Adds an event with its row and its cells.
    pub(super) fn push_row(&mut self, row: &Row, cells: impl Iterator<Item = (Column, u64)>, key: u32, place: Place) {
        self.push(row.time, key, place, |one| push_row(row, cells, one));
    }

    fn push(&mut self, time: TimeMs, key: u32, place: Place, rest: impl FnOnce(&mut Vec<u8>)) {
        let Self { entries, events, one, .. } = self;
        one.clear();
        varint::push(one, place.source);
        varint::push(one, place.row);
        rest(one);
        entries.push(Entry { time, at: narrow(events.len()), key });
        varint::push(events, u64::try_from(one.len()).unwrap_or(u64::MAX));
        events.extend_from_slice(one);
    }

    /// Where an event is, and what was added with it.
    pub(super) fn read(&self, entry: &Entry) -> Option<(Place, &[u8])> {
        let mut rest = self.event(entry)?;
        varint::take(&mut rest)?;
        let place = Place { source: varint::take(&mut rest)?, row: varint::take(&mut rest)? };
        Some((place, rest))
    }

    /// What stands in `events`.
    fn event(&self, entry: &Entry) -> Option<&[u8]> {
        let all = self.events.get(entry.at as usize..)?;
        let mut rest = all;
        let length = usize::try_from(varint::take(&mut rest)?).ok()?;
        all.get(..all.len() - rest.len() + length)
    }

    /// By time, key and place. What was added later of one key is in a younger source, or in a later row.
    fn compare(&self, order: Order, one: &Entry, other: &Entry) -> Ordering {
        let compared = one.time.cmp(&other.time);
        let compared = compared.then_with(|| self.key(one).cmp(self.key(other)).then_with(|| one.at.cmp(&other.at)));
        match order {
            Order::OldestFirst => compared,
            Order::NewestFirst => compared.reverse(),
        }
    }

    /// All of it in the order asked for.
    pub(super) fn sorted(&mut self, order: Order) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by(|one, other| self.compare(order, one, other));
        entries
    }

    /// Gives the memory of [`Run::sorted`] back.
    pub(super) fn reuse(&mut self, entries: Vec<Entry>) {
        self.entries = entries;
    }

    /// Keeps the first `count` in the order asked for, and gives the time of the last of them.
    pub(super) fn cut(&mut self, order: Order, count: usize) -> Option<TimeMs> {
        let mut entries = std::mem::take(&mut self.entries);
        let (_, last, _) =
            entries.select_nth_unstable_by(count.checked_sub(1)?, |one, other| self.compare(order, one, other));
        let last = last.time;
        entries.truncate(count);
        entries.sort_unstable_by_key(|entry| entry.at);
        let mut kept = Self { entries: Vec::with_capacity(entries.capacity()), ..Self::default() };
        let mut known: Option<(u32, u32)> = None;
        for entry in entries {
            let key = match known {
                Some((of, key)) if of == entry.key => key,
                _ => kept.add_key(self.key(&entry)),
            };
            known = Some((entry.key, key));
            kept.entries.push(Entry { time: entry.time, at: narrow(kept.events.len()), key });
            kept.events.extend_from_slice(self.event(&entry).unwrap_or_default());
        }
        *self = kept;
        Some(last)
    }
}

fn push_row(row: &Row, cells: impl Iterator<Item = (Column, u64)>, out: &mut Vec<u8>) {
    out.extend_from_slice(&row.kind.0.to_le_bytes());
    out.extend_from_slice(&row.connection.0.to_le_bytes());
    match row.peer {
        Peer::None => out.push(0),
        Peer::Some { ip, port } => {
            match ip {
                IpAddr::V4(v4) => {
                    out.push(4);
                    out.extend_from_slice(&v4.octets());
                }
                IpAddr::V6(v6) => {
                    out.push(6);
                    out.extend_from_slice(&v6.octets());
                }
            }
            out.extend_from_slice(&port.to_le_bytes());
        }
    }
    cells.for_each(|(column, value)| cells::push_cell(out, column, value));
}

/// The row and the cells that [`Run::push_row`] was given.
pub(super) fn unpack(time: TimeMs, bytes: &[u8]) -> Option<(Row, &[u8])> {
    let (kind, rest) = bytes.split_first_chunk()?;
    let (connection, rest) = rest.split_first_chunk()?;
    let (&family, rest) = rest.split_first()?;
    let (ip, rest): (Option<IpAddr>, &[u8]) = match family {
        4 => rest.split_first_chunk::<4>().map(|(octets, rest)| (Some((*octets).into()), rest))?,
        6 => rest.split_first_chunk::<16>().map(|(octets, rest)| (Some((*octets).into()), rest))?,
        _ => (None, rest),
    };
    let (peer, cells) = match ip {
        None => (Peer::None, rest),
        Some(ip) => {
            let (port, rest) = rest.split_first_chunk()?;
            (Peer::Some { ip, port: u16::from_le_bytes(*port) }, rest)
        }
    };
    let connection = ConnectionId(u128::from_le_bytes(*connection));
    Some((Row { time, connection, peer, kind: Kind(u16::from_le_bytes(*kind)) }, cells))
}

/// A place in memory that is bounded far below four thousand million.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
