//! The store: what is appended goes to the log and then into the index; what is asked for comes from the index and is
//! read from the files.

use std::collections::HashMap;
use std::fmt;
use std::fs as std_fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tracemq_model::{Event, Gap, Order, TimeMs, TimeRange, TracePage, TraceQuery};
use tracemq_store::{Batch, EventStore, StoreError, StoreStats, check, window};
use tracing::warn;

use crate::fs::{Fs, RealFs};
use crate::index::{Entry, Index, SubjectRef};
use crate::lock::Lock;
use crate::log::{Log, OpenFile};
use crate::{JournalSettings, Recovery, recovery};

/// The embedded store. See the crate's documentation.
///
/// Appends wait for each other; queries wait for nothing but the moment in which an append enters its batch into the
/// index.
pub struct Journal {
    dir: PathBuf,
    lock: Lock,
    /// Taken before `view` where both are.
    log: Mutex<Log>,
    view: RwLock<View>,
    orphans: Vec<Entry>,
}

/// What queries see.
struct View {
    index: Index,
    files: HashMap<u32, Arc<OpenFile>>,
    bytes: u64,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("dir", &self.dir).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the store in `dir`, which is made when it is missing, and says what was found. Reads all of it: about half
    /// a second for a million events.
    ///
    /// Files that are not the journal's are left alone. What is damaged is reported and left as it is, but for an
    /// unfinished write at the very end, which is cut off; a gap with cause `Damaged` then stands on record, since the
    /// same traces would be left by damage to the last batch.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it open; [`StoreError::UnknownFormat`], with nothing changed,
    /// when a later version wrote to it; [`StoreError::Io`] when the operating system refuses.
    pub fn open(dir: &Path, settings: JournalSettings) -> Result<(Self, Recovery), StoreError> {
        Self::open_on(Arc::new(RealFs), dir, settings)
    }

    pub(crate) fn open_on(
        fs: Arc<dyn Fs>,
        dir: &Path,
        settings: JournalSettings,
    ) -> Result<(Self, Recovery), StoreError> {
        create_dir(dir)?;
        let lock = Lock::take(dir)?;
        let replayed = recovery::replay(&*fs, dir, lock.last_alive())?;
        let files = replayed.log.files.iter().map(|(file, _)| (file.number, Arc::clone(file))).collect();
        let mut log = Log::new(fs, dir.to_owned(), settings, replayed.log);
        let mut view = View { index: replayed.index, files, bytes: log.bytes() };
        view.forget(&log.delete_expired(), log.bytes());
        let journal = Self {
            dir: dir.to_owned(),
            lock,
            log: Mutex::new(log),
            view: RwLock::new(view),
            orphans: replayed.orphans,
        };
        if let Some(gap) = replayed.cut
            && let Err(error) = journal.append(&Batch { events: Vec::new(), gaps: vec![gap] })
        {
            warn!(%error, "can't write down that an unfinished write was cut off; the gap is shown until the next start");
            journal.write().index.push_gap(gap, 0);
        }
        Ok((journal, replayed.report))
    }

    fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    fn forget(&mut self, files: &[u32], bytes: u64) {
        for number in files {
            self.index.forget_file(*number);
            self.files.remove(number);
        }
        self.bytes = bytes;
    }

    /// The entries with the files that they stand in, open: whatever is deleted meanwhile stays readable through them.
    fn places(&self, entries: &[Entry]) -> Vec<(Entry, Arc<OpenFile>)> {
        entries.iter().filter_map(|entry| Some((*entry, Arc::clone(self.files.get(&entry.file)?)))).collect()
    }
}

fn create_dir(dir: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { operation: "create", path: dir.to_owned(), source };
    if dir.is_dir() {
        return Ok(());
    }
    std_fs::create_dir_all(dir).map_err(failed)?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => RealFs.sync_dir(parent).map_err(failed),
        None => Ok(()),
    }
}

impl EventStore for Journal {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.events.is_empty() && batch.gaps.is_empty() {
            return Ok(());
        }
        // Whoever panicked with the lock may have written and not noted it.
        let mut log = self.log.lock().map_err(|_| StoreError::Poisoned { path: self.dir.clone() })?;
        let (file, places) = log.append(batch)?;
        let entries = batch.events.iter().zip(places).filter_map(|(event, place)| {
            let entry = Entry::new(event.time, file.number, *place)?;
            Some((event.instance.as_str(), SubjectRef::of(event)?, entry))
        });
        let mut view = self.write();
        view.index.extend(entries);
        for gap in &batch.gaps {
            view.index.push_gap(*gap, file.number);
        }
        view.files.entry(file.number).or_insert(file);
        drop(view);
        let deleted = log.delete_expired();
        self.write().forget(&deleted, log.bytes());
        Ok(())
    }

    fn page(&self, query: &TraceQuery) -> Result<TracePage, StoreError> {
        check(query)?;
        let view = self.read();
        let gaps = view.index.gaps(query.range);
        let matching = view.index.matching(&query.instance, &query.subject, query.range);
        let total = u64::try_from(matching.len()).unwrap_or(u64::MAX);
        let page = window(matching.len(), query);
        let rows = page.len();
        let places = view.places(matching.get(page).unwrap_or_default());
        drop(view);
        if places.len() != rows {
            let (path, what) = (self.dir.clone(), "the index names a file that is not open");
            return Err(StoreError::Damaged { path, offset: 0, length: 0, what });
        }
        let mut buffer = Vec::new();
        let events: Result<Vec<Event>, StoreError> =
            places.iter().map(|(entry, file)| file.read_event_of(&query.subject, entry, &mut buffer)).collect();
        let mut events = events?;
        if query.order == Order::NewestFirst {
            events.reverse();
        }
        Ok(TracePage { total, events, gaps })
    }

    fn gaps(&self, range: TimeRange) -> Result<Vec<Gap>, StoreError> {
        Ok(self.read().index.gaps(range))
    }

    fn orphans(&self) -> Result<Vec<Event>, StoreError> {
        let places = self.read().places(&self.orphans);
        let mut buffer = Vec::new();
        places.iter().map(|(entry, file)| file.read_event(entry, &mut buffer)).collect()
    }

    fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError> {
        self.lock.mark_alive(now)
    }

    fn last_alive(&self) -> Option<TimeMs> {
        self.lock.last_alive()
    }

    fn stats(&self) -> StoreStats {
        let view = self.read();
        StoreStats { events: view.index.events(), subjects: view.index.subjects(), bytes: view.bytes }
    }
}

#[cfg(test)]
mod tests;
