//! One process to a store, and the sign of life that it leaves.
//!
//! `lock` is locked while the store is open and holds the process id. `alive` is empty: its modification time is the
//! last moment at which the recorder is known to have run. They are two files because writing the process id would
//! move that time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracemq_model::TimeMs;
use tracemq_store::StoreError;

const LOCK: &str = "lock";
const ALIVE: &str = "alive";

/// The operating system lets go of the lock when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: File,
    dir: PathBuf,
    alive: Mutex<Option<File>>,
    last_alive: Option<TimeMs>,
}

impl Lock {
    /// Takes the lock of `dir`, or says who holds it.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK);
        let failed = |source| StoreError::Io { operation: "lock", path: path.clone(), source };
        let mut held = options().create(true).truncate(false).open(&path).map_err(failed)?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { pid: holder(&held), path }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        held.set_len(0).map_err(failed)?;
        held.rewind().map_err(failed)?;
        held.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed)?;
        let (alive, last_alive) = read_mark(dir)?;
        Ok(Self { _held: held, dir: dir.to_owned(), alive: Mutex::new(alive), last_alive })
    }

    /// The mark as it stood when the lock was taken; none when there never was one.
    pub(crate) fn last_alive(&self) -> Option<TimeMs> {
        self.last_alive
    }

    /// Moves the mark to `now`.
    pub(crate) fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError> {
        self.set_mark(now).map_err(|source| StoreError::Io {
            operation: "set the time of",
            path: self.dir.join(ALIVE),
            source,
        })
    }

    fn set_mark(&self, now: TimeMs) -> io::Result<()> {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*alive {
            return file.set_modified(system_time(now));
        }
        let file = options().create(true).truncate(false).open(self.dir.join(ALIVE))?;
        file.set_modified(system_time(now))?;
        // Once: a store whose mark is gone after a power loss would look as if no recorder had ever run.
        file.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        *alive = Some(file);
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn holder(file: &File) -> u32 {
    let mut text = String::new();
    match file.take(16).read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}

fn read_mark(dir: &Path) -> Result<(Option<File>, Option<TimeMs>), StoreError> {
    let path = dir.join(ALIVE);
    let read = || {
        let file = options().open(&path)?;
        let time = time_ms(file.metadata()?.modified()?);
        Ok((Some(file), Some(time)))
    };
    match read() {
        Ok(mark) => Ok(mark),
        Err(error) if io::Error::kind(&error) == ErrorKind::NotFound => Ok((None, None)),
        Err(source) => Err(StoreError::Io { operation: "read the time of", path, source }),
    }
}

fn system_time(time: TimeMs) -> SystemTime {
    let distance = Duration::from_millis(time.0.unsigned_abs());
    let moved = if time.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    moved.unwrap_or(UNIX_EPOCH)
}

fn time_ms(time: SystemTime) -> TimeMs {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => TimeMs(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
        Err(before) => TimeMs(i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let pid = std::process::id();
        let refused = Lock::take(dir.path()).unwrap_err();
        assert!(matches!(&refused, StoreError::InUse { pid: holder, .. } if *holder == pid), "{refused}");
        drop(first);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn the_mark_is_what_was_set_last_and_opening_leaves_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Lock::take(dir.path()).unwrap().last_alive(), None);
        let lock = Lock::take(dir.path()).unwrap();
        assert_eq!(lock.last_alive(), None);
        lock.mark_alive(TimeMs(1_621_580_400_123)).unwrap();
        lock.mark_alive(TimeMs(1_621_580_401_456)).unwrap();
        assert_eq!(lock.last_alive(), None);
        drop(lock);
        for _ in 0..2 {
            assert_eq!(Lock::take(dir.path()).unwrap().last_alive(), Some(TimeMs(1_621_580_401_456)));
        }
    }
}
