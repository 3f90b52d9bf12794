//! The connection ids of a block.

use std::ops::Range;

use tracemq_model::{ConnectionId, TimeMs};

use super::references::{References, Slots};
use crate::segment::bits::{self, Numbers};
use crate::segment::source::{CUT, Source, What, size, wide};
use crate::varint;

const RAW: u8 = 0;
const OURS: u8 = 1;
const RAW_BYTES: usize = 16;
/// Ids of more processes than this in one block are not worth taking apart.
const NODES_MAX: usize = 16;
const BITS_48: u64 = (1 << 48) - 1;
/// What a new id is taken to cost, for the choice of references: between the 6 bytes of ours and the 16 of others.
const NEW_BITS: usize = 64;
/// What a delay beside its column costs, about.
const BESIDE_BITS: usize = 48;

/// Kept for its memory.
#[derive(Default)]
pub(super) struct OursEncoder {
    nodes: Vec<u32>,
    places: Vec<u64>,
    delays: Vec<i64>,
    counters: Vec<u64>,
    bytes: Vec<u8>,
}

pub(super) fn push(
    times: &[i64],
    ids: &[ConnectionId],
    references: &mut References,
    ours: &mut OursEncoder,
    out: &mut Vec<u8>,
) {
    references.find(ids, |id| id.0, NEW_BITS);
    references.push(out);
    let new = || references.new_places().filter_map(|at| Some((*times.get(at)?, *ids.get(at)?)));
    if ours.encode(new()) && ours.bytes.len() < RAW_BYTES * references.new_places().count() {
        out.push(OURS);
        out.extend_from_slice(&ours.bytes);
    } else {
        out.push(RAW);
        new().for_each(|(_, id)| out.extend_from_slice(&id.0.to_le_bytes()));
    }
}

impl OursEncoder {
    /// Encodes `ids`; false when they are not worth it.
    fn encode(&mut self, ids: impl Iterator<Item = (i64, ConnectionId)>) -> bool {
        self.nodes.clear();
        self.places.clear();
        self.delays.clear();
        self.counters.clear();
        self.bytes.clear();
        for (time, id) in ids {
            let (made, node, counter) = parts(id);
            let known = self.nodes.iter().position(|known| *known == node);
            let place = known.unwrap_or(self.nodes.len());
            if known.is_none() {
                if place == NODES_MAX {
                    return false;
                }
                self.nodes.push(node);
            }
            self.places.push(wide(place));
            self.delays.push(time.wrapping_sub(made));
            self.counters.push(counter);
        }
        self.bytes.push(u8::try_from(self.nodes.len()).unwrap_or(u8::MAX));
        for node in &self.nodes {
            self.bytes.extend_from_slice(&node.to_le_bytes());
        }
        bits::push(&self.places, &mut self.bytes);
        self.push_delays();
        bits::push(&self.counters, &mut self.bytes);
        true
    }

    /// Most ids are made milliseconds before their first row. The few whose first row here is a later one, as where a
    /// block begins between the two, would widen the column for all, so they stand beside it.
    fn push_delays(&mut self) {
        let mut of_width = [0_usize; 65];
        for delay in &self.delays {
            if let Some(count) = of_width.get_mut(size(u64::from(bits::width_of(varint::zigzag(*delay))))) {
                *count += 1;
            }
        }
        let cost = |width: usize| {
            let beside: usize = of_width.iter().skip(width + 1).sum();
            width * self.delays.len() + beside * BESIDE_BITS
        };
        let width = (0..of_width.len()).min_by_key(|width| cost(*width)).unwrap_or(0);
        let is_beside = |delay: i64| size(u64::from(bits::width_of(varint::zigzag(delay)))) > width;
        let count = self.delays.iter().filter(|delay| is_beside(**delay)).count();
        varint::push(&mut self.bytes, wide(count));
        for (place, delay) in self.delays.iter_mut().enumerate() {
            if is_beside(*delay) {
                varint::push(&mut self.bytes, wide(place));
                varint::push(&mut self.bytes, varint::zigzag(*delay));
                *delay = 0;
            }
        }
        bits::push_signed(&self.delays, &mut self.bytes);
    }
}

/// The ids of a block: where they stand, and of which new one each row's is.
#[derive(Default)]
pub(super) struct Connections {
    pub(super) slots: Slots,
    ids: Ids,
}

/// The new ids.
#[derive(Default)]
struct Ids {
    /// Where those stand that are not taken apart.
    raw: Option<usize>,
    nodes: Vec<u32>,
    places: Numbers,
    delays: Numbers,
    /// Delays that are not in the column, by their ascending place.
    beside: Vec<(usize, i64)>,
    counters: Numbers,
}

impl Connections {
    /// Takes the column of `rows` rows off `source`, whose bytes are `bytes`.
    pub(super) fn read(&mut self, source: &mut Source<'_>, bytes: &[u8], rows: usize) -> Result<(), What> {
        let new = self.slots.read(source, bytes, rows)?;
        match source.u8()? {
            RAW => {
                self.ids.raw = Some(source.at());
                source.take(RAW_BYTES * new)?;
                Ok(())
            }
            OURS => self.ids.read(source, new),
            _ => Err("connection ids of an unknown mode"),
        }
    }

    /// Puts the ids of the rows in `range` into `out`; `time` gives the time of a row.
    pub(super) fn fill(
        &self,
        bytes: &[u8],
        range: Range<usize>,
        time: impl Fn(usize) -> TimeMs,
        out: &mut Vec<ConnectionId>,
    ) -> Result<(), What> {
        self.slots.fill(range, out, |slot, first| match self.ids.raw {
            Some(start) => raw(bytes, start, slot),
            None => self.ids.get(bytes, slot, time(first)),
        })
    }
}

fn raw(bytes: &[u8], start: usize, slot: usize) -> Result<ConnectionId, What> {
    let id = bytes.get(start + RAW_BYTES * slot..).and_then(<[u8]>::first_chunk);
    Ok(ConnectionId(u128::from_le_bytes(*id.ok_or(CUT)?)))
}

impl Ids {
    fn read(&mut self, source: &mut Source<'_>, new: usize) -> Result<(), What> {
        self.raw = None;
        self.nodes.clear();
        self.beside.clear();
        let nodes = usize::from(source.u8()?);
        if nodes > NODES_MAX {
            return Err("more nodes than a block has");
        }
        for _ in 0..nodes {
            self.nodes.push(source.u32()?);
        }
        self.places = Numbers::read(source, new)?;
        for _ in 0..source.length()? {
            let place = source.length()?;
            if place >= new || self.beside.last().is_some_and(|(last, _)| *last >= place) {
                return Err("a delay of no id");
            }
            self.beside.push((place, varint::unzigzag(source.varint()?)));
        }
        self.delays = Numbers::read_signed(source, new)?;
        self.counters = Numbers::read(source, new)?;
        Ok(())
    }

    /// The new id at `slot`, whose first row is of `time`.
    fn get(&self, bytes: &[u8], slot: usize, time: TimeMs) -> Result<ConnectionId, What> {
        let node = self.nodes.get(size(self.places.get(bytes, slot))).ok_or("a node that is not there")?;
        let beside = self.beside.binary_search_by_key(&slot, |(place, _)| *place).ok();
        let beside = beside.and_then(|at| self.beside.get(at)).map(|(_, delay)| *delay);
        let delay = beside.unwrap_or_else(|| self.delays.get_signed(bytes, slot));
        let made = bits::bits(time.0.wrapping_sub(delay));
        let counter = self.counters.get(bytes, slot);
        if made > BITS_48 || counter > BITS_48 {
            return Err("a connection id of more than 128 bits");
        }
        Ok(ConnectionId(u128::from(made) << 80 | u128::from(*node) << 48 | u128::from(counter)))
    }
}

/// Time, node and counter.
#[expect(clippy::cast_possible_truncation, reason = "the parts of 128 bits")]
fn parts(ConnectionId(id): ConnectionId) -> (i64, u32, u64) {
    ((id >> 80) as i64, (id >> 48) as u32, id as u64 & BITS_48)
}
