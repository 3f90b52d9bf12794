//! A file written front to back.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use tracemq_store::StoreError;

use super::checksum::{Checksums, Piece};
use super::source::{Extent, wide};
use crate::fs::{LogFile, not_written, write_all_at};

/// Bytes a write; fewer would cost calls, more memory.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes a sync. A disk that takes 200 MB/s has them in 20 ms: whoever waits for a sync of the log meanwhile does not
/// wait for a whole segment in the operating system's cache.
const SYNC_BYTES: u64 = 4 << 20;

pub(super) struct Output {
    file: Arc<dyn LogFile>,
    path: PathBuf,
    sums: Checksums,
    /// Of the checksums of all pieces.
    content: crc32fast::Hasher,
    buffer: Vec<u8>,
    written: u64,
    unsynced: u64,
    failed: bool,
}

impl Output {
    pub(super) fn new(file: Arc<dyn LogFile>, path: PathBuf, sums: Checksums) -> Self {
        let content = crc32fast::Hasher::new();
        let buffer = Vec::with_capacity(WRITE_BYTES);
        Self { file, path, sums, content, buffer, written: 0, unsynced: 0, failed: false }
    }

    pub(super) fn position(&self) -> u64 {
        self.written + wide(self.buffer.len())
    }

    /// Appends `content` and its checksum.
    pub(super) fn push(&mut self, piece: Piece, content: &[u8]) -> Result<Section, StoreError> {
        let offset = self.position();
        let sum = self.sums.of(piece, offset, content);
        self.push_bare(content)?;
        self.push_bare(&sum)?;
        self.content.update(&sum);
        Ok(Section { offset, length: wide(content.len() + sum.len()) })
    }

    /// Appends a block, which an index can point to.
    pub(super) fn push_block(&mut self, piece: Piece, content: &[u8]) -> Result<Extent, StoreError> {
        let Section { offset, length } = self.push(piece, content)?;
        match Extent::new(offset, length) {
            Some(extent) => Ok(extent),
            None => Err(self.refuse("the segment is larger than a segment can be")),
        }
    }

    /// Appends `bytes` without a checksum.
    pub(super) fn push_bare(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Poisoned { path: self.path.clone() });
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    /// Writes and syncs all; returns the length of the file.
    pub(super) fn finish(&mut self) -> Result<u64, StoreError> {
        if self.failed {
            return Err(StoreError::Poisoned { path: self.path.clone() });
        }
        self.write()?;
        self.sync()?;
        Ok(self.written)
    }

    /// The checksum of the checksums of all pieces so far.
    pub(super) fn content(&self) -> u32 {
        self.content.clone().finalize()
    }

    /// The checksum of `content`, if that is appended next.
    pub(super) fn sum(&self, piece: Piece, content: &[u8]) -> [u8; Checksums::BYTES] {
        self.sums.of(piece, self.position(), content)
    }

    /// The error for input that no segment holds. Nothing more is written: half a subject must not look like a whole.
    pub(super) fn refuse(&mut self, why: &'static str) -> StoreError {
        self.failed = true;
        let source = io::Error::new(ErrorKind::InvalidInput, why);
        StoreError::Io { operation: "write", path: self.path.clone(), source }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let result = write_all_at(&*self.file, &self.buffer, self.written);
        self.check("write", result)?;
        self.written += wide(self.buffer.len());
        self.unsynced += wide(self.buffer.len());
        self.buffer.clear();
        if self.unsynced >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let result = self.file.sync();
        self.check("sync", result)?;
        self.unsynced = 0;
        Ok(())
    }

    /// After a failed write or sync, what is on disk is unknown, also when a later one succeeds.
    fn check(&mut self, operation: &'static str, result: io::Result<()>) -> Result<(), StoreError> {
        result.map_err(|source| {
            self.failed = true;
            not_written(operation, &self.path, source)
        })
    }
}

/// Where a section stands, its checksum included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Section {
    pub(super) fn end(self) -> Option<u64> {
        self.offset.checked_add(self.length)
    }
}
