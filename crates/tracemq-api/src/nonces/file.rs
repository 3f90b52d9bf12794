//! The file of nonces: records of 36 bytes, appended; never changed.
//!
//! ```text
//! record = hash (16) | timestamp (8) | received (8) | check (4)
//! ```
//! Numbers are little-endian milliseconds since 1970; `check` is the start of the SHA-256 of the rest. A hash of zeros
//! marks a floor, which stands in `timestamp`. Reading a file ends at its first record that does not check.
//!
//! There are at most two: the current one, and `<name>.old` before it. When all that stands in `.old` is forgotten,
//! which is so once the current one is 31 minutes old, the current one ends with the floor and becomes `.old`, so that
//! together they hold what an hour brings at most.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracemq_model::TimeMs;

use super::{Hash, REMEMBERED_MS};

const RECORD_BYTES: usize = 36;
const FLOOR_MARK: Hash = [0; 16];

/// What stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Requests with a timestamp up to this one count as expired.
    Floor(TimeMs),
    /// A nonce that was taken.
    Taken { hash: Hash, timestamp: TimeMs, received: TimeMs },
}

impl Record {
    fn to_bytes(self) -> Vec<u8> {
        let (hash, timestamp, received) = match self {
            Self::Floor(floor) => (FLOOR_MARK, floor, floor),
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
        Some(if *hash == FLOOR_MARK {
            Self::Floor(timestamp)
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
    /// Opens `path`, made if need be, and reads what stands in it and its predecessor, oldest first.
    pub(super) fn open(path: &Path, now: TimeMs) -> io::Result<(Self, Vec<Record>)> {
        let mut records = read(&old(path))?.0;
        let (current, length) = read(path)?;
        records.extend(current);
        let file = create(path)?;
        file.set_len(length)?; // what a torn write left behind would hide all records after it
        Ok((Self { path: path.to_owned(), file, length, opened_at: now, unsynced: false }, records))
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
    pub(super) fn rotate_when_due(&mut self, now: TimeMs, oldest: TimeMs, floor: TimeMs) {
        if now < self.opened_at.plus(REMEMBERED_MS) || oldest < self.opened_at {
            return;
        }
        self.opened_at = now; // also when it fails: it is tried again in 31 minutes, not with each call
        self.append(Record::Floor(floor));
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

fn old(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
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
