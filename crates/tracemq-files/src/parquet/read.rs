//! Reading what [`write`](super::write) wrote, or another program in the same columns.

use std::fs::File;

use parquet::basic::{Compression, LogicalType, TimeUnit};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::{Map, Value};
use tracemq_model::{Event, Gap};

use super::GAPS;
use super::columns::{COLUMNS, OF_MESSAGE, depth};
use crate::{FileError, Record, ndjson};

/// How many rows it has.
///
/// # Errors
/// When it is no Parquet file, or one that can't be read.
pub fn rows(file: &File) -> Result<u64, FileError> {
    let reader = open(file.try_clone()?)?;
    Ok(u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0))
}

fn open(file: File) -> Result<SerializedFileReader<File>, FileError> {
    let reader = SerializedFileReader::new(file)?;
    let metadata = reader.metadata();
    for field in metadata.file_metadata().schema().get_fields() {
        if !COLUMNS.iter().any(|column| column.name == field.name()) {
            let what = format!("the column `{}` is none that this version knows: it would be lost", field.name());
            return Err(FileError::Unreadable(what));
        }
    }
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let compression = column.compression();
        if !matches!(compression, Compression::UNCOMPRESSED | Compression::SNAPPY) {
            let path = column.column_path();
            let what =
                format!("the column {path} is compressed by {compression}: write it with Snappy, or uncompressed");
            return Err(FileError::Unreadable(what));
        }
    }
    Ok(reader)
}

/// Names of the columns that are in nanoseconds, which the row reader leaves as they are.
fn in_nanoseconds(reader: &SerializedFileReader<File>) -> Vec<String> {
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let nanoseconds = fields.iter().filter(|field| {
        let kind = field.get_basic_info().logical_type_ref();
        matches!(kind, Some(LogicalType::Timestamp(of)) if of.unit == TimeUnit::NANOS)
    });
    nanoseconds.map(|field| field.name().to_owned()).collect()
}

/// Hands each row to `take`, with its number from 1 on: an event, or what is wrong with it; and then the gaps.
///
/// # Errors
/// When `take` gives one, the file can't be read, or has columns that no event has.
pub fn each<E: From<FileError>>(
    file: File,
    take: &mut dyn FnMut(u64, Result<Record, String>) -> Result<(), E>,
) -> Result<(), E> {
    let reader = open(file)?;
    let in_nanoseconds = in_nanoseconds(&reader);
    let metadata = reader.metadata().file_metadata();
    let entries = metadata.key_value_metadata().into_iter().flatten();
    let gaps: Vec<Gap> = match entries.filter(|entry| entry.key == GAPS).find_map(|entry| entry.value.as_deref()) {
        Some(gaps) => {
            serde_json::from_str(gaps).map_err(|error| FileError::Unreadable(format!("metadata {GAPS}: {error}")))?
        }
        None => Vec::new(),
    };
    let mut number = 0;
    for row in reader.get_row_iter(None).map_err(FileError::Parquet)? {
        number += 1;
        let row = row.map_err(FileError::Parquet)?;
        take(number, event(&row, &in_nanoseconds).map(|event| Record::Event(Box::new(event))))?;
    }
    for gap in gaps {
        number += 1;
        take(number, Ok(Record::Gap(gap)))?;
    }
    Ok(())
}

fn event(row: &Row, in_nanoseconds: &[String]) -> Result<Event, String> {
    let mut levels = [Map::new(), Map::new(), Map::new(), Map::new()];
    let (mut address, mut port) = (None, None);
    for (name, field) in row.get_column_iter() {
        let Some(mut value) = value(field).map_err(|what| format!("{name}: {what}"))? else { continue };
        if in_nanoseconds.contains(name) {
            let time = value.as_i64().ok_or_else(|| format!("{name}: is no time"))?;
            value = time.div_euclid(1_000_000).into();
        }
        match name.as_str() {
            "peer_address" => address = value.as_str().map(str::to_owned),
            "peer_port" => port = value.as_u64(),
            name => {
                if let Some(level) = levels.get_mut(depth(name)) {
                    level.insert(name.strip_prefix(OF_MESSAGE).unwrap_or(name).to_owned(), value);
                }
            }
        }
    }
    let [mut event, mut details, traffic, message] = levels;
    if let Some(address) = address {
        let ip: std::net::IpAddr = address.parse().map_err(|_| "peer_address: is no IP address".to_owned())?;
        let port = port.and_then(|port| u16::try_from(port).ok()).ok_or("peer_port: is missing, or no port")?;
        event.insert("peer".into(), std::net::SocketAddr::new(ip, port).to_string().into());
    }
    if !traffic.is_empty() {
        details.insert("traffic".into(), traffic.into());
    }
    if !message.is_empty() {
        details.insert("message".into(), message.into());
    }
    event.insert("details".into(), details.into());
    let event: Event = ndjson::deserialize(Value::Object(event))?;
    ndjson::bounded(&event)?;
    Ok(event)
}

/// The value as JSON has it; none for null.
fn value(field: &Field) -> Result<Option<Value>, &'static str> {
    Ok(Some(match field {
        Field::Null => return Ok(None),
        Field::Bool(flag) => (*flag).into(),
        Field::Byte(number) => (*number).into(),
        Field::Short(number) => (*number).into(),
        Field::Int(number) => (*number).into(),
        Field::Long(number) | Field::TimestampMillis(number) => (*number).into(),
        Field::UByte(number) => (*number).into(),
        Field::UShort(number) => (*number).into(),
        Field::UInt(number) => (*number).into(),
        Field::ULong(number) => (*number).into(),
        Field::Str(text) => text.as_str().into(),
        Field::TimestampMicros(number) => number.div_euclid(1_000).into(),
        Field::Float16(_)
        | Field::Float(_)
        | Field::Double(_)
        | Field::Decimal(_)
        | Field::Bytes(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::Group(_)
        | Field::ListInternal(_)
        | Field::MapInternal(_) => return Err("is of a type that it can't have"),
    }))
}
