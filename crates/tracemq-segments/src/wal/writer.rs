//! The writing side: appends records to the newest file and moves on to the next.
//!
//! What is on disk behind the last good end is never known after a failure, so that it is taken back before anything
//! else is written; when that fails too, or a sync fails, nothing more is written until the store is opened anew. Room is
//! taken ahead of writing, since some file systems tell only at a sync that there is none.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_store::{Batch, StoreError};
use tracing::error;

use super::encode::{Encoder, encode_erasure};
use super::file::{self, HEADER_END, Header, StoreId};
use super::record::{HEAD_BYTES, HEAD_LENGTH, Head, Identity};
use crate::fs::{Fs, LogFile, is_full, not_written, write_all_at};

/// The buffer that records are made in is given back when one has made it larger than this.
const KEPT_BUFFER_BYTES: usize = 8 << 20;
/// So much room is taken at once, ahead of what is written: for some thousands of records.
const AHEAD_BYTES: u64 = 1 << 20;

/// What a replay leaves to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(super) store: StoreId,
    /// The number of the next file; 0 when there are no more.
    pub(super) next: u64,
    /// How long the last file is; 0 when that is unknown.
    pub(super) previous_bytes: u64,
    /// The number and the length of the last file, when it takes more.
    pub(super) writable: Option<(u64, u64)>,
}

/// The log, to be written to.
///
/// [`Wal::write`], [`Unsynced::sync`] and [`Wal::settle`] are the steps of an append, apart so that the sync, which takes
/// the longest, can be done elsewhere while the batch goes into the memtable. The next record is taken when the one before is settled: that
/// is what tells a torn end from damage.
pub(crate) struct Wal {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    store: StoreId,
    number: u64,
    path: PathBuf,
    file: Arc<dyn LogFile>,
    identity: Identity,
    /// Where the last record that is settled ends.
    end: u64,
    /// Up to where room was taken.
    allocated: u64,
    /// Whether something stands behind `end` that is not settled.
    unsettled: bool,
    poisoned: Option<PathBuf>,
    encoder: Encoder,
    record: Vec<u8>,
}

/// Written, but not yet durable. Whoever drops it without settling it poisons the log.
#[must_use]
pub(crate) struct Unsynced {
    file: Arc<dyn LogFile>,
    end: u64,
}

/// What came of a sync.
#[must_use]
pub(crate) struct Synced {
    end: u64,
    result: io::Result<()>,
}

impl Unsynced {
    /// Makes it durable, on any thread.
    pub(crate) fn sync(self) -> Synced {
        Synced { end: self.end, result: self.file.sync() }
    }
}

impl Wal {
    /// The log of a new store: a first file, durable when this returns, so that a manifest may name it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when there is such a file with more than a header in it: then the store is not new.
    pub(crate) fn create(fs: Arc<dyn Fs>, dir: &Path, store: StoreId, number: u64) -> Result<Self, StoreError> {
        let path = file::path(dir, number);
        match fs.open_to_read(&path).and_then(|file| file.length()) {
            Ok(length) if length > HEADER_END => {
                return Err(StoreError::Damaged { path, offset: 0, length, what: "a log without its manifest" });
            }
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(StoreError::Io { operation: "open", path, source });
            }
            Ok(_) | Err(_) => {}
        }
        Self::begin(fs, dir.to_owned(), Header { store, number, previous_bytes: 0 }).map_err(|(error, _)| error)
    }

    /// Goes on behind what was replayed: in the last file if nothing is wrong with it, else in a new one.
    pub(crate) fn resume(fs: Arc<dyn Fs>, dir: &Path, tail: &Tail) -> Result<Self, StoreError> {
        let Tail { store, next, previous_bytes, writable } = *tail;
        let Some((number, end)) = writable else {
            let number = numbered(dir, Some(next))?;
            let begun = Self::begin(fs, dir.to_owned(), Header { store, number, previous_bytes });
            return begun.map_err(|(error, _)| error);
        };
        let path = file::path(dir, number);
        let file = fs.open(&path).map_err(|source| StoreError::Io { operation: "open", path: path.clone(), source })?;
        Ok(Self::on(fs, dir.to_owned(), store, number, file, end))
    }

    /// Makes a file: its header is durable, and so is its name, before the first record goes in. An error comes with whether
    /// it is unknown what is on disk.
    fn begin(fs: Arc<dyn Fs>, dir: PathBuf, header: Header) -> Result<Self, (StoreError, bool)> {
        let path = file::path(&dir, header.number);
        let file = fs.create(&path).map_err(|source| (not_written("create", &path, source), false))?;
        if let Err(source) = write_all_at(&*file, &header.encode(), 0) {
            // Should it stay, the next attempt empties it, and a start knows it for a file without records.
            let _ = fs.remove(&path);
            return Err((not_written("write", &path, source), false));
        }
        if let Err(source) = file.sync().and_then(|()| fs.sync_dir(&dir)) {
            return Err((StoreError::Io { operation: "sync", path, source }, true));
        }
        Ok(Self::on(fs, dir, header.store, header.number, file, HEADER_END))
    }

    fn on(fs: Arc<dyn Fs>, dir: PathBuf, store: StoreId, number: u64, file: Arc<dyn LogFile>, end: u64) -> Self {
        let (path, identity) = (file::path(&dir, number), Identity::new(store, number));
        let (unsettled, poisoned, encoder, record) = (false, None, Encoder::default(), Vec::new());
        let allocated = end;
        Self { fs, dir, store, number, path, file, identity, end, allocated, unsettled, poisoned, encoder, record }
    }

    /// The number of the file that is written to.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// How long that file is.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Makes `batch` durable.
    #[cfg(test)]
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let unsynced = self.write(batch)?;
        self.settle(unsynced.sync())
    }

    /// Makes it durable that what came before and is kept under `key` is hidden.
    pub(crate) fn erase(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let unsynced = self.write_record(|_, record| encode_erasure(key, record))?;
        self.settle(unsynced.sync())
    }

    /// Writes `batch`, which counts when it is synced and settled.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<Unsynced, StoreError> {
        self.write_record(|encoder, record| encoder.encode(batch, record))
    }

    fn may_write(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.unsettled) {
            // Whoever was to sync it is gone.
            return Err(self.poison(&io::Error::other("a record was written and never settled")));
        }
        match &self.poisoned {
            Some(path) => Err(StoreError::Poisoned { path: path.clone() }),
            None => Ok(()),
        }
    }

    /// `push_payload` appends the payload to the buffer.
    fn write_record(&mut self, push_payload: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Result<Unsynced, StoreError> {
        self.may_write()?;
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.resize(HEAD_BYTES, 0);
        push_payload(&mut self.encoder, &mut record);
        let end = self.write_whole(&mut record);
        if record.capacity() <= KEPT_BUFFER_BYTES {
            self.record = record;
        }
        let end = end?;
        self.unsettled = true;
        Ok(Unsynced { file: Arc::clone(&self.file), end })
    }

    /// Writes `record`, whose head is still to be made, and gives its end.
    fn write_whole(&mut self, record: &mut [u8]) -> Result<u64, StoreError> {
        let made = record.split_first_chunk_mut::<HEAD_BYTES>().and_then(|(place, payload)| {
            let head = Head::of(payload)?;
            *place = head.encode(self.end, &self.identity);
            self.end.checked_add(HEAD_LENGTH)?.checked_add(u64::from(head.payload_bytes))
        });
        let Some(end) = made else {
            let source = io::Error::new(ErrorKind::InvalidInput, "the batch is larger than a record can hold");
            return Err(StoreError::Io { operation: "append to", path: self.path.clone(), source });
        };
        self.take_room(end)?;
        if let Err(source) = write_all_at(&*self.file, record, self.end) {
            self.take_back()?;
            return Err(not_written("write", &self.path, source));
        }
        Ok(end)
    }

    /// Has room taken for what ends at `end`. Nothing is written yet, so that there is nothing to take back.
    fn take_room(&mut self, end: u64) -> Result<(), StoreError> {
        if end <= self.allocated {
            return Ok(());
        }
        let allocated = end.saturating_add(AHEAD_BYTES);
        loop {
            match self.file.allocate(self.end, allocated - self.end) {
                Err(source) if source.kind() == ErrorKind::Interrupted => {}
                Err(source) if is_full(&source) => return Err(not_written("write", &self.path, source)),
                // Where room can't be taken, writes and syncs are what tells that there is none.
                Ok(()) | Err(_) => break,
            }
        }
        self.allocated = allocated;
        Ok(())
    }

    /// Counts what was written, or takes it back as far as that is possible.
    pub(crate) fn settle(&mut self, synced: Synced) -> Result<(), StoreError> {
        self.unsettled = false;
        match synced.result {
            Ok(()) => {
                self.end = synced.end;
                Ok(())
            }
            Err(source) => {
                // Not acknowledged: better that it does not come back. Whether that works is as unknown as the rest.
                let _ = self.file.set_length(self.end).and_then(|()| self.file.sync());
                Err(self.poison(&source))
            }
        }
    }

    /// Takes a record back that was written in part.
    fn take_back(&mut self) -> Result<(), StoreError> {
        self.allocated = self.end;
        let taken = self.file.set_length(self.end).and_then(|()| self.file.sync());
        taken.map_err(|source| self.poison(&source))
    }

    fn poison(&mut self, source: &io::Error) -> StoreError {
        error!(error = %source, path = %self.path.display(), "can't tell what is on disk; nothing more is written");
        self.poisoned = Some(self.path.clone());
        StoreError::Poisoned { path: self.path.clone() }
    }

    /// Goes on to the next file, which is durable when this returns, and gives the number of the finished one. On an error
    /// the present one goes on, unless the log is poisoned.
    pub(crate) fn rotate(&mut self) -> Result<u64, StoreError> {
        self.may_write()?;
        let number = numbered(&self.dir, self.number.checked_add(1))?;
        let header = Header { store: self.store, number, previous_bytes: self.end };
        match Self::begin(Arc::clone(&self.fs), self.dir.clone(), header) {
            Ok(mut next) => {
                next.record = std::mem::take(&mut self.record);
                next.encoder = std::mem::take(&mut self.encoder);
                let finished = self.number;
                *self = next;
                Ok(finished)
            }
            Err((StoreError::Io { source, .. }, true)) => Err(self.poison(&source)),
            Err((error, _)) => Err(error),
        }
    }

    /// Deletes the finished file `number`, whose rows are in published segments. On an error it can be tried again; a file
    /// that a crash brings back is told as stale by the next replay.
    #[cfg(test)]
    pub(crate) fn delete(&mut self, number: u64) -> Result<(), StoreError> {
        let path = file::path(&self.dir, number);
        if number >= self.number {
            let source = io::Error::new(ErrorKind::InvalidInput, "it is not finished");
            return Err(StoreError::Io { operation: "delete", path, source });
        }
        match self.fs.remove(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(StoreError::Io { operation: "delete", path, source });
            }
            Ok(()) | Err(_) => {}
        }
        let synced = self.fs.sync_dir(&self.dir);
        synced.map_err(|source| StoreError::Io { operation: "sync", path: self.dir.clone(), source })
    }
}

fn numbered(dir: &Path, number: Option<u64>) -> Result<u64, StoreError> {
    number.filter(|number| *number > 0).ok_or_else(|| {
        let source = io::Error::other("the numbers of files are used up");
        StoreError::Io { operation: "number a file in", path: dir.to_owned(), source }
    })
}
