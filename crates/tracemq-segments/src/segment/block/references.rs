//! Columns of things that stand again and again: each place says where the same stood before.

use crate::segment::bits::{self, Numbers};
use crate::segment::source::{Source, What};

use super::ROWS;

/// Twice as many places as a block has rows.
const TABLE_BITS: u32 = 10;
/// Places that are tried for one thing. What is not found then counts as new, which costs room and nothing else.
const TRIES: usize = 16;
const FREE: u16 = u16::MAX;

/// Finds what stood before; kept for its memory.
pub(super) struct References {
    table: Vec<u16>,
    /// Of each thing, how far before it the same stands; 0 for none.
    pub(super) distances: Vec<u64>,
}

impl References {
    pub(super) fn new() -> Self {
        Self { table: vec![FREE; 1 << TABLE_BITS], distances: Vec::with_capacity(ROWS) }
    }

    /// Sets the distances of `things`; one that would cost more than `new_bits`, the bits of a new thing, is dropped.
    pub(super) fn find<T: PartialEq>(&mut self, things: &[T], hash: impl Fn(&T) -> u128, new_bits: usize) {
        self.table.fill(FREE);
        self.distances.clear();
        for (at, thing) in things.iter().enumerate() {
            let before = self.place(things, at, thing, hash(thing));
            self.distances.push(u64::try_from(before.map_or(0, |before| at - before)).unwrap_or(0));
        }
        self.drop_dear(new_bits);
    }

    /// Where `thing` stood before; it stands at `at` from now on.
    fn place<T: PartialEq>(&mut self, things: &[T], at: usize, thing: &T, hash: u128) -> Option<usize> {
        let start = mixed(hash);
        let here = u16::try_from(at).unwrap_or(FREE);
        for step in 0..TRIES {
            let slot = self.table.get_mut((start + step) % (1 << TABLE_BITS))?;
            if *slot == FREE {
                *slot = here;
                return None;
            }
            let before = usize::from(*slot);
            if things.get(before) == Some(thing) {
                *slot = here;
                return Some(before);
            }
        }
        None
    }

    /// The widest reference sets the width of all: drops those for which it does not pay.
    fn drop_dear(&mut self, new_bits: usize) {
        let mut of_width = [0_usize; 11];
        for distance in &self.distances {
            if let Some(count) = of_width.get_mut(usize::try_from(bits::width_of(*distance)).unwrap_or(0)) {
                *count += 1;
            }
        }
        let cost = |width: usize| {
            let new: usize = of_width.iter().skip(width + 1).sum();
            width * self.distances.len() + new * new_bits
        };
        let width = (0..of_width.len()).min_by_key(|width| cost(*width)).unwrap_or(0);
        for distance in &mut self.distances {
            if *distance >> width != 0 {
                *distance = 0;
            }
        }
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) {
        bits::push(&self.distances, out);
    }

    /// The places of the new things.
    pub(super) fn new_places(&self) -> impl Iterator<Item = usize> {
        self.distances.iter().enumerate().filter(|(_, distance)| **distance == 0).map(|(at, _)| at)
    }
}

fn mixed(hash: u128) -> usize {
    let folded = u64::try_from(hash >> 64).unwrap_or(0) ^ u64::try_from(hash & u128::from(u64::MAX)).unwrap_or(0);
    let mixed = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - TABLE_BITS);
    usize::try_from(mixed).unwrap_or(0)
}

/// Of each of a number of places, which of the new things stands there.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) slots: Vec<u16>,
    /// Where each new thing stands first.
    pub(super) first: Vec<u16>,
}

impl Slots {
    /// Takes the references of `count` places off `source`, whose bytes are `bytes`.
    pub(super) fn read(&mut self, source: &mut Source<'_>, bytes: &[u8], count: usize) -> Result<(), What> {
        let distances = Numbers::read(source, count)?;
        self.slots.clear();
        self.first.clear();
        for at in 0..distances.count() {
            let distance = usize::try_from(distances.get(bytes, at)).unwrap_or(usize::MAX);
            if distance == 0 {
                self.slots.push(small(self.first.len()));
                self.first.push(small(at));
                continue;
            }
            let before = at.checked_sub(distance).and_then(|before| self.slots.get(before));
            self.slots.push(*before.ok_or("a reference leaves its block")?);
        }
        Ok(())
    }
}

/// A place in a block.
pub(super) fn small(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}
