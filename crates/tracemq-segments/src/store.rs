//! The store: what takes batches, what answers, and what works behind the two.
//!
//! A batch goes into the log and into the active memtable; once the log is synced it is shown. A full memtable is frozen and
//! takes its log file with it; the sealer makes segments of it, publishes a manifest that names them, and deletes the log
//! file. The merger makes few segments of many. Whoever asks sees a [`View`] that nobody changes.

mod append;
mod erase;
mod merge;
mod open;
mod orphans;
mod pace;
mod pairing;
mod publish;
mod purge;
mod reserve;
mod retain;
mod seal;
mod syncer;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use tracemq_model::{
    Counts, Event, Filter, Gap, InstanceId, Order, Pattern, Subject, SubjectPage, TimeMs, TimeRange, TracePage,
    TraceQuery,
};
use tracemq_store::{Batch, EventStore, StoreError, StoreStats, Visit, VisitTally};

use crate::SegmentSettings;
use crate::fs::Fs;
use crate::lock::Lock;
use crate::query;
use crate::view::{Snapshot, View};
use crate::wal::StoreId;
use append::{Waiting, Writer};
use erase::Erasing;
pub use open::{Damage, Recovery};
pub(crate) use open::{Looked, left_open, look as look_at, refusal};
use orphans::Orphans;
pub(crate) use pairing::Unpaired;
use publish::Publisher;
pub use purge::Left;
use retain::Clock;
use syncer::Syncer;

/// The embedded store.
pub struct Segments {
    shared: Arc<Shared>,
    lock: Lock,
    /// Until a recorder runs.
    orphans: Mutex<Option<Arc<Orphans>>>,
    workers: Vec<JoinHandle<()>>,
}

/// What the workers work on.
struct Shared {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    id: StoreId,
    settings: SegmentSettings,
    /// Without them, whoever appends seals.
    has_workers: bool,
    writer: Mutex<Writer>,
    waiting: Mutex<Waiting>,
    syncer: Syncer,
    publisher: Mutex<Publisher>,
    view: RwLock<Arc<View>>,
    /// Held while a memtable is sealed, or segments are merged.
    sealing: Mutex<()>,
    merging: Mutex<()>,
    /// What the workers, and appends that found no room, wait for.
    changes: Mutex<Changes>,
    changed: Condvar,
    next_number: AtomicU64,
    active_log_bytes: AtomicU64,
    stopping: AtomicBool,
    /// Segments that are damaged, and so are left as they are.
    unmergeable: Mutex<BTreeSet<u64>>,
    erasing: Mutex<Erasing>,
    /// Of segments that could not be opened.
    unreadable: Vec<Gap>,
    clock: Mutex<Clock>,
    /// The latest time that `mark_alive` was called with.
    now: AtomicI64,
}

#[derive(Default)]
struct Changes {
    /// Counts them.
    number: u64,
    /// Why the oldest frozen memtable could not be sealed, as long as that is so.
    not_sealed: Option<StoreError>,
    /// Set for good once the thread that seals has panicked.
    sealer_is_gone: bool,
    retention_is_due: bool,
    /// Whether it was said that there is no room to merge.
    merges_lack_room: bool,
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").field("dir", &self.shared.dir).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Segments {
    /// Seals what the memtables hold, and merges until there is nothing to merge: leaves the store as it would be soon
    /// after the last batch; what it does [at leisure](SegmentSettings::merge_segments) is not waited for. `progress` is told the
    /// share of the work that is done, from 0 to 1, every now and then.
    ///
    /// # Errors
    /// As [`EventStore::append`].
    pub fn settle(&self, progress: &mut dyn FnMut(f64)) -> Result<(), StoreError> {
        self.shared.seal_all()?;
        self.shared.merge_all(progress)
    }

    /// Ends the work behind the store, and seals what arrived last so that the next start is quick, as dropping does: for
    /// whoever wants to say what takes so long. Nothing may be appended after it.
    pub fn close(&self) {
        self.shared.stop();
        self.shared.seal_for_a_quick_start();
    }

    /// From the first to the last moment of what it holds; none when that is nothing. What is hidden may count.
    pub fn times(&self) -> Option<TimeRange> {
        let snapshot = self.shared.snapshot();
        let sealed = snapshot.segments().iter().map(|segment| segment.meta().times);
        let in_memory = snapshot.memtables().filter(|(_, visible)| *visible > 0).map(|(memtable, _)| memtable.times());
        sealed.chain(in_memory).reduce(|a, b| TimeRange { from: a.from.min(b.from), to: a.to.max(b.to) })
    }

    /// The folder that it lives in.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }
}

impl Shared {
    fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.view())
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another view in the place of the one that is.
    fn change_view(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = View::clone(&view);
        change(&mut next);
        *view = Arc::new(next);
    }

    /// Wakes whoever waits for something to change.
    fn announce(&self, note: impl FnOnce(&mut Changes)) {
        let mut changes = lock(&self.changes);
        changes.number += 1;
        note(&mut changes);
        self.changed.notify_all();
    }
}

/// For locks under which a panic leaves nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventStore for Segments {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.shared.append(batch)
    }

    fn page(&self, query: &TraceQuery) -> Result<TracePage, StoreError> {
        query::page(&self.shared.snapshot(), query)
    }

    fn page_at_once(&self, query: &TraceQuery) -> Result<Option<TracePage>, StoreError> {
        query::page_at_once(&self.shared.snapshot(), query)
    }

    fn scan(&self, filter: &Filter, order: Order, visit: &mut Visit<'_>) -> Result<Vec<Gap>, StoreError> {
        query::scan(&self.shared.snapshot(), filter, order, visit)
    }

    fn counts(&self, filter: &Filter, bucket_ms: u64) -> Result<Counts, StoreError> {
        query::counts(&self.shared.snapshot(), filter, bucket_ms)
    }

    fn tally(&self, filter: &Filter, visit: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError> {
        query::tally(&self.shared.snapshot(), filter, visit)
    }

    fn subjects(
        &self,
        instance: &InstanceId,
        pattern: &Pattern,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<SubjectPage, StoreError> {
        query::subjects(&self.shared.snapshot(), instance, pattern, after, limit)
    }

    fn erase(&self, instance: &InstanceId, subject: &Subject) -> Result<u64, StoreError> {
        self.shared.erase(instance, subject)
    }

    fn gaps(&self, range: TimeRange) -> Result<Vec<Gap>, StoreError> {
        Ok(query::recorded_gaps(&self.shared.snapshot(), range))
    }

    fn orphans(&self, visit: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        let orphans = lock(&self.orphans).clone();
        orphans.map_or(Ok(()), |orphans| orphans.visit(&self.shared.snapshot(), visit))
    }

    fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError> {
        // Nobody asks for them any more, and what they are in may be large.
        *lock(&self.orphans) = None;
        self.shared.tick(now);
        self.lock.mark_alive(now)
    }

    fn last_alive(&self) -> Option<TimeMs> {
        self.lock.last_alive()
    }

    fn stats(&self) -> StoreStats {
        let snapshot = self.shared.snapshot();
        let files: u64 = snapshot.segments().iter().map(|segment| segment.meta().bytes).sum();
        StoreStats { events: query::events(&snapshot), bytes: files + self.shared.log_bytes() }
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // It has said what it had to say.
            let _ = worker.join();
        }
        self.shared.seal_for_a_quick_start();
        // The log has them in any case.
        let _ = self.shared.publish_erasures();
    }
}
