//! The segment's texts, numbered from 0, in blocks that are compressed and read on demand.
//!
//! ```text
//! block        mode u8: 0 plain, 1 LZ4 | length of the plain bytes u32 | bytes
//! plain        texts varint | of each its length varint | the texts
//! ```
//!
//! Neighbouring rows have neighbouring texts (a client's user name comes with the client), so that a page reads one or
//! two blocks. A text may stand twice: the writer forgets what it knows when it knows a lot.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use tracemq_store::StoreError;

use super::checksum::Piece;
use super::index::Run;
use super::output::Output;
use super::source::{Extent, Source, What, size, wide};
use crate::varint;

const TEXTS_A_BLOCK: usize = 256;
/// The longest text, and the most bytes of texts in a block.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 10;
/// The texts and the lengths before them, of at most three bytes each.
const PLAIN_BYTES_MAX: usize = TEXT_BYTES_MAX + 3 * (TEXTS_A_BLOCK + 1);
/// Texts that the writer knows at once, and their bytes. Then it forgets them all.
const KNOWN_MAX: usize = 64 << 10;
const KNOWN_BYTES_MAX: usize = 4 << 20;
/// A listener, a user name, a detail, and one to spare.
const RECENT: usize = 4;
const RUN_BYTES: usize = 256 << 10;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;

/// Gives texts their numbers and writes them.
#[derive(Default)]
pub(super) struct TextWriter {
    known: Known,
    /// The texts of the rows before, most likely those of the next.
    recent: [(Option<u32>, String); RECENT],
    next_recent: usize,
    count: u32,
    lengths: Vec<u8>,
    texts: Vec<u8>,
    in_block: usize,
    run: Run,
}

impl TextWriter {
    /// How many texts have a number.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The number of `text`; none when it is too long or one too many.
    pub(super) fn number(&mut self, text: &str) -> Option<u32> {
        let recent = self.recent.iter().find(|(number, recent)| number.is_some() && recent == text);
        if let Some((number, _)) = recent {
            return *number;
        }
        let hash = self.known.hash(text);
        let number = match self.known.get(hash, text) {
            Some(number) => number,
            None => self.add(hash, text)?,
        };
        if let Some((recent_number, recent)) = self.recent.get_mut(self.next_recent) {
            *recent_number = Some(number);
            text.clone_into(recent);
        }
        self.next_recent = (self.next_recent + 1) % RECENT;
        Some(number)
    }

    fn add(&mut self, hash: u64, text: &str) -> Option<u32> {
        let next = self.count.checked_add(1)?;
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        if self.in_block == TEXTS_A_BLOCK || self.texts.len() + text.len() > TEXT_BYTES_MAX {
            self.end_block();
        }
        varint::push(&mut self.lengths, wide(text.len()));
        self.texts.extend_from_slice(text.as_bytes());
        self.in_block += 1;
        let number = std::mem::replace(&mut self.count, next);
        self.known.add(hash, text, number);
        Some(number)
    }

    fn end_block(&mut self) {
        if self.in_block == 0 {
            return;
        }
        let mut plain = Vec::with_capacity(PLAIN_BYTES_MAX);
        varint::push(&mut plain, wide(self.in_block));
        plain.append(&mut self.lengths);
        plain.append(&mut self.texts);
        let packed = lz4_flex::block::compress(&plain);
        let (mode, bytes) = if packed.len() < plain.len() { (LZ4, &packed) } else { (PLAIN, &plain) };
        let mut block = vec![mode];
        block.extend_from_slice(&u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes());
        block.extend_from_slice(bytes);
        let count = self.in_block;
        self.run.push(&block, |index| varint::push(index, wide(count)));
        self.in_block = 0;
    }

    /// Writes what is ready, when it is enough for a run.
    pub(super) fn write_run(&mut self, output: &mut Output) -> Result<(), StoreError> {
        if self.run.bytes() >= RUN_BYTES { self.run.write(Piece::Texts, output) } else { Ok(()) }
    }

    /// Writes the rest; returns the index and the bytes of all blocks.
    pub(super) fn finish(&mut self, output: &mut Output) -> Result<(Vec<u8>, u64), StoreError> {
        self.end_block();
        self.run.finish(Piece::Texts, output)
    }
}

/// The numbers of the texts that were written last. User names come from outside, so their hash is keyed.
#[derive(Default)]
struct Known {
    hashes: RandomState,
    /// By the hash of the text: its number, and where it stands in `bytes`.
    places: HashMap<u64, (u32, Range<usize>), BuildHasherDefault<Hashed>>,
    bytes: Vec<u8>,
}

impl Known {
    fn hash(&self, text: &str) -> u64 {
        self.hashes.hash_one(text)
    }

    fn get(&self, hash: u64, text: &str) -> Option<u32> {
        let (number, range) = self.places.get(&hash)?;
        (self.bytes.get(range.clone()) == Some(text.as_bytes())).then_some(*number)
    }

    fn add(&mut self, hash: u64, text: &str, number: u32) {
        if self.places.len() >= KNOWN_MAX || self.bytes.len() >= KNOWN_BYTES_MAX {
            self.places.clear();
            self.bytes.clear();
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text.as_bytes());
        self.places.insert(hash, (number, start..self.bytes.len()));
    }
}

/// What it is given is a hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Where the blocks of texts stand, in memory.
#[derive(Debug, Default)]
pub(super) struct TextIndex {
    /// Each block and the number of its first text.
    blocks: Vec<(Extent, u32)>,
}

impl TextIndex {
    /// Reads the index of `count` texts, whose blocks end before `limit`.
    pub(super) fn read(bytes: &[u8], limit: u64, count: u32) -> Result<Self, What> {
        let mut source = Source::new(bytes);
        let mut blocks = Vec::new();
        let (mut end, mut first) = (0, 0_u32);
        while !source.is_empty() {
            let extent = Extent::read(&mut source, &mut end, limit)?;
            blocks.push((extent, first));
            let texts = u32::try_from(source.varint()?).ok();
            first = texts.and_then(|texts| first.checked_add(texts)).ok_or("more texts than a segment has")?;
        }
        if first == count { Ok(Self { blocks }) } else { Err("another number of texts than the footer says") }
    }

    /// The block of text `number`: which it is, where it stands, and the text's place in it.
    pub(super) fn find(&self, number: u32) -> Option<(usize, Extent, usize)> {
        let at = self.blocks.partition_point(|(_, first)| *first <= number).checked_sub(1)?;
        let (extent, first) = self.blocks.get(at)?;
        Some((at, *extent, usize::try_from(number - first).ok()?))
    }

    pub(super) fn extents(&self) -> impl Iterator<Item = (Extent, u32)> {
        self.blocks.iter().copied()
    }
}

/// A block of texts, unpacked.
#[derive(Debug)]
pub(super) struct TextBlock {
    plain: Vec<u8>,
    /// Where each text ends, and before these where the first begins.
    borders: Vec<usize>,
}

impl TextBlock {
    pub(super) fn read(content: &[u8]) -> Result<Self, What> {
        let mut source = Source::new(content);
        let mode = source.u8()?;
        let length = usize::try_from(source.u32()?).unwrap_or(usize::MAX);
        if length > PLAIN_BYTES_MAX {
            return Err("texts are longer than they can be");
        }
        let bytes = content.get(source.at()..).unwrap_or_default();
        let mut plain = vec![0; length];
        match mode {
            PLAIN if bytes.len() == length => plain.copy_from_slice(bytes),
            LZ4 if lz4_flex::block::decompress_into(bytes, &mut plain).is_ok_and(|unpacked| unpacked == length) => {}
            _ => return Err("texts that do not unpack"),
        }
        let borders = borders(&plain)?;
        Ok(Self { plain, borders })
    }

    pub(super) fn count(&self) -> usize {
        self.borders.len().saturating_sub(1)
    }

    pub(super) fn get(&self, at: usize) -> Result<&str, What> {
        let range = self.borders.get(at).zip(self.borders.get(at + 1));
        let bytes = range.and_then(|(start, end)| self.plain.get(*start..*end)).ok_or("a text that is not there")?;
        std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")
    }
}

fn borders(plain: &[u8]) -> Result<Vec<usize>, What> {
    let mut source = Source::new(plain);
    let count = source.length()?;
    if count > TEXTS_A_BLOCK {
        return Err("more texts than a block has");
    }
    let mut borders = vec![0; count + 1];
    let mut end = 0_usize;
    for border in borders.iter_mut().skip(1) {
        end = end.checked_add(source.length()?).ok_or("texts are longer than they can be")?;
        *border = end;
    }
    let start = source.at();
    for border in &mut borders {
        *border = border.checked_add(start).ok_or("texts are longer than they can be")?;
    }
    if borders.last() == Some(&plain.len()) { Ok(borders) } else { Err("texts have other lengths than they say") }
}

/// The blocks of texts that were read last.
#[derive(Debug, Default)]
pub(super) struct TextCache {
    blocks: [Option<(usize, Arc<TextBlock>)>; 4],
    next: usize,
}

impl TextCache {
    pub(super) fn get(&self, block: usize) -> Option<Arc<TextBlock>> {
        let mut known = self.blocks.iter().flatten();
        known.find(|(number, _)| *number == block).map(|(_, texts)| Arc::clone(texts))
    }

    pub(super) fn put(&mut self, block: usize, texts: Arc<TextBlock>) {
        if let Some(place) = self.blocks.get_mut(self.next) {
            *place = Some((block, texts));
        }
        self.next = (self.next + 1) % self.blocks.len();
    }
}

/// The numbers that one segment's texts have in a segment that is being written. Knows the last few hundred.
pub(crate) struct Translation {
    known: Vec<Option<(u32, u32)>>,
}

impl Translation {
    const PLACES: usize = 512;

    pub(crate) fn new() -> Self {
        Self { known: vec![None; Self::PLACES] }
    }

    fn place(number: u32) -> usize {
        size(u64::from(number)) % Self::PLACES
    }

    pub(super) fn get(&self, number: u32) -> Option<u32> {
        let (known, translated) = (*self.known.get(Self::place(number))?)?;
        (known == number).then_some(translated)
    }

    pub(super) fn set(&mut self, number: u32, translated: u32) {
        if let Some(place) = self.known.get_mut(Self::place(number)) {
            *place = Some((number, translated));
        }
    }
}
