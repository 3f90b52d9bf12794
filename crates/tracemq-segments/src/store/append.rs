//! The way in: log, memtable, sync, and only then on view.
//!
//! One appender at a time writes. Those that come meanwhile leave their batches behind and wait; whoever is next writes them
//! all as one record, with one sync.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tracemq_store::{Batch, StoreError};

use super::seal::describe;
use super::{Shared, lock};
use crate::SegmentSettings;
use crate::memtable::Memtable;
use crate::view::Frozen;
use crate::wal::Wal;

/// An append waits no longer than this for a memtable to be sealed: a hundred times what sealing takes.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// It looks that often whether it still has to. A process that was stopped for long has looked once: who was to seal was stopped, too.
const LOOK: Duration = Duration::from_secs(1);
/// A memtable with so many gaps is sealed, however few events it holds.
const GAPS_MAX: usize = 1_000;
/// So many batches are put together at most.
const GROUP_MAX: usize = 64;

/// What takes batches.
pub(super) struct Writer {
    pub(super) wal: Wal,
    pub(super) active: Arc<Memtable>,
    /// The arrival sequence of the active memtable's segments.
    pub(super) sequence: u64,
}

/// Batches that wait for being written with others.
#[derive(Default)]
pub(super) struct Waiting {
    batches: Vec<Batch>,
    /// Of the group that the batches will be.
    group: Arc<Group>,
}

#[cfg(test)]
impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }
}

/// What came of a group of batches.
#[derive(Default)]
struct Group {
    result: std::sync::OnceLock<Result<(), StoreError>>,
}

impl Shared {
    pub(super) fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.events.is_empty() && batch.gaps.is_empty() {
            return Ok(());
        }
        if let Ok(mut writer) = self.writer.try_lock() {
            return self.write(&mut writer, batch);
        }
        let group = {
            let mut waiting = lock(&self.waiting);
            if waiting.batches.len() >= GROUP_MAX {
                None
            } else {
                waiting.batches.push(batch.clone());
                Some(Arc::clone(&waiting.group))
            }
        };
        let mut writer = self.writer()?;
        let Some(group) = group else { return self.write(&mut writer, batch) };
        if group.result.get().is_none() {
            // First of the group to get here. Nobody took its batches: whoever takes them tells the result before the writer
            // is free again.
            let Waiting { batches, group: taken } = std::mem::take(&mut *lock(&self.waiting));
            let result = self.write(&mut writer, &together(batches));
            let _ = taken.result.set(result);
        }
        drop(writer);
        copy(&group, &self.dir)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        // Whoever panicked with the lock may have written and not noted it.
        self.writer.lock().map_err(|_| StoreError::Poisoned { path: self.dir.clone() })
    }

    fn write(&self, writer: &mut Writer, batch: &Batch) -> Result<(), StoreError> {
        self.make_room(writer)?;
        let Writer { wal, active, .. } = writer;
        let unsynced = wal.write(batch)?;
        let (synced, rows) = self.syncer.sync(unsynced, batch.events.len(), || active.insert(&batch.events));
        // A sync that nobody did: the log refuses the next write, since it was not told of this one.
        wal.settle(synced.ok_or_else(|| StoreError::Poisoned { path: self.dir.clone() })?)?;
        self.active_log_bytes.store(wal.bytes(), Ordering::Relaxed);
        active.add_gaps(&batch.gaps);
        active.show(rows);
        Ok(())
    }

    /// Freezes the active memtable when it is full, and waits while there are too many frozen ones.
    fn make_room(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let active = &writer.active;
        let is_full = active.len() >= self.settings.memtable_events
            || active.bytes() >= self.settings.memtable_bytes
            || active.gap_count() >= GAPS_MAX;
        if is_full {
            self.wait_for_the_sealer()?;
            self.freeze(writer)?;
        } else {
            self.keep_pace(writer);
        }
        Ok(())
    }

    fn wait_for_the_sealer(&self) -> Result<(), StoreError> {
        if !self.has_workers {
            while self.view().frozen.len() >= SegmentSettings::FROZEN_MAX {
                self.seal_next()?;
            }
        }
        let mut changes = lock(&self.changes);
        let mut left = WAIT_MAX;
        while self.view().frozen.len() >= SegmentSettings::FROZEN_MAX {
            if changes.sealer_is_gone {
                return Err(StoreError::Poisoned { path: self.dir.clone() });
            }
            if let Some(error) = &changes.not_sealed {
                // The sealer tries again; an append after that goes through.
                return Err(again(error, &self.dir));
            }
            if left.is_zero() {
                let source = io::Error::new(io::ErrorKind::TimedOut, "segments are written too slowly");
                return Err(StoreError::Io { operation: "wait for segments in", path: self.dir.clone(), source });
            }
            let begun = Instant::now();
            let waited = self.changed.wait_timeout(changes, left.min(LOOK));
            left = left_after(left, begun.elapsed());
            changes = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(changes, _)| changes);
        }
        Ok(())
    }

    /// Puts an empty memtable and a new log file in the place of the active ones, if there is anything in them.
    pub(super) fn freeze(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if writer.active.is_empty() { Ok(()) } else { self.put_new(writer) }
    }

    fn put_new(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let log_bytes = writer.wal.bytes();
        let log = writer.wal.rotate()?;
        self.active_log_bytes.store(writer.wal.bytes(), Ordering::Relaxed);
        let active = Arc::new(Memtable::new(self.settings.memtable_events));
        let memtable = std::mem::replace(&mut writer.active, Arc::clone(&active));
        let frozen = Frozen { sequence: writer.sequence, log, log_bytes, memtable };
        writer.sequence += 1;
        self.change_view(|view| {
            view.frozen.push(frozen);
            view.active = active;
        });
        self.announce(|_| {});
        Ok(())
    }

    /// Freezes what there is.
    pub(super) fn freeze_now(&self) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        self.freeze(&mut writer)
    }

    /// The same, also when there is nothing but notes of erasures in the log.
    pub(super) fn freeze_even_if_empty(&self) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        self.put_new(&mut writer)
    }

    /// The bytes of the log files.
    pub(super) fn log_bytes(&self) -> u64 {
        self.active_log_bytes.load(Ordering::Relaxed)
            + self.view().frozen.iter().map(|frozen| frozen.log_bytes).sum::<u64>()
    }
}

/// How much longer may be waited.
fn left_after(left: Duration, waited: Duration) -> Duration {
    left.saturating_sub(waited.min(LOOK))
}

fn together(batches: Vec<Batch>) -> Batch {
    let mut all = Batch::default();
    for batch in batches {
        all.events.extend(batch.events);
        all.gaps.extend(batch.gaps);
    }
    all
}

/// The group's result once more.
fn copy(group: &Group, dir: &Path) -> Result<(), StoreError> {
    match group.result.get() {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(again(error, dir)),
        // Whoever was to write it panicked.
        None => Err(StoreError::Poisoned { path: dir.to_owned() }),
    }
}

/// An error once more, as far as whoever appends to `dir` acts on it: those of the operating system can't be cloned.
pub(super) fn again(error: &StoreError, dir: &Path) -> StoreError {
    let alike = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
    match error {
        StoreError::Full { path, source } => StoreError::Full { path: path.clone(), source: alike(source) },
        StoreError::Poisoned { path } => StoreError::Poisoned { path: path.clone() },
        StoreError::Io { operation, path, source } => {
            StoreError::Io { operation, path: path.clone(), source: alike(source) }
        }
        StoreError::InvalidQuery(_)
        | StoreError::Damaged { .. }
        | StoreError::InUse { .. }
        | StoreError::UnknownFormat { .. } => {
            let source = io::Error::other(describe(error));
            StoreError::Io { operation: "append to", path: dir.to_owned(), source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S50: a process that was stopped for ten minutes while an append waited has sealed nothing meanwhile, and is not late.
    #[test]
    fn s50_time_in_which_nothing_ran_is_not_waited_for() {
        let mut left = WAIT_MAX;
        left = left_after(left, Duration::from_secs(600));
        assert_eq!(left, WAIT_MAX - LOOK);
        for _ in 0..60 {
            left = left_after(left, Duration::from_millis(990));
        }
        assert_eq!(left, Duration::ZERO);
    }
}
