//! The few things that the store does with files, behind a seam, so that tests can make each of them fail and lose
//! what was not synced.

#[cfg(feature = "fuzzing")]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod simulated;

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use tracemq_store::StoreError;

/// A folder's operations.
pub(crate) trait Fs: Send + Sync {
    /// The names in `dir`, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// An empty file at `path`, made anew or emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;
    /// The file at `path`, to read and to write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;
    /// The file at `path`, to read: that works on a read-only file system as well.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives the file at `from` the name `to`, which whoever had it loses: at no moment is there none of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives the file at `from` the name `to` as well. Fails when there is one of that name, and where the file system knows
    /// no second names.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes what was created, named and removed in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// How many more bytes files in `dir` may take. For whoever can't tell there is no end to them.
    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// A file's operations. Reads and writes may do a part, as the operating system's do.
pub(crate) trait LogFile: Send + Sync {
    fn length(&self) -> io::Result<u64>;
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// [`read_at`](Self::read_at) of what need not be waited for; none when all of it has to be. Where that is unknown it reads.
    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.read_at(buffer, offset).map(Some)
    }
    /// Says that `bytes` bytes from `offset` on will be read, and does not wait for them.
    fn ask_for(&self, _offset: u64, _bytes: u64) {}
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Takes room for `bytes` bytes from `from` on, without changing the length: so that a disk that is full says so before
    /// they are written and not when they are synced. Where that is unknown nothing is taken.
    fn allocate(&self, _from: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
    /// Makes the file's content and length durable.
    fn sync(&self) -> io::Result<()>;
}

thread_local! {
    /// Whether this thread must not wait for a disk now.
    static AT_ONCE: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, in which [`read_exact_at`] on this thread fails with [`ErrorKind::WouldBlock`] instead of waiting for a disk, and asks it for what it lacks.
/// (A mark on the thread, since every layer between a question and its reads would have to hand it on otherwise.)
pub(crate) fn at_once<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            AT_ONCE.set(self.0);
        }
    }
    let _restore = Restore(AT_ONCE.replace(true));
    work()
}

/// Fills `buffer` from `offset`.
pub(crate) fn read_exact_at(file: &dyn LogFile, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = if AT_ONCE.get() {
            file.read_at_once(buffer, offset).and_then(|read| {
                read.ok_or_else(|| {
                    file.ask_for(offset, u64::try_from(buffer.len()).unwrap_or(0));
                    ErrorKind::WouldBlock.into()
                })
            })
        } else {
            file.read_at(buffer, offset)
        };
        match read {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = buffer.get_mut(read..).unwrap_or_default();
                offset += u64::try_from(read).unwrap_or(0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_all_at(file: &dyn LogFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += u64::try_from(written).unwrap_or(0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The error of a call that was to write to `path`. Of the operating system's errors only two say that there is no room.
pub(crate) fn not_written(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    if is_full(&source) { StoreError::Full { path, source } } else { StoreError::Io { operation, path, source } }
}

/// Whether that says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The operating system's files.
pub(crate) struct RealFs;

impl Fs for RealFs {
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| entry.map(|e| e.file_name())).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        // History names devices, users and addresses: nobody else on the machine needs to read it.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(File::open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl LogFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    #[cfg(target_os = "linux")]
    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        match preadv2(self, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(Some(read)),
            Err(Errno::AGAIN) => Ok(None),
            // An old kernel, or a file system that doesn't know.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => LogFile::read_at(self, buffer, offset).map(Some),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(target_os = "linux")]
    fn ask_for(&self, offset: u64, bytes: u64) {
        // Without it the read waits for itself.
        let _ = rustix::fs::fadvise(self, offset, std::num::NonZeroU64::new(bytes), rustix::fs::Advice::WillNeed);
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, from: u64, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(self, rustix::fs::FallocateFlags::KEEP_SIZE, from, bytes)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
