//! A folder in memory, for whoever feeds the decoders with bytes that no disk ever held.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Fs, LogFile};

/// Its files go with it.
#[derive(Default)]
pub(crate) struct MemoryFs(Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>);

#[derive(Default)]
pub(crate) struct MemoryFile(Mutex<Vec<u8>>);

impl MemoryFs {
    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<MemoryFile>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, path: &Path) -> io::Result<Arc<MemoryFile>> {
        self.files().get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Puts a file there.
    pub(crate) fn put(&self, path: &Path, content: Vec<u8>) {
        self.files().insert(path.to_owned(), Arc::new(MemoryFile(Mutex::new(content))));
    }

    /// What stands in a file; nothing when there is none.
    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        self.find(path).map(|file| file.bytes().clone()).unwrap_or_default()
    }
}

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fs for MemoryFs {
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let files = self.files();
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name().map(ToOwned::to_owned)).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        self.put(path, Vec::new());
        self.open(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let file: Arc<dyn LogFile> = self.find(path)?;
        Ok(file)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        self.open(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files().remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.find(from)?;
        self.files().insert(to.to_owned(), file);
        self.remove(from)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.find(from)?;
        self.files().insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl LogFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.bytes().len()).unwrap_or(u64::MAX))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes();
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let read = buffer.len().min(rest.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..read), rest.get(..read)) {
            to.copy_from_slice(from);
        }
        Ok(read)
    }

    fn write_at(&self, new: &[u8], offset: u64) -> io::Result<usize> {
        let mut bytes = self.bytes();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.saturating_add(new.len());
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        if let Some(to) = bytes.get_mut(start..end) {
            to.copy_from_slice(new);
        }
        Ok(new.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.bytes().resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
