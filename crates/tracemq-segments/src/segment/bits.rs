//! Columns of numbers: each less the smallest of the column, in as many bits as the largest then needs.
//!
//! ```text
//! width u8 | smallest varint (zigzag when signed) | the numbers, lowest bits first, to a whole byte
//! ```
//!
//! A number is read in place by one load of eight bytes, so whoever holds the bytes keeps [`PADDING`] more behind them.

use super::source::{Source, What};
use crate::varint;

/// How many bytes behind a column's last may be loaded.
pub(super) const PADDING: usize = 8;
/// A number of more bits could lie in nine bytes; such columns have 64 bits.
const WIDTH_IN_A_LOAD: u32 = 57;

/// How many bits a column needs whose largest number is `largest`.
pub(super) fn width_of(largest: u64) -> u32 {
    let bits = u64::BITS - largest.leading_zeros();
    if bits > WIDTH_IN_A_LOAD { u64::BITS } else { bits }
}

/// Appends a column.
pub(super) fn push(values: &[u64], out: &mut Vec<u8>) {
    let least = values.iter().copied().min().unwrap_or(0);
    let width = width_of(values.iter().copied().max().unwrap_or(0) - least);
    out.push(narrow(width));
    varint::push(out, least);
    pack(values.iter().map(|value| value - least), width, out);
}

/// Appends a column of signed numbers.
pub(super) fn push_signed(values: &[i64], out: &mut Vec<u8>) {
    let least = values.iter().copied().min().unwrap_or(0);
    let width = width_of(distance(least, values.iter().copied().max().unwrap_or(0)));
    out.push(narrow(width));
    varint::push(out, varint::zigzag(least));
    pack(values.iter().map(|value| distance(least, *value)), width, out);
}

/// Appends `values` of `width` bits each.
fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let (mut held, mut filled) = (0_u64, 0_u32);
    for value in values {
        held |= value << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&held.to_le_bytes());
            filled -= u64::BITS;
            held = if filled == 0 { 0 } else { value >> (width - filled) };
        }
    }
    let bytes = usize::try_from(filled.div_ceil(8)).unwrap_or(0);
    out.extend(held.to_le_bytes().iter().take(bytes));
}

/// A column in bytes that someone else holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    start: usize,
    count: usize,
    width: u32,
    least: u64,
}

impl Numbers {
    /// Takes a column of `count` numbers off `source`.
    pub(super) fn read(source: &mut Source<'_>, count: usize) -> Result<Self, What> {
        let width = Self::read_width(source)?;
        let least = source.varint()?;
        Self::pass(source, count, width, least)
    }

    /// Takes a column of `count` signed numbers off `source`.
    pub(super) fn read_signed(source: &mut Source<'_>, count: usize) -> Result<Self, What> {
        let width = Self::read_width(source)?;
        let least = varint::unzigzag(source.varint()?);
        Self::pass(source, count, width, bits(least))
    }

    fn read_width(source: &mut Source<'_>) -> Result<u32, What> {
        match u32::from(source.u8()?) {
            width if width <= WIDTH_IN_A_LOAD || width == u64::BITS => Ok(width),
            _ => Err("a column has a width that no column has"),
        }
    }

    fn pass(source: &mut Source<'_>, count: usize, width: u32, least: u64) -> Result<Self, What> {
        let start = source.at();
        let bytes = count.checked_mul(usize::try_from(width).unwrap_or(0)).ok_or(super::source::CUT)?.div_ceil(8);
        source.take(bytes)?;
        Ok(Self { start, count, width, least })
    }

    /// The number that all are, if the column holds it but once.
    pub(super) fn constant(&self) -> Option<u64> {
        (self.width == 0).then_some(self.least)
    }

    /// The smallest of a signed column, which it may state without holding it.
    pub(super) fn least_signed(&self) -> i64 {
        signed(self.least)
    }

    /// The number at `at`, which is less than the count.
    #[inline]
    pub(super) fn get(&self, bytes: &[u8], at: usize) -> u64 {
        let width = usize::try_from(self.width).unwrap_or(0);
        let bit = at.wrapping_mul(width);
        let loaded =
            bytes.get(self.start + bit / 8..).and_then(<[u8]>::first_chunk).map_or(0, |b| u64::from_le_bytes(*b));
        self.least.wrapping_add(loaded >> (bit % 8) & mask(self.width))
    }

    #[inline]
    pub(super) fn get_signed(&self, bytes: &[u8], at: usize) -> i64 {
        signed(self.get(bytes, at))
    }

    /// Puts the column's numbers into `out`, as many as it has room for.
    pub(super) fn unpack(&self, bytes: &[u8], out: &mut [u64]) {
        let out = out.get_mut(..self.count).unwrap_or_default();
        let packed = bytes.get(self.start..).unwrap_or_default();
        let (groups, _) = out.as_chunks_mut();
        let done = unpack_groups(packed, self.width, self.least, groups) * GROUP;
        for (at, place) in out.iter_mut().enumerate().skip(done) {
            *place = self.get(bytes, at);
        }
    }
}

/// Numbers that are unpacked together: as many as begin and end at a whole byte for each width.
const GROUP: usize = 8;
/// The bytes of a group of the widest numbers that are unpacked so, and what a load takes behind them.
const GROUP_BYTES: usize = 32 + PADDING;

/// Unpacks as many groups as `packed` has [`GROUP_BYTES`] for; returns how many. A function for each width, so that
/// where each number stands is known when this is compiled.
fn unpack_groups(packed: &[u8], width: u32, least: u64, groups: &mut [[u64; GROUP]]) -> usize {
    macro_rules! of_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_groups_of::<$width>(packed, least, groups),)*
                _ => 0,
            }
        };
    }
    of_width!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
}

fn unpack_groups_of<const WIDTH: usize>(packed: &[u8], least: u64, groups: &mut [[u64; GROUP]]) -> usize {
    let mask = (1 << WIDTH) - 1;
    let mut done = 0;
    for (number, group) in groups.iter_mut().enumerate() {
        let start = number * WIDTH;
        let Some(window) = packed.get(start..).and_then(<[u8]>::first_chunk::<GROUP_BYTES>) else { break };
        for (at, place) in group.iter_mut().enumerate() {
            let bit = at * WIDTH;
            let loaded = window.get(bit / 8..).and_then(<[u8]>::first_chunk).map_or(0, |b| u64::from_le_bytes(*b));
            *place = least.wrapping_add(loaded >> (bit % 8) & mask);
        }
        done += 1;
    }
    done
}

/// The `width` lowest bits.
#[inline]
fn mask(width: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - width).unwrap_or(0)
}

/// `to` less `from`, which is not larger.
#[expect(clippy::cast_sign_loss, reason = "the difference of two signed numbers fits without a sign")]
pub(super) fn distance(from: i64, to: i64) -> u64 {
    to.wrapping_sub(from) as u64
}

#[expect(clippy::cast_possible_wrap, reason = "the bits are kept")]
pub(super) fn signed(value: u64) -> i64 {
    value as i64
}

#[expect(clippy::cast_sign_loss, reason = "the bits are kept")]
pub(super) fn bits(value: i64) -> u64 {
    value as u64
}

fn narrow(width: u32) -> u8 {
    u8::try_from(width).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_come_back_one_by_one_and_together() {
        for width in 0..=u64::BITS {
            for count in [0, 1, 7, 8, 9, 63, 64, 512] {
                let largest = mask(width);
                let values: Vec<u64> =
                    (0..count).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & largest).chain([largest]).collect();
                let mut bytes = vec![7; 3];
                push(&values, &mut bytes);
                let content = bytes.len();
                bytes.extend([0xff; PADDING]);
                let mut source = Source::new(&bytes[..content]);
                source.take(3).unwrap();
                let numbers = Numbers::read(&mut source, values.len()).unwrap();
                assert_eq!(source.finish(), Ok(()));
                let mut together = vec![0; 600];
                numbers.unpack(&bytes, &mut together);
                assert_eq!(together[..values.len()], values, "{width} bits");
                let by_place: Vec<u64> = (0..values.len()).map(|at| numbers.get(&bytes, at)).collect();
                assert_eq!(by_place, values, "{width} bits");
            }
        }
    }

    #[test]
    fn signed_numbers_come_back() {
        for values in [&[i64::MIN, i64::MAX, 0, -1][..], &[-5, -3, -4], &[i64::MIN], &[]] {
            let mut bytes = Vec::new();
            push_signed(values, &mut bytes);
            let content = bytes.len();
            bytes.extend([0; PADDING]);
            let numbers = Numbers::read_signed(&mut Source::new(&bytes[..content]), values.len()).unwrap();
            let found: Vec<i64> = (0..values.len()).map(|at| numbers.get_signed(&bytes, at)).collect();
            assert_eq!(found, values);
        }
    }
}
