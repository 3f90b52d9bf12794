//! Columns of things that stand again and again: each place says where the same stood before.

use std::ops::Range;

use crate::segment::bits::{self, Numbers};
use crate::segment::source::{Source, What};

use super::ROWS;

/// Twice as many places as a block has rows.
const TABLE_BITS: u32 = 10;
/// Places that are tried for one thing. What is not found then counts as new, which costs room and nothing else.
const TRIES: usize = 16;
const FREE: u16 = u16::MAX;
/// Fewer places than this are followed one by one: following all costs as much as a hundred, and a chain may be long.
const FEW: usize = 16;
const LEAVES: What = "a reference leaves its block";

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

/// Of each of a number of places, which of the new things stands there. References point backwards only: those of a few places
/// are followed one by one, and for many all that stand before the last one, once.
#[derive(Debug, Default)]
pub(super) struct Slots {
    distances: Vec<u64>,
    new: usize,
    /// Of the places that were followed.
    slots: Vec<u16>,
    /// Where each new thing that was met stands first.
    first: Vec<u16>,
}

impl Slots {
    /// Takes the references of `count` places off `source`, whose bytes are `bytes`. Returns how many things are new.
    pub(super) fn read(&mut self, source: &mut Source<'_>, bytes: &[u8], count: usize) -> Result<usize, What> {
        let distances = Numbers::read(source, count)?;
        self.distances.resize(count, 0);
        distances.unpack(bytes, &mut self.distances);
        self.slots.clear();
        self.first.clear();
        self.new = self.distances.iter().filter(|distance| **distance == 0).count();
        Ok(self.new)
    }

    /// Makes ready for the places in `range`.
    pub(super) fn prepare(&mut self, range: &Range<usize>) -> Result<(), What> {
        if range.len() > FEW { self.follow(range.end).map(|_| ()) } else { Ok(()) }
    }

    /// Follows the references of the places before `end`. Returns how many of the new things stand there.
    pub(super) fn follow(&mut self, end: usize) -> Result<usize, What> {
        let known = self.slots.len();
        for (at, distance) in self.distances.iter().enumerate().take(end).skip(known) {
            let slot = if *distance == 0 {
                self.first.push(small(at));
                small(self.first.len() - 1)
            } else {
                *before(at, *distance).and_then(|before| self.slots.get(before)).ok_or(LEAVES)?
            };
            self.slots.push(slot);
        }
        Ok(self.first.len())
    }

    /// How many things are new.
    pub(super) fn new_count(&self) -> usize {
        self.new
    }

    /// Which new thing stands at `at`.
    pub(super) fn slot(&self, at: usize) -> Result<usize, What> {
        self.thing(at).map(|(slot, _)| slot)
    }

    /// Where the new thing `slot` stands first, if that was followed.
    pub(super) fn first(&self, slot: usize) -> Option<usize> {
        self.first.get(slot).map(|first| usize::from(*first))
    }

    /// Which new thing stands at `at`, and where it stands first.
    fn thing(&self, at: usize) -> Result<(usize, usize), What> {
        if let Some(slot) = self.slots.get(at).map(|slot| usize::from(*slot)) {
            return Ok((slot, self.first(slot).ok_or(LEAVES)?));
        }
        let mut first = at;
        loop {
            match *self.distances.get(first).ok_or(LEAVES)? {
                0 => break,
                distance => first = before(first, distance).ok_or(LEAVES)?,
            }
        }
        let new_before = self.distances.iter().take(first).filter(|distance| **distance == 0);
        Ok((new_before.count(), first))
    }

    /// Puts what stands at the places in `range` into `out`; `make` makes a new thing, told where it stands first.
    pub(super) fn fill<T: Copy>(
        &self,
        range: Range<usize>,
        out: &mut Vec<T>,
        make: impl Fn(usize, usize) -> Result<T, What>,
    ) -> Result<(), What> {
        out.clear();
        for at in range.clone() {
            let (slot, first) = self.thing(at)?;
            let made = first.checked_sub(range.start).and_then(|place| out.get(place));
            let value = match made {
                Some(made) => *made,
                None => make(slot, first)?,
            };
            out.push(value);
        }
        Ok(())
    }
}

/// The place that is `distance` before `at`.
fn before(at: usize, distance: u64) -> Option<usize> {
    at.checked_sub(usize::try_from(distance).unwrap_or(usize::MAX))
}

/// A place in a block.
pub(super) fn small(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}
