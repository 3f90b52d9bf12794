//! The file of nonces: records of 36 bytes, appended; never changed.
//!
//! ```text
//! record = hash (16) | timestamp (8) | received (8) | check (4)
//! ```
//! Numbers are little-endian milliseconds since 1970; `check` is the start of the SHA-256 of the rest. A hash of zeros
//! marks a span of timestamps whose nonces are forgotten: from `timestamp` to what else is `received`. Reading a file
//! ends at its first record that does not check.
//!
//! There are at most two: the current one, and `<name>.old` before it. When all that stands in `.old` is forgotten,
//! which is so once the current one is 31 minutes old, the current one ends with the spans and becomes `.old`, so that
//! together they hold what an hour brings at most. Each start replaces both by one file of what is still remembered
//! (`<name>.new` while it is being written).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, IntoInnerError, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracemq_model::TimeMs;

use super::forgotten::Span;
use super::{Hash, REMEMBERED_MS};

const RECORD_BYTES: usize = 36;
const SPAN_MARK: Hash = [0; 16];

/// What stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Requests with a timestamp in it count as expired.
    Forgotten(Span),
    /// A nonce that was taken.
    Taken { hash: Hash, timestamp: TimeMs, received: TimeMs },
}

impl Record {
    fn to_bytes(self) -> Vec<u8> {
        let (hash, timestamp, received) = match self {
            Self::Forgotten(Span { from, to }) => (SPAN_MARK, from, to),
            Self::Taken { hash, timestamp, received } => (hash, timestamp, received),
        };
        let mut bytes = Vec::with_capacity(RECORD_BYTES);
        bytes.extend(hash);
        bytes.extend(timestamp.0.to_le_bytes());
        bytes.extend(received.0.to_le_bytes());
        let check = check_of(&bytes);
        bytes.extend(check);
        bytes
    }

    fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let (content, check) = bytes.split_at_checked(RECORD_BYTES - 4)?;
        if check != check_of(content) {
            return None;
        }
        let (hash, times) = content.split_first_chunk::<16>()?;
        let (timestamp, times) = times.split_first_chunk::<8>()?;
        let (received, _) = times.split_first_chunk::<8>()?;
        let timestamp = TimeMs(i64::from_le_bytes(*timestamp));
        let received = TimeMs(i64::from_le_bytes(*received));
        Some(if *hash == SPAN_MARK {
            Self::Forgotten(Span { from: timestamp, to: timestamp.max(received) })
        } else {
            Self::Taken { hash: *hash, timestamp, received }
        })
    }
}

fn check_of(content: &[u8]) -> [u8; 4] {
    let digest: [u8; 32] = Sha256::digest(content).into();
    *digest.first_chunk().unwrap_or(&[0; 4])
}

pub(super) struct NonceFile {
    path: PathBuf,
    file: File,
    length: u64,
    opened_at: TimeMs,
    unsynced: bool,
}

impl NonceFile {
    /// Begins `path` anew with `records`, which are all that is still remembered: however often the server starts, no
    /// file grows by it.
    pub(super) fn open(path: &Path, now: TimeMs, records: impl Iterator<Item = Record>) -> io::Result<Self> {
        let (file, length) = match rewrite(path, records) {
            Ok(written) => written,
            Err(error) => {
                // A full disk, say: what was written before is as good, if only it can be added to.
                let (_, length) = read(path)?;
                let file = create(path)?;
                file.set_len(length)?; // what a torn write left behind would hide all records after it
                tracing::warn!(%error, path = %path.display(), "can't write the file of nonces anew");
                (file, length)
            }
        };
        Ok(Self { path: path.to_owned(), file, length, opened_at: now, unsynced: false })
    }

    /// Writes `record`. A failure is logged: what is in memory goes on.
    pub(super) fn append(&mut self, record: Record) {
        let bytes = record.to_bytes();
        match self.file.write_all(&bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                self.unsynced = true;
            }
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "can't write a nonce; a restart will not know it");
                let _ = self.file.set_len(self.length);
            }
        }
    }

    /// Begins a new file when the one before this holds nothing that is still remembered; `oldest` is when the oldest
    /// nonce that is remembered was received.
    pub(super) fn rotate_when_due(&mut self, now: TimeMs, oldest: TimeMs, forgotten: &[Span]) {
        if now < self.opened_at.plus(REMEMBERED_MS) || oldest < self.opened_at {
            return;
        }
        self.opened_at = now; // also when it fails: it is tried again in 31 minutes, not with each call
        for span in forgotten {
            self.append(Record::Forgotten(*span));
        }
        if let Err(error) = self.rotate() {
            tracing::warn!(%error, path = %self.path.display(), "can't begin a new file of nonces");
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        fs::rename(&self.path, old(&self.path))?;
        self.file = create(&self.path)?;
        self.length = 0;
        Ok(())
    }

    pub(super) fn notice_step(&mut self, now: TimeMs) {
        self.opened_at = self.opened_at.min(now);
    }

    /// A handle to sync, if anything was written since the last.
    pub(super) fn unsynced(&mut self) -> Option<File> {
        if !self.unsynced {
            return None;
        }
        self.unsynced = false;
        self.file.try_clone().ok()
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn old(path: &Path) -> PathBuf {
    beside(path, ".old")
}

/// For the server's user alone: who can read when calls were made learns of it.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Puts a file of `records` in the place of `path` and its predecessor: whole, or not at all.
fn rewrite(path: &Path, records: impl Iterator<Item = Record>) -> io::Result<(File, u64)> {
    let new = beside(path, ".new");
    remove(&new)?;
    let mut writer = BufWriter::new(create(&new)?);
    let mut length = 0;
    for record in records {
        writer.write_all(&record.to_bytes())?;
        length += RECORD_BYTES as u64;
    }
    let file = writer.into_inner().map_err(IntoInnerError::into_error)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    sync_folder_of(path)?; // before the predecessor goes, which may hold what the file of before did not
    remove(&old(path))?;
    Ok((file, length))
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What stands in `path` and its predecessor, oldest first.
pub(super) fn read_all(path: &Path) -> io::Result<Vec<Record>> {
    let (mut records, _) = read(&old(path))?;
    records.extend(read(path)?.0);
    Ok(records)
}

/// The records of a file, and how many of its bytes they are.
fn read(path: &Path) -> io::Result<(Vec<Record>, u64)> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let (chunks, _) = bytes.as_chunks::<RECORD_BYTES>();
    let records: Vec<_> = chunks.iter().map_while(Record::from_bytes).collect();
    let length = (records.len() * RECORD_BYTES) as u64;
    Ok((records, length))
}
