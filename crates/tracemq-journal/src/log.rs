//! The writing side: appends records to the newest file, moves on to the next, deletes the oldest.
//!
//! What is on disk behind the last good end is never known after a failure, so that it is taken back before anything
//! else is written; when that fails too, or a sync fails, nothing more is written until the store is opened anew.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_model::{Event, Subject};
use tracemq_store::{Batch, StoreError};
use tracing::{error, info, warn};

use crate::JournalSettings;
use crate::format::{Frame, FramePlace, HEADER_BYTES, Header, Identity, StoreId, encode_batch, open_frame};
use crate::fs::{Fs, LogFile, read_exact_at, write_all_at};
use crate::index::Entry;

/// The buffer that records are made in is given back when one has made it larger than this.
const KEPT_BUFFER_BYTES: usize = 8 << 20;

/// A file of the journal, open.
pub(crate) struct OpenFile {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn LogFile>,
    pub(crate) identity: Identity,
}

impl OpenFile {
    /// The path of the file `number` in `dir`.
    pub(crate) fn path(dir: &Path, number: u32) -> PathBuf {
        dir.join(format!("events-{number:010}.log"))
    }

    /// The number of the file called `name`; none when it is none of ours.
    pub(crate) fn number(name: &str) -> Option<u32> {
        let digits = name.strip_prefix("events-")?.strip_suffix(".log")?;
        let number = digits.parse().ok()?;
        (number > 0 && Self::path(Path::new(""), number) == Path::new(name)).then_some(number)
    }

    /// The event at `entry`, checked to be what was written there. `buffer` is for the reading alone.
    pub(crate) fn read_event(&self, entry: &Entry, buffer: &mut Vec<u8>) -> Result<Event, StoreError> {
        let offset = u64::from(entry.offset);
        let length = usize::try_from(entry.length).unwrap_or(usize::MAX);
        buffer.resize(length, 0);
        let damaged =
            |what| StoreError::Damaged { path: self.path.clone(), offset, length: u64::from(entry.length), what };
        match read_exact_at(&*self.file, buffer, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(damaged("the file was cut short")),
            Err(source) => return Err(StoreError::Io { operation: "read", path: self.path.clone(), source }),
        }
        match open_frame(buffer, offset, &self.identity) {
            Some(Frame::Event(event)) if event.time() == entry.time => {
                event.to_event().ok_or_else(|| damaged("the event has no meaning to this version"))
            }
            Some(Frame::Event(_) | Frame::Gap(_)) | None => Err(damaged("the checksum of an event does not match")),
        }
    }

    /// Like [`OpenFile::read_event`], and refuses an event that is not of `subject`.
    pub(crate) fn read_event_of(
        &self,
        subject: &Subject,
        entry: &Entry,
        buffer: &mut Vec<u8>,
    ) -> Result<Event, StoreError> {
        let event = self.read_event(entry, buffer)?;
        if Subject::of(&event).as_ref() == Some(subject) {
            return Ok(event);
        }
        let (offset, length) = (u64::from(entry.offset), u64::from(entry.length));
        Err(StoreError::Damaged { path: self.path.clone(), offset, length, what: "another subject's event" })
    }
}

/// What a recovery leaves to go on with.
pub(crate) struct LogState {
    pub(crate) store: StoreId,
    /// The files that are known to be this store's, oldest first, with their lengths.
    pub(crate) files: VecDeque<(Arc<OpenFile>, u64)>,
    /// Whether the last of them takes more.
    pub(crate) writable: bool,
    pub(crate) next_number: u32,
}

pub(crate) struct Log {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    settings: JournalSettings,
    state: LogState,
    poisoned: Option<PathBuf>,
    record: Vec<u8>,
    places: Vec<FramePlace>,
}

impl Log {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: PathBuf, mut settings: JournalSettings, state: LogState) -> Self {
        settings.file_bytes_max = settings.file_bytes_max.min(JournalSettings::FILE_BYTES_LIMIT);
        Self { fs, dir, settings, state, poisoned: None, record: Vec::new(), places: Vec::new() }
    }

    /// Makes `batch` durable. Gives the file that it went to and the places of its events, in their order.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<(Arc<OpenFile>, &[FramePlace]), StoreError> {
        if let Some(path) = &self.poisoned {
            return Err(StoreError::Poisoned { path: path.clone() });
        }
        let (file, end) = self.prepare(batch)?;
        if let Err(source) = write_all_at(&*file.file, &self.record, end) {
            self.take_back(&file, end);
            return Err(not_written(&file.path, source));
        }
        self.sync(&file, end)?;
        if let Some((_, bytes)) = self.state.files.back_mut() {
            *bytes = end + length_of(&self.record);
        }
        if self.record.capacity() > KEPT_BUFFER_BYTES {
            self.record = Vec::new();
        }
        Ok((file, &self.places))
    }

    /// Encodes `batch` for the file that has room for it, and gives that file and its end.
    fn prepare(&mut self, batch: &Batch) -> Result<(Arc<OpenFile>, u64), StoreError> {
        if let (true, Some((file, end))) = (self.state.writable, self.state.files.back()) {
            let (file, end) = (Arc::clone(file), *end);
            self.encode(batch, &file, end)?;
            let is_empty = end == length_of(&[0; HEADER_BYTES]);
            if is_empty || end + length_of(&self.record) <= self.settings.file_bytes_max {
                return Ok((file, end));
            }
        }
        let (file, end) = self.create_next()?;
        self.encode(batch, &file, end)?;
        Ok((file, end))
    }

    fn encode(&mut self, batch: &Batch, file: &OpenFile, end: u64) -> Result<(), StoreError> {
        let encoded = encode_batch(batch, &file.identity, end, &mut self.record, &mut self.places);
        // Places in a file are kept in 32 bits.
        if encoded.is_ok() && u32::try_from(end + length_of(&self.record)).is_ok() {
            return Ok(());
        }
        let source = io::Error::new(ErrorKind::InvalidInput, "the batch is larger than a file can hold");
        Err(StoreError::Io { operation: "append to", path: file.path.clone(), source })
    }

    /// Makes the next file: its header is durable, and so is its name, before the first record goes in.
    fn create_next(&mut self) -> Result<(Arc<OpenFile>, u64), StoreError> {
        let number = self.state.next_number;
        let path = OpenFile::path(&self.dir, number);
        let following = number.checked_add(1).ok_or_else(|| StoreError::Io {
            operation: "number",
            path: path.clone(),
            source: io::Error::other("the numbers of files are used up"),
        })?;
        let file = self.fs.create(&path).map_err(|source| not_written(&path, source))?;
        let header = self.header(number).encode();
        if let Err(source) = write_all_at(&*file, &header, 0) {
            // Should it stay, the next attempt empties it, and a start knows it for a file without records.
            let _ = self.fs.remove(&path);
            return Err(not_written(&path, source));
        }
        if let Err(source) = file.sync().and_then(|()| self.fs.sync_dir(&self.dir)) {
            return Err(self.poison(&path, &source));
        }
        let end = length_of(&header);
        let file = Arc::new(OpenFile { number, path, file, identity: Identity::new(self.state.store, number) });
        self.state.files.push_back((Arc::clone(&file), end));
        self.state.writable = true;
        self.state.next_number = following;
        Ok((file, end))
    }

    fn header(&self, number: u32) -> Header {
        let previous = self.state.files.back().filter(|(file, _)| file.number.checked_add(1) == Some(number));
        let previous_bytes = previous.map_or(0, |(_, bytes)| *bytes);
        Header { store: self.state.store, number: u64::from(number), previous_bytes }
    }

    fn sync(&mut self, file: &OpenFile, end: u64) -> Result<(), StoreError> {
        let Err(source) = file.file.sync() else { return Ok(()) };
        // The batch is not acknowledged: better that it does not come back. Whether that works is as unknown as the rest.
        let _ = file.file.set_length(end);
        Err(self.poison(&file.path, &source))
    }

    /// Takes a record back that was written in part.
    fn take_back(&mut self, file: &OpenFile, end: u64) {
        if let Err(source) = file.file.set_length(end).and_then(|()| file.file.sync()) {
            self.poison(&file.path, &source);
        }
    }

    fn poison(&mut self, path: &Path, source: &io::Error) -> StoreError {
        error!(error = %source, path = %path.display(), "can't tell what is on disk; nothing more is written");
        self.poisoned = Some(path.to_owned());
        StoreError::Poisoned { path: path.to_owned() }
    }

    /// Deletes the oldest files while there is more than the bound, and gives their numbers.
    pub(crate) fn delete_expired(&mut self) -> Vec<u32> {
        let mut deleted = Vec::new();
        while self.bytes() > self.settings.total_bytes_max && self.state.files.len() > 1 {
            let Some((oldest, bytes)) = self.state.files.pop_front() else { break };
            if let Err(error) = self.fs.remove(&oldest.path) {
                // Tried again with the next batch. Queries go on to find what is in it.
                if error.kind() != ErrorKind::NotFound {
                    warn!(%error, path = %oldest.path.display(), "can't delete the oldest file");
                    self.state.files.push_front((oldest, bytes));
                    break;
                }
            }
            info!(path = %oldest.path.display(), bytes, "deleted the oldest file: the store is at its bound");
            deleted.push(oldest.number);
        }
        if !deleted.is_empty()
            && let Err(source) = self.fs.sync_dir(&self.dir)
        {
            let dir = self.dir.clone();
            self.poison(&dir, &source);
        }
        deleted
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.state.files.iter().map(|(_, bytes)| bytes).sum()
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn not_written(path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    // Of the operating system's errors only these two say that there is no room.
    if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        StoreError::Full { path, source }
    } else {
        StoreError::Io { operation: "write", path, source }
    }
}
