//! Writing: rows are gathered by column, and written when there are enough of them.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use tracemq_model::{Event, Gap};

use super::GAPS;
use super::columns::{self, COLUMNS, Cell};
use crate::FileError;

/// So many rows make a row group, which is held in memory: some 60 MB, and enough for columns to compress.
pub const ROWS_A_GROUP: usize = 65_536;

/// Writes a file.
pub struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Gathered>,
    rows: usize,
    rows_a_group: usize,
    gaps: Vec<Gap>,
}

/// What stands in a column of the rows that wait.
#[derive(Default)]
struct Gathered {
    texts: Vec<ByteArray>,
    ints: Vec<i32>,
    longs: Vec<i64>,
    flags: Vec<bool>,
    /// For each row 1 when it has a value.
    levels: Vec<i16>,
}

impl<W: Write + Send> Writer<W> {
    /// Into `out`, in groups of so many rows, which are held in memory: [`ROWS_A_GROUP`], or fewer.
    ///
    /// # Errors
    /// Those of writing.
    pub fn new(out: W, rows_a_group: usize) -> Result<Self, FileError> {
        let schema = Arc::new(parse_message_type(&columns::schema())?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(format!("tracemq version {}", env!("CARGO_PKG_VERSION")));
        let file = SerializedFileWriter::new(out, schema, Arc::new(properties.build()))?;
        let columns = COLUMNS.iter().map(|_| Gathered::default()).collect();
        Ok(Self { file, columns, rows: 0, rows_a_group, gaps: Vec::new() })
    }

    /// Writes an event, when there are enough for a group.
    ///
    /// # Errors
    /// Those of writing.
    pub fn event(&mut self, event: &Event) -> Result<(), FileError> {
        for (column, gathered) in COLUMNS.iter().zip(&mut self.columns) {
            let cell = (column.cell)(event);
            gathered.levels.push(i16::from(cell.is_some()));
            match cell {
                Some(Cell::Text(text)) => gathered.texts.push(text),
                Some(Cell::Int(number)) => gathered.ints.push(number),
                Some(Cell::Long(number)) => gathered.longs.push(number),
                Some(Cell::Flag(flag)) => gathered.flags.push(flag),
                None => {}
            }
        }
        self.rows += 1;
        if self.rows >= self.rows_a_group { self.write_group() } else { Ok(()) }
    }

    /// Has a gap stand in the metadata, which are the file's last part.
    pub fn gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    fn write_group(&mut self) -> Result<(), FileError> {
        let mut group = self.file.next_row_group()?;
        for (column, gathered) in COLUMNS.iter().zip(&mut self.columns) {
            let Some(mut writer) = group.next_column()? else { break };
            gathered.write(&mut writer, column.is_required)?;
            writer.close()?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }

    /// Has all of it written.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<(), FileError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        let gaps = serde_json::to_string(&self.gaps)?;
        self.file.append_key_value_metadata(KeyValue::new(GAPS.to_owned(), gaps));
        self.file.into_inner()?.flush()?;
        Ok(())
    }
}

impl Gathered {
    fn write(&mut self, writer: &mut SerializedColumnWriter<'_>, is_required: bool) -> Result<(), FileError> {
        let levels = Some(&*self.levels).filter(|_| !is_required);
        match writer.untyped() {
            ColumnWriter::ByteArrayColumnWriter(writer) => writer.write_batch(&self.texts, levels, None)?,
            ColumnWriter::Int32ColumnWriter(writer) => writer.write_batch(&self.ints, levels, None)?,
            ColumnWriter::Int64ColumnWriter(writer) => writer.write_batch(&self.longs, levels, None)?,
            ColumnWriter::BoolColumnWriter(writer) => writer.write_batch(&self.flags, levels, None)?,
            ColumnWriter::Int96ColumnWriter(_)
            | ColumnWriter::FloatColumnWriter(_)
            | ColumnWriter::DoubleColumnWriter(_)
            | ColumnWriter::FixedLenByteArrayColumnWriter(_) => {
                return Err(FileError::Unreadable("a column of a type that none has".into()));
            }
        };
        let Self { texts, ints, longs, flags, levels } = self;
        texts.clear();
        ints.clear();
        longs.clear();
        flags.clear();
        levels.clear();
        Ok(())
    }
}
