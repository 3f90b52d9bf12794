//! Texts and their numbers, in the order in which they first came.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Keeps its memory from one batch to the next, and no reference into either.
#[derive(Default)]
pub(super) struct Names {
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    names: Vec<Name>,
    bytes: Vec<u8>,
}

#[derive(Clone)]
struct Name {
    /// Whose it is: names of different owners are different names.
    owner: u32,
    place: Range<usize>,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        self.names.clear();
        self.bytes.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The bytes of memory that are kept, roughly.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.names.capacity() * size_of::<Name>()
    }

    /// The text of that number.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        bytes_of(&self.names, &self.bytes, number).1
    }

    /// The number of `text` of `owner`, and whether it is new.
    pub(super) fn number(&mut self, owner: u32, text: &[u8]) -> (u32, bool) {
        let Self { numbers, hasher, names, bytes } = self;
        let is_it = |number: &u32| bytes_of(names, bytes, *number) == (owner, text);
        let rehash = |number: &u32| hasher.hash_one(bytes_of(names, bytes, *number));
        match numbers.entry(hasher.hash_one((owner, text)), is_it, rehash) {
            hashbrown::hash_table::Entry::Occupied(known) => (*known.get(), false),
            hashbrown::hash_table::Entry::Vacant(place) => {
                let number = u32::try_from(names.len()).unwrap_or(u32::MAX);
                place.insert(number);
                let begin = bytes.len();
                bytes.extend_from_slice(text);
                names.push(Name { owner, place: begin..bytes.len() });
                (number, true)
            }
        }
    }
}

fn bytes_of<'a>(names: &[Name], bytes: &'a [u8], number: u32) -> (u32, &'a [u8]) {
    let name = usize::try_from(number).ok().and_then(|number| names.get(number));
    let text = name.and_then(|name| Some((name.owner, bytes.get(name.place.clone())?)));
    text.unwrap_or((u32::MAX, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_by_owner_and_text() {
        let mut names = Names::default();
        for _ in 0..2 {
            for number in 0..1_000 {
                let text = format!("name-{}", number / 2);
                assert_eq!(names.number(number % 2, text.as_bytes()), (number, true));
                assert_eq!(names.number(number % 2, text.as_bytes()), (number, false));
                assert_eq!(names.get(number), text.as_bytes());
            }
            assert_eq!(names.len(), 1_000);
            names.clear();
        }
    }
}
