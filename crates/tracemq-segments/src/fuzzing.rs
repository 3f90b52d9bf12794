//! The decoders of all that stands on disk, for `fuzz/`. Each takes bytes as they come, and once more with what no guess would
//! ever get right: identities and checksums.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::memory::MemoryFs;
use crate::manifest::Manifest;
use crate::wal::{self, Entry, Mode, StoreId, Wal};
use crate::{carried, segment};

const STORE: StoreId = *b"sixteen bytes id";
const DIR: &str = "/store";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A segment is opened, asked everything, and checked.
pub fn segment(bytes: &[u8]) {
    segment::fuzzing::read_all(bytes);
}

/// A file of the log is replayed: as it is, and as the payloads of records, each behind its length in a byte.
pub fn log(bytes: &[u8]) {
    let fs = Arc::new(MemoryFs::default());
    let file = wal::path(Path::new(DIR), 1);
    fs.put(&file, bytes.to_vec());
    replay(&fs);
    fs.put(&file, Vec::new());
    if Wal::create(Arc::<MemoryFs>::clone(&fs), Path::new(DIR), STORE, 1).is_err() {
        return;
    }
    let mut content = fs.content(&file);
    let mut rest = bytes;
    while let Some((length, more)) = rest.split_first() {
        let (payload, more) = more.split_at(usize::from(*length).min(more.len()));
        push_record(&mut content, payload);
        rest = more;
    }
    fs.put(&file, content);
    replay(&fs);
}

fn push_record(file: &mut Vec<u8>, payload: &[u8]) {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&STORE);
    sum.update(&1_u64.to_le_bytes());
    sum.update(&u64::try_from(file.len()).unwrap_or(0).to_le_bytes());
    let mut head = b"TMW\xb1".to_vec();
    head.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(0).to_le_bytes());
    head.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    sum.update(&head);
    file.extend_from_slice(&head);
    file.extend_from_slice(&sum.finalize().to_le_bytes());
    file.extend_from_slice(payload);
}

fn replay(fs: &MemoryFs) {
    let mut events = 0;
    let mut visit = |_, entry: Entry<'_>| {
        if let Entry::Event(event) = entry {
            events += u64::from(event.to_event().is_some());
        }
    };
    for mode in [Mode::Look, Mode::Recover] {
        let _ = wal::replay(fs, Path::new(DIR), STORE, 1, mode, &mut visit);
    }
    // Recovery has cut off what was unfinished: a second one finds nothing more to cut.
    let again = wal::replay(fs, Path::new(DIR), STORE, 1, Mode::Look, &mut |_, _| {});
    assert!(again.is_ok_and(|again| again.cut.is_none()) || events == 0, "a recovery did not finish");
}

/// A manifest is loaded: as it is, and with the right first line. What can be read comes back as it was.
pub fn manifest(bytes: &[u8]) {
    let fs = MemoryFs::default();
    let first = format!("tracemq-manifest 1 crc32 {:08x}\n", crc32fast::hash(bytes));
    for content in [bytes.to_vec(), [first.as_bytes(), bytes].concat()] {
        fs.put(&path("manifest"), content);
        let Ok(Some(read)) = Manifest::load(&fs, Path::new(DIR)) else { continue };
        read.publish(&fs, Path::new(DIR)).expect("what was read can be written");
        let again = Manifest::load(&fs, Path::new(DIR)).expect("what was written can be read");
        assert_eq!(again, Some(read));
    }
}

/// A file of open connections is read: as it is, and behind its header and before its checksum.
pub fn carried(bytes: &[u8]) {
    let fs = MemoryFs::default();
    let mut whole = b"TMQOPEN\n\x01\0\0\0".to_vec();
    whole.extend_from_slice(&STORE);
    whole.extend_from_slice(&4_u64.to_le_bytes());
    whole.extend_from_slice(bytes);
    let sum = crc32fast::hash(&whole);
    whole.extend_from_slice(&sum.to_le_bytes());
    for content in [bytes.to_vec(), whole] {
        fs.put(&path("0000000004.open"), content);
        let _ = carried::verify(&fs, Path::new(DIR), STORE, 4);
        let _ = carried::Carried::load(&fs, Path::new(DIR), STORE, 4);
    }
}
