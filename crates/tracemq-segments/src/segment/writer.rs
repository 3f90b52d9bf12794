//! Writing a segment, front to back.

use std::ops::RangeInclusive;
use std::path::Path;

use tracemq_model::{InstanceId, TimeMs};
use tracemq_store::StoreError;

use super::block::{BlockEncoder, ROWS};
use super::checksum::{Checksums, Piece, SegmentId};
use super::directory::{DirectoryWriter, KEY_BYTES_MAX};
use super::footer::{self, Footer, Sections};
use super::index::{RowBlock, RowIndexWriter};
use super::meta::{InstanceTotal, NO_TIMES, Part, PartBytes, SegmentMeta, grow};
use super::minutes::MinuteCounter;
use super::output::{Output, Section};
use super::reader::Segment;
use super::source::wide;
use super::texts::{TextWriter, Translation};
use crate::cells::Column;
use crate::fs::{Fs, not_written};
use crate::row::Row;

/// Takes keys in their order, each with its rows in the order of time and arrival.
///
/// In memory are a block of rows, a megabyte of the directory, a quarter of one of texts, the texts known by their number
/// (at most 65,536), the minutes of one instance, a megabyte of output, and the indexes: some ten bytes for 512 rows
/// and for 64 keys.
///
/// A writer that refused something or failed writes nothing more. What it leaves is no segment, and its caller's to
/// remove.
pub(crate) struct SegmentWriter {
    id: SegmentId,
    output: Output,
    block: BlockEncoder,
    encoded: Vec<u8>,
    row_index: RowIndexWriter,
    directory: DirectoryWriter,
    texts: TextWriter,
    minutes: MinuteCounter,
    subject: Subject,
    instances: Vec<InstanceTotal>,
    /// Rows of the block that is being filled, by the place of their instance.
    shares: Vec<(usize, u64)>,
    rows: u64,
    subjects: u64,
    parts: PartBytes,
}

/// The key that is being filled.
#[derive(Default)]
struct Subject {
    key: Vec<u8>,
    rows: u64,
    last: Option<TimeMs>,
}

impl SegmentWriter {
    /// Makes the file of the segment `id` in `dir`, anew if there is one.
    pub(crate) fn create(fs: &dyn Fs, dir: &Path, id: SegmentId) -> Result<Self, StoreError> {
        let path = dir.join(id.file_name());
        let file = fs.create(&path).map_err(|source| not_written("create", &path, source))?;
        let sums = Checksums::new(id);
        let mut output = Output::new(file, path, sums.clone());
        output.push_bare(&footer::header(id, &sums))?;
        Ok(Self {
            id,
            output,
            block: BlockEncoder::new(),
            encoded: Vec::new(),
            row_index: RowIndexWriter::default(),
            directory: DirectoryWriter::default(),
            texts: TextWriter::default(),
            minutes: MinuteCounter::default(),
            subject: Subject::default(),
            instances: Vec::new(),
            shares: Vec::new(),
            rows: 0,
            subjects: 0,
            parts: PartBytes::default(),
        })
    }

    /// Begins the subject of `key`, which is larger than all before it. A subject without rows leaves no trace.
    pub(crate) fn subject(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.end_subject();
        if key <= self.subject.key.as_slice() {
            return Err(self.output.refuse("keys are out of order"));
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(self.output.refuse("a key is longer than a key can be"));
        }
        self.subject.key.clear();
        self.subject.key.extend_from_slice(key);
        self.subject.last = None;
        Ok(())
    }

    /// The number of `text`, for a cell.
    pub(crate) fn text(&mut self, text: &str) -> Result<u32, StoreError> {
        match self.texts.number(text) {
            Some(number) => Ok(number),
            None => Err(self.output.refuse("a text is too long, or one too many")),
        }
    }

    /// The number here of the text that has `number` in `source`; `known` belongs to that one.
    pub(crate) fn text_of(
        &mut self,
        source: &Segment,
        number: u32,
        known: &mut Translation,
    ) -> Result<u32, StoreError> {
        if let Some(translated) = known.get(number) {
            return Ok(translated);
        }
        let translated = source.with_text(number, |text| self.text(text))??;
        known.set(number, translated);
        Ok(translated)
    }

    /// The number that the next row gets.
    pub(crate) fn next_row(&self) -> u64 {
        self.rows + wide(self.block.rows())
    }

    /// Adds a row to the subject: none earlier than the one before it. The numbers of texts come from
    /// [`text`](Self::text).
    pub(crate) fn row(&mut self, row: &Row, cells: impl IntoIterator<Item = (Column, u64)>) -> Result<(), StoreError> {
        if self.subject.rows == 0 {
            self.begin_subject()?;
        }
        if self.subject.last.is_some_and(|last| last > row.time) {
            return Err(self.output.refuse("a subject's rows are out of order"));
        }
        for (column, value) in cells {
            if column.is_text() && value >= u64::from(self.texts.count()) {
                return Err(self.output.refuse("a cell has a text that has no number"));
            }
            if !self.block.cell(column, value) {
                return Err(self.output.refuse("a row has a column twice"));
            }
        }
        self.block.row(row);
        self.minutes.count(row.time, row.kind);
        if let Some(total) = self.instances.last_mut() {
            total.rows += 1;
            grow(&mut total.times, row.time);
        }
        if let Some((_, share)) = self.shares.last_mut() {
            *share += 1;
        }
        self.subject.last = Some(row.time);
        self.subject.rows += 1;
        if self.block.rows() == ROWS { self.end_block() } else { Ok(()) }
    }

    /// Ends the file and makes it durable; its name in the folder is the caller's to make so. `sequence` is from the first
    /// to the last arrival, as the caller counts them.
    pub(crate) fn finish(mut self, sequence: RangeInclusive<u64>) -> Result<SegmentMeta, StoreError> {
        self.end_subject();
        self.end_block()?;
        if !self.instances.is_empty() {
            self.minutes.end_instance();
        }
        let (directory, directory_bytes) = self.directory.finish(&mut self.output)?;
        let (texts, text_bytes) = self.texts.finish(&mut self.output)?;
        self.parts.add(Part::Directory, directory_bytes);
        self.parts.add(Part::Texts, text_bytes);
        let minutes = self.minutes.finish();
        let minutes = self.section(Part::Minutes, Piece::Minutes, &minutes)?;
        let rows = self.row_index.finish();
        let rows = self.section(Part::Indexes, Piece::RowIndex, &rows)?;
        let directory = self.section(Part::Indexes, Piece::DirectoryIndex, &directory)?;
        let texts = self.section(Part::Indexes, Piece::TextIndex, &texts)?;
        let instances = footer::encode_instances(&self.instances);
        let instances = self.section(Part::Indexes, Piece::Instances, &instances)?;
        let mut times = NO_TIMES;
        for total in &self.instances {
            grow(&mut times, total.times.from);
            grow(&mut times, total.times.to);
        }
        let footer = Footer {
            rows: self.rows,
            subjects: self.subjects,
            times,
            sequence: sequence.clone(),
            texts: self.texts.count(),
            content: self.output.content(),
            sections: Sections { minutes, rows, directory, texts, instances },
            parts: self.parts.clone(),
        };
        let (bytes, checksum) = self.end_file(&footer)?;
        let Self { id, rows, subjects, instances, parts, .. } = self;
        Ok(SegmentMeta { id, rows, subjects, bytes, times, sequence, instances, parts, checksum })
    }

    /// Returns the file's length and the footer's checksum.
    fn end_file(&mut self, footer: &Footer) -> Result<(u64, u32), StoreError> {
        let content = footer.encode();
        let sum = self.output.sum(Piece::Footer, &content);
        self.output.push_bare(&content)?;
        self.output.push_bare(&footer::tail(&content, sum))?;
        Ok((self.output.finish()?, u32::from_le_bytes(sum)))
    }

    fn section(&mut self, part: Part, piece: Piece, content: &[u8]) -> Result<Section, StoreError> {
        let section = self.output.push(piece, content)?;
        self.parts.add(part, section.length);
        Ok(section)
    }

    /// Before the first row of a subject.
    fn begin_subject(&mut self) -> Result<(), StoreError> {
        let Some(zero) = self.subject.key.iter().position(|byte| *byte == 0) else {
            return Err(self.output.refuse("a row without a key, or a key without an instance"));
        };
        let name = self.subject.key.get(..zero).unwrap_or_default();
        if self.instances.last().is_none_or(|last| last.instance.as_str().as_bytes() != name) {
            let name = std::str::from_utf8(name).ok().and_then(|name| InstanceId::new(name).ok());
            let Some(instance) = name else {
                return Err(self.output.refuse("a key has an instance's name that none can have"));
            };
            if !self.instances.is_empty() {
                self.minutes.end_instance();
            }
            self.instances.push(InstanceTotal { instance, rows: 0, times: NO_TIMES, bytes: 0 });
        }
        let place = self.instances.len() - 1;
        if self.shares.last().is_none_or(|(last, _)| *last != place) {
            self.shares.push((place, 0));
        }
        Ok(())
    }

    fn end_subject(&mut self) {
        if self.subject.rows == 0 {
            return;
        }
        self.directory.push(&self.subject.key, self.subject.rows);
        self.subjects += 1;
        self.subject.rows = 0;
    }

    /// Writes the block that is being filled.
    fn end_block(&mut self) -> Result<(), StoreError> {
        let Some((from, to)) = self.block.span() else { return Ok(()) };
        let rows = wide(self.block.rows());
        self.encoded.clear();
        self.block.encode(&mut self.encoded, &mut self.parts);
        let extent = self.output.push_block(Piece::Rows, &self.encoded)?;
        self.row_index.push(RowBlock { extent, from, to });
        self.rows += rows;
        for (place, share) in &self.shares {
            if let Some(total) = self.instances.get_mut(*place) {
                total.bytes += extent.length() * share / rows;
            }
        }
        let last = self.instances.len().saturating_sub(1);
        self.shares.clear();
        self.shares.push((last, 0));
        self.directory.write_run(&mut self.output)?;
        self.texts.write_run(&mut self.output)
    }
}
