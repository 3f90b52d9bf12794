//! Reading a segment.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracemq_model::{Details, TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::bits::PADDING;
use super::block::{Block, ROWS, Scan};
use super::checksum::{Checksums, Piece, SegmentId};
use super::cursor::{KeyCursor, RowCursor};
use super::directory::{self, DirectoryIndex};
use super::footer::{self, Footer, HEADER_BYTES, HeaderFault, Sections, TAIL_BYTES};
use super::index::RowIndex;
use super::meta::SegmentMeta;
use super::minutes::Minutes;
use super::output::Section;
use super::search::{KeySearch, Sought};
use super::source::{CUT, Extent, What, size, wide};
use super::texts::{TextBlock, TextCache, TextIndex};
use crate::cells::{self, Column};
use crate::fs::{Fs, LogFile, read_exact_at};

/// A segment that is read; many threads may.
pub(crate) struct Segment {
    file: Arc<dyn LogFile>,
    path: PathBuf,
    sums: Checksums,
    meta: SegmentMeta,
    sections: Sections,
    pub(super) footer_bytes: u64,
    pub(super) row_index: RowIndex,
    pub(super) directory: DirectoryIndex,
    pub(super) text_index: TextIndex,
    text_count: u32,
    texts: Mutex<TextCache>,
}

/// Memory for looking up keys; neighbours are found with one read.
#[derive(Default)]
pub(crate) struct Lookup {
    pub(super) bytes: Vec<u8>,
    current: Vec<u8>,
    /// The block whose content, of so many bytes, is in `bytes`.
    pub(super) held: Option<(SegmentId, usize, usize)>,
}

impl Lookup {
    /// The length of a block's content, if that is in `bytes`.
    pub(super) fn holds(&self, id: SegmentId, block: usize) -> Option<usize> {
        self.held.filter(|(known, of, _)| (*known, *of) == (id, block)).map(|(_, _, content)| content)
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).field("meta", &self.meta).finish_non_exhaustive()
    }
}

const WRONG_SUM: What = "its checksum is another";

impl Segment {
    /// Opens the file at `path`, which has to be the segment `id`. Reads the footer and the indexes, no rows.
    pub(crate) fn open(fs: &dyn Fs, path: &Path, id: SegmentId) -> Result<Self, StoreError> {
        let io = |operation| move |source| StoreError::Io { operation, path: path.to_owned(), source };
        let file = fs.open(path).map_err(io("open"))?;
        let length = file.length().map_err(io("read the length of"))?;
        let sums = Checksums::new(id);
        let pieces = Pieces { file: &*file, path, sums: &sums };
        pieces.check_header(length, id)?;
        let (footer, footer_bytes, checksum) = pieces.footer(length)?;
        let Footer { rows, subjects, times, sequence, texts, sections, parts, .. } = footer;
        let limit = sections.minutes.offset;
        let row_index = pieces.section(Piece::RowIndex, sections.rows, |content| {
            RowIndex::read(content, limit, rows.div_ceil(wide(ROWS)), times)
        })?;
        let directory = pieces
            .section(Piece::DirectoryIndex, sections.directory, |content| DirectoryIndex::read(content, limit, rows))?;
        let text_index =
            pieces.section(Piece::TextIndex, sections.texts, |content| TextIndex::read(content, limit, texts))?;
        let instances =
            pieces.section(Piece::Instances, sections.instances, |content| footer::read_instances(content, rows))?;
        let meta = SegmentMeta { id, rows, subjects, bytes: length, times, sequence, instances, parts, checksum };
        Ok(Self {
            file,
            path: path.to_owned(),
            sums,
            meta,
            sections,
            footer_bytes,
            row_index,
            directory,
            text_index,
            text_count: texts,
            texts: Mutex::default(),
        })
    }

    pub(crate) fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many blocks of rows there are.
    pub(crate) fn blocks(&self) -> u64 {
        wide(self.row_index.blocks().len())
    }

    /// Where a block of rows stands in the file.
    #[cfg(test)]
    pub(crate) fn row_extent(&self, number: u64) -> Option<Range<u64>> {
        self.row_index.get(number).map(|block| block.extent.offset()..block.extent.end())
    }

    /// The rows of the subject of `key`; none when it has none. One read at most.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<Range<u64>>, StoreError> {
        self.find_with(key, &mut Lookup::default())
    }

    /// [`find`](Self::find), with memory that is there.
    pub(crate) fn find_with(&self, key: &[u8], lookup: &mut Lookup) -> Result<Option<Range<u64>>, StoreError> {
        let block = self.directory.block_of_key(key);
        let Some((extent, rows)) = self.directory.extent(block).zip(self.directory.rows(block)) else {
            return Ok(None);
        };
        let content = match lookup.holds(self.meta.id, block) {
            Some(content) => content,
            None => {
                lookup.held = None;
                self.read(Piece::Directory, extent, &mut lookup.bytes)?
            }
        };
        lookup.held = Some((self.meta.id, block, content));
        let Lookup { bytes, current, .. } = lookup;
        let found = directory::find(bytes.get(..content).unwrap_or_default(), key, current);
        let found = found.map_err(|what| self.damaged(extent, what))?;
        match found.map(|range| rows.start.saturating_add(range.start)..rows.start.saturating_add(range.end)) {
            Some(found) if found.end > rows.end => Err(self.damaged(extent, "keys have more rows than their block")),
            found => Ok(found),
        }
    }

    /// The block of rows with this number, which is its first row divided by [`ROWS`].
    pub(crate) fn block(&self, number: u64) -> Result<Block, StoreError> {
        let mut block = Block::default();
        self.read_block(number, &mut block)?;
        Ok(block)
    }

    /// [`block`](Self::block) into memory that is there. What is in `block` after an error is nothing to use.
    pub(crate) fn read_block(&self, number: u64, block: &mut Block) -> Result<(), StoreError> {
        self.read_rows(number, 0..self.rows_of(number), block)
    }

    /// Reads of a block the rows at `range`, counted from its first, and no others. Does not read what `block` holds already.
    pub(crate) fn read_rows(&self, number: u64, range: Range<usize>, block: &mut Block) -> Result<(), StoreError> {
        self.open_block(number, block)?;
        block.decode(range).map_err(|what| self.damaged_rows(number, what))
    }

    /// Reads a block of which no rows are wanted yet.
    pub(super) fn open_block(&self, number: u64, block: &mut Block) -> Result<(), StoreError> {
        if block.holds(self.meta.id, number) {
            return Ok(());
        }
        let at = self.row_index.get(number).ok_or_else(|| self.no_row())?;
        let content = self.read(Piece::Rows, at.extent, block.buffer())?;
        let opened = block.open((self.meta.id, number), content, self.rows_of(number), at.from);
        opened.map_err(|what| self.damaged(at.extent, what))
    }

    /// The times and kinds of a block, into memory that is there.
    pub(crate) fn scan(&self, number: u64, scan: &mut Scan) -> Result<(), StoreError> {
        self.scan_if(number, scan, |_| Ok(true)).map(|_| ())
    }

    /// [`scan`](Self::scan) if the block `is_wanted`, and whether it is.
    pub(crate) fn scan_if(
        &self,
        number: u64,
        scan: &mut Scan,
        is_wanted: impl FnOnce(&mut Block) -> Result<bool, What>,
    ) -> Result<bool, StoreError> {
        self.open_block(number, &mut scan.block)?;
        let wanted = is_wanted(&mut scan.block);
        let wanted = wanted.and_then(|is_wanted| if is_wanted { scan.unpack().map(|()| true) } else { Ok(false) });
        wanted.map_err(|what| self.damaged_rows(number, what))
    }

    /// From when to when the rows of a block are. Reads nothing.
    pub(crate) fn block_times(&self, number: u64) -> Option<TimeRange> {
        self.row_index.get(number).map(|block| TimeRange { from: TimeMs(block.from), to: TimeMs(block.to) })
    }

    /// What the row at `at` of `block`, a block of this segment, has beside the row.
    pub(crate) fn details(&self, block: &Block, at: usize) -> Result<Details, StoreError> {
        self.details_of(block.number(), block.cells(at))
    }

    /// What `cells`, which stand in the block of that number, say.
    pub(crate) fn details_of(
        &self,
        number: u64,
        cells: impl Iterator<Item = (Column, u64)>,
    ) -> Result<Details, StoreError> {
        let mut details = Details::default();
        for (column, value) in cells {
            let mut failed = None;
            let text = |number| self.text(number).map_err(|error| failed = Some(error)).ok();
            if cells::set(&mut details, column, value, text).is_none() {
                let damaged = || self.damaged_rows(number, "a cell has a value that it can't have");
                return Err(failed.unwrap_or_else(damaged));
            }
        }
        Ok(details)
    }

    /// The text of this number.
    pub(crate) fn text(&self, number: u32) -> Result<Arc<str>, StoreError> {
        self.with_text(number, |text| text.into())
    }

    /// What `take` makes of the text of this number.
    pub(crate) fn with_text<T>(&self, number: u32, take: impl FnOnce(&str) -> T) -> Result<T, StoreError> {
        let Some((block, extent, place)) = self.text_index.find(number).filter(|_| number < self.text_count) else {
            return Err(self.damaged(self.index_extent(self.sections.texts), "a row has a text that is not there"));
        };
        let known = self.texts.lock().unwrap_or_else(PoisonError::into_inner).get(block);
        let texts = match known {
            Some(texts) => texts,
            None => {
                let read = Arc::new(self.text_block(extent)?);
                self.texts.lock().unwrap_or_else(PoisonError::into_inner).put(block, Arc::clone(&read));
                read
            }
        };
        texts.get(place).map(take).map_err(|what| self.damaged(extent, what))
    }

    pub(super) fn text_block(&self, extent: Extent) -> Result<TextBlock, StoreError> {
        let mut buffer = Vec::new();
        let content = self.read(Piece::Texts, extent, &mut buffer)?;
        TextBlock::read(buffer.get(..content).unwrap_or_default()).map_err(|what| self.damaged(extent, what))
    }

    pub(super) fn text_count(&self) -> u32 {
        self.text_count
    }

    /// A walk over the keys from `from`, itself included.
    pub(crate) fn keys(&self, from: &[u8]) -> Result<KeyCursor<'_>, StoreError> {
        KeyCursor::new(self, from)
    }

    /// A walk over the keys that are looked for.
    pub(crate) fn search<'a>(&'a self, sought: Sought<'a>) -> Result<KeySearch<'a>, StoreError> {
        KeySearch::new(self, sought)
    }

    /// A walk over rows.
    pub(crate) fn rows(&self) -> RowCursor<'_> {
        RowCursor::new(self)
    }

    /// The key of a row, and all rows of that key.
    pub(crate) fn key_of_row(&self, row: u64) -> Result<(Vec<u8>, Range<u64>), StoreError> {
        let mut keys = KeyCursor::at_block(self, self.directory.block_of_row(row));
        while let Some((key, rows)) = keys.next()? {
            if rows.contains(&row) {
                return Ok((key.to_vec(), rows));
            }
        }
        Err(self.no_row())
    }

    /// The minute table.
    pub(crate) fn minutes(&self) -> Result<Minutes, StoreError> {
        let pieces = self.pieces();
        pieces.section(Piece::Minutes, self.sections.minutes, |content| Minutes::read(content, &self.meta.instances))
    }

    pub(super) fn sections(&self) -> &Sections {
        &self.sections
    }

    pub(super) fn pieces(&self) -> Pieces<'_> {
        Pieces { file: &*self.file, path: &self.path, sums: &self.sums }
    }

    /// Reads a block and its padding into `buffer`; returns the length of its content, which is at the front.
    pub(super) fn read(&self, piece: Piece, extent: Extent, buffer: &mut Vec<u8>) -> Result<usize, StoreError> {
        self.pieces().read(piece, extent.offset(), extent.length(), buffer)
    }

    /// How many rows a block has.
    pub(super) fn rows_of(&self, number: u64) -> usize {
        size(self.meta.rows.saturating_sub(first_row(number))).min(ROWS)
    }

    pub(super) fn damaged(&self, extent: Extent, what: What) -> StoreError {
        self.pieces().damaged(extent.offset(), extent.length(), what)
    }

    fn damaged_rows(&self, number: u64, what: What) -> StoreError {
        self.damaged(self.row_index.get(number).map(|at| at.extent).unwrap_or_default(), what)
    }

    fn index_extent(&self, section: Section) -> Extent {
        Extent::new(section.offset, section.length).unwrap_or_default()
    }

    /// The error for a row that the caller has from elsewhere.
    pub(super) fn no_row(&self) -> StoreError {
        self.pieces().damaged(0, self.meta.bytes, "has no such row")
    }
}

/// The first row of a block.
pub(super) fn first_row(number: u64) -> u64 {
    number.saturating_mul(wide(ROWS))
}

/// A file's pieces, each checked.
pub(super) struct Pieces<'a> {
    file: &'a dyn LogFile,
    path: &'a Path,
    sums: &'a Checksums,
}

impl Pieces<'_> {
    pub(super) fn check_header(&self, length: u64, id: SegmentId) -> Result<(), StoreError> {
        if length < wide(HEADER_BYTES + TAIL_BYTES) || length >= Extent::FILE_BYTES_MAX {
            return Err(self.damaged(0, length, "is shorter or longer than a segment can be"));
        }
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header, 0)?;
        footer::check_header(&header, id, self.sums).map_err(|fault| match fault {
            HeaderFault::Wrong(what) => self.damaged(0, wide(HEADER_BYTES), what),
            HeaderFault::Newer { found } => {
                StoreError::UnknownFormat { path: self.path.to_owned(), found, known: footer::VERSION }
            }
        })
    }

    /// The footer of a file of `length` bytes, how many bytes it takes with the tail, and its checksum.
    pub(super) fn footer(&self, length: u64) -> Result<(Footer, u64, u32), StoreError> {
        let tail_offset = length.saturating_sub(wide(TAIL_BYTES));
        let mut tail = [0; TAIL_BYTES];
        self.fill(&mut tail, tail_offset)?;
        let tail = footer::read_tail(&tail).map_err(|what| self.damaged(tail_offset, wide(TAIL_BYTES), what))?;
        let (bytes, sum) = tail;
        let Some(offset) = tail_offset.checked_sub(bytes) else {
            return Err(self.damaged(tail_offset, wide(TAIL_BYTES), CUT));
        };
        let mut content = vec![0; size(bytes)];
        self.fill(&mut content, offset)?;
        if self.sums.of(Piece::Footer, offset, &content) != sum {
            return Err(self.damaged(offset, bytes, WRONG_SUM));
        }
        let footer = Footer::read(&content, offset).map_err(|what| self.damaged(offset, bytes, what))?;
        Ok((footer, bytes + wide(TAIL_BYTES), u32::from_le_bytes(sum)))
    }

    /// What `parse` makes of a section. Its length was held against the file's.
    pub(super) fn section<T>(
        &self,
        piece: Piece,
        section: Section,
        parse: impl FnOnce(&[u8]) -> Result<T, What>,
    ) -> Result<T, StoreError> {
        let Section { offset, length } = section;
        let mut buffer = Vec::new();
        let content = self.read(piece, offset, length, &mut buffer)?;
        parse(buffer.get(..content).unwrap_or_default()).map_err(|what| self.damaged(offset, length, what))
    }

    fn read(&self, piece: Piece, offset: u64, length: u64, buffer: &mut Vec<u8>) -> Result<usize, StoreError> {
        buffer.resize(size(length).saturating_add(PADDING), 0);
        let bytes = buffer.get_mut(..size(length)).unwrap_or_default();
        self.fill(bytes, offset)?;
        self.check(piece, offset, bytes)
    }

    /// [`read`](Self::read) of what is there without waiting for the disk and is what was written.
    pub(super) fn read_at_once(&self, piece: Piece, offset: u64, length: u64, buffer: &mut Vec<u8>) -> Option<usize> {
        buffer.resize(size(length).saturating_add(PADDING), 0);
        let bytes = buffer.get_mut(..size(length)).unwrap_or_default();
        let mut done = 0;
        while done < bytes.len() {
            let rest = bytes.get_mut(done..).unwrap_or_default();
            match self.file.read_at_once(rest, offset.saturating_add(wide(done))) {
                Ok(Some(read)) if read > 0 => done += read,
                _ => return None,
            }
        }
        self.sums.open(piece, offset, bytes).map(<[u8]>::len)
    }

    pub(super) fn ask_for(&self, offset: u64, length: u64) {
        self.file.ask_for(offset, length);
    }

    /// The length of the content of `bytes`, which stand at `offset`.
    pub(super) fn check(&self, piece: Piece, offset: u64, bytes: &[u8]) -> Result<usize, StoreError> {
        match self.sums.open(piece, offset, bytes) {
            Some(content) => Ok(content.len()),
            None => Err(self.damaged(offset, wide(bytes.len()), WRONG_SUM)),
        }
    }

    /// Fills `buffer` from `offset`; within [`at_once`](crate::fs::at_once) without waiting.
    pub(super) fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        let length = wide(buffer.len());
        read_exact_at(self.file, buffer, offset).map_err(|source| {
            if source.kind() == ErrorKind::UnexpectedEof {
                self.damaged(offset, length, CUT)
            } else {
                StoreError::Io { operation: "read", path: self.path.to_owned(), source }
            }
        })
    }

    pub(super) fn damaged(&self, offset: u64, length: u64, what: What) -> StoreError {
        StoreError::Damaged { path: self.path.to_owned(), offset, length, what }
    }
}
