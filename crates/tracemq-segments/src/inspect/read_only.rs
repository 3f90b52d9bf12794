//! A file system that can't be written to, so that looking changes nothing whatever the code above it does.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use crate::fs::{Fs, LogFile, RealFs};

pub(super) struct ReadOnlyFs;

impl Fs for ReadOnlyFs {
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        RealFs.list(dir)
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn LogFile>> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    /// To read only: a write to it is refused by the operating system.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        RealFs.open_to_read(path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        RealFs.open_to_read(path)
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }
}
