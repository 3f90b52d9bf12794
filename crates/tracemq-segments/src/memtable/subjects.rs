//! The subjects of a memtable: by key, with the places of their rows.
//!
//! A fleet's subjects are all over memory, and waiting for it is what putting a row in costs. So a turn's keys are first looked
//! for one by one, in a table that holds a part of their hash, and only then followed to their subjects: the processor
//! waits for many at a time.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;
use tracemq_model::TimeMs;

/// What a key takes at most, mostly.
const KEY_BYTES: usize = 48;

/// Keys in one place, and for each the places of its rows in order of arrival.
#[derive(Default)]
pub(super) struct Subjects {
    table: HashTable<Known>,
    hasher: DefaultHashBuilder,
    keys: Vec<u8>,
    list: Vec<Subject>,
    spilled: usize,
    has_erased: bool,
}

/// Where a key most likely is.
#[derive(Clone, Copy)]
pub(super) struct Hint {
    hash: u64,
    number: u32,
}

/// The part of a hash that the table itself does not go by.
#[expect(clippy::cast_possible_truncation, reason = "a part is meant")]
fn tag(hash: u64) -> u32 {
    (hash >> 16) as u32
}

/// A subject's number, and the part of its key's hash that tells it from nearly all others.
#[derive(Clone, Copy)]
struct Known {
    hash: u32,
    number: u32,
}

struct Subject {
    key_at: u32,
    key_len: u32,
    /// Of the row that arrived last.
    last: TimeMs,
    /// So many rows at the beginning are in the order of their times as well.
    sorted: u32,
    /// So many rows at the beginning have been erased.
    erased: u32,
    rows: SmallVec<[u32; 4]>,
}

impl Subjects {
    /// None yet, but room for so many.
    pub(super) fn with_capacity(subjects: usize) -> Self {
        Self {
            keys: Vec::with_capacity(subjects.saturating_mul(KEY_BYTES)),
            list: Vec::with_capacity(subjects),
            ..Self::default()
        }
    }

    /// What [`Subjects::push`] wants to know beforehand.
    pub(super) fn hint(&self, key: &[u8]) -> Hint {
        let hash = self.hasher.hash_one(key);
        let known = self.table.find(hash, |known| known.hash == tag(hash));
        Hint { hash, number: known.map_or(u32::MAX, |known| known.number) }
    }

    /// Notes that the row at `place`, of `time`, is one of `key`. Gives the subject's number.
    pub(super) fn push(&mut self, key: &[u8], hint: Hint, place: u32, time: TimeMs) -> u32 {
        let number = if self.list.len() > hint.number as usize && self.key(hint.number) == key {
            hint.number
        } else {
            self.find_hashed(hint.hash, key).unwrap_or_else(|| self.add(hint.hash, key))
        };
        if let Some(subject) = self.list.get_mut(number as usize) {
            if subject.sorted as usize == subject.rows.len() && subject.last <= time {
                subject.sorted += 1;
            }
            subject.last = time;
            subject.rows.push(place);
            self.spilled += usize::from(subject.rows.spilled()) * size_of::<u32>();
        }
        number
    }

    fn add(&mut self, hash: u64, key: &[u8]) -> u32 {
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let key_at = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.keys.extend_from_slice(key);
        let key_len = u32::try_from(key.len()).unwrap_or(u32::MAX);
        let (last, rows) = (TimeMs::MIN, SmallVec::new());
        self.list.push(Subject { key_at, key_len, last, sorted: 0, erased: 0, rows });
        let Self { table, hasher, keys, list, .. } = self;
        let rehash = |known: &Known| hasher.hash_one(key_of(keys, list, known.number));
        table.insert_unique(hash, Known { hash: tag(hash), number }, rehash);
        number
    }

    /// The number of the subject with `key`.
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        self.find_hashed(self.hasher.hash_one(key), key)
    }

    fn find_hashed(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let is_it = |known: &Known| known.hash == tag(hash) && self.key(known.number) == key;
        self.table.find(hash, is_it).map(|known| known.number)
    }

    /// The key of the subject of that number.
    pub(super) fn key(&self, number: u32) -> &[u8] {
        key_of(&self.keys, &self.list, number)
    }

    /// The keys of the subjects of these numbers: looked up with nothing to do in between, many at a time.
    pub(super) fn keys_of(&self, numbers: &[u32]) -> Vec<&[u8]> {
        numbers.iter().map(|number| self.key(*number)).collect()
    }

    /// The places of its rows, in order of arrival; without those that were erased.
    pub(super) fn rows(&self, number: u32) -> &[u32] {
        self.list
            .get(number as usize)
            .map_or(&[], |subject| subject.rows.get(subject.erased as usize..).unwrap_or_default())
    }

    /// Whether the first `rows` of [`Subjects::rows`] are in the order of their times.
    pub(super) fn is_sorted(&self, number: u32, rows: usize) -> bool {
        self.list.get(number as usize).is_none_or(|subject| subject.erased as usize + rows <= subject.sorted as usize)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The place of its first row.
    pub(super) fn first_row(&self, number: u32) -> Option<usize> {
        self.rows(number).first().map(|row| *row as usize)
    }

    /// Whether any row has been erased.
    pub(super) fn has_erased(&self) -> bool {
        self.has_erased
    }

    /// Whether the row at `place`, which is one of its, has been erased.
    pub(super) fn is_erased(&self, number: u32, place: usize) -> bool {
        let Some(subject) = self.list.get(number as usize) else { return false };
        subject.erased > 0
            && subject.rows.get((subject.erased - 1) as usize).is_some_and(|last_erased| place <= *last_erased as usize)
    }

    /// Forgets its rows, and gives their places.
    pub(super) fn erase(&mut self, number: u32) -> Vec<u32> {
        let rows = self.rows(number).to_vec();
        self.has_erased |= !rows.is_empty();
        if let Some(subject) = self.list.get_mut(number as usize) {
            subject.erased = u32::try_from(subject.rows.len()).unwrap_or(u32::MAX);
        }
        rows
    }

    /// All of them, in the order of their keys.
    pub(super) fn sorted(&self) -> Vec<u32> {
        let count = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        // Most comparisons end within the eight bytes behind what all keys begin with, side by side in memory.
        let shared = self.shared_prefix();
        let mut order: Vec<(u64, u32)> = (0..count).map(|number| (head(self.key(number), shared), number)).collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.key(a.1).cmp(self.key(b.1))));
        order.into_iter().map(|(_, number)| number).collect()
    }

    fn shared_prefix(&self) -> usize {
        let first = self.key(0);
        let count = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        (1..count).fold(first.len(), |shared, number| {
            first.iter().zip(self.key(number)).take(shared).take_while(|(a, b)| a == b).count()
        })
    }

    /// For how many, and for how many bytes of keys, there is room.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> (usize, usize) {
        (self.list.capacity(), self.keys.capacity())
    }

    /// The memory that they take, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.keys.len() + self.list.len() * (size_of::<Subject>() + 10) + self.spilled
    }
}

fn key_of<'a>(keys: &'a [u8], list: &[Subject], number: u32) -> &'a [u8] {
    let Some(subject) = list.get(number as usize) else { return &[] };
    let from = subject.key_at as usize;
    keys.get(from..from + subject.key_len as usize).unwrap_or_default()
}

/// Eight bytes of `key` from `skip` on, as a number that compares as they do.
fn head(key: &[u8], skip: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(key.get(skip..).unwrap_or_default()) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}
