//! The directory of keys: sorted, each with how many rows it has, in blocks that are read with one read.
//!
//! ```text
//! entry        control u8 | shared varint, unless the key is as long as the one before | length of the suffix varint,
//!              unless in the control | rows varint, unless in the control | suffix
//! control      bit 7: as long as the key before | bits 4 to 6: length of the suffix, 0 when it follows
//!              | bits 0 to 3: rows, 0 when they follow
//! separator    shared with the previous block's varint | length of the suffix varint | suffix
//! ```
//!
//! A key is what it shares with the one before it in its block, as much as there is, and its suffix. A block's separator
//! is the shortest that is larger than all keys before the block and not larger than its first.

use std::ops::Range;

use tracemq_model::{ClientId, InstanceId};

use super::checksum::Piece;
use super::index::Run;
use super::output::Output;
use super::source::{CUT, Extent, Source, What, wide};
use crate::varint;
use tracemq_store::StoreError;

/// The longest key: an instance's name, the zero behind it, the tag, a client's name.
pub(super) const KEY_BYTES_MAX: usize = InstanceId::MAX_BYTES + 2 + ClientId::MAX_BYTES;
/// Enough that a separator in memory costs little a key, few enough that a look-up decodes them in a microsecond.
const KEYS_A_BLOCK: usize = 64;
/// A block that has more ends, so that long names don't make the read of a look-up long.
const BLOCK_BYTES: usize = 16 << 10;
/// Blocks of the directory are written together, so that a walk over all names reads few pieces of the file.
const RUN_BYTES: usize = 1 << 20;

const AS_LONG: u8 = 0x80;
const OUT_OF_ORDER: What = "keys are out of order";

/// Writes the directory, block by block.
#[derive(Default)]
pub(super) struct DirectoryWriter {
    block: Vec<u8>,
    keys: usize,
    rows: u64,
    last: Vec<u8>,
    separator: Vec<u8>,
    last_separator: Vec<u8>,
    run: Run,
}

impl DirectoryWriter {
    /// Adds a key that is larger than all before it.
    pub(super) fn push(&mut self, key: &[u8], rows: u64) {
        if self.keys == 0 {
            let shared = common(&self.last, key);
            self.separator.clear();
            self.separator.extend(key.iter().take(shared + 1));
            self.last.clear();
        }
        push_entry(&self.last, key, rows, &mut self.block);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.keys += 1;
        self.rows += rows;
        if self.keys == KEYS_A_BLOCK || self.block.len() >= BLOCK_BYTES {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        if self.keys == 0 {
            return;
        }
        let shared = common(&self.last_separator, &self.separator);
        let suffix = self.separator.get(shared..).unwrap_or_default();
        let rows = self.rows;
        self.run.push(&self.block, |index| {
            varint::push(index, rows);
            varint::push(index, wide(shared));
            varint::push(index, wide(suffix.len()));
            index.extend_from_slice(suffix);
        });
        std::mem::swap(&mut self.separator, &mut self.last_separator);
        self.block.clear();
        self.keys = 0;
        self.rows = 0;
    }

    /// Writes what is ready, when it is enough for a run.
    pub(super) fn write_run(&mut self, output: &mut Output) -> Result<(), StoreError> {
        if self.run.bytes() >= RUN_BYTES { self.run.write(Piece::Directory, output) } else { Ok(()) }
    }

    /// Writes the rest; returns the index and the bytes of all blocks.
    pub(super) fn finish(&mut self, output: &mut Output) -> Result<(Vec<u8>, u64), StoreError> {
        self.end_block();
        self.run.finish(Piece::Directory, output)
    }
}

fn push_entry(last: &[u8], key: &[u8], rows: u64, out: &mut Vec<u8>) {
    let shared = common(last, key);
    let suffix = key.get(shared..).unwrap_or_default();
    let as_long = last.len() == key.len();
    let short_suffix = u8::try_from(suffix.len()).ok().filter(|length| *length < 8).unwrap_or(0);
    let few_rows = u8::try_from(rows).ok().filter(|rows| *rows < 16).unwrap_or(0);
    out.push(if as_long { AS_LONG } else { 0 } | short_suffix << 4 | few_rows);
    if !as_long {
        varint::push(out, wide(shared));
    }
    if short_suffix == 0 {
        varint::push(out, wide(suffix.len()));
    }
    if few_rows == 0 {
        varint::push(out, rows);
    }
    out.extend_from_slice(suffix);
}

/// How many bytes the two begin with alike.
pub(super) fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// What an entry says beside its key.
pub(super) struct Entry {
    pub(super) rows: u64,
    /// How many bytes the key shares with the one before.
    pub(super) shared: usize,
}

/// Takes an entry off `source`: makes `key`, which is the key before it in the block, its key.
#[inline]
pub(super) fn read_entry(source: &mut Source<'_>, key: &mut Vec<u8>) -> Result<Entry, What> {
    let control = source.u8()?;
    let stated_shared = if control & AS_LONG == 0 { Some(source.length()?) } else { None };
    let suffix_length = match usize::from(control >> 4 & 7) {
        0 => source.length()?,
        short => short,
    };
    let rows = match control & 15 {
        0 => source.varint()?,
        few => u64::from(few),
    };
    let shared = match stated_shared {
        Some(shared) => shared,
        None => key.len().checked_sub(suffix_length).ok_or(OUT_OF_ORDER)?,
    };
    let suffix = source.take(suffix_length)?;
    if rows == 0 || shared > key.len() || shared + suffix_length > KEY_BYTES_MAX {
        return Err("an entry of the directory is none");
    }
    // What the two share is all that they share, so one byte tells their order.
    let first = suffix.first().ok_or(OUT_OF_ORDER)?;
    if key.get(shared).is_some_and(|previous| first <= previous) {
        return Err(OUT_OF_ORDER);
    }
    key.truncate(shared);
    key.extend_from_slice(suffix);
    Ok(Entry { rows, shared })
}

/// The directory's blocks, in memory.
#[derive(Default)]
pub(super) struct DirectoryIndex {
    extents: Vec<Extent>,
    /// Of each block, and of what would be the next.
    first_rows: Vec<u64>,
    /// All separators, one behind the other.
    separators: Vec<u8>,
    ends: Vec<usize>,
    /// How many bytes all separators begin with alike; and of each the eight behind these, as a number that compares as they
    /// do: side by side, so that a search waits for memory but a few times.
    shared: usize,
    heads: Vec<u64>,
}

impl DirectoryIndex {
    /// Reads the index of a directory of `rows` rows, whose blocks end before `limit`.
    pub(super) fn read(bytes: &[u8], limit: u64, rows: u64) -> Result<Self, What> {
        let mut source = Source::new(bytes);
        let mut index = Self { first_rows: vec![0], ..Self::default() };
        let (mut end, mut row) = (0, 0_u64);
        let mut separator = Vec::new();
        while !source.is_empty() {
            index.extents.push(Extent::read(&mut source, &mut end, limit)?);
            row =
                row.checked_add(source.varint()?).filter(|row| *row <= rows).ok_or("more rows than the segment has")?;
            index.first_rows.push(row);
            let shared = source.length()?;
            let suffix_length = source.length()?;
            let suffix = source.take(suffix_length)?;
            if shared > separator.len() || shared + suffix_length > KEY_BYTES_MAX {
                return Err("a separator is none");
            }
            let Some(first) = suffix.first() else { return Err(OUT_OF_ORDER) };
            if separator.get(shared).is_some_and(|previous| first <= previous) {
                return Err(OUT_OF_ORDER);
            }
            separator.truncate(shared);
            separator.extend_from_slice(suffix);
            index.separators.extend_from_slice(&separator);
            // Each stands at the front of its block, so all of them are no more than the blocks.
            if wide(index.separators.len()) > limit {
                return Err("separators are longer than the keys that they separate");
            }
            index.ends.push(index.separators.len());
        }
        index.note_heads();
        if row == rows { Ok(index) } else { Err("fewer rows than the segment has") }
    }

    fn note_heads(&mut self) {
        let last = self.separator(self.len().saturating_sub(1)).unwrap_or_default();
        let first = self.separator(0).unwrap_or_default();
        // They ascend: what the first and the last share, all share.
        self.shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        self.heads =
            (0..self.len()).map(|block| head(self.separator(block).unwrap_or_default(), self.shared)).collect();
    }

    pub(super) fn len(&self) -> usize {
        self.extents.len()
    }

    pub(super) fn extent(&self, block: usize) -> Option<Extent> {
        self.extents.get(block).copied()
    }

    /// The rows of the keys of `block`.
    pub(super) fn rows(&self, block: usize) -> Option<Range<u64>> {
        Some(*self.first_rows.get(block)?..*self.first_rows.get(block + 1)?)
    }

    pub(super) fn separator(&self, block: usize) -> Option<&[u8]> {
        let start = match block.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.separators.get(start..*self.ends.get(block)?)
    }

    /// The block that has `key`, if any has.
    pub(super) fn block_of_key(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        let shared = self.separator(0).unwrap_or_default().get(..self.shared).unwrap_or_default();
        if key.starts_with(shared) {
            // Those with a lesser head are lesser, those with a greater one greater.
            let of_key = head(key, self.shared);
            low = self.heads.partition_point(|head| *head < of_key);
            high = low + self.heads.get(low..).unwrap_or_default().partition_point(|head| *head == of_key);
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.separator(middle).is_some_and(|separator| separator <= key) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }

    /// The block that has the key of `row`.
    pub(super) fn block_of_row(&self, row: u64) -> usize {
        self.first_rows.partition_point(|first| *first <= row).saturating_sub(1)
    }
}

/// Eight bytes of `key` from `skip` on, as a number that compares as they do.
fn head(key: &[u8], skip: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(key.get(skip..).unwrap_or_default()) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

/// Finds `key` in a block; returns its rows, counted from the block's first. `current` is memory for keys.
pub(super) fn find(content: &[u8], key: &[u8], current: &mut Vec<u8>) -> Result<Option<Range<u64>>, What> {
    let mut source = Source::new(content);
    let mut row = 0_u64;
    // How many bytes the last entry, which is less than `key`, begins with as `key` does: what an entry shares with the one before
    // tells how the two compare without their bytes, but where both part from it at the same place.
    let mut alike = 0;
    current.clear();
    while !source.is_empty() {
        let Entry { rows, shared } = read_entry(&mut source, current)?;
        let end = row.checked_add(rows).ok_or(CUT)?;
        if shared < alike {
            return Ok(None);
        }
        if shared == alike {
            let (rest, sought) = (current.get(alike..).unwrap_or_default(), key.get(alike..).unwrap_or_default());
            let more = common(rest, sought);
            match (rest.get(more), sought.get(more)) {
                (None, None) => return Ok(Some(row..end)),
                (Some(_), None) => return Ok(None),
                (Some(next), Some(wanted)) if next > wanted => return Ok(None),
                (_, Some(_)) => alike += more,
            }
        }
        row = end;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index with these separators, which ascend.
    fn index(separators: &[&[u8]]) -> DirectoryIndex {
        let mut index = DirectoryIndex::default();
        for (at, separator) in separators.iter().enumerate() {
            index.extents.extend(Extent::new(wide(at), 1));
            index.separators.extend_from_slice(separator);
            index.ends.push(index.separators.len());
        }
        index.note_heads();
        index
    }

    #[test]
    fn the_block_of_a_key_is_the_last_whose_separator_is_not_larger() {
        let many: Vec<Vec<u8>> = (0..500_u32).map(|n| format!("mqtt\0cdev-{:05}", n * 7).into_bytes()).collect();
        let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        let lists: [&[&[u8]]; 5] = [
            &[],
            &[b"m"],
            &[b"a", b"a\0", b"a\0\0\0\0\0\0\0\0\0", b"a\0\0\0\0\0\0\0\0\x01", b"ab"],
            &[b"mqtt\0adev", b"mqtt\0adev-12345678-1", b"mqtt\0adev-12345678-2", b"mqtt\0adev-12345678-3"],
            &many,
        ];
        for separators in lists {
            let index = index(separators);
            let near = separators.iter().flat_map(|one| {
                let shorter = one[..one.len() - 1].to_vec();
                [one.to_vec(), shorter, [one, &b"\0"[..]].concat(), [one, &b"\xff"[..]].concat()]
            });
            for key in near.chain([b"".to_vec(), b"\xff".to_vec(), b"mqtt".to_vec(), b"mqtt\0zzz".to_vec()]) {
                let expected = separators.iter().filter(|one| **one <= key.as_slice()).count().saturating_sub(1);
                assert_eq!(index.block_of_key(&key), expected, "{key:?} among {}", separators.len());
            }
        }
    }
}
