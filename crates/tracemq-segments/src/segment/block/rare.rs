//! The cells of a block: of each column that any row has, which rows have it and the values.

use crate::cells::Column;
use crate::segment::bits::{self, Numbers};
use crate::segment::source::{Source, What};

use super::ROWS;

const ALL: u8 = 0;
const BITMAP: u8 = 1;
/// From here on: like that of a column of this block.
const LIKE: u8 = 2;
/// Bits of a block's rows, in words.
const WORDS: usize = ROWS / 64;

type Bitmap = [u64; WORDS];

#[derive(Default)]
struct Cells {
    present: Bitmap,
    values: Vec<u64>,
}

/// Gathers the cells of a block's rows.
pub(super) struct RareEncoder {
    columns: [Cells; Column::ALL.len()],
}

impl Default for RareEncoder {
    fn default() -> Self {
        Self { columns: std::array::from_fn(|_| Cells::default()) }
    }
}

impl RareEncoder {
    /// Adds a cell of row `at`, which is none before the last that was added; false when the row has that column already.
    pub(super) fn add(&mut self, at: usize, column: Column, value: u64) -> bool {
        let Some(cells) = self.columns.get_mut(column as usize) else { return false };
        let Some(word) = cells.present.get_mut(at / 64) else { return false };
        let bit = 1 << (at % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        cells.values.push(value);
        true
    }

    /// Appends the cells of `rows` rows and forgets them; `size` is told how many bytes each column took.
    pub(super) fn push(&mut self, rows: usize, out: &mut Vec<u8>, mut size: impl FnMut(Column, usize)) {
        let present = self.columns.iter().filter(|cells| !cells.values.is_empty()).count();
        out.push(u8::try_from(present).unwrap_or(u8::MAX));
        let mut written: Vec<Bitmap> = Vec::new();
        for (column, cells) in Column::ALL.iter().zip(&mut self.columns) {
            if cells.values.is_empty() {
                continue;
            }
            let start = out.len();
            out.push(*column as u8);
            push_presence(cells, rows, &written, out);
            bits::push(&cells.values, out);
            size(*column, out.len() - start);
            written.push(cells.present);
            cells.values.clear();
            cells.present = Bitmap::default();
        }
    }
}

fn push_presence(cells: &Cells, rows: usize, written: &[Bitmap], out: &mut Vec<u8>) {
    if cells.values.len() == rows {
        out.push(ALL);
    } else if let Some(place) = written.iter().position(|bitmap| *bitmap == cells.present) {
        out.push(LIKE + u8::try_from(place).unwrap_or(0));
    } else {
        out.push(BITMAP);
        let bytes = cells.present.iter().flat_map(|word| word.to_le_bytes());
        out.extend(bytes.take(rows.div_ceil(8)));
    }
}

/// One column of a block.
#[derive(Clone, Copy)]
pub(super) struct RareColumn {
    column: Column,
    /// None when all rows have it.
    present: Option<Bitmap>,
    values: Numbers,
}

impl RareColumn {
    /// The value of row `at`.
    fn get(&self, bytes: &[u8], at: usize) -> Option<u64> {
        let Some(present) = &self.present else { return Some(self.values.get(bytes, at)) };
        let word = present.get(at / 64)?;
        let bit = 1_u64 << (at % 64);
        if word & bit == 0 {
            return None;
        }
        let before: u32 = present.iter().take(at / 64).map(|word| word.count_ones()).sum();
        let rank = before + (word & (bit - 1)).count_ones();
        Some(self.values.get(bytes, usize::try_from(rank).ok()?))
    }
}

/// Takes the columns of `rows` rows off `source`.
pub(super) fn read(source: &mut Source<'_>, rows: usize, out: &mut Vec<RareColumn>) -> Result<(), What> {
    out.clear();
    let count = source.u8()?;
    for _ in 0..count {
        let column = Column::of(source.u8()?).ok_or("a column that this version doesn't know")?;
        if out.last().is_some_and(|last| last.column >= column) {
            return Err("columns are out of order");
        }
        let present = read_presence(source, rows, out)?;
        let values = present.map_or(rows, |words| words.iter().map(|w| count_ones(*w)).sum());
        if values == 0 {
            return Err("a column without values");
        }
        out.push(RareColumn { column, present, values: Numbers::read(source, values)? });
    }
    Ok(())
}

fn read_presence(source: &mut Source<'_>, rows: usize, before: &[RareColumn]) -> Result<Option<Bitmap>, What> {
    match source.u8()? {
        ALL => Ok(None),
        BITMAP => {
            let mut bytes = [0; ROWS / 8];
            let used = bytes.get_mut(..rows.div_ceil(8)).ok_or("more rows than a block has")?;
            used.copy_from_slice(source.take(rows.div_ceil(8))?);
            let mut present = Bitmap::default();
            for (word, bytes) in present.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            let last = present.iter().rposition(|word| *word != 0);
            if last.is_some_and(|at| highest(at, present.get(at)) >= rows) {
                return Err("a cell of a row that is not there");
            }
            Ok(Some(present))
        }
        like => {
            let place = usize::from(like.wrapping_sub(LIKE));
            Ok(before.get(place).ok_or("a column like none")?.present)
        }
    }
}

/// The number of the highest bit of a word that is not zero and stands at `at`.
fn highest(at: usize, word: Option<&u64>) -> usize {
    let bits = word.map_or(0, |word| u64::BITS - word.leading_zeros());
    at * 64 + usize::try_from(bits).unwrap_or(0).saturating_sub(1)
}

fn count_ones(word: u64) -> usize {
    usize::try_from(word.count_ones()).unwrap_or(0)
}

/// The value of row `at` in `column`.
pub(super) fn cell(columns: &[RareColumn], column: Column, bytes: &[u8], at: usize) -> Option<u64> {
    columns.iter().find(|rare| rare.column == column)?.get(bytes, at)
}

/// Whether any row has a value in `column`.
pub(super) fn has(columns: &[RareColumn], column: Column) -> bool {
    columns.iter().any(|rare| rare.column == column)
}

/// The cells of row `at`, in the order of the columns.
pub(super) fn cells(columns: &[RareColumn], bytes: &[u8], at: usize) -> impl Iterator<Item = (Column, u64)> {
    columns.iter().filter_map(move |rare| Some((rare.column, rare.get(bytes, at)?)))
}
