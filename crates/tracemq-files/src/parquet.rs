//! Apache Parquet: a row an event, a column a field. What names the format's library is in here alone.
//!
//! Gaps have no place in such a table: they stand in the file's metadata, under `GAPS`, as a JSON array.

mod columns;
mod read;
mod write;

pub use read::{each, rows};
pub use write::{ROWS_A_GROUP, Writer};

/// The name of the metadata entry that holds the gaps.
const GAPS: &str = "tracemq.gaps";

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write as _};

    use super::*;
    use crate::ndjson::tests::{GAP, events};
    use crate::{FileError, Record};

    fn read_back(bytes: &[u8]) -> Vec<(u64, Result<Record, String>)> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let mut found = Vec::new();
        each(file, &mut |number, record| {
            found.push((number, record));
            Ok::<_, FileError>(())
        })
        .unwrap();
        found
    }

    #[test]
    fn what_was_written_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        let mut writer = Writer::new(std::fs::File::create(&path).unwrap(), ROWS_A_GROUP).unwrap();
        let events = events();
        for event in &events {
            writer.event(event).unwrap();
        }
        writer.gap(GAP);
        writer.finish().unwrap();
        let [bare, full] = events.map(|event| Ok(Record::Event(Box::new(event))));
        assert_eq!(read_back(&std::fs::read(path).unwrap()), [(1, bare), (2, full), (3, Ok(Record::Gap(GAP)))]);
    }

    #[test]
    fn a_table_without_rows_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        Writer::new(std::fs::File::create(&path).unwrap(), ROWS_A_GROUP).unwrap().finish().unwrap();
        assert_eq!(read_back(&std::fs::read(path).unwrap()), []);
    }
}
