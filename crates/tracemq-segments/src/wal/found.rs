//! The files of the log in a folder, by their names and headers.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_store::StoreError;

use super::file::{self, HEADER_END, Header, HeaderFault, StoreId, VERSION};
use super::reader::Reader;
use super::record::Identity;
use crate::fs::{Fs, LogFile};

/// A file, and what its header says.
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn LogFile>,
    pub(super) length: u64,
    /// None when it is not what was written.
    pub(super) header: Option<Header>,
}

/// The log's files in the order of their numbers, and what their headers say; and the numbers that folders have.
pub(super) fn open_all(fs: &dyn Fs, dir: &Path) -> Result<(Vec<Found>, Vec<u64>), StoreError> {
    let failed = |source| StoreError::Io { operation: "list", path: dir.to_owned(), source };
    let names = fs.list(dir).map_err(failed)?;
    // A listing may name a file twice.
    let numbers: BTreeSet<u64> = names.iter().filter_map(|name| file::number(name.to_str()?)).collect();
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for number in numbers {
        match Found::open(fs, file::path(dir, number), number) {
            Ok(found) => files.extend(found),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::IsADirectory => folders.push(number),
            Err(error) => return Err(error),
        }
    }
    Ok((files, folders))
}

/// A folder is in nobody's way, unless it has the name of a live file, or of the `next` one.
pub(super) fn refuse_folders(dir: &Path, folders: &[u64], first: u64, next: u64) -> Result<(), StoreError> {
    match folders.iter().find(|number| (first..=next).contains(number)) {
        None => Ok(()),
        Some(number) => Err(StoreError::Io {
            operation: "write the log while a folder has the name of a file of it; move it away:",
            path: file::path(dir, *number),
            source: io::ErrorKind::IsADirectory.into(),
        }),
    }
}

/// Takes the last file away when it is one whose making was cut off: no record can have been written to it.
pub(super) fn drop_unborn(found: &mut Vec<Found>, first: u64) -> Option<PathBuf> {
    let last = found.pop_if(|last| last.number > first && last.header.is_none() && last.length <= HEADER_END)?;
    Some(last.path)
}

impl Found {
    /// None when the file is gone by now.
    fn open(fs: &dyn Fs, path: PathBuf, number: u64) -> Result<Option<Self>, StoreError> {
        let file = match fs.open_to_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { operation: "open", path, source }),
        };
        let failed = |source| StoreError::Io { operation: "read", path: path.clone(), source };
        let mut reader = Reader::new(&*file).map_err(failed)?;
        let header = Header::decode(reader.start().map_err(failed)?);
        let length = reader.length();
        let header = match header {
            Ok(header) => Some(header),
            Err(HeaderFault::Invalid) => None,
            Err(HeaderFault::Newer(format)) => {
                return Err(StoreError::UnknownFormat { path, found: format, known: VERSION });
            }
        };
        Ok(Some(Self { number, path, file, length, header }))
    }

    /// Why the file can't be a part of `store`; none when it is.
    pub(super) fn strangeness(&self, store: StoreId) -> Option<&'static str> {
        match self.header {
            None => Some("the header is not what was written"),
            Some(header) if header.store != store => Some("the file belongs to another store"),
            Some(header) if header.number != self.number => Some("the file has another one's name"),
            Some(_) => None,
        }
    }

    /// Whether it has no header, but a whole record that says of itself that it was written here.
    pub(super) fn is_ours_by_records(&self, store: StoreId) -> Result<bool, StoreError> {
        if self.header.is_some() {
            return Ok(false);
        }
        let mut reader = Reader::new(&*self.file).map_err(|source| failed("read", self, source))?;
        let found = reader.find_record(HEADER_END, &Identity::new(store, self.number));
        Ok(found.map_err(|source| failed("read", self, source))?.is_some())
    }

    /// Whether it is of `store` and no record was ever written to it.
    pub(super) fn is_fresh(&self, store: StoreId) -> bool {
        self.length == HEADER_END && self.strangeness(store).is_none()
    }
}

pub(super) fn failed(operation: &'static str, file: &Found, source: io::Error) -> StoreError {
    StoreError::Io { operation, path: file.path.clone(), source }
}
