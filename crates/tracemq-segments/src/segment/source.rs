//! Taking numbers off bytes of which nothing is certain, and the places of pieces in a file.

use crate::varint;

/// What is wrong with some bytes, in words.
pub(super) type What = &'static str;

pub(super) const CUT: What = "ends too early";
const LEFT_OVER: What = "holds more than it should";

/// Bytes, read from the front.
#[derive(Clone)]
pub(super) struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were taken.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], What> {
        let end = self.at.checked_add(length).ok_or(CUT)?;
        let taken = self.bytes.get(self.at..end).ok_or(CUT)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], What> {
        let rest = self.bytes.get(self.at..).ok_or(CUT)?;
        let taken = rest.first_chunk::<N>().ok_or(CUT)?;
        self.at += N;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, What> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, What> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, What> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, What> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, What> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn varint(&mut self) -> Result<u64, What> {
        let mut rest = self.bytes.get(self.at..).ok_or(CUT)?;
        let value = varint::take(&mut rest).ok_or("a number is cut or too large")?;
        self.at = self.bytes.len() - rest.len();
        Ok(value)
    }

    /// A number of bytes or of things; one that no memory could hold is cut to the largest, for the bounds to refuse.
    pub(super) fn length(&mut self) -> Result<usize, What> {
        self.varint().map(size)
    }

    /// Nothing may be left.
    pub(super) fn finish(&self) -> Result<(), What> {
        if self.is_empty() { Ok(()) } else { Err(LEFT_OVER) }
    }
}

/// `value` as a size in memory; what is too large becomes the largest.
pub(super) fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A size in memory as it stands on disk.
pub(super) fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Where a block stands: 40 bits of offset, 24 of length, so that an index of many is small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent(u64);

impl Extent {
    /// No file is longer: 1 TiB.
    pub(super) const FILE_BYTES_MAX: u64 = 1 << 40;
    const LENGTH_BITS: u32 = 24;

    /// None when it is too far or too long.
    pub(super) fn new(offset: u64, length: u64) -> Option<Self> {
        let fits = offset < Self::FILE_BYTES_MAX && length < 1 << Self::LENGTH_BITS;
        fits.then_some(Self(offset << Self::LENGTH_BITS | length))
    }

    pub(super) fn offset(self) -> u64 {
        self.0 >> Self::LENGTH_BITS
    }

    pub(super) fn length(self) -> u64 {
        self.0 & ((1 << Self::LENGTH_BITS) - 1)
    }

    pub(super) fn end(self) -> u64 {
        self.offset() + self.length()
    }

    /// Appends it as the distance from `previous_end` and a length.
    pub(super) fn push(self, previous_end: &mut u64, out: &mut Vec<u8>) {
        varint::push(out, self.offset().wrapping_sub(*previous_end));
        varint::push(out, self.length());
        *previous_end = self.end();
    }

    /// What [`push`](Self::push) appended; never before `previous_end`, never beyond `limit`.
    pub(super) fn read(source: &mut Source<'_>, previous_end: &mut u64, limit: u64) -> Result<Self, What> {
        const OUTSIDE: What = "a block lies outside the file's blocks";
        let offset = previous_end.checked_add(source.varint()?).ok_or(OUTSIDE)?;
        let extent = Self::new(offset, source.varint()?).ok_or(OUTSIDE)?;
        if extent.end() > limit {
            return Err(OUTSIDE);
        }
        *previous_end = extent.end();
        Ok(extent)
    }
}
