//! The connection ids of a block.

use tracemq_model::{ConnectionId, TimeMs};

use super::references::{References, Slots};
use crate::segment::bits::{self, Numbers};
use crate::segment::source::{Source, What, size, wide};
use crate::varint;

const RAW: u8 = 0;
const OURS: u8 = 1;
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
    if ours.encode(new()) && ours.bytes.len() < 16 * references.new_places().count() {
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

/// Takes the ids of all rows off `source`, whose bytes are `bytes`; `time` gives the time of a row.
pub(super) fn read(
    source: &mut Source<'_>,
    bytes: &[u8],
    slots: &Slots,
    time: impl Fn(usize) -> TimeMs,
    out: &mut Vec<ConnectionId>,
) -> Result<(), What> {
    // The new ids, then each row's of them in their place: what stands behind is not moved any more.
    out.clear();
    let mut new = [ConnectionId(0); super::ROWS];
    let new = new.get_mut(..slots.first.len()).ok_or("more ids than rows")?;
    match source.u8()? {
        RAW => {
            for id in new.iter_mut() {
                *id = ConnectionId(u128::from_le_bytes(source.array()?));
            }
        }
        OURS => read_ours(source, bytes, slots, time, new)?,
        _ => return Err("connection ids of an unknown mode"),
    }
    for slot in &slots.slots {
        out.push(*new.get(usize::from(*slot)).ok_or("a reference leaves its block")?);
    }
    Ok(())
}

fn read_ours(
    source: &mut Source<'_>,
    bytes: &[u8],
    slots: &Slots,
    time: impl Fn(usize) -> TimeMs,
    new: &mut [ConnectionId],
) -> Result<(), What> {
    let mut nodes = [0_u32; NODES_MAX];
    let nodes = nodes.get_mut(..usize::from(source.u8()?)).ok_or("more nodes than a block has")?;
    for node in nodes.iter_mut() {
        *node = source.u32()?;
    }
    let places = Numbers::read(source, new.len())?;
    let mut beside = [None; super::ROWS];
    for _ in 0..source.length()? {
        let place = source.length()?;
        *beside.get_mut(place).ok_or("a delay of no id")? = Some(varint::unzigzag(source.varint()?));
    }
    let delays = Numbers::read_signed(source, new.len())?;
    let counters = Numbers::read(source, new.len())?;
    for (at, ((id, row), beside)) in new.iter_mut().zip(&slots.first).zip(beside).enumerate() {
        let place = size(places.get(bytes, at));
        let node = *nodes.get(place).ok_or("a node that is not there")?;
        let delay = beside.unwrap_or_else(|| delays.get_signed(bytes, at));
        let made = bits::bits(time(usize::from(*row)).0.wrapping_sub(delay));
        let counter = counters.get(bytes, at);
        if made > BITS_48 || counter > BITS_48 {
            return Err("a connection id of more than 128 bits");
        }
        *id = ConnectionId(u128::from(made) << 80 | u128::from(node) << 48 | u128::from(counter));
    }
    Ok(())
}

/// Time, node and counter.
#[expect(clippy::cast_possible_truncation, reason = "the parts of 128 bits")]
fn parts(ConnectionId(id): ConnectionId) -> (i64, u32, u64) {
    ((id >> 80) as i64, (id >> 48) as u32, id as u64 & BITS_48)
}
