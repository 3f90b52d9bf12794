//! Writing: rows are gathered by column, and written when there are enough of them.

use std::io::Write;
use std::sync::Arc;

use anyhow::bail;
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

/// So many rows make a row group, which is held in memory: some 60 MB, and enough for columns to compress.
const ROWS_A_GROUP: usize = 65_536;

/// Writes a file.
pub(in crate::store) struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Gathered>,
    rows: usize,
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
    pub(in crate::store) fn new(out: W) -> anyhow::Result<Self> {
        let schema = Arc::new(parse_message_type(&columns::schema())?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(format!("tracemq version {}", env!("CARGO_PKG_VERSION")));
        let file = SerializedFileWriter::new(out, schema, Arc::new(properties.build()))?;
        let columns = COLUMNS.iter().map(|_| Gathered::default()).collect();
        Ok(Self { file, columns, rows: 0, gaps: Vec::new() })
    }

    pub(in crate::store) fn event(&mut self, event: &Event) -> anyhow::Result<()> {
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
        if self.rows >= ROWS_A_GROUP { self.write_group() } else { Ok(()) }
    }

    pub(in crate::store) fn gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
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

    pub(in crate::store) fn finish(mut self) -> anyhow::Result<()> {
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
    fn write(&mut self, writer: &mut SerializedColumnWriter<'_>, is_required: bool) -> anyhow::Result<()> {
        let levels = Some(&*self.levels).filter(|_| !is_required);
        match writer.untyped() {
            ColumnWriter::ByteArrayColumnWriter(writer) => writer.write_batch(&self.texts, levels, None)?,
            ColumnWriter::Int32ColumnWriter(writer) => writer.write_batch(&self.ints, levels, None)?,
            ColumnWriter::Int64ColumnWriter(writer) => writer.write_batch(&self.longs, levels, None)?,
            ColumnWriter::BoolColumnWriter(writer) => writer.write_batch(&self.flags, levels, None)?,
            ColumnWriter::Int96ColumnWriter(_)
            | ColumnWriter::FloatColumnWriter(_)
            | ColumnWriter::DoubleColumnWriter(_)
            | ColumnWriter::FixedLenByteArrayColumnWriter(_) => bail!("a column of a type that none has"),
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
