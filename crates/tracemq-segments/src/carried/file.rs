//! The file, written as a whole and never changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tracemq_model::Event;
use tracemq_store::StoreError;
use tracing::warn;

use super::{Carried, Content};
use crate::fs::{Fs, not_written, read_exact_at, write_all_at};
use crate::segment::Segment;
use crate::varint;
use crate::wal::StoreId;

const MAGIC: &[u8; 8] = b"TMQOPEN\n";
const VERSION: u32 = 1;

impl Carried {
    /// Writes it to the file `number`, durably, and goes by that name from then on; writes none when there is nothing to say.
    pub(crate) fn write(&mut self, fs: &dyn Fs, dir: &Path, store: StoreId, number: u64) -> Result<(), StoreError> {
        if self.open.is_empty() && self.early.is_empty() {
            self.number = None;
            return Ok(());
        }
        let mut content = Content { rows: BTreeMap::new(), early: self.early.iter().copied().collect() };
        for place in self.open.values() {
            content.rows.entry(place.segment).or_default().push(place.row);
        }
        for rows in content.rows.values_mut() {
            rows.sort_unstable();
        }
        let path = Self::path(dir, number);
        let failed = |source| not_written("write", &path, source);
        let file = fs.create(&path).map_err(failed)?;
        write_all_at(&*file, &content.encode(store, number), 0).and_then(|()| file.sync()).map_err(failed)?;
        fs.sync_dir(dir).map_err(|source| StoreError::Io { operation: "sync", path: dir.to_owned(), source })?;
        self.number = Some(number);
        Ok(())
    }

    /// What the file `number` says, with the beginnings read from `segments` and shown to `visit`. A file that is not what was
    /// written says nothing: that is reported, and its connections stay open on record.
    pub(crate) fn load(
        fs: &dyn Fs,
        dir: &Path,
        store: StoreId,
        number: u64,
        segments: &[Arc<Segment>],
        visit: &mut dyn FnMut(Event),
    ) -> Result<Self, StoreError> {
        let bytes = read(fs, dir, number)?;
        let content = Content::decode(&bytes, store, number).unwrap_or_else(|| {
            let path = Self::path(dir, number);
            warn!(path = %path.display(), "not what was written; connections that the last run left open stay so on record");
            Content::default()
        });
        Self::resolve(content, number, segments, visit)
    }
}

/// What stands in the file `number`.
pub(super) fn read(fs: &dyn Fs, dir: &Path, number: u64) -> Result<Vec<u8>, StoreError> {
    let path = Carried::path(dir, number);
    let failed = |source| StoreError::Io { operation: "read", path: path.clone(), source };
    let file = match fs.open_to_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let length = file.length().map_err(failed)?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    read_exact_at(&*file, &mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

impl Content {
    fn encode(&self, store: StoreId, number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&store);
        out.extend_from_slice(&number.to_le_bytes());
        varint::push(&mut out, wide(self.rows.len()));
        for (segment, rows) in &self.rows {
            varint::push(&mut out, *segment);
            varint::push(&mut out, wide(rows.len()));
            let mut before = 0;
            for row in rows {
                varint::push(&mut out, row.wrapping_sub(before));
                before = *row;
            }
        }
        varint::push(&mut out, wide(self.early.len()));
        out.extend(self.early.iter().flat_map(|connection| connection.to_le_bytes()));
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// None when the bytes are not what was written to this file of this store.
    pub(super) fn decode(bytes: &[u8], store: StoreId, number: u64) -> Option<Self> {
        let (content, sum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut rest = content.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?;
        rest = rest.strip_prefix(&store)?.strip_prefix(&number.to_le_bytes())?;
        let mut found = Self::default();
        for _ in 0..varint::take(&mut rest)? {
            let segment = varint::take(&mut rest)?;
            let (count, mut rows, mut row) = (varint::take(&mut rest)?, Vec::new(), 0_u64);
            // Each takes a byte at least, so that a wrong number ends with the bytes.
            for _ in 0..count {
                row = row.checked_add(varint::take(&mut rest)?)?;
                rows.push(row);
            }
            found.rows.insert(segment, rows);
        }
        let early = varint::take(&mut rest)?;
        let (ids, rest) = rest.as_chunks::<16>();
        found.early = ids.iter().map(|id| u128::from_le_bytes(*id)).collect();
        (rest.is_empty() && wide(found.early.len()) == early).then_some(found)
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_was_written_or_nothing() {
        let rows = BTreeMap::from([(3, vec![0, 1, 500]), (u64::MAX, vec![u64::MAX])]);
        let content = Content { rows, early: vec![7, u128::MAX] };
        let bytes = content.encode([9; 16], 4);
        assert_eq!(Content::decode(&bytes, [9; 16], 4), Some(content));
        assert_eq!(Content::decode(&bytes, [9; 16], 5), None);
        assert_eq!(Content::decode(&bytes, [8; 16], 4), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Content::decode(&flipped, [9; 16], 4), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Content::decode(&bytes[..length], [9; 16], 4), None, "cut at {length}");
        }
    }
}
